#include <string.h>

#include "../../core/src/sha256.h"
#include "pair.h"

/* A copy: sequence and length, 32 bits little endian, then 8 bytes of SHA-256 over key, sequence, length and value. */
#define AT_LENGTH 4
#define AT_SUM 8
#define SUM_SIZE 8

static void put32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The sum covers the key: a value that turns up under another one is not sound. */
static void checksum(uint16_t key, const uint8_t *buf, size_t len, uint8_t out[WB_DIGEST_SIZE])
{
    const uint8_t k[2] = {(uint8_t)key, (uint8_t)(key >> 8)};
    wb_sha256 s;
    wb_sha256_start(&s);
    wb_sha256_update(&s, k, sizeof k);
    wb_sha256_update(&s, buf, AT_SUM);
    wb_sha256_update(&s, buf + WB_PAIR_HEADER, len);
    wb_sha256_finish(&s, out);
}

/* Reads one copy: the value's length, WB_ENOENT when it is not there or not sound, WB_EIO. */
static int read_copy(const wb_kv *kv, uint16_t key, unsigned copy, uint8_t *buf, size_t cap, uint32_t *seq)
{
    int n = kv->get(kv->ctx, (uint16_t)(key + copy), buf, cap);
    if (n == WB_ENOENT || n == WB_ENOSPC || n == WB_ECORRUPT) /* what power left may be too long too */
        return WB_ENOENT;
    if (n < 0)
        return WB_EIO;
    if (n < WB_PAIR_HEADER || get32(buf + AT_LENGTH) != (uint32_t)n - WB_PAIR_HEADER)
        return WB_ENOENT;
    uint8_t sum[WB_DIGEST_SIZE];
    checksum(key, buf, (size_t)n - WB_PAIR_HEADER, sum);
    if (memcmp(sum, buf + AT_SUM, SUM_SIZE) != 0)
        return WB_ENOENT;
    *seq = get32(buf);
    return n - WB_PAIR_HEADER;
}

int wb_pair_read(wb_pair *p, const wb_kv *kv, uint16_t key, uint8_t *buf, size_t cap)
{
    memset(p, 0, sizeof *p);
    if (cap < WB_PAIR_HEADER)
        return WB_ENOSPC;
    uint32_t seq[2] = {0, 0};
    int n[2];
    for (unsigned i = 0; i < 2; i++)
        n[i] = read_copy(kv, key, i, buf, cap, &seq[i]);
    if (n[0] < 0 && n[1] < 0)
        return n[0] == WB_EIO || n[1] == WB_EIO ? WB_EIO : WB_ENOENT;
    /* Sequences are compared around the wrap. */
    p->current = n[0] < 0 || (n[1] >= 0 && (int32_t)(seq[1] - seq[0]) > 0) ? 1 : 0;
    p->seq = seq[p->current];
    p->present = true;
    p->single = n[0] < 0 || n[1] < 0;
    if (p->current == 1)
        return n[1]; /* still in buf */
    int again = read_copy(kv, key, 0, buf, cap, &seq[0]);
    return again < 0 || again != n[0] ? WB_EIO : again;
}

int wb_pair_write(wb_pair *p, const wb_kv *kv, uint16_t key, uint8_t *buf, size_t len)
{
    uint8_t sum[WB_DIGEST_SIZE];
    uint8_t copy = p->present ? !p->current : 0;
    uint32_t seq = p->present ? p->seq + 1 : 1;
    put32(buf, seq);
    put32(buf + AT_LENGTH, (uint32_t)len);
    checksum(key, buf, len, sum);
    memcpy(buf + AT_SUM, sum, SUM_SIZE);
    int err = kv->put(kv->ctx, (uint16_t)(key + copy), buf, WB_PAIR_HEADER + len);
    if (err < 0) {
        p->single = p->present; /* whatever lies there now */
        return err;
    }
    p->single = !p->present;
    p->seq = seq;
    p->current = copy;
    p->present = true;
    return 0;
}

int wb_pair_delete(wb_pair *p, const wb_kv *kv, uint16_t key)
{
    for (unsigned i = 0; i < 2; i++) {
        unsigned copy = i == 0 ? !p->current : p->current;
        int err = kv->del(kv->ctx, (uint16_t)(key + copy));
        if (err < 0)
            return err;
    }
    memset(p, 0, sizeof *p);
    return 0;
}
