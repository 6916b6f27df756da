/*
 * The provisioning blob: what makes one board of many that carry the same image (docs/spec/provisioning.md). It lies
 * at an address that the board's build knows; a provisioner loads it there, or somebody flashed it.
 *
 * Reading copies nothing: every view points into the blob, which must stay mapped. Pure C99: no OS, no allocation,
 * the core's CBOR reader beside it.
 */
#ifndef WASMBED_PROVISION_H
#define WASMBED_PROVISION_H

#include "wasmbed/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Limits, bytes unless said otherwise. provisioner/blob has the same (limits.go). */
#define WB_PROVISION_VERSION 1
#define WB_PROVISION_HEADER 16u
#define WB_PROVISION_BODY_MAX 4080u
#define WB_PROVISION_MAX (WB_PROVISION_HEADER + WB_PROVISION_BODY_MAX)
#define WB_PROVISION_BOARD_MAX 32u
#define WB_PROVISION_NAME_MAX 63u
#define WB_PROVISION_HOST_MAX 253u /* gateway host and server name */
#define WB_PROVISION_TRUST_MAX 2u  /* anchors */
#define WB_PROVISION_CLAIM_MAX 64u
#define WB_PROVISION_SEED_MIN 32u
#define WB_PROVISION_SEED_MAX 64u
#define WB_PROVISION_PREFIX_MAX 30u /* bits */

/* Why a blob was refused, in the order in which it is looked at. */
enum wb_provision_error {
    WB_PROVISION_EMISSING = -101,  /* nothing there: erased or zeroed memory, or none mapped */
    WB_PROVISION_EMAGIC = -102,    /* something else lies there */
    WB_PROVISION_ELATER = -103,    /* version or flags of a later format */
    WB_PROVISION_EHEADER = -104,   /* a header that no version writes */
    WB_PROVISION_ETOOLARGE = -105, /* says to be longer than WB_PROVISION_BODY_MAX */
    WB_PROVISION_ETRUNCATED = -106, /* longer than the place it lies in, or cut in the header */
    WB_PROVISION_ECRC = -107,      /* damaged, or cut and filled up */
    WB_PROVISION_ECBOR = -108,     /* not one deterministic CBOR map (duplicate and unsorted keys are here) */
    WB_PROVISION_ETYPE = -109,     /* a known key with a value of another type */
    WB_PROVISION_ERANGE = -110,    /* a value that is too long, too short, out of range or of other characters */
    WB_PROVISION_EFIELD = -111     /* a required key is not there */
};

typedef enum wb_network_mode { WB_NETWORK_DHCP = 0, WB_NETWORK_STATIC = 1 } wb_network_mode;

/* How the board gets its address. IPv4, network byte order; 0.0.0.0: none given. */
typedef struct wb_provision_network {
    wb_network_mode mode;
    uint8_t address[4], router[4], dns[4];
    uint8_t prefix; /* bits, 1…30; static only */
} wb_provision_network;

typedef struct wb_provision {
    wb_text board;       /* as in the platform's table of boards */
    wb_text name;        /* empty: the platform names the device */
    wb_text host;        /* the gateway: IPv4 literal or DNS name; on a serial line the bridge dials, not the board */
    uint16_t port;       /* TCP, never 0 */
    wb_text server_name; /* what the gateway's certificate must carry */
    wb_bytes trust[WB_PROVISION_TRUST_MAX]; /* trust anchors, DER X.509; looked at by TLS only */
    size_t trust_count;                     /* 1…2 */
    wb_bytes claim;      /* empty: none */
    wb_bytes seed;       /* entropy, 32…64 bytes */
    bool has_network;    /* false: DHCP where there is a network at all */
    wb_provision_network network;
    uint64_t floor_ms;   /* Unix ms at making: no clock of this device may be before */
    size_t size;         /* header and body, bytes */
} wb_provision;

/*
 * Reads the blob that lies at p, in a place of cap bytes (more than the blob is fine; what follows it is not looked
 * at). Returns 0, or a negative wb_provision_error and *out all zero.
 */
int wb_provision_read(const uint8_t *p, size_t cap, wb_provision *out);

/* What the console says for an error of wb_provision_read, e.g. "provisioning blob: later version". 0: "ok". */
const char *wb_provision_error_text(int error);

#ifdef __cplusplus
}
#endif
#endif
