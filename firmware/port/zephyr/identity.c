#include <string.h>

#include "mbedtls/asn1write.h"
#include "mbedtls/platform.h"
#include "mbedtls/platform_util.h"
#include "mbedtls/psa_util.h"
#include "mbedtls/x509_crt.h"
#include "psa/crypto.h"

#include "../../core/src/sha256.h"
#include "der_time.h"
#include "identity.h"

#define SCALAR_SIZE 32
#define POINT_SIZE 65
#define SIGNATURE_MAX 72 /* ASN.1 DER */
#define TBS_MAX 384      /* of the larger of the two, the self-signed certificate: 125 + 2 * (11 + name) + key */

/* SubjectPublicKeyInfo of a P-256 key up to the point (RFC 5480). */
static const uint8_t spki_head[WB_SPKI_SIZE - POINT_SIZE] = {
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00};

/* AlgorithmIdentifier ecdsa-with-SHA256 (RFC 5758). */
static const uint8_t ecdsa_sha256[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};

/* ---- the key ------------------------------------------------------------------------------------ */

/* Puts a private key into the crypto library's store, for signing alone. WB_EFORMAT when it is no P-256 key. */
static int import_key(wb_identity *id, const uint8_t scalar[SCALAR_SIZE])
{
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    psa_set_key_type(&attributes, PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1));
    psa_set_key_bits(&attributes, 256);
    psa_set_key_algorithm(&attributes, PSA_ALG_ECDSA(PSA_ALG_SHA_256));
    psa_set_key_usage_flags(&attributes, PSA_KEY_USAGE_SIGN_HASH);
    mbedtls_svc_key_id_t key;
    psa_status_t status = psa_import_key(&attributes, scalar, SCALAR_SIZE, &key);
    if (status == PSA_ERROR_INVALID_ARGUMENT)
        return WB_EFORMAT;
    if (status != PSA_SUCCESS)
        return WB_EIO;
    size_t len;
    memcpy(id->spki, spki_head, sizeof spki_head);
    status = psa_export_public_key(key, id->spki + sizeof spki_head, POINT_SIZE, &len);
    if (status != PSA_SUCCESS || len != POINT_SIZE) {
        (void)psa_destroy_key(key);
        return WB_EIO;
    }
    id->key = key;
    return 0;
}

/* The first boot: a scalar from our own generator. The store refuses the one in 2^32 that is none. */
static int make_key(wb_identity *id, uint8_t *buf)
{
    int err = WB_EFORMAT;
    for (unsigned i = 0; i < 4 && err == WB_EFORMAT; i++) {
        if (psa_generate_random(buf + WB_PAIR_HEADER, SCALAR_SIZE) != PSA_SUCCESS)
            return WB_EIO;
        err = import_key(id, buf + WB_PAIR_HEADER);
    }
    id->fresh = err == 0;
    return err;
}

static int load_key(wb_identity *id)
{
    uint8_t buf[WB_PAIR_HEADER + SCALAR_SIZE];
    int n = wb_pair_read(&id->key_pair, &id->kv, WB_KV_KEY, buf, sizeof buf);
    int err = n == SCALAR_SIZE ? import_key(id, buf + WB_PAIR_HEADER) : n >= 0 ? WB_EFORMAT : n;
    if (err == WB_ENOENT || err == WB_EFORMAT) {
        err = make_key(id, buf);
        if (err == 0)
            err = wb_pair_write(&id->key_pair, &id->kv, WB_KV_KEY, buf, SCALAR_SIZE);
    }
    /* The second copy, also of a first boot that power ended in between. One is enough to work. */
    if (err == 0 && id->key_pair.single)
        (void)wb_pair_write(&id->key_pair, &id->kv, WB_KV_KEY, buf, SCALAR_SIZE);
    mbedtls_platform_zeroize(buf, sizeof buf);
    if (err < 0 && id->key != 0) { /* a key that would be another one after the next boot must not be shown */
        (void)psa_destroy_key(id->key);
        id->key = 0;
    }
    return err < 0 ? WB_EIO : 0;
}

int wb_identity_sign(wb_identity *id, const uint8_t *tbs, size_t len, uint8_t *sig, size_t cap)
{
    uint8_t digest[WB_DIGEST_SIZE], raw[64];
    wb_sha256 s;
    wb_sha256_start(&s);
    wb_sha256_update(&s, tbs, len);
    wb_sha256_finish(&s, digest);
    size_t n;
    if (id->key == 0 || psa_sign_hash(id->key, PSA_ALG_ECDSA(PSA_ALG_SHA_256), digest, sizeof digest, raw, sizeof raw, &n) != PSA_SUCCESS)
        return WB_EIO;
    if (mbedtls_ecdsa_raw_to_der(256, raw, n, sig, cap, &n) != 0)
        return WB_ENOSPC;
    return (int)n;
}

int wb_identity_key(const wb_identity *id, uint8_t out[WB_DIGEST_SIZE])
{
    if (id->key == 0)
        return WB_EIO;
    wb_sha256 s;
    wb_sha256_start(&s);
    wb_sha256_update(&s, id->spki, sizeof id->spki);
    wb_sha256_finish(&s, out);
    return 0;
}

/* ---- writing DER, from the end ------------------------------------------------------------------ */

typedef struct writer {
    uint8_t *start, *end, *at;
    int err;
} writer;

static void add(writer *w, const void *p, size_t n)
{
    if (w->err >= 0)
        w->err = mbedtls_asn1_write_raw_buffer(&w->at, w->start, p, n);
}

/* Puts the head of an element before what was written since `end` was w->at. */
static void wrap(writer *w, uint8_t tag, const uint8_t *end)
{
    if (w->err >= 0)
        w->err = mbedtls_asn1_write_len(&w->at, w->start, (size_t)(end - w->at));
    if (w->err >= 0)
        w->err = mbedtls_asn1_write_tag(&w->at, w->start, tag);
}

#define SEQUENCE (MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE)

/* Name: one common name, or none. */
static void add_name(writer *w, const char *name)
{
    static const uint8_t oid[] = {0x06, 0x03, 0x55, 0x04, 0x03};
    const uint8_t *end = w->at;
    if (name[0] != 0) {
        add(w, name, strlen(name));
        wrap(w, MBEDTLS_ASN1_UTF8_STRING, end);
        add(w, oid, sizeof oid);
        wrap(w, SEQUENCE, end);
        wrap(w, MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SET, end);
    }
    wrap(w, SEQUENCE, end);
}

/* CertificationRequestInfo (RFC 2986). */
static void add_request(writer *w, const wb_identity *id)
{
    static const uint8_t version[] = {0x02, 0x01, 0x00}, attributes[] = {0xa0, 0x00};
    const uint8_t *end = w->at;
    add(w, attributes, sizeof attributes);
    add(w, id->spki, sizeof id->spki);
    add_name(w, id->name);
    add(w, version, sizeof version);
    wrap(w, SEQUENCE, end);
}

/* TBSCertificate (RFC 5280). Nobody verifies more of it than its key, so that its dates are the widest. */
static void add_certificate(writer *w, const wb_identity *id)
{
    static const uint8_t head[] = {0xa0, 0x03, 0x02, 0x01, 0x02, 0x02, 0x01, 0x01}; /* version 3, serial number 1 */
    static const uint8_t validity[] = "\x30\x20\x17\x0d"
                                      "200101000000Z"
                                      "\x18\x0f"
                                      "99991231235959Z";
    const uint8_t *end = w->at;
    add(w, id->spki, sizeof id->spki);
    add_name(w, id->name);
    add(w, validity, sizeof validity - 1);
    add_name(w, id->name);
    add(w, ecdsa_sha256, sizeof ecdsa_sha256);
    add(w, head, sizeof head);
    wrap(w, SEQUENCE, end);
}

/* Signs what `add_tbs` writes, and puts all of it into buf: length or negative. */
static int write_signed(wb_identity *id, void (*add_tbs)(writer *, const wb_identity *), uint8_t *buf, size_t cap)
{
    uint8_t tbs[TBS_MAX], sig[1 + SIGNATURE_MAX];
    writer t = {tbs, tbs + sizeof tbs, tbs + sizeof tbs, 0};
    add_tbs(&t, id);
    if (t.err < 0)
        return WB_ENOSPC;
    size_t len = (size_t)(t.end - t.at);
    sig[0] = 0; /* of a bit string: no bits unused */
    int n = wb_identity_sign(id, t.at, len, sig + 1, sizeof sig - 1);
    if (n < 0)
        return n;
    writer w = {buf, buf + cap, buf + cap, 0};
    add(&w, sig, (size_t)n + 1);
    wrap(&w, MBEDTLS_ASN1_BIT_STRING, w.end);
    add(&w, ecdsa_sha256, sizeof ecdsa_sha256);
    add(&w, t.at, len);
    wrap(&w, SEQUENCE, w.end);
    if (w.err < 0)
        return WB_ENOSPC;
    len = (size_t)(w.end - w.at);
    memmove(buf, w.at, len);
    return (int)len;
}

int wb_identity_csr(wb_identity *id, uint8_t *buf, size_t cap)
{
    return write_signed(id, add_request, buf, cap);
}

int wb_identity_self_signed(wb_identity *id, uint8_t *buf, size_t cap)
{
    return write_signed(id, add_certificate, buf, cap);
}

/* ---- the chain ---------------------------------------------------------------------------------- */

/* The chain's record: certificates, leaf first, each with its length before it (16 bits, big endian). */
static int split(const uint8_t *p, size_t len, wb_bytes chain[WB_CHAIN_CERTIFICATES])
{
    size_t count = 0;
    while (len > 0) {
        if (len < 2 || count == WB_CHAIN_CERTIFICATES)
            return WB_EFORMAT;
        size_t n = (size_t)p[0] << 8 | p[1];
        if (n == 0 || n > len - 2)
            return WB_EFORMAT;
        chain[count++] = (wb_bytes){p + 2, n};
        p += 2 + n;
        len -= 2 + n;
    }
    return count == 0 ? WB_EFORMAT : (int)count;
}

/* Checks a chain and takes its dates. WB_EFORMAT, WB_EIO (memory). */
static int judge(wb_identity *id, const wb_bytes *chain, size_t count)
{
    uint64_t not_after = UINT64_MAX, renew_at = 0;
    int err = 0;
    for (size_t i = 0; i < count && err == 0; i++) {
        mbedtls_x509_crt crt;
        mbedtls_x509_crt_init(&crt);
        int ret = mbedtls_x509_crt_parse_der_nocopy(&crt, chain[i].data, chain[i].len);
        if (ret != 0) {
            err = ret == MBEDTLS_ERR_X509_ALLOC_FAILED ? WB_EIO : WB_EFORMAT;
        } else if (crt.raw.len != chain[i].len || crt.next != NULL) {
            err = WB_EFORMAT;
        } else if (i == 0 && (crt.pk_raw.len != WB_SPKI_SIZE || memcmp(crt.pk_raw.p, id->spki, WB_SPKI_SIZE) != 0)) {
            err = WB_EFORMAT;
        } else {
            uint64_t from = wb_der_time(&crt.valid_from), to = wb_der_time(&crt.valid_to);
            if (i == 0)
                renew_at = to > from ? from + (to - from) / 3 * 2 : from;
            if (to < not_after)
                not_after = to;
        }
        mbedtls_x509_crt_free(&crt);
    }
    if (err == 0) {
        id->not_after = not_after;
        id->renew_at = renew_at;
    }
    return err;
}

int wb_identity_chain(wb_identity *id, uint8_t *buf, size_t cap, wb_bytes chain[WB_CHAIN_CERTIFICATES])
{
    wb_pair pair;
    int n = wb_pair_read(&pair, &id->kv, WB_KV_CHAIN, buf, cap);
    if (n >= 0 || n == WB_ENOENT)
        id->chain_pair = pair;
    if (n < 0)
        return n == WB_ENOENT ? n : WB_EIO;
    n = split(buf + WB_PAIR_HEADER, (size_t)n, chain);
    return n < 0 ? WB_ENOENT : n;
}

size_t wb_identity_chain_size(const wb_identity *id)
{
    return id->not_after == 0 ? 0 : WB_PAIR_HEADER + id->chain_size;
}

static void load_chain(wb_identity *id)
{
    wb_bytes chain[WB_CHAIN_CERTIFICATES];
    uint8_t *buf = mbedtls_calloc(1, WB_PAIR_HEADER + WB_CHAIN_SIZE);
    if (buf == NULL)
        return;
    int n = wb_identity_chain(id, buf, WB_PAIR_HEADER + WB_CHAIN_SIZE, chain);
    if (n > 0 && judge(id, chain, (size_t)n) == 0) /* one for another key stays unused */
        id->chain_size = (size_t)(chain[n - 1].data + chain[n - 1].len - buf) - WB_PAIR_HEADER;
    mbedtls_free(buf);
}

int wb_identity_store(wb_identity *id, const wb_bytes *chain, size_t count)
{
    if (id->key == 0)
        return WB_EIO;
    if (count == 0 || count > WB_CHAIN_CERTIFICATES)
        return WB_EFORMAT;
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        if (chain[i].len == 0)
            return WB_EFORMAT;
        if (chain[i].len > WB_CHAIN_SIZE)
            return WB_ENOSPC;
        len += 2 + chain[i].len;
    }
    if (len > WB_CHAIN_SIZE)
        return WB_ENOSPC;
    const uint64_t not_after = id->not_after, renew_at = id->renew_at;
    int err = judge(id, chain, count);
    if (err < 0)
        return err;
    uint8_t *buf = mbedtls_calloc(1, WB_PAIR_HEADER + len);
    if (buf == NULL) {
        err = WB_EIO;
    } else {
        uint8_t *p = buf + WB_PAIR_HEADER;
        for (size_t i = 0; i < count; i++) {
            *p++ = (uint8_t)(chain[i].len >> 8);
            *p++ = (uint8_t)chain[i].len;
            memcpy(p, chain[i].data, chain[i].len);
            p += chain[i].len;
        }
        err = wb_pair_write(&id->chain_pair, &id->kv, WB_KV_CHAIN, buf, len);
        mbedtls_free(buf);
    }
    if (err < 0) {
        id->not_after = not_after;
        id->renew_at = renew_at;
        return err == WB_ENOSPC ? err : WB_EIO;
    }
    id->chain_size = len;
    return 0;
}

int wb_identity_drop(wb_identity *id)
{
    id->not_after = 0;
    id->renew_at = 0;
    return wb_pair_delete(&id->chain_pair, &id->kv, WB_KV_CHAIN) < 0 ? WB_EIO : 0;
}

int wb_identity_enrolled(const wb_identity *id)
{
    return id->not_after != 0 && (id->now == 0 || id->now <= id->not_after) ? 1 : 0;
}

uint64_t wb_identity_renew_at(const wb_identity *id)
{
    return id->renew_at;
}

void wb_identity_set_time(wb_identity *id, uint64_t unix_ms)
{
    id->now = unix_ms;
}

bool wb_identity_fresh(const wb_identity *id)
{
    return id->fresh;
}

int wb_identity_init(wb_identity *id, const wb_kv *kv, const char *name)
{
    memset(id, 0, sizeof *id);
    id->kv = *kv;
    if (name != NULL)
        strncpy(id->name, name, sizeof id->name - 1);
    int err = load_key(id);
    if (err < 0)
        return err;
    load_chain(id);
    return 0;
}
