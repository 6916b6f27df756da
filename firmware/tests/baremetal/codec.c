/*
 * The codec's vectors on the microcontroller's own instructions, and what coding a frame costs there. Ends QEMU with 0 or 1
 * through semihosting. The figures mean something only with -icount shift=0.
 */
#include <string.h>

#include "again.h"
#include "codec.h"
#include "mps2.h"
#include "say.h"

typedef struct vector {
    const char *name;
    int code;
    size_t cap, len, again_len;
    const uint8_t *bytes, *again;
} vector;

static const vector vectors[] = {
#include "vectors.inc"
};

#define COUNT (sizeof vectors / sizeof vectors[0])
#define ROUNDS 64u

static int failed;

static void fail(const vector *v, const char *what)
{
    failed++;
    print("FAIL %s: %s\n", v->name, what);
}

static int read_one(const vector *v, wb_msg *m)
{
    const uint8_t *p = v->bytes;
    if (v->len < 4)
        return WB_CODE_FRAME;
    size_t n = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    if (n == 0 || n > v->cap || n > v->len - 4)
        return WB_CODE_FRAME;
    return wb_decode(p + 4, n, m);
}

static uint8_t out[WB_FRAME_MAX + 4];

static void check(const vector *v)
{
    wb_msg m;
    int code = read_one(v, &m);
    if (code != v->code) {
        fail(v, "another verdict");
        return;
    }
    if (code != 0)
        return;
    again_items(&m);
    int n = wb_encode(&m, out, sizeof out);
    if (n != (int)v->again_len || memcmp(out, v->again, v->again_len) != 0)
        fail(v, "encodes to something else");
}

static uint32_t instructions(uint32_t cycles)
{
    return cycles * MPS2_INSTRUCTIONS_PER_CYCLE / ROUNDS;
}

static void measure(const char *name)
{
    wb_msg m;
    for (size_t i = 0; i < COUNT; i++) {
        const vector *v = &vectors[i];
        if (strcmp(v->name, name) != 0)
            continue;
        uint32_t t0 = mps2_cycles();
        for (uint32_t k = 0; k < ROUNDS; k++)
            (void)read_one(v, &m);
        uint32_t t1 = mps2_cycles();
        for (uint32_t k = 0; k < ROUNDS; k++)
            (void)wb_encode(&m, out, sizeof out);
        uint32_t t2 = mps2_cycles();
        print("instructions %s bytes %u decode %u encode %u\n", name, (uint32_t)v->len, instructions(t1 - t0), instructions(t2 - t1));
        return;
    }
    print("FAIL no vector %s\n", name);
    failed++;
}

void on_fault(uint32_t pc)
{
    print("FAIL fault at 0x%x\n", pc);
    mps2_exit(1);
}

int main(void)
{
    static const char *const measured[] = {MEASURED};
    mps2_init();
    for (size_t i = 0; i < COUNT; i++)
        check(&vectors[i]);
    for (size_t i = 0; i < sizeof measured / sizeof measured[0]; i++)
        measure(measured[i]);
    print("%u vectors, %u failed\n", (uint32_t)COUNT, (uint32_t)failed);
    mps2_exit(COUNT < 80 || failed > 0 ? 1 : 0);
}
