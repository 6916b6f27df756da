/*
 * A value kept twice, under key and key + 1, written in turn: whatever power does to a put, the value before it stands.
 * Each copy carries a sequence and a checksum; the newer one whose checksum fits counts.
 */
#ifndef WASMBED_PORT_PAIR_H
#define WASMBED_PORT_PAIR_H

#include "stream.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WB_PAIR_HEADER 16 /* bytes before the value in every buffer */

/* What is known of a pair in storage. Zero before the first wb_pair_read. */
typedef struct wb_pair {
    uint32_t seq;    /* of the copy that counts */
    uint8_t current; /* which one: 0 or 1 */
    bool present;    /* there is one */
    bool single;     /* the other copy is missing, damaged or of another value */
} wb_pair;

/* Reads the value into buf + WB_PAIR_HEADER; cap counts the header. Returns the value's length; WB_ENOENT when neither
 * copy is sound; WB_EIO when storage could not be read (nothing is said then about what is in it); WB_ENOSPC. */
int wb_pair_read(wb_pair *p, const wb_kv *kv, uint16_t key, uint8_t *buf, size_t cap);

/* Writes the len bytes at buf + WB_PAIR_HEADER over the older copy; fills the header itself. Needs a wb_pair_read
 * before. Durable when it returns 0; else the old value counts. */
int wb_pair_write(wb_pair *p, const wb_kv *kv, uint16_t key, uint8_t *buf, size_t len);

/* Deletes both, the older one first. */
int wb_pair_delete(wb_pair *p, const wb_kv *kv, uint16_t key);

#ifdef __cplusplus
}
#endif
#endif
