#include <string.h>

#include "schema.h"

bool wb_name_valid(wb_text t)
{
    for (size_t i = 0; i < t.len; i++) {
        char c = t.data[i];
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            continue;
        if ((c != '-' && c != '.') || i == 0 || i == t.len - 1)
            return false;
    }
    return t.len > 0;
}

bool wb_text_fits(wb_text t, uint32_t min, uint32_t max)
{
    return t.len >= min && t.len <= max;
}

static int decode_fields(wb_reader *r, unsigned which, size_t pairs, void *object);

/* A map of a message: integer keys. */
static int decode_struct(wb_reader *r, unsigned which, void *object)
{
    size_t pairs;
    if (wb_read_map(r, &pairs) < 0)
        return WB_EFORMAT;
    if (decode_fields(r, which, pairs, object) < 0 || !wb_check_rules(which, object))
        return WB_EFORMAT;
    return 0;
}

static int text_in(wb_reader *r, wb_text *t, uint32_t min, uint32_t max)
{
    return wb_read_text(r, t) < 0 || !wb_text_fits(*t, min, max) ? WB_EFORMAT : 0;
}

static int name_in(wb_reader *r, wb_text *t, uint32_t max)
{
    return text_in(r, t, 1, max) < 0 || !wb_name_valid(*t) ? WB_EFORMAT : 0;
}

static int four(wb_reader *r)
{
    size_t n;
    return wb_read_array(r, &n) < 0 || n != 4 ? WB_EFORMAT : 0;
}

int wb_item_timer(wb_reader *r, wb_timer_item *out)
{
    memset(out, 0, sizeof *out);
    return decode_struct(r, WB_SUB_TIMER, out);
}

int wb_item_app_state(wb_reader *r, wb_text *name, wb_app_state *out)
{
    memset(out, 0, sizeof *out);
    if (name_in(r, name, WB_NAME_MAX) < 0)
        return WB_EFORMAT;
    return decode_struct(r, WB_SUB_APP_STATE, out);
}

int wb_item_telemetry(wb_reader *r, wb_telemetry_record *out)
{
    if (four(r) < 0 || wb_read_uint(r, &out->time) < 0 || name_in(r, &out->app, WB_NAME_MAX) < 0 ||
        text_in(r, &out->name, 1, WB_METRIC_MAX) < 0 || wb_read_float(r, &out->value) < 0)
        return WB_EFORMAT;
    return (wb_double_bits(out->value) >> 52 & 0x7ff) == 0x7ff ? WB_EFORMAT : 0; /* not finite */
}

int wb_item_log(wb_reader *r, wb_log_record *out)
{
    uint64_t level;
    if (four(r) < 0 || wb_read_uint(r, &out->time) < 0 || text_in(r, &out->app, 0, WB_NAME_MAX) < 0 ||
        (out->app.len > 0 && !wb_name_valid(out->app)) || wb_read_uint(r, &level) < 0 || level < WB_DEBUG ||
        level > WB_ERROR || text_in(r, &out->text, 0, WB_WIRE_TEXT_MAX) < 0)
        return WB_EFORMAT;
    out->level = (uint8_t)level;
    return 0;
}

static int check_element(wb_reader *r, unsigned element)
{
    wb_text t, u;
    wb_bytes b;
    wb_timer_item timer;
    wb_app_state state;
    wb_telemetry_record telemetry;
    wb_log_record log;
    switch (element) {
    case WB_EL_PERMISSION:
        return text_in(r, &t, 1, WB_PERMISSION_MAX);
    case WB_EL_CERTIFICATE:
        return wb_read_bytes(r, &b) < 0 || b.len == 0 || b.len > WB_CERTIFICATE_MAX ? WB_EFORMAT : 0;
    case WB_EL_CONFIG:
        return text_in(r, &t, 1, WB_CONFIG_KEY_MAX) < 0 ? WB_EFORMAT : text_in(r, &u, 0, WB_CONFIG_VALUE_MAX);
    case WB_EL_TIMER:
        return wb_item_timer(r, &timer);
    case WB_EL_APP:
        return wb_item_app_state(r, &t, &state);
    case WB_EL_REMOVED:
        return name_in(r, &t, WB_NAME_MAX);
    case WB_EL_TELEMETRY:
        return wb_item_telemetry(r, &telemetry);
    case WB_EL_LOG:
        return wb_item_log(r, &log);
    default:
        return WB_EFORMAT;
    }
}

static int decode_items(wb_reader *r, const wb_field *f, wb_items *out)
{
    size_t n;
    if ((f->kind == WB_K_MAP ? wb_read_map(r, &n) : wb_read_array(r, &n)) < 0)
        return WB_EFORMAT;
    if (n > f->max || (n < f->min && (f->required || n > 0)))
        return WB_EFORMAT;
    const uint8_t *start = r->p;
    for (size_t i = 0; i < n; i++)
        if (check_element(r, f->sub) < 0)
            return WB_EFORMAT;
    out->count = n;
    out->data.data = start;
    out->data.len = (size_t)(r->p - start);
    out->emit = NULL;
    return 0;
}

static int decode_number(wb_reader *r, const wb_field *f, void *at)
{
    static const uint64_t widest[] = {0xff, 0xffffffffu, UINT64_MAX}; /* by kind */
    uint64_t v, max = f->max;
    if (f->kind == WB_K_U64 && f->max == WB_ANY)
        max = UINT64_MAX;
    if (wb_read_uint(r, &v) < 0 || v > widest[f->kind])
        return WB_EFORMAT;
    if ((v < f->min || v > max) && (f->required || v != 0))
        return WB_EFORMAT;
    if (f->kind == WB_K_U8)
        *(uint8_t *)at = (uint8_t)v;
    else if (f->kind == WB_K_U32)
        *(uint32_t *)at = (uint32_t)v;
    else
        *(uint64_t *)at = v;
    return 0;
}

static int decode_string(wb_reader *r, const wb_field *f, void *at)
{
    size_t len;
    if (f->kind == WB_K_BYTES) {
        wb_bytes *b = at;
        if (wb_read_bytes(r, b) < 0)
            return WB_EFORMAT;
        len = b->len;
    } else {
        wb_text *t = at;
        if (wb_read_text(r, t) < 0)
            return WB_EFORMAT;
        len = t->len;
        if (f->kind == WB_K_NAME && len > 0 && !wb_name_valid(*t))
            return WB_EFORMAT;
    }
    return (len < f->min || len > f->max) && (f->required || len > 0) ? WB_EFORMAT : 0;
}

static int decode_value(wb_reader *r, const wb_field *f, void *object)
{
    void *at = (uint8_t *)object + f->offset;
    switch (f->kind) {
    case WB_K_U8:
    case WB_K_U32:
    case WB_K_U64:
        return decode_number(r, f, at);
    case WB_K_BOOL:
        return wb_read_bool(r, at);
    case WB_K_BYTES:
    case WB_K_TEXT:
    case WB_K_NAME:
        return decode_string(r, f, at);
    case WB_K_LIST:
    case WB_K_MAP:
        return decode_items(r, f, at);
    case WB_K_STRUCT: {
        const uint8_t *start = r->p;
        if (decode_struct(r, f->sub, at) < 0)
            return WB_EFORMAT;
        if (f->sub == WB_SUB_EVIDENCE)
            ((wb_evidence *)at)->present = true;
        if (f->sub == WB_SUB_MANIFEST) {
            wb_manifest *m = at;
            m->present = true;
            m->raw.data = start;
            m->raw.len = (size_t)(r->p - start);
        }
        return 0;
    }
    default:
        return WB_EFORMAT;
    }
}

/* Keys are sorted (wb_cbor_check saw to it), so one walk through map and table finds everything. */
static int decode_fields(wb_reader *r, unsigned which, size_t pairs, void *object)
{
    size_t count, at = 0;
    const wb_field *fields = wb_schema(which, &count);
    for (; pairs > 0; pairs--) {
        uint64_t key;
        int major = wb_read_major(r);
        if (major == WB_CBOR_UINT) {
            if (wb_read_uint(r, &key) < 0)
                return WB_EFORMAT;
        } else if (major == WB_CBOR_NINT) {
            if (wb_read_skip(r) < 0 || wb_read_skip(r) < 0)
                return WB_EFORMAT;
            continue; /* unknown */
        } else {
            return WB_EFORMAT; /* not an integer */
        }
        while (at < count && fields[at].key < key) {
            if (fields[at].required)
                return WB_EFORMAT;
            at++;
        }
        if (at < count && fields[at].key == key) {
            if (decode_value(r, &fields[at], object) < 0)
                return WB_EFORMAT;
            at++;
        } else if (wb_read_skip(r) < 0) {
            return WB_EFORMAT;
        }
    }
    for (; at < count; at++)
        if (fields[at].required)
            return WB_EFORMAT;
    return 0;
}

int wb_decode_manifest(wb_bytes raw, wb_manifest *out)
{
    wb_reader r;
    memset(out, 0, sizeof *out);
    if (wb_cbor_check(raw.data, raw.len) < 0)
        return WB_EFORMAT;
    wb_reader_init(&r, raw.data, raw.len);
    if (decode_struct(&r, WB_SUB_MANIFEST, out) < 0)
        return WB_EFORMAT;
    out->present = true;
    out->raw = raw;
    return 0;
}

/* Key 0 or 1 of the body, as far as it can be read. */
static int decode_front(wb_reader *r, size_t *pairs, uint64_t want, uint64_t *out)
{
    wb_reader t = *r;
    uint64_t key;
    if (*pairs == 0 || wb_read_uint(&t, &key) < 0 || key != want || wb_read_uint(&t, out) < 0)
        return WB_EFORMAT;
    *r = t;
    (*pairs)--;
    return 0;
}

int wb_decode(const uint8_t *body, size_t len, wb_msg *m)
{
    wb_reader r;
    size_t pairs, count;
    uint64_t type, id;
    memset(m, 0, sizeof *m);
    bool cbor = wb_cbor_check(body, len) == 0;
    wb_reader_init(&r, body, len);
    if (wb_read_map(&r, &pairs) < 0)
        return cbor ? WB_CODE_SCHEMA : WB_CODE_CBOR;
    if (decode_front(&r, &pairs, 0, &type) < 0 || type == 0)
        return cbor ? WB_CODE_SCHEMA : WB_CODE_CBOR;
    m->type = type <= 255 ? (uint8_t)type : 0;
    bool has_id = decode_front(&r, &pairs, 1, &id) == 0 && id > 0;
    m->id = has_id ? id : 0;
    if (!cbor)
        return WB_CODE_CBOR;
    if (type > 255 || wb_schema(m->type, &count) == NULL || m->type >= WB_SUB_CAPABILITIES)
        return WB_CODE_UNKNOWN_TYPE;
    if (!has_id)
        return WB_CODE_SCHEMA;
    if (decode_fields(&r, m->type, pairs, &m->u) < 0 || !wb_check_rules(m->type, &m->u))
        return WB_CODE_SCHEMA;
    return 0;
}
