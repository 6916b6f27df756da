/*
 * What the port's own parts stand on: a byte stream below TLS, and small durable values. Both are structs of
 * callbacks, so that TLS and identity know no operating system and run on a PC as they do on a board. Errors are
 * those of wasmbed/types.h.
 */
#ifndef WASMBED_PORT_STREAM_H
#define WASMBED_PORT_STREAM_H

#include "wasmbed/port.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A byte stream: a TCP socket or a serial line. One connection at a time. No callback blocks, none calls back. */
typedef struct wb_stream {
    void *ctx;
    /* Begins to connect; whatever was there before is closed and forgotten. 0, or a negative wb_error when it cannot
     * even begin. */
    int (*open)(void *ctx);
    /* WB_LINK_CONNECTING, WB_LINK_CONNECTED, or negative: WB_ECLOSED (refused, unreachable, reset, never opened),
     * WB_ETIMEOUT, WB_EIO. A connection that the peer has ended may still say connected while bytes wait in recv. */
    int (*state)(void *ctx);
    /* Takes up to len bytes: how many (0 < n <= len), WB_EAGAIN, or negative as above. */
    int (*send)(void *ctx, const uint8_t *data, size_t len);
    /* Brings up to cap bytes: how many (> 0), WB_EAGAIN when none are there, WB_ECLOSED after the last one, or
     * negative as above. */
    int (*recv)(void *ctx, uint8_t *buf, size_t cap);
    /* Closes and forgets. What send took is still sent if that needs no waiting. Also called when nothing is open. */
    void (*close)(void *ctx);
} wb_stream;

/* Small durable values under 16-bit keys, with the promises and errors of wb_port's blob_* (wasmbed/port.h): a put
 * that power interrupts may leave anything under its key, and nothing else changes. The core's keys are below
 * 0xF000; the port's are these. */
typedef struct wb_kv {
    void *ctx;
    int (*get)(void *ctx, uint16_t key, uint8_t *buf, size_t cap);         /* length, WB_ENOENT, WB_ENOSPC, WB_EIO */
    int (*put)(void *ctx, uint16_t key, const uint8_t *data, size_t len); /* 0, WB_ENOSPC, WB_EIO; 0 < len */
    int (*del)(void *ctx, uint16_t key);                                   /* 0 also when it was not there */
} wb_kv;

/* The port's keys, two each: every value is kept twice, written in turn. */
#define WB_KV_PORT_FIRST 0xF000u
#define WB_KV_ENTROPY 0xF000u /* and 0xF001: the pool */
#define WB_KV_KEY 0xF010u     /* and 0xF011: the private key */
#define WB_KV_CHAIN 0xF020u   /* and 0xF021: the operational chain */
#define WB_KV_PORT_FREE 0xF080u /* 0xF080…0xF0FF: for what else a port keeps */
#define WB_KV_PORT_LAST 0xF0FFu

#ifdef __cplusplus
}
#endif
#endif
