#include <string.h>

#include "../../core/src/sha256.h"
#include "entropy.h"

/* What is stored: number of boots (32 bits, little endian) and the pool. */
#define RECORD_SIZE (4 + WB_DIGEST_SIZE)

/* One byte that keeps the uses of the hash apart. */
enum { USE_BOOT = 1, USE_POOL, USE_KEY, USE_OUT, USE_NEXT, USE_MIX };

/* Clears in a way that a compiler does not leave out. */
static void wipe(void *p, size_t n)
{
    volatile uint8_t *v = p;
    while (n-- > 0)
        *v++ = 0;
}

static void put32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

/* out = SHA-256(key, use, data); out may be key. */
static void derive(const uint8_t key[WB_DIGEST_SIZE], uint8_t use, const uint8_t *data, size_t len,
                   uint8_t out[WB_DIGEST_SIZE])
{
    wb_sha256 s;
    wb_sha256_start(&s);
    wb_sha256_update(&s, key, WB_DIGEST_SIZE);
    wb_sha256_update(&s, &use, 1);
    wb_sha256_update(&s, data, len);
    wb_sha256_finish(&s, out);
    wipe(&s, sizeof s);
}

static void update_sized(wb_sha256 *s, const uint8_t *data, size_t len)
{
    uint8_t n[4];
    put32(n, (uint32_t)len);
    wb_sha256_update(s, n, sizeof n);
    wb_sha256_update(s, data, len);
}

static uint32_t sample(const wb_entropy_config *c)
{
    return c->jitter != NULL ? c->jitter(c->ctx) : 0;
}

/* Storage that was never written reads as one byte over and over: no seed. */
static bool good_seed(wb_bytes seed)
{
    if (seed.len < WB_SEED_MIN || seed.len > WB_SEED_MAX)
        return false;
    uint8_t differ = 0;
    for (size_t i = 1; i < seed.len; i++)
        differ |= seed.data[i] ^ seed.data[0];
    return differ != 0;
}

/* Everything that there is, into one secret. */
static void gather(const wb_entropy *e, const uint8_t *record, size_t record_len, const uint8_t *hardware,
                   size_t hardware_len, uint8_t root[WB_DIGEST_SIZE])
{
    const wb_entropy_config *c = &e->config;
    const uint8_t use = USE_BOOT;
    wb_sha256 s;
    wb_sha256_start(&s);
    wb_sha256_update(&s, &use, 1);
    update_sized(&s, c->seed.data, good_seed(c->seed) ? c->seed.len : 0);
    update_sized(&s, record, record_len);
    update_sized(&s, hardware, hardware_len);
    for (unsigned i = 0; c->jitter != NULL && i < WB_JITTER_SAMPLES; i++) {
        uint8_t b[4];
        put32(b, sample(c));
        wb_sha256_update(&s, b, sizeof b); /* takes now and then a block longer, which the next sample sees */
    }
    wb_sha256_finish(&s, root);
    wipe(&s, sizeof s);
}

/* Stores the pool that the next boot begins with, in both copies: were one of them the pool before, and the
 * other lost, that pool's stream would come again. */
static int store(wb_entropy *e, const uint8_t root[WB_DIGEST_SIZE])
{
    uint8_t buf[WB_PAIR_HEADER + RECORD_SIZE];
    put32(buf + WB_PAIR_HEADER, e->boots);
    derive(root, USE_POOL, NULL, 0, buf + WB_PAIR_HEADER + 4);
    int err = wb_pair_write(&e->pool, &e->config.kv, WB_KV_ENTROPY, buf, RECORD_SIZE);
    if (err == 0)
        err = wb_pair_write(&e->pool, &e->config.kv, WB_KV_ENTROPY, buf, RECORD_SIZE);
    wipe(buf, sizeof buf);
    return err;
}

int wb_entropy_init(wb_entropy *e, const wb_entropy_config *config)
{
    memset(e, 0, sizeof *e);
    e->config = *config;
    uint8_t hardware[48], buf[WB_PAIR_HEADER + RECORD_SIZE], root[WB_DIGEST_SIZE];
    e->hardware = config->hardware != NULL && config->hardware(config->ctx, hardware, sizeof hardware) == 0;
    int n = wb_pair_read(&e->pool, &config->kv, WB_KV_ENTROPY, buf, sizeof buf);
    if (n == RECORD_SIZE) {
        const uint8_t *p = buf + WB_PAIR_HEADER;
        e->boots = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
    e->boots++;
    int err = 0;
    if (!e->hardware && n == WB_EIO)
        err = WB_EIO; /* a seed without its pool would begin from the start */
    else if (!e->hardware && n != RECORD_SIZE && !good_seed(config->seed))
        err = WB_EINVAL;
    if (err == 0) {
        gather(e, buf + WB_PAIR_HEADER, n == RECORD_SIZE ? RECORD_SIZE : 0, hardware, e->hardware ? sizeof hardware : 0, root);
        if (store(e, root) < 0 && !e->hardware)
            err = WB_EIO;
    }
    if (err == 0) {
        derive(root, USE_KEY, NULL, 0, e->key);
        e->ready = true;
    }
    e->config.seed = (wb_bytes){NULL, 0};
    wipe(hardware, sizeof hardware);
    wipe(buf, sizeof buf);
    wipe(root, sizeof root);
    return err;
}

int wb_entropy_get(wb_entropy *e, uint8_t *buf, size_t len)
{
    if (!e->ready)
        return WB_EIO;
    uint8_t block[WB_DIGEST_SIZE], b[4];
    for (uint32_t i = 0; len > 0; i++) {
        size_t n = len < sizeof block ? len : sizeof block;
        put32(b, i);
        derive(e->key, USE_OUT, b, sizeof b, block);
        memcpy(buf, block, n);
        buf += n;
        len -= n;
    }
    wipe(block, sizeof block);
    put32(b, sample(&e->config));
    derive(e->key, USE_NEXT, b, sizeof b, e->key);
    return 0;
}

void wb_entropy_mix(wb_entropy *e, const uint8_t *data, size_t len)
{
    if (e->ready)
        derive(e->key, USE_MIX, data, len, e->key);
}

uint32_t wb_entropy_boots(const wb_entropy *e)
{
    return e->boots;
}
