/* CBOR and the messages beyond what the vectors show: floats, limits of counts and depth, every prefix, every flipped bit. */
#include "harness.h"
#include "sim.h"

static void float_is(double v, size_t size)
{
    uint8_t buf[16];
    wb_writer w;
    wb_reader r;
    double back;
    wb_writer_init(&w, buf, sizeof buf);
    wb_write_float(&w, v);
    CHECK_EQ(w.len, size);
    CHECK_EQ(wb_cbor_check(buf, w.len), 0);
    wb_reader_init(&r, buf, w.len);
    CHECK_EQ(wb_read_float(&r, &back), 0);
    CHECK(wb_double_bits(back) == wb_double_bits(v));
}

static void floats(void)
{
    float_is(0.0, 3);
    float_is(-0.0, 3);
    float_is(1.5, 3);
    float_is(65504.0, 3);
    float_is(65505.0, 5);
    float_is(0x1p-24, 3); /* the smallest half */
    float_is(0x1p-25, 5);
    float_is(0x1.8p-15, 3); /* a subnormal half */
    float_is(100000.0, 5);
    float_is(0x1.fffffep127, 5); /* the largest single */
    float_is(0x1p128, 9);
    float_is(0x1p-149, 5); /* the smallest single */
    float_is(0x1p-150, 9);
    float_is(0x1.8p-148, 5); /* a subnormal single */
    float_is(1.1, 9);
    float_is(1.0e300, 9);
    float_is(0x1p-1074, 9);
    /* All halves come back as themselves. */
    for (unsigned h = 0; h < 0x10000; h++) {
        uint8_t in[3] = {0xf9, (uint8_t)(h >> 8), (uint8_t)h}, out[9];
        wb_reader r;
        wb_writer w;
        double v;
        bool nan = (h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0;
        CHECK_EQ(wb_cbor_check(in, 3) == 0, !nan || h == 0x7e00);
        wb_reader_init(&r, in, 3);
        CHECK_EQ(wb_read_float(&r, &v), 0);
        wb_writer_init(&w, out, sizeof out);
        wb_write_float(&w, v);
        if (!nan)
            CHECK(w.len == 3 && memcmp(in, out, 3) == 0);
    }
}

static void limits(void)
{
    uint8_t buf[4096];
    for (size_t n = 1; n <= 10; n++) { /* nested arrays */
        memset(buf, 0x81, n);
        buf[n - 1] = 0x80;
        CHECK_EQ(wb_cbor_check(buf, n) == 0, n <= WB_CBOR_DEPTH);
    }
    wb_writer w;
    for (size_t n = 1023; n <= 1025; n++) {
        wb_writer_init(&w, buf, sizeof buf);
        wb_write_array(&w, n);
        for (size_t i = 0; i < n; i++)
            wb_write_uint(&w, 1);
        CHECK_EQ(wb_cbor_check(buf, w.len) == 0, n <= WB_CBOR_ARRAY);
    }
    for (size_t n = 63; n <= 65; n++) {
        wb_writer_init(&w, buf, sizeof buf);
        wb_write_map(&w, n);
        for (size_t i = 0; i < n; i++) {
            wb_write_uint(&w, i);
            wb_write_bool(&w, true);
        }
        CHECK_EQ(wb_cbor_check(buf, w.len) == 0, n <= WB_CBOR_MAP);
    }
    CHECK(wb_cbor_check(buf, 0) < 0);
    /* A key may be an array, and is compared as a whole. */
    static const uint8_t keys[] = {0xa2, 0x82, 1, 1, 0, 0x82, 1, 2, 0}, twice[] = {0xa2, 0x82, 1, 1, 0, 0x82, 1, 1, 0};
    CHECK_EQ(wb_cbor_check(keys, sizeof keys), 0);
    CHECK(wb_cbor_check(twice, sizeof twice) < 0);
}

static void small_buffers(void)
{
    wb_msg m = {.type = WB_ACK, .id = 5, .u = {.ack = {70000}}};
    uint8_t buf[64];
    int n = wb_encode(&m, buf, sizeof buf);
    CHECK(n > 4);
    for (int cap = 0; cap < n; cap++) {
        uint8_t *tight = malloc((size_t)cap + 1);
        CHECK_EQ(wb_encode(&m, tight, (size_t)cap), WB_ENOSPC);
        free(tight);
    }
    m.id = 0;
    CHECK_EQ(wb_encode(&m, buf, sizeof buf), WB_EINVAL);
    m.id = 1;
    m.type = 99;
    CHECK_EQ(wb_encode(&m, buf, sizeof buf), WB_EINVAL);
}

static void names(void)
{
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {{"a", true},    {"a-1", true}, {"a.b", true},  {"", false},   {"-a", false}, {"a-", false},
                 {".a", false}, {"a.", false}, {"A", false},   {"a/b", false}, {"a b", false}, {"0", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_EQ(wb_name_valid((wb_text){cases[i].text, strlen(cases[i].text)}), cases[i].ok);
    for (uint32_t bit = 1; bit < 1u << 9; bit <<= 1) {
        const char *name = wb_permission_name(bit);
        CHECK(name != NULL);
        CHECK_EQ(wb_permission_bit(name, strlen(name)), bit);
    }
    CHECK(wb_permission_name(1u << 9) == NULL);
    CHECK_STR(wb_reason_name(WB_REASON_TRAP_LOOP), "TrapLoop");
    CHECK_STR(wb_reason_name(WB_REASON_BAD_REQUEST), "BadRequest");
    CHECK_STR(wb_reason_name((wb_reason)27), "Unknown");
    CHECK_STR(wb_state_name(WB_STATE_ROLLED_BACK), "RolledBack");
}

/* Text that the engine or a module gives is cut between characters. */
static void cut_texts(void)
{
    wb_trap t;
    char text[200];
    memset(text, 'x', sizeof text);
    text[199] = '\0';
    for (int i = 60; i < 66; i++) {
        memset(text, 'x', sizeof text - 1);
        memcpy(text + i, "\xe2\x82\xac", 3);
        wb_trap_set(&t, WB_REASON_TRAP, text, text);
        CHECK(wb_utf8_valid((const uint8_t *)t.text, strlen(t.text)));
        CHECK(strlen(t.text) <= WB_TEXT_MAX);
    }
    wb_trap_set(&t, WB_REASON_TRAP, NULL, "short");
    CHECK_STR(t.where, "");
    CHECK_STR(t.text, "short");
}

const test codec_tests[] = {
    {"codec: floats", floats}, {"codec: limits", limits},       {"codec: small buffers", small_buffers},
    {"codec: names", names},   {"codec: cut texts", cut_texts}, {NULL, NULL},
};
