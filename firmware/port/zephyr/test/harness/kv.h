#ifndef TEST_KV_H
#define TEST_KV_H

#include "stream.h"

#define KV_MAX 8
#define KV_VALUE 2048

/* How a put or delete is interrupted. */
enum kv_cut {
    KV_NOT,    /* never */
    KV_FAIL,   /* WB_EIO, nothing changed */
    KV_BEFORE, /* power gone: nothing changed, everything fails from then on */
    KV_TORN,   /* power gone: half of the new value */
    KV_NONE,   /* power gone: no value */
    KV_LONG,   /* power gone: too many bytes */
    KV_AFTER,  /* power gone: the new value stands */
    KV_CUTS
};

/* wb_kv in memory. */
typedef struct kv {
    struct {
        uint16_t key;
        int len; /* negative: no value */
        uint8_t value[KV_VALUE + 16];
    } at[KV_MAX];
    unsigned steps;   /* puts and deletes so far */
    unsigned cut_at;  /* the step that is interrupted, from 1; 0: none */
    enum kv_cut cut;
    bool off;
    int unreadable; /* key whose get fails with WB_EIO, or -1 */
} kv;

void kv_init(kv *k);
wb_kv kv_of(kv *k);
void kv_on(kv *k);      /* power is back: nothing is interrupted any more */
void kv_rot(kv *k, uint16_t key); /* flips a bit of a value */
void kv_forget(kv *k, uint16_t key);

#endif
