/*
 * TLS 1.3 over a wb_stream, with both sides authenticated, through mbedTLS: the link_* callbacks of wb_port
 * (wasmbed/port.h), which say what each function means and returns. Nothing here blocks or waits; what takes long is
 * computing (a handshake: two verifications or more, one signature, one key agreement). One thread.
 *
 * Order at boot: wb_entropy_init, wb_crypto_start, wb_identity_init, wb_tls_init. This header needs none of mbedTLS's.
 *
 * Errors of a link:
 *   WB_EAUTH    the gateway refused our certificate (an alert about certificates), in the handshake or after it
 *   WB_EIO      we refused the gateway's (chain, name, dates, use): another certificate of ours would not help
 *   WB_ECLOSED  closed, reset, or any other failure of the handshake; what the stream says is passed on
 */
#ifndef WASMBED_PORT_TLS_H
#define WASMBED_PORT_TLS_H

#include "entropy.h"
#include "identity.h"
#include "tls_limits.h"
#include "stream.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Starts mbedTLS and its PSA crypto, once per boot: all of its memory comes from heap (WB_TLS_HEAP bytes, aligned for
 * a pointer), all of its randomness from entropy. Both must live as long as the program, and there is one of
 * each in it: mbedTLS keeps them in its own globals. 0, WB_EINVAL, WB_EIO. */
int wb_crypto_start(wb_entropy *entropy, uint8_t *heap, size_t heap_size);

/* What mbedTLS's heap has in use and had at most, bytes; either may be NULL. */
void wb_crypto_heap(size_t *used, size_t *peak);

typedef struct wb_tls_config {
    wb_stream stream;                 /* copied */
    wb_bytes anchors[WB_TLS_ANCHORS]; /* trust anchors, DER X.509; the bytes must live as long as the wb_tls */
    size_t anchor_count;              /* 1 … WB_TLS_ANCHORS */
    const char *server_name;          /* DNS name or IPv4 literal that the gateway's certificate must carry; must live */
    wb_identity *identity;            /* initialized; must live */
    uint64_t floor;                   /* a time that has certainly passed, Unix ms (the blob's, the build's); 0: none */
} wb_tls_config;

/* The fields are tls.c's own. */
typedef struct wb_tls {
    wb_tls_config config;
    struct wb_tls_parts *parts; /* on mbedTLS's heap */
    int status;                 /* wb_link_state or negative wb_error */
    int cause;
    const char *why;
    uint64_t floor, told;         /* Unix ms */
    uint64_t not_before, not_after; /* of the gateway's chain in this link, Unix ms */
    bool trusted; /* wb_tls_trusted said so in this link */
    int broken;   /* why nothing can be sent any more; what was received is still delivered */
} wb_tls;

/* Reads the trust anchors. 0; WB_EINVAL (no anchor, no name, name too long); WB_EFORMAT (an anchor is not X.509);
 * WB_ENOSPC (heap). */
int wb_tls_init(wb_tls *t, const wb_tls_config *config);

/* The six of wb_port. After an error the link is closed and everything it held is given back; the same error is
 * returned until the next wb_tls_open. What was received before the end is delivered before the end is. */
int wb_tls_open(wb_tls *t, wb_link_kind kind);
int wb_tls_state(wb_tls *t);
int wb_tls_send(wb_tls *t, const uint8_t *data, size_t len);
int wb_tls_recv(wb_tls *t, uint8_t *buf, size_t cap);
void wb_tls_close(wb_tls *t);

/* wb_port's link_trusted: judges the gateway's certificate by the time told last, or by the floor if that is later. 0 or
 * WB_EAUTH. Only a time that was found good here moves the floor and the identity's clock: a gateway whose
 * certificate is not valid at the time that it tells cannot tell the time. */
int wb_tls_trusted(wb_tls *t);

/* wb_port's clock_wall. floor: the time has certainly passed; it only moves forward. Else the gateway said it in this
 * session; it counts for nothing until wb_tls_trusted. Told again later in a session that is trusted (heartbeats), it
 * counts at once. */
void wb_tls_set_time(wb_tls *t, uint64_t unix_ms, bool floor);

/* What the event loop waits for, beside the stream being readable. */
enum wb_tls_wait {
    WB_TLS_WAIT_WRITE = 1, /* until the stream is writable: encrypted bytes wait; call wb_tls_state then */
    WB_TLS_NOT_AT_ALL = 2  /* plaintext is here already: call wb_tls_recv */
};
unsigned wb_tls_wait(const wb_tls *t);

/* Why the last link ended, for the console: a short text, never NULL ("" while it stands), and in *code, unless NULL,
 * mbedTLS's error (negative) or the alert received (positive), 0 when neither. */
const char *wb_tls_why(const wb_tls *t, int *code);

#ifdef __cplusplus
}
#endif
#endif
