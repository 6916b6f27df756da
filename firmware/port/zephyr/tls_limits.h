/*
 * The limits of TLS, identity and entropy on a board, in one place. Bytes unless said otherwise. (Not limits.h: an
 * include path would put it before the C library's.)
 */
#ifndef WASMBED_PORT_TLS_LIMITS_H
#define WASMBED_PORT_TLS_LIMITS_H

/* TLS plaintext per record. In: the gateway puts at most 4000 bytes of data into one, and a handshake message is at
 * most 4096 (protocol/SPEC.md, 2.6). Out: the largest is our certificate message. Read by tls_config.h. */
#define WB_TLS_IN 4096
#define WB_TLS_OUT 2048

/* Heap of mbedTLS, which is all of its memory that is not static or stack. Measured with 32-bit pointers (make -C test;
 * TestReconnects, TestChains): 1 KiB idle, 8.1 with a link, 10 at most in a handshake with a gateway's certificate of
 * 500 bytes, 16.4 with a chain that fills 3.5 KiB; allocation itself and gaps come on top: 11.5 KiB was enough for the
 * former, 19 for the latter. */
#ifndef WB_TLS_HEAP
#define WB_TLS_HEAP 16384
#endif

#define WB_TLS_ANCHORS 2 /* trust anchors */
#define WB_TLS_NAME 255  /* server name */

/* The operational chain: certificates, and all of them with 2 bytes of length each. A TLS certificate message of
 * WB_TLS_OUT holds no more. The platform's leaf has about 600 bytes, an intermediate about 500. */
#define WB_CHAIN_CERTIFICATES 4
#define WB_CHAIN_SIZE 1984

#define WB_DEVICE_NAME 63 /* common name in requests; longer names are cut */

/* Entropy */
#define WB_SEED_MIN 32      /* of the provisioning blob */
#define WB_SEED_MAX 64
#define WB_JITTER_SAMPLES 64 /* counter samples mixed in at boot */

#endif
