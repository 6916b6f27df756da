#include "serial_line.h"

#include <string.h>

#include "wasmbed/port.h"

enum { SAY_CLOSED = 1u << 0, SAY_OPEN = 1u << 1, SAY_WINDOW = 1u << 2, SAY_PING = 1u << 3 };
enum { PLAIN = 0, AFTER_DLE = 1 };

void wb_line_init(wb_line *l, uint8_t nonce, size_t window)
{
    memset(l, 0, sizeof *l);
    if (window < WB_LINE_WINDOW_MIN)
        window = WB_LINE_WINDOW_MIN;
    if (window > WB_LINE_WINDOW_MAX)
        window = WB_LINE_WINDOW_MAX;
    l->window = (uint16_t)(window - window % WB_LINE_UNIT);
    l->nonce = nonce;
    l->ended = WB_ECLOSED;
}

/* Every request has a nonce of its own: an answer to an earlier one must not open this one, or the bridge would have a
 * second connection in the making while the device speaks on the first. */
static void request(wb_line *l, int64_t now)
{
    l->nonce++;
    l->tries++;
    l->since = now;
    l->taken = 0;
    l->granted = l->window;
    l->say = SAY_OPEN | SAY_WINDOW;
}

void wb_line_open(wb_line *l, int64_t now)
{
    l->phase = WB_LINE_OPENING;
    l->began = now;
    l->tries = 0;
    l->ended = 0;
    request(l, now);
}

static void end(wb_line *l, int why, uint8_t say)
{
    l->phase = WB_LINE_IDLE;
    l->ended = (int8_t)why;
    l->say = say;
}

void wb_line_close(wb_line *l)
{
    if (l->phase != WB_LINE_IDLE)
        end(l, WB_ECLOSED, SAY_CLOSED);
    l->ended = WB_ECLOSED;
}

int wb_line_state(const wb_line *l)
{
    switch (l->phase) {
    case WB_LINE_OPENING:
        return WB_LINK_CONNECTING;
    case WB_LINE_OPEN:
        return WB_LINK_CONNECTED;
    default:
        return l->ended;
    }
}

static void heard(wb_line *l, int64_t now)
{
    l->since = now;
    l->pings = 0;
    l->say &= (uint8_t)~SAY_PING;
}

/* The bridge and this side do not speak of the same connection. */
static void lose(wb_line *l, int why)
{
    l->lost++;
    end(l, why, SAY_CLOSED);
}

static void up(wb_line *l, int64_t now, uint8_t nonce)
{
    if (l->phase == WB_LINE_OPEN) {
        lose(l, WB_ECLOSED);
    } else if (l->phase == WB_LINE_OPENING && nonce == l->nonce && !(l->say & SAY_OPEN)) {
        l->phase = WB_LINE_OPEN;
        heard(l, now);
    }
}

static void failed(wb_line *l, uint8_t nonce)
{
    if (l->phase == WB_LINE_OPEN)
        lose(l, WB_ECLOSED);
    else if (l->phase == WB_LINE_OPENING && nonce == l->nonce && !(l->say & SAY_OPEN))
        end(l, WB_ECLOSED, 0);
}

static void closed(wb_line *l, int64_t now)
{
    if (l->phase == WB_LINE_OPEN)
        end(l, WB_ECLOSED, 0);
    else if (l->phase == WB_LINE_OPENING && l->tries < WB_LINE_OPEN_TRIES && !(l->say & SAY_OPEN))
        request(l, now); /* a bridge that started just now has not seen the request */
}

static void command(wb_line *l, int64_t now, uint8_t word, uint8_t n)
{
    switch (word) {
    case 'U':
        up(l, now, n);
        break;
    case 'F':
        failed(l, n);
        break;
    case 'A':
        if (l->phase == WB_LINE_OPEN && n == l->nonce)
            heard(l, now);
        break;
    default: /* of a later version, or noise */
        break;
    }
}

/* Looks at one byte. Returns whether it is payload. */
static bool payload(wb_line *l, int64_t now, uint8_t b)
{
    uint8_t before = l->escape;
    l->escape = PLAIN;
    if (before == PLAIN) {
        if (b != WB_LINE_DLE)
            return true;
        l->escape = AFTER_DLE;
    } else if (before == AFTER_DLE) {
        if (b == WB_LINE_DLE)
            return true;
        if (b == 'C')
            closed(l, now);
        else if (b >= 'A' && b <= 'Z')
            l->escape = b;
    } else {
        command(l, now, before, b);
    }
    return false;
}

size_t wb_line_decode(wb_line *l, int64_t now, const uint8_t *in, size_t len, size_t *used, uint8_t *out, size_t cap)
{
    size_t n = 0, i = 0;
    while (i < len) {
        uint8_t escape = l->escape;
        if (!payload(l, now, in[i])) {
            i++;
            continue;
        }
        if (l->phase == WB_LINE_OPEN) {
            if (n == cap) {
                l->escape = escape;
                break;
            }
            out[n++] = in[i];
            l->taken++;
            heard(l, now);
        }
        i++;
    }
    *used = i;
    if (l->phase == WB_LINE_OPEN && l->taken + l->window - l->granted >= l->window / 4u + WB_LINE_UNIT - 1u)
        l->say |= SAY_WINDOW;
    return n;
}

size_t wb_line_encode(wb_line *l, const uint8_t *data, size_t len, size_t *used, uint8_t *out, size_t cap)
{
    size_t n = 0, i = 0;
    if (l->phase == WB_LINE_OPEN) {
        for (; i < len; i++) {
            size_t need = data[i] == WB_LINE_DLE ? 2 : 1;
            if (cap - n < need)
                break;
            if (need == 2)
                out[n++] = WB_LINE_DLE;
            out[n++] = data[i];
        }
    }
    *used = i;
    return n;
}

static void pass(wb_line *l, int64_t now)
{
    if (l->phase == WB_LINE_OPENING) {
        if (now - l->began >= WB_LINE_OPEN_TIMEOUT)
            lose(l, WB_ETIMEOUT);
        else if (now - l->since >= WB_LINE_OPEN_RETRY && l->tries < WB_LINE_OPEN_TRIES)
            request(l, now);
    } else if (l->phase == WB_LINE_OPEN && now - l->since >= WB_LINE_SILENCE) {
        if (l->pings >= WB_LINE_PINGS) {
            lose(l, WB_ETIMEOUT);
            return;
        }
        /* The window goes with it: the frame that said it may be what was lost. */
        l->pings++;
        l->since = now;
        l->say |= SAY_PING | SAY_WINDOW;
    }
}

static size_t put(wb_line *l, uint8_t bit, uint8_t *out, size_t cap, uint8_t word, int argument)
{
    size_t n = argument < 0 ? 2 : 3;
    if (!(l->say & bit) || cap < n)
        return 0;
    out[0] = WB_LINE_DLE;
    out[1] = word;
    if (n == 3)
        out[2] = (uint8_t)argument;
    l->say &= (uint8_t)~bit;
    return n;
}

size_t wb_line_control(wb_line *l, int64_t now, uint8_t *out, size_t cap)
{
    size_t n = 0;
    pass(l, now);
    n += put(l, SAY_CLOSED, out, cap, 'C', -1);
    n += put(l, SAY_OPEN, out + n, cap - n, 'O', l->nonce);
    if (l->say & SAY_WINDOW && !(l->say & SAY_OPEN) && cap - n >= 3) {
        uint32_t limit = l->taken + l->window;
        l->granted = limit - limit % WB_LINE_UNIT;
        n += put(l, SAY_WINDOW, out + n, cap - n, 'W', (int)(l->granted / WB_LINE_UNIT & 0xffu));
    }
    n += put(l, SAY_PING, out + n, cap - n, 'P', l->nonce);
    return n;
}

int64_t wb_line_wait(const wb_line *l, int64_t now)
{
    int64_t at;
    if (l->say != 0)
        return 0;
    if (l->phase == WB_LINE_IDLE)
        return -1;
    if (l->phase == WB_LINE_OPEN) {
        at = l->since + WB_LINE_SILENCE;
    } else {
        at = l->began + WB_LINE_OPEN_TIMEOUT;
        if (l->tries < WB_LINE_OPEN_TRIES && l->since + WB_LINE_OPEN_RETRY < at)
            at = l->since + WB_LINE_OPEN_RETRY;
    }
    return at > now ? at - now : 0;
}
