#include "cbor.h"

#include <string.h>

void wb_writer_init(wb_writer *w, uint8_t *buf, size_t cap)
{
    w->buf = buf;
    w->cap = cap;
    w->len = 0;
    w->overflow = false;
}

void wb_write_raw(wb_writer *w, const void *data, size_t len)
{
    if (w->overflow || len > w->cap - w->len) {
        w->overflow = true;
        return;
    }
    if (len > 0)
        memcpy(w->buf + w->len, data, len);
    w->len += len;
}

/* Additional information of the head: how many bytes follow for this value. */
static unsigned head_extra(uint64_t value)
{
    if (value < 24)
        return 0;
    if (value <= 0xff)
        return 1;
    if (value <= 0xffff)
        return 2;
    if (value <= 0xffffffffu)
        return 4;
    return 8;
}

size_t wb_head_size(uint64_t value)
{
    return 1u + head_extra(value);
}

static void put_be(uint8_t *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static uint64_t get_be(const uint8_t *in, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | in[i];
    return v;
}

void wb_write_head(wb_writer *w, unsigned major, uint64_t value)
{
    uint8_t head[9];
    unsigned extra = head_extra(value);
    if (extra == 0) {
        head[0] = (uint8_t)(major << 5 | (unsigned)value);
    } else {
        unsigned info = extra == 1 ? 24 : extra == 2 ? 25 : extra == 4 ? 26 : 27;
        head[0] = (uint8_t)(major << 5 | info);
        put_be(head + 1, value, extra);
    }
    wb_write_raw(w, head, 1u + extra);
}

void wb_write_uint(wb_writer *w, uint64_t value)
{
    wb_write_head(w, WB_CBOR_UINT, value);
}

void wb_write_bytes(wb_writer *w, const void *data, size_t len)
{
    wb_write_head(w, WB_CBOR_BYTES, len);
    wb_write_raw(w, data, len);
}

void wb_write_text(wb_writer *w, const char *text, size_t len)
{
    wb_write_head(w, WB_CBOR_TEXT, len);
    wb_write_raw(w, text, len);
}

void wb_write_bool(wb_writer *w, bool v)
{
    uint8_t b = v ? 0xf5 : 0xf4;
    wb_write_raw(w, &b, 1);
}

void wb_write_array(wb_writer *w, size_t count)
{
    wb_write_head(w, WB_CBOR_ARR, count);
}

void wb_write_map(wb_writer *w, size_t count)
{
    wb_write_head(w, WB_CBOR_MAPM, count);
}

uint64_t wb_double_bits(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

double wb_bits_double(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* The single that equals these double bits, or false. Works on bits so that a soft-float target neither rounds nor traps. */
static bool to_single(uint64_t d, uint32_t *out)
{
    uint32_t sign = (uint32_t)(d >> 63) << 31;
    unsigned exp = (unsigned)(d >> 52) & 0x7ff;
    uint64_t frac = d & 0xfffffffffffffu;
    if (exp == 0 && frac == 0) {
        *out = sign;
        return true;
    }
    if (exp == 0x7ff) {
        if (frac & 0x1fffffff)
            return false;
        *out = sign | 0x7f800000u | (uint32_t)(frac >> 29);
        return true;
    }
    if (exp == 0)
        return false; /* a double's subnormal is far below a single's */
    int e = (int)exp - 1023;
    if (e >= -126 && e <= 127) {
        if (frac & 0x1fffffff)
            return false;
        *out = sign | (uint32_t)(e + 127) << 23 | (uint32_t)(frac >> 29);
        return true;
    }
    if (e < -126 && e >= -149) { /* subnormal single */
        uint64_t m = frac | 1ull << 52;
        unsigned shift = (unsigned)(29 + (-126 - e));
        if (m & ((1ull << shift) - 1))
            return false;
        *out = sign | (uint32_t)(m >> shift);
        return true;
    }
    return false;
}

static bool to_half(uint32_t s, uint16_t *out)
{
    uint16_t sign = (uint16_t)(s >> 31 << 15);
    unsigned exp = s >> 23 & 0xff;
    uint32_t frac = s & 0x7fffff;
    if (exp == 0 && frac == 0) {
        *out = sign;
        return true;
    }
    if (exp == 0xff) {
        if (frac & 0x1fff)
            return false;
        *out = (uint16_t)(sign | 0x7c00u | frac >> 13);
        return true;
    }
    if (exp == 0)
        return false;
    int e = (int)exp - 127;
    if (e >= -14 && e <= 15) {
        if (frac & 0x1fff)
            return false;
        *out = (uint16_t)(sign | (unsigned)(e + 15) << 10 | frac >> 13);
        return true;
    }
    if (e < -14 && e >= -24) {
        uint32_t m = frac | 1u << 23;
        unsigned shift = (unsigned)(13 + (-14 - e));
        if (m & ((1u << shift) - 1))
            return false;
        *out = (uint16_t)(sign | m >> shift);
        return true;
    }
    return false;
}

static uint64_t single_to_double(uint32_t s)
{
    uint64_t sign = (uint64_t)(s >> 31) << 63;
    unsigned exp = s >> 23 & 0xff;
    uint64_t frac = s & 0x7fffff;
    if (exp == 0xff)
        return sign | 0x7ffull << 52 | frac << 29;
    if (exp != 0)
        return sign | (uint64_t)(exp - 127 + 1023) << 52 | frac << 29;
    if (frac == 0)
        return sign;
    unsigned e = 1023 - 126; /* subnormal: shift until the hidden bit shows */
    while (!(frac & 0x800000)) {
        frac <<= 1;
        e--;
    }
    return sign | (uint64_t)e << 52 | (frac & 0x7fffff) << 29;
}

static uint32_t half_to_single(uint16_t h)
{
    uint32_t sign = (uint32_t)(h >> 15) << 31;
    unsigned exp = h >> 10 & 0x1f;
    uint32_t frac = h & 0x3ff;
    if (exp == 0x1f)
        return sign | 0x7f800000u | frac << 13;
    if (exp != 0)
        return sign | (uint32_t)(exp - 15 + 127) << 23 | frac << 13;
    if (frac == 0)
        return sign;
    unsigned e = 127 - 14;
    while (!(frac & 0x400)) {
        frac <<= 1;
        e--;
    }
    return sign | (uint32_t)e << 23 | (frac & 0x3ff) << 13;
}

void wb_write_float(wb_writer *w, double v)
{
    uint8_t out[9];
    uint64_t d = wb_double_bits(v);
    uint32_t s;
    uint16_t h;
    if (v != v) { /* one NaN for all of them: f97e00 */
        d = 0x7ff8000000000000u;
    }
    if (to_single(d, &s)) {
        if (to_half(s, &h)) {
            out[0] = 0xf9;
            put_be(out + 1, h, 2);
            wb_write_raw(w, out, 3);
            return;
        }
        out[0] = 0xfa;
        put_be(out + 1, s, 4);
        wb_write_raw(w, out, 5);
        return;
    }
    out[0] = 0xfb;
    put_be(out + 1, d, 8);
    wb_write_raw(w, out, 9);
}

void wb_reader_init(wb_reader *r, const uint8_t *data, size_t len)
{
    r->p = data;
    r->end = len > 0 ? data + len : data; /* data may be NULL */
}

int wb_read_major(const wb_reader *r)
{
    return r->p < r->end ? *r->p >> 5 : WB_EFORMAT;
}

/* Reads a head; `value` is the argument, for major 7 the raw bits of simple value or float. */
static int read_head(wb_reader *r, unsigned *major, unsigned *info, uint64_t *value)
{
    if (r->p >= r->end)
        return WB_EFORMAT;
    uint8_t b = *r->p;
    *major = b >> 5;
    *info = b & 0x1f;
    if (*info < 24) {
        *value = *info;
        r->p++;
        return 0;
    }
    if (*info > 27)
        return WB_EFORMAT;
    unsigned extra = 1u << (*info - 24);
    if ((size_t)(r->end - r->p) < 1u + extra)
        return WB_EFORMAT;
    uint64_t v = get_be(r->p + 1, extra);
    if (*major != WB_CBOR_SIMPLE && head_extra(v) != extra)
        return WB_EFORMAT; /* not the shortest form */
    *value = v;
    r->p += 1u + extra;
    return 0;
}

static int expect(wb_reader *r, unsigned want, uint64_t *value)
{
    wb_reader t = *r;
    unsigned major, info;
    if (read_head(&t, &major, &info, value) < 0 || major != want)
        return WB_EFORMAT;
    *r = t;
    return 0;
}

int wb_read_uint(wb_reader *r, uint64_t *out)
{
    return expect(r, WB_CBOR_UINT, out);
}

static int read_string(wb_reader *r, unsigned major, const uint8_t **data, size_t *len)
{
    wb_reader t = *r;
    uint64_t n;
    if (expect(&t, major, &n) < 0 || n > (uint64_t)(t.end - t.p))
        return WB_EFORMAT;
    *data = t.p;
    *len = (size_t)n;
    r->p = t.p + n;
    return 0;
}

int wb_read_bytes(wb_reader *r, wb_bytes *out)
{
    return read_string(r, WB_CBOR_BYTES, &out->data, &out->len);
}

int wb_read_text(wb_reader *r, wb_text *out)
{
    const uint8_t *p;
    if (read_string(r, WB_CBOR_TEXT, &p, &out->len) < 0)
        return WB_EFORMAT;
    out->data = (const char *)p;
    return 0;
}

int wb_read_bool(wb_reader *r, bool *out)
{
    if (r->p >= r->end || (*r->p != 0xf4 && *r->p != 0xf5))
        return WB_EFORMAT;
    *out = *r->p == 0xf5;
    r->p++;
    return 0;
}

int wb_read_float(wb_reader *r, double *out)
{
    wb_reader t = *r;
    unsigned major, info;
    uint64_t v;
    if (read_head(&t, &major, &info, &v) < 0 || major != WB_CBOR_SIMPLE || info < 25)
        return WB_EFORMAT;
    if (info == 25)
        v = single_to_double(half_to_single((uint16_t)v));
    else if (info == 26)
        v = single_to_double((uint32_t)v);
    *out = wb_bits_double(v);
    *r = t;
    return 0;
}

static int read_count(wb_reader *r, unsigned major, size_t max, size_t *count)
{
    wb_reader t = *r;
    uint64_t n;
    /* Every element takes a byte at least, so a count beyond what is left is refused before anybody loops. */
    if (expect(&t, major, &n) < 0 || n > max || n > (uint64_t)(t.end - t.p))
        return WB_EFORMAT;
    *count = (size_t)n;
    *r = t;
    return 0;
}

int wb_read_array(wb_reader *r, size_t *count)
{
    return read_count(r, WB_CBOR_ARR, WB_CBOR_ARRAY, count);
}

int wb_read_map(wb_reader *r, size_t *count)
{
    return read_count(r, WB_CBOR_MAPM, WB_CBOR_MAP, count);
}

bool wb_utf8_valid(const uint8_t *p, size_t len)
{
    size_t i = 0;
    while (i < len) {
        uint8_t c = p[i++];
        if (c < 0x80)
            continue;
        unsigned more;
        uint32_t cp, least;
        if (c >= 0xc2 && c <= 0xdf) {
            more = 1, cp = c & 0x1f, least = 0x80;
        } else if (c >= 0xe0 && c <= 0xef) {
            more = 2, cp = c & 0x0f, least = 0x800;
        } else if (c >= 0xf0 && c <= 0xf4) {
            more = 3, cp = c & 0x07, least = 0x10000;
        } else {
            return false;
        }
        if (len - i < more)
            return false;
        for (unsigned k = 0; k < more; k++) {
            uint8_t n = p[i++];
            if ((n & 0xc0) != 0x80)
                return false;
            cp = cp << 6 | (n & 0x3f);
        }
        if (cp < least || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
            return false;
    }
    return true;
}

static int check_simple(unsigned info, uint64_t v)
{
    uint32_t s;
    uint16_t h;
    switch (info) {
    case 20: /* false */
    case 21: /* true */
        return 0;
    case 25:
        /* NaN has one form. */
        return (v & 0x7c00) == 0x7c00 && (v & 0x3ff) != 0 && v != 0x7e00 ? WB_EFORMAT : 0;
    case 26:
        if ((v & 0x7f800000u) == 0x7f800000u && (v & 0x7fffffu) != 0)
            return WB_EFORMAT;
        return to_half((uint32_t)v, &h) ? WB_EFORMAT : 0;
    case 27:
        if ((v >> 52 & 0x7ff) == 0x7ff && (v & 0xfffffffffffffu) != 0)
            return WB_EFORMAT;
        return to_single(v, &s) ? WB_EFORMAT : 0;
    default:
        return WB_EFORMAT;
    }
}

/* Bytewise lexicographic order of two encoded keys: negative, 0, positive. */
static int compare_keys(const uint8_t *a, size_t an, const uint8_t *b, size_t bn)
{
    int c = memcmp(a, b, an < bn ? an : bn);
    if (c != 0)
        return c;
    return an < bn ? -1 : an > bn;
}

/* One open array or map. In a map an even `left` means that a key comes next. */
struct level {
    uint32_t left; /* items to come: elements, or keys and values */
    bool map;
    const uint8_t *key; /* start of the key being read */
    const uint8_t *last;
    size_t last_len; /* of the key before it; last NULL: none */
};

/* An item has ended at `end` inside of *l. */
static int item_done(struct level *l, const uint8_t *end)
{
    if (l->map && l->left % 2 == 0) {
        size_t n = (size_t)(end - l->key);
        if (l->last != NULL && compare_keys(l->last, l->last_len, l->key, n) >= 0)
            return WB_EFORMAT; /* out of order, or twice */
        l->last = l->key;
        l->last_len = n;
    }
    l->left--;
    return 0;
}

/* Reads one head, with its string, and checks all but nesting and key order. *count is the number of items that
 * follow inside of it. */
static int check_item(wb_reader *r, unsigned *major, uint64_t *count)
{
    unsigned info;
    uint64_t v;
    *count = 0;
    if (read_head(r, major, &info, &v) < 0)
        return WB_EFORMAT;
    switch (*major) {
    case WB_CBOR_UINT:
    case WB_CBOR_NINT:
        return 0;
    case WB_CBOR_BYTES:
    case WB_CBOR_TEXT:
        if (v > (uint64_t)(r->end - r->p))
            return WB_EFORMAT;
        if (*major == WB_CBOR_TEXT && !wb_utf8_valid(r->p, (size_t)v))
            return WB_EFORMAT;
        r->p += v;
        return 0;
    case WB_CBOR_ARR:
        *count = v;
        return v > WB_CBOR_ARRAY ? WB_EFORMAT : 0;
    case WB_CBOR_MAPM:
        *count = 2 * v;
        return v > WB_CBOR_MAP ? WB_EFORMAT : 0;
    case WB_CBOR_SIMPLE:
        return check_simple(info, v);
    default:
        return WB_EFORMAT;
    }
}

int wb_cbor_check(const uint8_t *data, size_t len)
{
    struct level stack[WB_CBOR_DEPTH];
    unsigned depth = 0;
    wb_reader r;
    wb_reader_init(&r, data, len);
    for (;;) {
        unsigned major;
        uint64_t count;
        if (depth > 0)
            if (stack[depth - 1].map && stack[depth - 1].left % 2 == 0)
                stack[depth - 1].key = r.p;
        if (check_item(&r, &major, &count) < 0)
            return WB_EFORMAT;
        if (major == WB_CBOR_ARR || major == WB_CBOR_MAPM) {
            if (depth == WB_CBOR_DEPTH)
                return WB_EFORMAT;
            if (count > 0) {
                stack[depth].left = (uint32_t)count;
                stack[depth].map = major == WB_CBOR_MAPM;
                stack[depth].last = NULL;
                stack[depth].last_len = 0;
                depth++;
                continue;
            }
        }
        while (depth > 0) {
            if (item_done(&stack[depth - 1], r.p) < 0)
                return WB_EFORMAT;
            if (stack[depth - 1].left > 0)
                break;
            depth--;
        }
        if (depth == 0)
            return r.p == r.end ? 0 : WB_EFORMAT;
    }
}

int wb_read_skip(wb_reader *r)
{
    wb_reader t = *r;
    uint64_t left = 1;
    while (left > 0) {
        unsigned major, info;
        uint64_t v;
        if (read_head(&t, &major, &info, &v) < 0)
            return WB_EFORMAT;
        left--;
        if (major == WB_CBOR_BYTES || major == WB_CBOR_TEXT) {
            if (v > (uint64_t)(t.end - t.p))
                return WB_EFORMAT;
            t.p += v;
        } else if (major == WB_CBOR_ARR || major == WB_CBOR_MAPM) {
            if (v > (uint64_t)(t.end - t.p))
                return WB_EFORMAT;
            left += v * (major == WB_CBOR_MAPM ? 2 : 1);
        }
    }
    *r = t;
    return 0;
}
