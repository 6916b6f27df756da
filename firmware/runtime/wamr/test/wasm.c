#include "wasm.h"

#include <string.h>

typedef struct out {
    uint8_t *p;
    size_t at, cap;
    size_t patch; /* where the section's length goes */
} out;

static void put(out *o, uint8_t b)
{
    if (o->at < o->cap)
        o->p[o->at] = b;
    o->at++;
}

static void leb(out *o, uint32_t v)
{
    do {
        put(o, (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0)));
        v >>= 7;
    } while (v != 0);
}

/* An i32.const of a number that is not negative. */
static void constant(out *o, uint32_t v)
{
    put(o, 0x41);
    while (v > 0x3f) {
        put(o, (uint8_t)((v & 0x7f) | 0x80));
        v >>= 7;
    }
    put(o, (uint8_t)v);
}

static void raw(out *o, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put(o, ((const uint8_t *)p)[i]);
}

static void text(out *o, const char *s)
{
    leb(o, (uint32_t)strlen(s));
    raw(o, s, strlen(s));
}

/* A section's length is written as five bytes, when it is known. */
static void begin(out *o, uint8_t id)
{
    put(o, id);
    o->patch = o->at;
    for (int i = 0; i < 5; i++)
        put(o, 0);
}

static void end(out *o)
{
    uint32_t n = (uint32_t)(o->at - o->patch - 5);
    for (int i = 0; i < 5; i++, n >>= 7)
        if (o->patch + (size_t)i < o->cap)
            o->p[o->patch + (size_t)i] = (uint8_t)((n & 0x7f) | (i < 4 ? 0x80 : 0));
}

static void types(out *o)
{
    static const uint8_t t[] = {3, 0x60, 0, 1, 0x7f, 0x60, 2, 0x7f, 0x7f, 1, 0x7f, 0x60, 0, 0};
    begin(o, 1);
    raw(o, t, sizeof t); /* 0: () -> i32; 1: (i32, i32) -> i32; 2: () -> () */
    end(o);
}

static void body(out *o, const uint8_t *code, size_t len, uint32_t locals)
{
    size_t head = locals == 0 ? 1 : locals < 128 ? 3 : 4; /* the group of locals */
    leb(o, (uint32_t)(head + len + 1));
    if (locals == 0) {
        put(o, 0);
    } else {
        put(o, 1);
        leb(o, locals);
        put(o, 0x7f);
    }
    raw(o, code, len);
    put(o, 0x0b);
}

static void globals(out *o, uint32_t heap_base)
{
    begin(o, 6);
    leb(o, 3);
    for (int i = 0; i < 3; i++) {
        put(o, 0x7f);
        put(o, i == 0); /* the stack pointer is mutable */
        constant(o, heap_base);
        put(o, 0x0b);
    }
    end(o);
}

static void exports(out *o, const wasm_spec *s, uint32_t first)
{
    begin(o, 7);
    leb(o, 1u + !s->no_memory + (s->also != NULL) + (s->heap_base > 0 ? 2 : 0));
    text(o, "wasmbed_start");
    put(o, 0);
    leb(o, first);
    if (!s->no_memory) {
        text(o, "memory");
        put(o, 2);
        leb(o, 0);
    }
    if (s->also != NULL) {
        text(o, s->also);
        put(o, 0);
        leb(o, first + 1);
    }
    if (s->heap_base > 0) {
        text(o, "__heap_base");
        put(o, 3);
        leb(o, 1);
        text(o, "__data_end");
        put(o, 3);
        leb(o, 2);
    }
    end(o);
}

size_t wasm_make(const wasm_spec *s, uint8_t *p, size_t cap)
{
    static const uint8_t magic[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    out o = {p, 0, cap, 0};
    uint32_t first = s->import != NULL;
    raw(&o, magic, sizeof magic);
    if (s->custom > 0) {
        begin(&o, 0);
        text(&o, "name");
        for (uint32_t i = 0; i < s->custom; i++)
            put(&o, 0);
        end(&o);
    }
    types(&o);
    if (s->import != NULL) {
        begin(&o, 2);
        leb(&o, 1);
        text(&o, s->import_module);
        text(&o, s->import);
        put(&o, 0);
        leb(&o, 1);
        end(&o);
    }
    begin(&o, 3);
    leb(&o, 2 + s->functions);
    put(&o, 0);
    for (uint32_t i = 0; i <= s->functions; i++)
        put(&o, 2);
    end(&o);
    begin(&o, 4);
    raw(&o, "\x01\x70\x00", 3);
    leb(&o, s->table > 0 ? s->table : 1);
    end(&o);
    if (!s->no_memory) {
        begin(&o, 5);
        put(&o, 1);
        put(&o, s->max_pages > 0);
        leb(&o, s->pages);
        if (s->max_pages > 0)
            leb(&o, s->max_pages);
        end(&o);
    }
    if (s->heap_base > 0)
        globals(&o, s->heap_base);
    exports(&o, s, first);
    if (s->start != NULL) {
        begin(&o, 8);
        leb(&o, first + 1);
        end(&o);
    }
    if (s->elements > 0) {
        begin(&o, 9);
        raw(&o, "\x01\x00", 2);
        constant(&o, 0);
        put(&o, 0x0b);
        leb(&o, s->elements);
        for (uint32_t i = 0; i < s->elements; i++)
            leb(&o, first);
        end(&o);
    }
    begin(&o, 10);
    leb(&o, 2 + s->functions);
    body(&o, s->body, s->body_len, 0);
    body(&o, s->start, s->start_len, 0);
    for (uint32_t i = 0; i < s->functions; i++)
        body(&o, NULL, 0, s->locals);
    end(&o);
    if (s->data > 0) {
        begin(&o, 11);
        put(&o, 1);
        put(&o, 0);
        constant(&o, 0);
        put(&o, 0x0b);
        leb(&o, s->data);
        for (uint32_t i = 0; i < s->data; i++)
            put(&o, (uint8_t)i);
        end(&o);
    }
    return o.at <= cap ? o.at : 0;
}
