/* A core for the engine's tests: instances, host functions on a small world in memory, and modules by name. The real
 * core's table of imports is linked (core/src/abi.c). */
#ifndef FAKE_H
#define FAKE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wamr.h"

/* printf and exit on a PC, printk and a halt on a board. */
void fake_say(const char *format, ...);
_Noreturn void fake_fail(const char *file, int line, const char *what);

#define CHECK(c)                                                                                                       \
    do {                                                                                                               \
        if (!(c))                                                                                                      \
            fake_fail(__FILE__, __LINE__, #c);                                                                         \
    } while (0)

#define FAKE_PAIRS 8

typedef struct fake_pair {
    char key[24], value[48];
    size_t len;
    bool there;
} fake_pair;

typedef struct fake_world {
    fake_pair config[FAKE_PAIRS], kv[FAKE_PAIRS];
    char last_log[64], sent[4][64], value_name[8][16];
    double value[8];
    unsigned logs, sends, values;
    uint32_t timer[9]; /* period by id */
    uint32_t pin;      /* number 1 */
    int entropy;       /* what random returns */
} fake_world;

struct wb_instance {
    void *engine;
    uint8_t index;
    fake_world *world;
};

void fake_config(fake_world *w, const char *key, const char *value);
const char *fake_kv(const fake_world *w, const char *key); /* NULL: not there */
double fake_value(const fake_world *w, const char *name);  /* 0: not there */

/* A sample of firmware/modules by its name. */
const uint8_t *fake_module(const char *name, uint32_t *size);

/* A module as the core gives it; mapped or not. */
typedef struct fake_source {
    wb_module m;
    const uint8_t *bytes;
    int fails; /* reads from this one on fail, 0: none */
    int reads;
} fake_source;

void fake_source_init(fake_source *s, const uint8_t *bytes, uint32_t size, bool mapped);

/* The tests, test_*.c. */
void test_samples(wb_wamr *w);
void test_faults(wb_wamr *w);
void test_refusals(wb_wamr *w);
void test_limits(wb_wamr *w);
void test_memory(wb_wamr *w);
void test_need(wb_wamr *w);
void test_mutants(wb_wamr *w, unsigned times);

#endif
