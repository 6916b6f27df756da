/*
 * Who the device is: one EC P-256 key, made at the first boot and kept for life, and the chain of certificates that the
 * platform gave it. The key never leaves: it is read from storage into the crypto library's key store once per boot,
 * and everything else uses it there. Storage itself is not encrypted: whoever reads out the flash has the key.
 *
 * The functions have the meaning and the errors of wb_port's identity_* (wasmbed/port.h). wb_crypto_start() comes first.
 */
#ifndef WASMBED_PORT_IDENTITY_H
#define WASMBED_PORT_IDENTITY_H

#include "tls_limits.h"
#include "pair.h"
#include "stream.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WB_SPKI_SIZE 91 /* DER SubjectPublicKeyInfo of a P-256 key */

/* The fields are identity.c's own. */
typedef struct wb_identity {
    wb_kv kv;
    wb_pair key_pair, chain_pair;
    char name[WB_DEVICE_NAME + 1];
    uint32_t key; /* psa_key_id_t; 0: not initialized */
    uint8_t spki[WB_SPKI_SIZE];
    size_t chain_size;  /* of its record */
    uint64_t not_after; /* of the chain, the first to lapse, Unix ms; 0: no chain */
    uint64_t renew_at;  /* two thirds of the leaf's life, Unix ms */
    uint64_t now;       /* last told, Unix ms; 0: never */
    bool fresh;         /* the key was made at this boot */
} wb_identity;

/* Reads the key, or makes and stores it; reads what there is of a chain (one that cannot be read is as good as none).
 * name, the device's wished name, is copied; NULL or empty: none. 0; WB_EIO when storage or entropy failed: a key is
 * only made when storage says that there is none or that both copies are damaged. */
int wb_identity_init(wb_identity *id, const wb_kv *kv, const char *name);

/* Whether the key was made at this boot; for the console. */
bool wb_identity_fresh(const wb_identity *id);

/* Writes the PKCS #10 request to the start of buf: length (about 200 + the name's), WB_ENOSPC or WB_EIO. */
int wb_identity_csr(wb_identity *id, uint8_t *buf, size_t cap);

/* 1 when a chain is stored that has not lapsed by the time last told, else 0. */
int wb_identity_enrolled(const wb_identity *id);

/* Stores the chain, leaf first, DER. WB_EFORMAT: empty, too many, not X.509, or the leaf is not for our key; WB_ENOSPC:
 * larger than WB_CHAIN_SIZE; WB_EIO. On an error the old chain stays. */
int wb_identity_store(wb_identity *id, const wb_bytes *chain, size_t count);

/* Forgets the chain; the key stays. */
int wb_identity_drop(wb_identity *id);

/* SHA-256 over the DER SubjectPublicKeyInfo. 0, or WB_EIO before wb_identity_init. */
int wb_identity_key(const wb_identity *id, uint8_t out[WB_DIGEST_SIZE]);

/* When to renew, Unix ms; 0 without a chain. */
uint64_t wb_identity_renew_at(const wb_identity *id);

/* ECDSA over the SHA-256 of tbs, ASN.1 DER: length (<= 72), WB_ENOSPC or WB_EIO. */
int wb_identity_sign(wb_identity *id, const uint8_t *tbs, size_t len, uint8_t *sig, size_t cap);

/* The time that certificates of our own are judged by, Unix ms. wb_tls_set_time and wb_tls_trusted call it. */
void wb_identity_set_time(wb_identity *id, uint64_t unix_ms);

/* ---- for tls.c ---- */

/* Writes the self-signed certificate of first contact to the start of buf: length (under 448), WB_ENOSPC, WB_EIO. */
int wb_identity_self_signed(wb_identity *id, uint8_t *buf, size_t cap);

/* The size of a buffer for wb_identity_chain, 0 without a chain. */
size_t wb_identity_chain_size(const wb_identity *id);

/* Reads the stored chain into buf and points chain at its certificates, leaf first: how many, WB_ENOENT, WB_EIO. */
int wb_identity_chain(wb_identity *id, uint8_t *buf, size_t cap, wb_bytes chain[WB_CHAIN_CERTIFICATES]);

#ifdef __cplusplus
}
#endif
#endif
