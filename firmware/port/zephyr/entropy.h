/*
 * Random bytes, for TLS, for the key, for the core and for modules: one generator, seeded at boot from everything that
 * there is. Needs no mbedTLS.
 *
 * A board with a hardware generator needs nothing else. A board without one (every emulated one) lives on the seed of
 * its provisioning blob, which is the same at each boot. What keeps one boot's stream from being the next one's is a
 * pool in storage: at boot pool and seed make a new pool and a key that are independent of each other; the pool is
 * written, durably, before the first byte is given out. So a reset, or power lost anywhere in between, never
 * brings the same stream again. (Storage that is put back to an older state does, up to the point where the peer's
 * randomness is mixed in: see wb_entropy_mix.)
 *
 * The generator is SHA-256 with fast key erasure: what was given out cannot be found again from a later state.
 */
#ifndef WASMBED_PORT_ENTROPY_H
#define WASMBED_PORT_ENTROPY_H

#include "tls_limits.h"
#include "pair.h"
#include "stream.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wb_entropy_config {
    /* Optional: the hardware's random bytes. 0 or negative. One that failed counts as none. */
    int (*hardware)(void *ctx, uint8_t *buf, size_t len);
    /* Optional: a counter that runs fast against the CPU (cycles). Only an addition: nothing relies on it. */
    uint32_t (*jitter)(void *ctx);
    void *ctx;
    wb_bytes seed; /* of the provisioning blob, WB_SEED_MIN … WB_SEED_MAX bytes, secret; empty: none. Copied nowhere. */
    wb_kv kv;      /* keeps the pool under WB_KV_ENTROPY */
} wb_entropy_config;

/* The fields are the generator's own. */
typedef struct wb_entropy {
    wb_entropy_config config;
    wb_pair pool;
    uint8_t key[WB_DIGEST_SIZE];
    uint32_t boots;
    bool ready;
    bool hardware; /* it gave bytes at boot */
} wb_entropy;

/* Seeds the generator. 0; WB_EINVAL when there is neither hardware nor a seed (too short, or all one byte) nor a pool;
 * WB_EIO when the advanced pool could not be stored and there is no hardware. After an error it gives nothing
 * and may be called again. */
int wb_entropy_init(wb_entropy *e, const wb_entropy_config *config);

/* Fills buf. 0, or WB_EIO when it is not seeded. */
int wb_entropy_get(wb_entropy *e, uint8_t *buf, size_t len);

/* Mixes in bytes that differ from time to time; they may be known to others and can do no harm. TLS gives
 * what a gateway sends first, so that two signatures never share a nonce, not even after storage was put back. */
void wb_entropy_mix(wb_entropy *e, const uint8_t *data, size_t len);

/* How often this device has booted, as far as the pool knows. */
uint32_t wb_entropy_boots(const wb_entropy *e);

#ifdef __cplusplus
}
#endif
#endif
