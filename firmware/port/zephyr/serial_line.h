/*
 * The serial line's framing, the device's side (docs/spec/serial.md): a byte stream that can be opened and closed,
 * over a UART that can lose bytes, garble them, or have nobody at its other end. What goes through it is TLS, which
 * sees every damage; this layer's work is only that both sides agree again afterwards which connection they speak of.
 *
 * Pure C99: no OS, no buffers of its own, no I/O. One thread. A port moves bytes between its UART rings and it:
 *
 *     every poll   n = take from the UART's receive ring; wb_line_decode(..., n bytes, &used, out, cap): payload in out
 *                  (with cap 0 it stops at the first payload byte, so state can be kept current without reading);
 *                  wb_line_control(...) -> put what it wrote into the UART's send ring
 *     to send      wb_line_encode(...) -> the same ring
 *
 * The receive ring must hold 2 * window bytes and WB_LINE_CONTROL_MAX beside: then no module call, however long, makes
 * it overflow, because the bridge sends no more payload than the device has room for.
 *
 * Times are milliseconds of a clock that never goes back (wb_port.clock_ms).
 */
#ifndef WASMBED_SERIAL_LINE_H
#define WASMBED_SERIAL_LINE_H

#include "wasmbed/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Limits and times; provisioner/serial has the same (limits.go). */
#define WB_LINE_DLE 0x10u
#define WB_LINE_OPEN_RETRY 7000    /* ms: an open request without answer is sent once more, as another; more than the
                                      bridge's limit for dialling (5 s) */
#define WB_LINE_OPEN_TIMEOUT 14000 /* ms until opening is given up */
#define WB_LINE_OPEN_TRIES 4       /* requests at most in that time; a bridge that just started asks for a new one */
#define WB_LINE_SILENCE 5000       /* ms without payload or answer before a ping, and between pings */
#define WB_LINE_PINGS 3            /* unanswered ones before the connection counts as lost */
#define WB_LINE_UNIT 64u           /* bytes that one step of a window frame grants */
#define WB_LINE_WINDOW_MIN 128u    /* bytes */
#define WB_LINE_WINDOW_MAX 8064u   /* bytes */
#define WB_LINE_CONTROL_MAX 16u    /* bytes that wb_line_control writes at most in one call */

enum wb_line_phase { WB_LINE_IDLE = 0, WB_LINE_OPENING = 1, WB_LINE_OPEN = 2 };

/* Owned by the caller, touched by these functions only. */
typedef struct wb_line {
    uint8_t phase;        /* wb_line_phase */
    uint8_t nonce;        /* of the connection or of the request for one */
    uint8_t escape;       /* decoder: 0 plain, 1 after DLE, else the command whose argument comes next */
    uint8_t pings;        /* sent since payload or an answer came */
    uint8_t tries;        /* open requests sent in this phase */
    uint8_t say;          /* what wb_line_control has to say: a set of bits */
    int8_t ended;         /* why phase is IDLE: a negative wb_error */
    uint16_t window;      /* bytes */
    uint32_t taken;       /* payload bytes handed out in this connection, modulo 2^32 */
    uint32_t granted;     /* payload bytes that the bridge may have sent, as last said */
    int64_t since;        /* ms: the last open request; in a connection the last payload, answer or ping */
    int64_t began;        /* ms: wb_line_open */
    uint32_t lost;        /* connections that ended by silence or by an unexpected word: for the console */
} wb_line;

/*
 * Sets up. nonce: any byte, better not the one of the boot before (random). window: payload bytes that the port takes
 * without reading, cut to a multiple of WB_LINE_UNIT and to the limits above.
 */
void wb_line_init(wb_line *l, uint8_t nonce, size_t window);

/* Asks for a fresh connection; one that stands is given up. The request leaves with the next wb_line_control. */
void wb_line_open(wb_line *l, int64_t now);

/* Gives the connection up; the bridge hears of it with the next wb_line_control. Harmless when there is none. */
void wb_line_close(wb_line *l);

/*
 * WB_LINK_CONNECTING (0), WB_LINK_CONNECTED (1), or negative: WB_ECLOSED (the bridge said so, could not connect, or
 * nothing was opened), WB_ETIMEOUT (nobody answers). These are wb_port.link_state's.
 */
int wb_line_state(const wb_line *l);

/*
 * Takes received bytes: *used of the len bytes at in, and returns how many payload bytes it wrote to out (<= cap). It
 * stops before a payload byte that has no room; call again with the rest. Outside of a connection payload is dropped.
 * Payload that came before the end of the connection is still handed out with it: look at the count first, then at
 * wb_line_state.
 */
size_t wb_line_decode(wb_line *l, int64_t now, const uint8_t *in, size_t len, size_t *used, uint8_t *out, size_t cap);

/*
 * Writes payload as line bytes: *used of the len bytes at data, returns how many bytes it wrote to out (<= cap, two
 * for a byte that must be escaped, never half a pair). 0 and *used = 0 outside of a connection.
 */
size_t wb_line_encode(wb_line *l, const uint8_t *data, size_t len, size_t *used, uint8_t *out, size_t cap);

/*
 * Lets time pass and writes the control frames that are due, whole ones only; what has no room comes next time. cap of
 * WB_LINE_CONTROL_MAX takes all. Returns the bytes written.
 */
size_t wb_line_control(wb_line *l, int64_t now, uint8_t *out, size_t cap);

/* Milliseconds until wb_line_control has something to do with no byte received, 0: now; -1: never. */
int64_t wb_line_wait(const wb_line *l, int64_t now);

#ifdef __cplusplus
}
#endif
#endif
