#include "random.h"

#include <string.h>

#include <zephyr/kernel.h>

#include "sha256.h"
#include "version_zephyr.h"

#if !defined(CONFIG_ENTROPY_HAS_DRIVER)

static struct {
    uint8_t key[32];
    uint32_t count;
} stream;

/* The next 32 bytes; the key moves on, so that what was given out cannot be found again. Any context. */
static void next(uint8_t out[32])
{
    wb_sha256 h;
    unsigned int lock = irq_lock();
    stream.count++;
    uint32_t in[2] = {stream.count, k_cycle_get_32()};
    wb_sha256_start(&h);
    wb_sha256_update(&h, stream.key, sizeof stream.key);
    wb_sha256_update(&h, (const uint8_t *)in, sizeof in);
    wb_sha256_finish(&h, out);
    wb_sha256_start(&h);
    wb_sha256_update(&h, out, 32);
    wb_sha256_update(&h, stream.key, sizeof stream.key);
    wb_sha256_finish(&h, stream.key);
    irq_unlock(lock);
}

void wb_random_key(const uint8_t *bytes, size_t len)
{
    unsigned int lock = irq_lock();
    memcpy(stream.key, bytes, MIN(len, sizeof stream.key));
    irq_unlock(lock);
}

void z_impl_sys_rand_get(void *dst, size_t len)
{
    uint8_t block[32], *p = dst;
    while (len > 0) {
        size_t n = MIN(len, sizeof block);
        next(block);
        memcpy(p, block, n);
        p += n;
        len -= n;
    }
}

#if WB_ZEPHYR_NOW < WB_ZEPHYR(3, 7)
uint32_t z_impl_sys_rand32_get(void)
{
    uint32_t v;
    z_impl_sys_rand_get(&v, sizeof v);
    return v;
}
#endif

#else

void wb_random_key(const uint8_t *bytes, size_t len)
{
    ARG_UNUSED(bytes);
    ARG_UNUSED(len);
}

#endif
