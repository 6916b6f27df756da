#include "kv.h"

#include <string.h>

void kv_init(kv *k)
{
    memset(k, 0, sizeof *k);
    k->unreadable = -1;
    for (unsigned i = 0; i < KV_MAX; i++)
        k->at[i].len = -1;
}

static int find(kv *k, uint16_t key, bool make)
{
    int free_one = -1;
    for (int i = 0; i < KV_MAX; i++) {
        if (k->at[i].len >= 0 && k->at[i].key == key)
            return i;
        if (k->at[i].len < 0)
            free_one = i;
    }
    return make ? free_one : -1;
}

static int get(void *ctx, uint16_t key, uint8_t *buf, size_t cap)
{
    kv *k = ctx;
    if (k->off || k->unreadable == key)
        return WB_EIO;
    int i = find(k, key, false);
    if (i < 0)
        return WB_ENOENT;
    if ((size_t)k->at[i].len > cap)
        return WB_ENOSPC;
    memcpy(buf, k->at[i].value, (size_t)k->at[i].len);
    return k->at[i].len;
}

static void set(kv *k, uint16_t key, const uint8_t *data, int len)
{
    int i = find(k, key, true);
    if (i < 0)
        return;
    k->at[i].key = key;
    k->at[i].len = len;
    if (len > 0)
        memcpy(k->at[i].value, data, (size_t)len);
}

/* One step: whether it is done, and what the caller hears. */
static int step(kv *k, uint16_t key, const uint8_t *data, int len)
{
    if (k->off)
        return WB_EIO;
    k->steps++;
    enum kv_cut cut = k->cut_at == k->steps ? k->cut : KV_NOT;
    if (cut == KV_FAIL)
        return WB_EIO;
    if (cut != KV_NOT)
        k->off = true;
    switch (cut) {
    case KV_NOT:
    case KV_AFTER:
        set(k, key, data, len);
        break;
    case KV_TORN:
        set(k, key, data, len / 2);
        break;
    case KV_NONE:
        set(k, key, data, -1);
        break;
    case KV_LONG:
        set(k, key, data, len);
        k->at[find(k, key, true)].len = KV_VALUE + 16;
        break;
    default:
        break;
    }
    return k->off ? WB_EIO : 0;
}

static int put(void *ctx, uint16_t key, const uint8_t *data, size_t len)
{
    return len == 0 || len > KV_VALUE ? WB_ENOSPC : step(ctx, key, data, (int)len);
}

static int del(void *ctx, uint16_t key)
{
    return step(ctx, key, NULL, -1);
}

wb_kv kv_of(kv *k)
{
    return (wb_kv){k, get, put, del};
}

void kv_on(kv *k)
{
    k->off = false;
    k->cut_at = 0;
    k->cut = KV_NOT;
    k->unreadable = -1;
}

void kv_rot(kv *k, uint16_t key)
{
    int i = find(k, key, false);
    if (i >= 0 && k->at[i].len > 0)
        k->at[i].value[k->at[i].len / 2] ^= 0x10;
}

void kv_forget(kv *k, uint16_t key)
{
    int i = find(k, key, false);
    if (i >= 0)
        k->at[i].len = -1;
}
