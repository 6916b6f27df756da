/* identity.c: the key and the chain through power cuts at every step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "identity.h"
#include "kv.h"
#include "psa/crypto.h"
#include "tls.h"

static unsigned checks;

#define CHECK(x)                                                      \
    do {                                                              \
        checks++;                                                     \
        if (!(x)) {                                                   \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);   \
            exit(1);                                                  \
        }                                                             \
    } while (0)

static uint64_t heap[2 * WB_TLS_HEAP / 8]; /* pointers are twice as large here */
static wb_identity id;
static uint8_t other_leaf[400];
static int other_len;

/* As when the board boots. */
static int boot(kv *k)
{
    if (id.key != 0)
        (void)psa_destroy_key(id.key);
    wb_kv v = kv_of(k);
    return wb_identity_init(&id, &v, "dev-1");
}

/* A chain for the key of now: the self-signed certificate is one, and every one has another signature. */
static wb_bytes make_leaf(uint8_t buf[400])
{
    int n = wb_identity_self_signed(&id, buf, 400);
    CHECK(n > 200);
    return (wb_bytes){buf, (size_t)n};
}

static bool stored(wb_bytes leaf)
{
    static uint8_t buf[WB_PAIR_HEADER + WB_CHAIN_SIZE];
    wb_bytes chain[WB_CHAIN_CERTIFICATES];
    int n = wb_identity_chain(&id, buf, sizeof buf, chain);
    return n >= 1 && chain[0].len == leaf.len && memcmp(chain[0].data, leaf.data, leaf.len) == 0;
}

static void key_is_made_once(void)
{
    for (enum kv_cut cut = KV_FAIL; cut < KV_CUTS; cut++)
        for (unsigned at = 1; at <= 3; at++) {
            kv k;
            kv_init(&k);
            k.cut_at = at;
            k.cut = cut;
            uint8_t digest[3][WB_DIGEST_SIZE];
            bool known = false;
            for (unsigned i = 0; i < 3; i++) {
                int err = boot(&k);
                CHECK(err == 0 || err == WB_EIO);
                if (err == 0) {
                    /* What was shown once is kept. */
                    CHECK(wb_identity_key(&id, digest[i]) == 0);
                    CHECK(!known || memcmp(digest[i], digest[i - 1], WB_DIGEST_SIZE) == 0);
                    CHECK(!known || !wb_identity_fresh(&id));
                    known = true;
                } else {
                    CHECK(!known);
                    CHECK(wb_identity_key(&id, digest[i]) == WB_EIO);
                }
                kv_on(&k);
            }
            CHECK(known);
            /* Either copy may rot. */
            for (unsigned copy = 0; copy < 4; copy++) {
                kv_rot(&k, (uint16_t)(WB_KV_KEY + (copy & 1)));
                CHECK(boot(&k) == 0);
                CHECK(wb_identity_key(&id, digest[0]) == 0);
                CHECK(memcmp(digest[0], digest[2], WB_DIGEST_SIZE) == 0);
            }
            /* Storage that cannot be read makes no new key. */
            k.off = true;
            CHECK(boot(&k) == WB_EIO);
            CHECK(id.key == 0);
        }
}

static void chain_is_old_or_new(void)
{
    uint8_t a[400], b[400];
    for (enum kv_cut cut = KV_FAIL; cut < KV_CUTS; cut++)
        for (unsigned before = 0; before < 3; before++) {
            kv k;
            kv_init(&k);
            CHECK(boot(&k) == 0);
            CHECK(wb_identity_enrolled(&id) == 0 && wb_identity_renew_at(&id) == 0);
            wb_bytes old = {NULL, 0};
            for (unsigned i = 0; i < before; i++) {
                old = make_leaf(a);
                CHECK(wb_identity_store(&id, &old, 1) == 0);
                CHECK(stored(old));
            }
            wb_bytes leaf = make_leaf(b);
            k.cut_at = k.steps + 1;
            k.cut = cut;
            CHECK(wb_identity_store(&id, &leaf, 1) == WB_EIO);
            CHECK(wb_identity_enrolled(&id) == (before > 0));
            kv_on(&k);
            CHECK(boot(&k) == 0);
            CHECK(!wb_identity_fresh(&id));
            if (cut == KV_AFTER)
                CHECK(stored(leaf));
            else if (before > 0)
                CHECK(stored(old));
            CHECK(wb_identity_enrolled(&id) == (before > 0 || cut == KV_AFTER));
            CHECK(wb_identity_store(&id, &leaf, 1) == 0);
            CHECK(stored(leaf) && wb_identity_enrolled(&id) == 1);
            CHECK(boot(&k) == 0 && stored(leaf));
            CHECK(wb_identity_drop(&id) == 0 && wb_identity_enrolled(&id) == 0);
            CHECK(boot(&k) == 0 && wb_identity_enrolled(&id) == 0);
        }
}

static void what_is_refused(void)
{
    kv k;
    kv_init(&k);
    CHECK(boot(&k) == 0);
    uint8_t a[400], big[WB_CHAIN_SIZE + 1] = {0};
    wb_bytes leaf = make_leaf(a), chain[6];
    CHECK(wb_identity_store(&id, &leaf, 1) == 0);
    unsigned steps = k.steps;
    CHECK(wb_identity_store(&id, NULL, 0) == WB_EFORMAT);
    for (unsigned i = 0; i < 6; i++)
        chain[i] = leaf;
    CHECK(wb_identity_store(&id, chain, 5) == WB_EFORMAT);
    chain[0] = (wb_bytes){other_leaf, (size_t)other_len}; /* another key */
    CHECK(wb_identity_store(&id, chain, 1) == WB_EFORMAT);
    chain[0] = leaf;
    chain[1] = (wb_bytes){big, sizeof big};
    CHECK(wb_identity_store(&id, chain, 2) == WB_ENOSPC);
    chain[1].len = WB_CHAIN_SIZE - leaf.len;
    CHECK(wb_identity_store(&id, chain, 2) == WB_ENOSPC);
    chain[1].len = 100; /* no certificate */
    CHECK(wb_identity_store(&id, chain, 2) == WB_EFORMAT);
    chain[1].len = 0;
    CHECK(wb_identity_store(&id, chain, 2) == WB_EFORMAT);
    for (size_t n = 1; n < leaf.len; n++) {
        chain[0].len = n;
        CHECK(wb_identity_store(&id, chain, 1) == WB_EFORMAT);
    }
    memcpy(big, leaf.data, leaf.len); /* something behind it */
    chain[0] = (wb_bytes){big, leaf.len + 1};
    CHECK(wb_identity_store(&id, chain, 1) == WB_EFORMAT);
    CHECK(k.steps == steps && stored(leaf) && wb_identity_enrolled(&id) == 1);
    chain[0] = leaf;
    chain[1] = (wb_bytes){other_leaf, (size_t)other_len}; /* above the leaf any key may stand */
    CHECK(wb_identity_store(&id, chain, 2) == 0);
    CHECK(boot(&k) == 0 && stored(leaf));
    /* A stored chain that is for another key is as good as none. */
    kv_forget(&k, WB_KV_KEY);
    kv_forget(&k, WB_KV_KEY + 1);
    CHECK(boot(&k) == 0 && wb_identity_fresh(&id) && wb_identity_enrolled(&id) == 0);
}

static void buffers_may_be_small(void)
{
    kv k;
    kv_init(&k);
    CHECK(boot(&k) == 0);
    uint8_t buf[600];
    for (size_t cap = 0; cap < 300; cap++) {
        memset(buf, 0xa5, sizeof buf);
        int n = wb_identity_csr(&id, buf, cap);
        CHECK(n == WB_ENOSPC || (n > 0 && (size_t)n <= cap));
        CHECK(buf[cap] == 0xa5);
        n = wb_identity_sign(&id, (const uint8_t *)"x", 1, buf, cap);
        CHECK(n == WB_ENOSPC || (n > 0 && n <= 72 && (size_t)n <= cap));
    }
    /* The longest name, and one that is longer. */
    char name[WB_DEVICE_NAME + 10];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    wb_kv v = kv_of(&k);
    (void)psa_destroy_key(id.key);
    CHECK(wb_identity_init(&id, &v, name) == 0);
    int n = wb_identity_self_signed(&id, buf, sizeof buf);
    CHECK(n > 0 && n < 450);
    CHECK(wb_identity_csr(&id, buf, sizeof buf) > 0);
    (void)psa_destroy_key(id.key);
    CHECK(wb_identity_init(&id, &v, NULL) == 0);
    CHECK(wb_identity_self_signed(&id, buf, sizeof buf) > 0);
    CHECK(wb_identity_csr(&id, buf, sizeof buf) > 0);
}

static void time_and_expiry(void)
{
    kv k;
    kv_init(&k);
    CHECK(boot(&k) == 0);
    uint8_t a[400];
    wb_bytes leaf = make_leaf(a); /* 2020-01-01 … 9999-12-31T23:59:59 */
    CHECK(wb_identity_store(&id, &leaf, 1) == 0);
    CHECK(id.not_after == 253402300799000u);
    CHECK(wb_identity_renew_at(&id) == 1577836800000u + (253402300799000u - 1577836800000u) / 3 * 2);
    wb_identity_set_time(&id, 253402300799000u);
    CHECK(wb_identity_enrolled(&id) == 1);
    wb_identity_set_time(&id, 253402300799001u);
    CHECK(wb_identity_enrolled(&id) == 0);
}

int main(void)
{
    static uint8_t seed[32] = "seed of the device under test!!";
    kv pool;
    kv_init(&pool);
    wb_entropy entropy;
    wb_entropy_config c = {.seed = {seed, sizeof seed}, .kv = kv_of(&pool)};
    CHECK(wb_entropy_init(&entropy, &c) == 0);
    CHECK(wb_crypto_start(&entropy, (uint8_t *)heap, sizeof heap) == 0);
    kv k;
    kv_init(&k);
    CHECK(boot(&k) == 0);
    other_len = (int)make_leaf(other_leaf).len;
    size_t used, after;
    wb_crypto_heap(&used, NULL);
    key_is_made_once();
    chain_is_old_or_new();
    what_is_refused();
    buffers_may_be_small();
    time_and_expiry();
    wb_crypto_heap(&after, NULL);
    CHECK(used == after || used == 0);
    printf("test_identity: %u checks\n", checks);
    return 0;
}
