/*
 * Zephyr's own random numbers (sys_rand_get: TCP's sequence numbers, ports, ids of queries) where the board has no
 * hardware generator: a stream made of the board's entropy, not Zephyr's timer.
 */
#ifndef WASMBED_RANDOM_H
#define WASMBED_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#if __has_include(<zephyr/random/random.h>)
#include <zephyr/random/random.h>
#else
#include <zephyr/random/rand32.h>
#endif

/* Keys the stream. What was drawn before was not random; nothing has left the board by then. */
void wb_random_key(const uint8_t *bytes, size_t len);

#endif
