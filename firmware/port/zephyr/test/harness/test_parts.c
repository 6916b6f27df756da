/* pair.c and entropy.c: they need no mbedTLS. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "entropy.h"
#include "kv.h"

static unsigned checks;

#define CHECK(x)                                                      \
    do {                                                              \
        checks++;                                                     \
        if (!(x)) {                                                   \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);   \
            exit(1);                                                  \
        }                                                             \
    } while (0)

#define KEY 0xF090u

static uint8_t seed_bytes[32] = "seed of a device, 32 bytes long";

/* ---- pair --------------------------------------------------------------------------------------- */

static int put_value(wb_pair *p, const wb_kv *v, const char *text)
{
    uint8_t buf[WB_PAIR_HEADER + 64];
    memcpy(buf + WB_PAIR_HEADER, text, strlen(text));
    return wb_pair_write(p, v, KEY, buf, strlen(text));
}

static bool has_value(kv *k, const char *text)
{
    uint8_t buf[WB_PAIR_HEADER + 64];
    wb_kv v = kv_of(k);
    wb_pair p;
    int n = wb_pair_read(&p, &v, KEY, buf, sizeof buf);
    return text == NULL ? n == WB_ENOENT : n == (int)strlen(text) && memcmp(buf + WB_PAIR_HEADER, text, strlen(text)) == 0;
}

static void pair_survives_everything(void)
{
    static const char *const values[] = {"one", "the second", "3", "four four", "a fifth value"};
    uint8_t buf[WB_PAIR_HEADER + 64];
    for (unsigned at = 1; at <= 5; at++)
        for (enum kv_cut cut = KV_FAIL; cut < KV_CUTS; cut++) {
            kv k;
            kv_init(&k);
            wb_kv v = kv_of(&k);
            wb_pair p;
            CHECK(wb_pair_read(&p, &v, KEY, buf, sizeof buf) == WB_ENOENT);
            k.cut_at = at;
            k.cut = cut;
            unsigned done = 0;
            while (done < 5 && put_value(&p, &v, values[done]) == 0)
                done++;
            CHECK(done == at - 1);
            kv_on(&k);
            if (cut == KV_FAIL) { /* without a boot in between */
                CHECK(has_value(&k, done == 0 ? NULL : values[done - 1]));
                CHECK(put_value(&p, &v, "again") == 0);
                CHECK(has_value(&k, "again"));
                continue;
            }
            CHECK(has_value(&k, cut == KV_AFTER ? values[done] : done == 0 ? NULL : values[done - 1]));
            int n = wb_pair_read(&p, &v, KEY, buf, sizeof buf);
            CHECK(n >= 0 || n == WB_ENOENT);
            CHECK(put_value(&p, &v, "again") == 0);
            CHECK(put_value(&p, &v, "and again") == 0);
            CHECK(has_value(&k, "and again"));
        }
}

static void pair_reads_what_it_can(void)
{
    uint8_t buf[WB_PAIR_HEADER + 64];
    kv k;
    kv_init(&k);
    wb_kv v = kv_of(&k);
    wb_pair p;
    CHECK(wb_pair_read(&p, &v, KEY, buf, sizeof buf) == WB_ENOENT);
    k.unreadable = KEY; /* nothing is known of what is in it */
    CHECK(wb_pair_read(&p, &v, KEY, buf, sizeof buf) == WB_EIO);
    k.unreadable = -1;
    CHECK(put_value(&p, &v, "first") == 0 && p.single);
    CHECK(put_value(&p, &v, "second") == 0 && !p.single);
    kv_rot(&k, KEY + 1);
    CHECK(has_value(&k, "first"));
    CHECK(wb_pair_read(&p, &v, KEY, buf, sizeof buf) == 5 && p.single);
    k.unreadable = KEY + 1;
    CHECK(has_value(&k, "first"));
    k.unreadable = -1;
    kv_rot(&k, KEY);
    CHECK(has_value(&k, NULL));
    /* A value under another key is none. */
    CHECK(put_value(&p, &v, "third") == 0);
    int n = v.get(v.ctx, (uint16_t)(KEY + p.current), buf, sizeof buf);
    kv_init(&k);
    CHECK(v.put(v.ctx, KEY + 8, buf, (size_t)n) == 0);
    CHECK(wb_pair_read(&p, &v, KEY + 8, buf, sizeof buf) == WB_ENOENT);
    /* Sequences wrap. */
    kv_init(&k);
    p = (wb_pair){.seq = UINT32_MAX - 2, .present = true};
    char text[2] = "a";
    for (unsigned i = 0; i < 6; i++, text[0]++) {
        CHECK(put_value(&p, &v, text) == 0);
        CHECK(has_value(&k, text));
    }
    k.cut_at = 0;
    CHECK(wb_pair_delete(&p, &v, KEY) == 0);
    CHECK(has_value(&k, NULL));
    CHECK(wb_pair_delete(&p, &v, KEY) == 0);
    /* Deleting that is cut leaves the newest value or none. */
    for (unsigned at = 1; at <= 2; at++) {
        kv_init(&k);
        CHECK(wb_pair_read(&p, &v, KEY, buf, sizeof buf) == WB_ENOENT);
        CHECK(put_value(&p, &v, "old") == 0 && put_value(&p, &v, "new") == 0);
        k.cut_at = k.steps + at;
        k.cut = KV_BEFORE;
        CHECK(wb_pair_delete(&p, &v, KEY) < 0);
        kv_on(&k);
        CHECK(has_value(&k, "new"));
    }
}

/* ---- entropy ------------------------------------------------------------------------------------ */

static wb_entropy_config seeded(kv *k)
{
    return (wb_entropy_config){.seed = {seed_bytes, sizeof seed_bytes}, .kv = kv_of(k)};
}

/* Every stream that was ever given out: none may come twice. */
static uint8_t seen[4096][16];
static unsigned seen_count;

static void note(wb_entropy *e)
{
    CHECK(seen_count < 4096);
    CHECK(wb_entropy_get(e, seen[seen_count], 16) == 0);
    for (unsigned i = 0; i < seen_count; i++)
        CHECK(memcmp(seen[i], seen[seen_count], 16) != 0);
    seen_count++;
}

/* Ten boots with power cut at every step in every way: what comes out never comes again. */
static void no_stream_twice(void)
{
    uint8_t other = 0;
    for (enum kv_cut cut = KV_NOT; cut < KV_CUTS; cut++)
        for (unsigned at = 1; at <= 12; at++) {
            kv k;
            kv_init(&k);
            seed_bytes[31] = ++other; /* another device */
            k.cut_at = at;
            k.cut = cut;
            for (unsigned boot = 0; boot < 8; boot++) {
                wb_entropy e;
                wb_entropy_config c = seeded(&k);
                int err = wb_entropy_init(&e, &c);
                CHECK(err == 0 || err == WB_EIO);
                if (err == 0) {
                    note(&e);
                    note(&e);
                } else {
                    uint8_t b;
                    CHECK(wb_entropy_get(&e, &b, 1) == WB_EIO);
                    kv_on(&k);
                }
            }
        }
}

/* Either copy may be lost at any time. */
static void one_copy_is_enough(void)
{
    for (unsigned way = 0; way < 3; way++) {
        kv k;
        kv_init(&k);
        seed_bytes[30]++;
        for (unsigned boot = 0; boot < 12; boot++) {
            wb_entropy e;
            wb_entropy_config c = seeded(&k);
            uint16_t key = (uint16_t)(WB_KV_ENTROPY + (boot & 1));
            if (boot > 0 && way == 0)
                kv_rot(&k, key);
            if (boot > 0 && way == 1)
                kv_forget(&k, key);
            k.unreadable = boot > 0 && way == 2 ? key : -1;
            CHECK(wb_entropy_init(&e, &c) == 0);
            CHECK(wb_entropy_boots(&e) == boot + 1);
            note(&e);
        }
    }
}

static int hardware_result;
static uint8_t hardware_byte;

static int hardware(void *ctx, uint8_t *buf, size_t len)
{
    (void)ctx;
    memset(buf, ++hardware_byte, len);
    return hardware_result;
}

static uint32_t jitter(void *ctx)
{
    (void)ctx;
    static uint32_t n;
    return n += 77;
}

static void what_it_needs(void)
{
    kv k;
    kv_init(&k);
    wb_entropy e;
    wb_entropy_config c = {.kv = kv_of(&k)};
    static const uint8_t erased[32] = {0};
    CHECK(wb_entropy_init(&e, &c) == WB_EINVAL);
    c.seed = (wb_bytes){erased, sizeof erased};
    CHECK(wb_entropy_init(&e, &c) == WB_EINVAL);
    c.seed = (wb_bytes){seed_bytes, WB_SEED_MIN - 1};
    CHECK(wb_entropy_init(&e, &c) == WB_EINVAL);
    CHECK(k.steps == 0);
    c.seed = (wb_bytes){seed_bytes, sizeof seed_bytes};
    seed_bytes[29]++;
    CHECK(wb_entropy_init(&e, &c) == 0);
    note(&e);
    c.seed.len = 0; /* the pool carries on */
    CHECK(wb_entropy_init(&e, &c) == 0);
    note(&e);
    k.unreadable = WB_KV_ENTROPY; /* and is known from the other copy */
    CHECK(wb_entropy_init(&e, &c) == 0);
    note(&e);
    k.off = true;
    CHECK(wb_entropy_init(&e, &c) == WB_EIO);
    c.hardware = hardware; /* needs no storage */
    CHECK(wb_entropy_init(&e, &c) == 0 && e.hardware);
    note(&e);
    CHECK(wb_entropy_init(&e, &c) == 0);
    note(&e);
    hardware_result = WB_EIO;
    CHECK(wb_entropy_init(&e, &c) == WB_EIO);
    k.off = false;
    c.jitter = jitter;
    CHECK(wb_entropy_init(&e, &c) == 0 && !e.hardware);
    note(&e);
    /* Storage that is put back brings the stream again, until something is mixed in. */
    c.jitter = NULL;
    kv copy = k;
    uint8_t a[32], b[32];
    CHECK(wb_entropy_init(&e, &c) == 0 && wb_entropy_get(&e, a, 32) == 0);
    k = copy;
    CHECK(wb_entropy_init(&e, &c) == 0 && wb_entropy_get(&e, b, 32) == 0);
    CHECK(memcmp(a, b, 32) == 0);
    k = copy;
    CHECK(wb_entropy_init(&e, &c) == 0);
    wb_entropy_mix(&e, (const uint8_t *)"hello", 5);
    CHECK(wb_entropy_get(&e, b, 32) == 0);
    CHECK(memcmp(a, b, 32) != 0);
}

/* Not a proof of anything, but a broken generator would show. */
static void looks_random(void)
{
    kv k;
    kv_init(&k);
    wb_entropy e;
    wb_entropy_config c = seeded(&k);
    CHECK(wb_entropy_init(&e, &c) == 0);
    static uint8_t b[100000];
    size_t at = 0;
    for (size_t n = 1; at + n <= sizeof b; n = n % 300 + 1) {
        CHECK(wb_entropy_get(&e, b + at, n) == 0);
        at += n;
    }
    unsigned ones = 0, count[256] = {0};
    for (size_t i = 0; i < at; i++) {
        count[b[i]]++;
        for (unsigned bit = 0; bit < 8; bit++)
            ones += b[i] >> bit & 1;
    }
    double share = (double)ones / (8.0 * (double)at);
    CHECK(share > 0.497 && share < 0.503);
    for (unsigned i = 0; i < 256; i++)
        CHECK(count[i] > 290 && count[i] < 500);
}

int main(void)
{
    pair_survives_everything();
    pair_reads_what_it_can();
    no_stream_twice();
    one_copy_is_enough();
    what_it_needs();
    looks_random();
    printf("test_parts: %u checks\n", checks);
    return 0;
}
