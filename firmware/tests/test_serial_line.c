/* The serial line: the device's side of the conversations that provisioner/serial's tests play as the bridge. */
#include "harness.h"
#include "serial_line.h"

#define STEP_MAX 4096

typedef struct device {
    wb_line line;
    int64_t now;
    uint8_t out[STEP_MAX], payload[STEP_MAX];
    size_t out_len, payload_len;
} device;

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t hex(const char *s, uint8_t *out)
{
    size_t n = strlen(s) / 2;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(digit(s[2 * i]) << 4 | digit(s[2 * i + 1]));
    return n;
}

static void control(device *d)
{
    d->out_len += wb_line_control(&d->line, d->now, d->out + d->out_len, sizeof d->out - d->out_len);
}

/* step bytes at a time, as UARTs bring them; room bytes of payload are read at once. */
static void receive(device *d, const uint8_t *p, size_t len, size_t step, size_t room)
{
    size_t at = 0, used;
    while (at < len) {
        size_t n = len - at < step ? len - at : step;
        d->payload_len += wb_line_decode(&d->line, d->now, p + at, n, &used, d->payload + d->payload_len, room);
        at += used;
        control(d);
    }
}

static void send_payload(device *d, const uint8_t *p, size_t len, size_t room)
{
    size_t at = 0, used;
    do {
        d->out_len += wb_line_encode(&d->line, p + at, len - at, &used, d->out + d->out_len, room);
        at += used;
    } while (used > 0);
}

static const char *state_word(const wb_line *l)
{
    switch (wb_line_state(l)) {
    case 0:
        return "opening";
    case 1:
        return "open";
    case WB_ECLOSED:
        return "closed";
    case WB_ETIMEOUT:
        return "timeout";
    default:
        return "?";
    }
}

static void same(const char *step, const uint8_t *got, size_t len, const char *want)
{
    uint8_t expected[STEP_MAX];
    size_t n = hex(want, expected);
    if (n != len || memcmp(got, expected, n) != 0) {
        CHECK(!"bytes differ");
        fprintf(stderr, "  %s\n  is", step);
        for (size_t i = 0; i < len; i++)
            fprintf(stderr, " %02x", got[i]);
        fprintf(stderr, "\n");
    }
}

static bool starts(const char *line, const char *word, const char **rest)
{
    size_t n = strlen(word);
    if (strncmp(line, word, n) != 0 || (line[n] != '\0' && line[n] != ' '))
        return false;
    *rest = line[n] == ' ' ? line + n + 1 : line + n;
    return true;
}

static void play(device *d, const char *line, size_t step)
{
    uint8_t bytes[STEP_MAX];
    const char *rest;
    if (starts(line, "device", &rest)) {
        char *end;
        long nonce = strtol(rest, &end, 10);
        wb_line_init(&d->line, (uint8_t)nonce, (size_t)strtol(end, NULL, 10));
    } else if (starts(line, "open", &rest)) {
        wb_line_open(&d->line, d->now);
    } else if (starts(line, "close", &rest)) {
        wb_line_close(&d->line);
    } else if (starts(line, "send", &rest)) {
        send_payload(d, bytes, hex(rest, bytes), step + 1);
    } else if (starts(line, "got", &rest)) {
        same(line, d->payload, d->payload_len, rest);
        d->payload_len = 0;
    } else if (starts(line, "state", &rest)) {
        CHECK_STR(state_word(&d->line), rest);
    } else if (starts(line, "+", &rest)) {
        int64_t wait = wb_line_wait(&d->line, d->now), ms = strtol(rest, NULL, 10);
        d->now += ms;
        /* A caller that sleeps as long as it was told misses nothing. */
        size_t before = d->out_len;
        control(d);
        CHECK(d->out_len == before || (wait >= 0 && wait <= ms));
    } else if (starts(line, "dev>", &rest) || starts(line, "dev?", &rest)) {
        same(line, d->out, d->out_len, rest);
        d->out_len = 0;
    } else if (starts(line, "dev~", &rest)) {
        d->out_len = 0;
    } else if (starts(line, "br>", &rest) || starts(line, "noise>", &rest)) {
        receive(d, bytes, hex(rest, bytes), step, step);
    } else {
        CHECK(starts(line, "dial", &rest) || starts(line, "gw", &rest) || starts(line, "gw>", &rest) ||
              starts(line, "gw<", &rest) || starts(line, "br?", &rest) || starts(line, "noise<", &rest));
    }
    control(d);
}

static void conversations(size_t step)
{
    static char line[STEP_MAX];
    static device d;
    static char name[128];
    int n = 0;
    FILE *f = fopen(SERIAL_CONVERSATIONS, "r");
    CHECK(f != NULL);
    if (f == NULL)
        return;
    while (fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "name: ", 6) == 0) {
            CHECK_EQ(d.out_len, 0);
            CHECK_EQ(d.payload_len, 0);
            memset(&d, 0, sizeof d);
            d.now = 1000;
            snprintf(name, sizeof name, "serial, %.100s", line + 6);
            context_of_check = name;
            n++;
        } else if (line[0] != '\0' && line[0] != '#') {
            play(&d, line, step);
        }
    }
    fclose(f);
    CHECK(n >= 20);
}

static void test_conversations(void)
{
    conversations(1000);
    conversations(1);
    conversations(2);
    conversations(7);
}

static void test_windows(void)
{
    wb_line l;
    wb_line_init(&l, 0, 0);
    CHECK_EQ(l.window, WB_LINE_WINDOW_MIN);
    wb_line_init(&l, 0, 1000000);
    CHECK_EQ(l.window, WB_LINE_WINDOW_MAX);
    wb_line_init(&l, 0, 1000);
    CHECK_EQ(l.window, 960);
    CHECK_EQ(wb_line_wait(&l, 5), -1);
}

/* However the bytes are read, a bridge that keeps to the window never has to wait for a ping. */
static void test_window_never_closes(void)
{
    static const uint8_t up[] = {WB_LINE_DLE, 'U', 1};
    for (size_t window = WB_LINE_WINDOW_MIN; window <= WB_LINE_WINDOW_MAX; window += 320) {
        static device d;
        static uint8_t data[WB_LINE_WINDOW_MAX];
        memset(&d, 0, sizeof d);
        memset(data, 'x', sizeof data);
        wb_line_init(&d.line, 0, window);
        window = d.line.window;
        wb_line_open(&d.line, 0);
        control(&d);
        CHECK_EQ(d.out[5], d.line.window / WB_LINE_UNIT);
        receive(&d, up, sizeof up, 1, 0);
        uint32_t sent = 0, limit = d.line.window;
        for (int round = 0; round < 40; round++) {
            CHECK(limit > sent);
            uint32_t n = limit - sent;
            CHECK(n <= window);
            d.out_len = d.payload_len = 0;
            for (size_t at = 0, used; at < n; at += used) {
                wb_line_decode(&d.line, 0, data, n - at, &used, d.payload, 1 + (size_t)round * 13);
                control(&d);
            }
            sent += n;
            for (size_t i = 0; i + 2 < d.out_len; i += 3) {
                CHECK(d.out[i] == WB_LINE_DLE && d.out[i + 1] == 'W');
                limit += (uint32_t)(int32_t)(int8_t)(d.out[i + 2] - (uint8_t)(limit / WB_LINE_UNIT)) * WB_LINE_UNIT;
            }
        }
    }
}

static void test_no_room(void)
{
    wb_line l;
    uint8_t out[WB_LINE_CONTROL_MAX], dle[2] = {WB_LINE_DLE, 'x'};
    static const uint8_t up[] = {WB_LINE_DLE, 'U', 1, 'a'};
    size_t used;
    wb_line_init(&l, 0, 128);
    wb_line_open(&l, 0);
    for (size_t cap = 0; cap < 3; cap++)
        CHECK_EQ(wb_line_control(&l, 0, out, cap), 0);
    CHECK_EQ(wb_line_wait(&l, 0), 0);
    CHECK_EQ(wb_line_control(&l, 0, out, 5), 3); /* whole frames */
    CHECK_EQ(wb_line_control(&l, 0, out, 5), 3);
    CHECK_EQ(wb_line_control(&l, 0, out, 5), 0);
    CHECK_EQ(wb_line_decode(&l, 0, up, sizeof up, &used, NULL, 0), 0);
    CHECK_EQ(used, 3);
    CHECK_EQ(wb_line_state(&l), 1);
    CHECK_EQ(wb_line_encode(&l, dle, 2, &used, out, 1), 0);
    CHECK_EQ(used, 0);
    CHECK_EQ(wb_line_encode(&l, dle, 2, &used, out, 2), 2);
    CHECK_EQ(used, 1);
    CHECK_EQ(wb_line_decode(&l, 0, up + 3, 1, &used, out, 1), 1);
    CHECK_EQ(out[0], 'a');
    wb_line_close(&l);
    CHECK_EQ(wb_line_encode(&l, dle, 2, &used, out, sizeof out), 0);
    CHECK_EQ(wb_line_control(&l, 0, out, 1), 0);
    CHECK_EQ(wb_line_control(&l, 0, out, 2), 2);
}

const test serial_tests[] = {{"serial: conversations", test_conversations},
                             {"serial: windows are cut to what can be said", test_windows},
                             {"serial: a window never closes", test_window_never_closes},
                             {"serial: little room", test_no_room},
                             {NULL, NULL}};
