/*
 * A device at a line that says anything, whose application does anything at any time. However it goes: control frames are
 * whole, no payload outside of a connection, and afterwards a bridge that behaves gets a connection within two requests.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "serial_line.h"

const char *const fuzz_name = "serial";
const size_t fuzz_skip = 0;

static void require(int ok)
{
    if (!ok)
        abort();
}

typedef struct input {
    const uint8_t *p;
    size_t left;
} input;

static uint8_t next(input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->p++;
}

static size_t control(wb_line *l, int64_t now, uint8_t *out, size_t cap)
{
    size_t n = wb_line_control(l, now, out, cap);
    require(n <= cap && n <= WB_LINE_CONTROL_MAX);
    for (size_t i = 0; i < n;) {
        require(out[i] == WB_LINE_DLE && i + 1 < n && strchr("COWP", out[i + 1]) != NULL);
        i += out[i + 1] == 'C' ? 2 : 3;
        require(i <= n);
    }
    return n;
}

static void receive(wb_line *l, int64_t now, const uint8_t *p, size_t len, size_t cap)
{
    uint8_t out[64];
    size_t used, n;
    int before = l->phase;
    n = wb_line_decode(l, now, p, len, &used, out, cap);
    require(n <= cap && used <= len);
    require(used == len || (l->phase == WB_LINE_OPEN && n == cap));
    require(n == 0 || before != WB_LINE_IDLE);
}

/* A bridge that dials and answers: the device must come up. */
static void recover(wb_line *l, int64_t now)
{
    uint8_t out[WB_LINE_CONTROL_MAX], two[2] = {'x', 'x'};
    size_t used;
    receive(l, now, two, 2, 2); /* whatever frame was begun ends */
    wb_line_open(l, now);
    for (int i = 0; i < 2; i++) {
        size_t n = control(l, now, out, sizeof out);
        require(n >= 3 && out[n - 6] == WB_LINE_DLE && out[n - 5] == 'O');
        uint8_t up[3] = {WB_LINE_DLE, 'U', out[n - 4]};
        receive(l, now, up, sizeof up, 0);
        if (wb_line_state(l) == 1)
            break;
    }
    require(wb_line_state(l) == 1);
    require(wb_line_encode(l, two, 2, &used, out, sizeof out) == 2 && used == 2);
    require(wb_line_decode(l, now, two, 2, &used, out, sizeof out) == 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {data, size};
    wb_line l;
    int64_t now = 0;
    uint8_t out[64];
    size_t used;
    uint8_t nonce = next(&in);
    wb_line_init(&l, nonce, (size_t)next(&in) * 64);
    while (in.left > 0) {
        uint8_t op = next(&in);
        size_t n = op >> 3;
        n = n < in.left ? n : in.left;
        switch (op & 7) {
        case 0:
            wb_line_open(&l, now);
            break;
        case 1:
            wb_line_close(&l);
            break;
        case 2:
            now += (int64_t)n * 1000;
            break;
        case 3:
            control(&l, now, out, n);
            break;
        case 4: {
            size_t len = wb_line_encode(&l, in.p, n, &used, out, sizeof out);
            require(len >= used && len <= 2 * used && (l.phase == WB_LINE_OPEN || len == 0));
            break;
        }
        case 5: { /* what a bridge would say */
            uint8_t word[3] = {WB_LINE_DLE, (uint8_t)"UFCA"[n & 3], l.nonce};
            receive(&l, now, word, n & 4 ? 2 : 3, 0);
            break;
        }
        default:
            receive(&l, now, in.p, n, op & 1 ? sizeof out : 3);
            in.p += n;
            in.left -= n;
        }
        int64_t wait = wb_line_wait(&l, now);
        require(wait >= -1 && wait <= WB_LINE_OPEN_TIMEOUT && (wait >= 0 || l.phase == WB_LINE_IDLE));
    }
    recover(&l, now);
    return 0;
}
