#include <string.h>

#include "schema.h"

static bool encode_struct(wb_writer *w, unsigned which, const void *object, unsigned front, const wb_msg *m);

static uint64_t number_at(const wb_field *f, const void *at)
{
    if (f->kind == WB_K_U8)
        return *(const uint8_t *)at;
    if (f->kind == WB_K_U32)
        return *(const uint32_t *)at;
    return *(const uint64_t *)at;
}

/* Whether an optional field is written: absent means zero, empty or false. */
static bool is_set(const wb_field *f, const void *at)
{
    switch (f->kind) {
    case WB_K_U8:
    case WB_K_U32:
    case WB_K_U64:
        return number_at(f, at) != 0;
    case WB_K_BOOL:
        return *(const bool *)at;
    case WB_K_BYTES:
        return ((const wb_bytes *)at)->len > 0;
    case WB_K_TEXT:
    case WB_K_NAME:
        return ((const wb_text *)at)->len > 0;
    case WB_K_LIST:
    case WB_K_MAP:
        return ((const wb_items *)at)->count > 0;
    case WB_K_STRUCT:
        if (f->sub == WB_SUB_EVIDENCE)
            return ((const wb_evidence *)at)->present;
        if (f->sub == WB_SUB_MANIFEST)
            return ((const wb_manifest *)at)->present;
        return true;
    default:
        return false;
    }
}

static bool encode_value(wb_writer *w, const wb_field *f, const void *at)
{
    switch (f->kind) {
    case WB_K_U8:
    case WB_K_U32:
    case WB_K_U64: {
        uint64_t v = number_at(f, at);
        wb_write_uint(w, v);
        return v >= f->min && (v <= f->max || f->max == WB_ANY);
    }
    case WB_K_BOOL:
        wb_write_bool(w, *(const bool *)at);
        return true;
    case WB_K_BYTES: {
        const wb_bytes *b = at;
        wb_write_bytes(w, b->data, b->len);
        return b->len >= f->min && b->len <= f->max;
    }
    case WB_K_TEXT:
    case WB_K_NAME: {
        const wb_text *t = at;
        wb_write_text(w, t->data, t->len);
        if (f->kind == WB_K_NAME && !wb_name_valid(*t))
            return false;
        return wb_text_fits(*t, f->min, f->max) && wb_utf8_valid((const uint8_t *)t->data, t->len);
    }
    case WB_K_LIST:
    case WB_K_MAP: {
        const wb_items *i = at;
        if (f->kind == WB_K_MAP)
            wb_write_map(w, i->count);
        else
            wb_write_array(w, i->count);
        if (i->emit != NULL)
            i->emit(w, i->ctx);
        else
            wb_write_raw(w, i->data.data, i->data.len);
        return i->count >= f->min && i->count <= f->max;
    }
    case WB_K_STRUCT:
        return encode_struct(w, f->sub, at, 0, NULL);
    default:
        return false;
    }
}

/* `front` is how many pairs stand before the table's: type and id of a message, none of a struct in it. */
static bool encode_struct(wb_writer *w, unsigned which, const void *object, unsigned front, const wb_msg *m)
{
    size_t count, pairs = front;
    const wb_field *fields = wb_schema(which, &count);
    for (size_t i = 0; i < count; i++)
        if (fields[i].required || is_set(&fields[i], (const uint8_t *)object + fields[i].offset))
            pairs++;
    wb_write_map(w, pairs);
    if (front > 0) {
        wb_write_uint(w, 0);
        wb_write_uint(w, m->type);
        wb_write_uint(w, 1);
        wb_write_uint(w, m->id);
    }
    for (size_t i = 0; i < count; i++) {
        const void *at = (const uint8_t *)object + fields[i].offset;
        if (!fields[i].required && !is_set(&fields[i], at))
            continue;
        wb_write_uint(w, fields[i].key);
        if (!encode_value(w, &fields[i], at))
            return false;
    }
    return wb_check_rules(which, object);
}

int wb_encode(const wb_msg *m, uint8_t *buf, size_t cap)
{
    wb_writer w;
    size_t count;
    if (cap < WB_HEADER_SIZE)
        return WB_ENOSPC;
    if (m->id == 0 || m->type >= WB_SUB_CAPABILITIES || wb_schema(m->type, &count) == NULL)
        return WB_EINVAL;
    wb_writer_init(&w, buf + WB_HEADER_SIZE, cap - WB_HEADER_SIZE);
    if (!encode_struct(&w, m->type, &m->u, 2, m))
        return WB_EINVAL;
    if (w.overflow || w.len > WB_FRAME_MAX)
        return WB_ENOSPC;
    for (unsigned i = 0; i < WB_HEADER_SIZE; i++)
        buf[i] = (uint8_t)(w.len >> (8 * (WB_HEADER_SIZE - 1 - i)));
    return (int)(w.len + WB_HEADER_SIZE);
}

void wb_put_app_state(wb_writer *w, wb_text name, const wb_app_state *s)
{
    wb_write_text(w, name.data, name.len);
    (void)encode_struct(w, WB_SUB_APP_STATE, s, 0, NULL);
}

void wb_put_telemetry(wb_writer *w, const wb_telemetry_record *t)
{
    wb_write_array(w, 4);
    wb_write_uint(w, t->time);
    wb_write_text(w, t->app.data, t->app.len);
    wb_write_text(w, t->name.data, t->name.len);
    wb_write_float(w, t->value);
}

void wb_put_log(wb_writer *w, const wb_log_record *l)
{
    wb_write_array(w, 4);
    wb_write_uint(w, l->time);
    wb_write_text(w, l->app.data, l->app.len);
    wb_write_uint(w, l->level);
    wb_write_text(w, l->text.data, l->text.len);
}
