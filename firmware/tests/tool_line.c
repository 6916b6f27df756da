/*
 * The device's side of a serial line as a program, for a test that plays everything else. Requests on stdin, each a
 * byte, the time (8 bytes), a length (4 bytes, all little endian) and that many bytes:
 *
 *     i  set up: nonce, window (2 bytes)    o  open    c  close    s  send payload    r  bytes came    t  time passes
 *
 * Answer: phase or error (1 byte, signed), the next timer (8 bytes, -1: none), then payload that came and bytes for the
 * line, each behind its length (4 bytes).
 */
#include <stdio.h>
#include <stdlib.h>

#include "serial_line.h"

#define ROOM (1u << 20)

typedef struct bytes {
    uint8_t data[ROOM];
    size_t len;
} bytes;

static uint64_t get(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n-- > 0)
        v = v << 8 | p[n];
    return v;
}

static void put(uint64_t v, unsigned n)
{
    for (; n > 0; n--, v >>= 8)
        putchar((int)(v & 0xff));
}

static void control(wb_line *l, int64_t now, bytes *out)
{
    out->len += wb_line_control(l, now, out->data + out->len, ROOM - out->len);
}

static void received(wb_line *l, int64_t now, const bytes *in, bytes *payload, bytes *out)
{
    size_t at = 0, used;
    while (at < in->len) {
        /* In pieces, with little room, as a board does. */
        size_t some = in->len - at < 37 ? in->len - at : 37;
        payload->len += wb_line_decode(l, now, in->data + at, some, &used, payload->data + payload->len, 29);
        at += used;
        control(l, now, out);
    }
}

static void send_all(wb_line *l, const bytes *in, bytes *out)
{
    size_t at = 0, used;
    do {
        out->len += wb_line_encode(l, in->data + at, in->len - at, &used, out->data + out->len, 31);
        at += used;
    } while (used > 0 && at < in->len);
}

static void answer(const wb_line *l, int64_t now, const bytes *payload, const bytes *out)
{
    put((uint8_t)wb_line_state(l), 1);
    put((uint64_t)wb_line_wait(l, now), 8);
    put(payload->len, 4);
    fwrite(payload->data, 1, payload->len, stdout);
    put(out->len, 4);
    fwrite(out->data, 1, out->len, stdout);
    fflush(stdout);
}

int main(void)
{
    static bytes in, payload, out;
    static wb_line l;
    uint8_t head[13];
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        int64_t now = (int64_t)get(head + 1, 8);
        in.len = (size_t)get(head + 9, 4);
        if (in.len > ROOM / 4 || fread(in.data, 1, in.len, stdin) != in.len)
            return 1;
        payload.len = out.len = 0;
        switch (head[0]) {
        case 'i':
            wb_line_init(&l, in.data[0], (size_t)get(in.data + 1, 2));
            break;
        case 'o':
            wb_line_open(&l, now);
            break;
        case 'c':
            wb_line_close(&l);
            break;
        case 's':
            send_all(&l, &in, &out);
            break;
        case 'r':
            received(&l, now, &in, &payload, &out);
            break;
        case 't':
            break;
        default:
            return 1;
        }
        control(&l, now, &out);
        answer(&l, now, &payload, &out);
    }
    return 0;
}
