#include "wasm.h"

#include <string.h>


#define IMPORTS_MAX 64   /* more than the table has; each costs a walk through the types */
#define SECTION_CUSTOM 0
#define SECTION_TYPE 1
#define SECTION_IMPORT 2
#define SECTION_FUNCTION 3
#define SECTION_MEMORY 5
#define SECTION_EXPORT 7
#define SECTION_LAST 13 /* tag; 12 is data count */
#define KIND_FUNCTION 0
#define NAME_KEEP 64

/* Reads forward through a window. */
typedef struct cursor {
    const wb_module *m;
    uint32_t at;    /* next byte */
    uint32_t end;   /* first byte that may not be read */
    uint32_t start; /* of the window in the module */
    uint32_t len;   /* bytes in the window */
    bool io;        /* the storage failed, not the module */
    uint8_t window[64];
} cursor;

static void seek(cursor *c, uint32_t at, uint32_t end)
{
    c->at = at;
    c->end = end;
}

static int next(cursor *c, uint8_t *out)
{
    if (c->at >= c->end)
        return WB_EFORMAT;
    if (c->m->mapped != NULL) {
        *out = c->m->mapped[c->at++];
        return 0;
    }
    if (c->at < c->start || c->at >= c->start + c->len) {
        uint32_t n = c->m->size - c->at;
        if (n > sizeof c->window)
            n = sizeof c->window;
        c->len = 0;
        if (c->m->read(c->m, c->at, c->window, n) < 0) {
            c->io = true;
            return WB_EIO;
        }
        c->start = c->at;
        c->len = n;
    }
    *out = c->window[c->at++ - c->start];
    return 0;
}

/* LEB128, at most 5 bytes for 32 bits. */
static int leb(cursor *c, uint32_t *out)
{
    uint32_t v = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint8_t b;
        if (next(c, &b) < 0)
            return WB_EFORMAT;
        if (shift == 28 && (b & 0x70) != 0)
            return WB_EFORMAT;
        v |= (uint32_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *out = v;
            return 0;
        }
    }
    return WB_EFORMAT;
}

/* The limits of memories and tables may be 64 bit wide in newer proposals: only plain 32-bit ones are taken. */
static int limits_of(cursor *c, uint32_t *min)
{
    uint32_t flags, max;
    if (leb(c, &flags) < 0 || flags > 1 || leb(c, min) < 0)
        return WB_EFORMAT;
    return flags == 1 ? leb(c, &max) : 0;
}

/* Keeps the first NAME_KEEP bytes; *len is the whole length. */
static int name_of(cursor *c, char *out, uint32_t *len)
{
    if (leb(c, len) < 0 || *len > c->end - c->at)
        return WB_EFORMAT;
    for (uint32_t i = 0; i < *len; i++) {
        uint8_t b;
        if (next(c, &b) < 0)
            return WB_EFORMAT;
        if (i < NAME_KEEP)
            out[i] = (char)b;
    }
    return 0;
}

static bool name_is(const char *kept, uint32_t len, const char *want)
{
    return len <= NAME_KEEP && strlen(want) == len && memcmp(kept, want, len) == 0;
}

static char letter(uint8_t type)
{
    switch (type) {
    case 0x7f:
        return 'i';
    case 0x7e:
        return 'I';
    case 0x7d:
        return 'f';
    case 0x7c:
        return 'F';
    default:
        return '?'; /* a vector or a reference: no host function has one */
    }
}

/* Spells one function type as wb_import does; types with more than eight values on a side come out as "?". */
static int spell_type(cursor *c, char *out, size_t cap)
{
    uint8_t form;
    size_t at = 0;
    if (next(c, &form) < 0 || form != 0x60)
        return WB_EFORMAT;
    for (unsigned side = 0; side < 2; side++) {
        uint32_t n;
        if (leb(c, &n) < 0 || n > c->end - c->at)
            return WB_EFORMAT;
        for (uint32_t i = 0; i < n; i++) {
            uint8_t b;
            if (next(c, &b) < 0)
                return WB_EFORMAT;
            if (at + 3 < cap)
                out[at++] = letter(b);
            else
                out[0] = '?';
        }
        if (side == 0)
            out[at++] = ':';
    }
    out[at] = '\0';
    return 0;
}

/* Where the sections are that are looked at twice. */
typedef struct layout {
    uint32_t types, types_end;
    uint32_t functions, functions_end;
    uint32_t imported; /* functions */
    uint32_t start;    /* function index of wasmbed_start */
    bool has_start;
} layout;

static int type_at(cursor *c, const layout *l, uint32_t index, char *out, size_t cap)
{
    uint32_t n;
    seek(c, l->types, l->types_end);
    if (leb(c, &n) < 0 || index >= n)
        return WB_EFORMAT;
    for (uint32_t i = 0; i <= index; i++)
        if (spell_type(c, out, cap) < 0)
            return WB_EFORMAT;
    return 0;
}

/* "module.name", cut and made printable. */
static void say_import(char *text, const char *module, uint32_t mlen, const char *name, uint32_t nlen)
{
    size_t at = 0;
    for (unsigned part = 0; part < 2; part++) {
        const char *s = part == 0 ? module : name;
        uint32_t n = part == 0 ? mlen : nlen;
        for (uint32_t i = 0; i < n && i < NAME_KEEP && at < WB_TEXT_MAX; i++)
            text[at++] = s[i] >= 0x20 && s[i] < 0x7f ? s[i] : '?';
        if (part == 0 && at < WB_TEXT_MAX)
            text[at++] = '.';
    }
    text[at] = '\0';
}

static void say(char *text, const char *what)
{
    size_t n = strlen(what);
    if (n > WB_TEXT_MAX)
        n = WB_TEXT_MAX;
    memcpy(text, what, n);
    text[n] = '\0';
}

static wb_reason check_imports(cursor *c, layout *l, const wb_limits *limits, char *text)
{
    uint32_t n, end = c->end;
    if (leb(c, &n) < 0)
        return WB_REASON_NOT_WASM;
    if (n > IMPORTS_MAX) {
        say(text, "too many imports");
        return WB_REASON_MISSING_IMPORT;
    }
    size_t known;
    const wb_import *table = wb_imports(&known);
    for (uint32_t i = 0; i < n; i++) {
        char module[NAME_KEEP], name[NAME_KEEP], type[20];
        uint32_t mlen, nlen, index;
        uint8_t kind;
        if (name_of(c, module, &mlen) < 0 || name_of(c, name, &nlen) < 0 || next(c, &kind) < 0)
            return WB_REASON_NOT_WASM;
        const wb_import *found = NULL;
        if (kind == KIND_FUNCTION && name_is(module, mlen, "wasmbed"))
            for (size_t k = 0; k < known; k++)
                if (name_is(name, nlen, table[k].name))
                    found = &table[k];
        if (found == NULL) {
            say_import(text, module, mlen, name, nlen);
            return WB_REASON_MISSING_IMPORT;
        }
        if (leb(c, &index) < 0)
            return WB_REASON_NOT_WASM;
        uint32_t back = c->at;
        if (type_at(c, l, index, type, sizeof type) < 0)
            return WB_REASON_NOT_WASM;
        seek(c, back, end);
        say_import(text, module, mlen, name, nlen);
        if (strcmp(type, found->type) != 0)
            return WB_REASON_MISSING_IMPORT; /* the name is there, this function is not */
        if ((found->permission & ~limits->permissions) != 0)
            return WB_REASON_PERMISSION_DENIED;
        l->imported++;
    }
    text[0] = '\0';
    return WB_REASON_NONE;
}

static wb_reason check_memory(cursor *c, const wb_limits *limits, char *text)
{
    uint32_t n, min;
    if (leb(c, &n) < 0 || n > 1)
        return WB_REASON_NOT_WASM;
    if (n == 0)
        return WB_REASON_NONE;
    if (limits_of(c, &min) < 0)
        return WB_REASON_NOT_WASM;
    if (min > limits->memory_pages) {
        say(text, "more memory pages than the manifest allows");
        return WB_REASON_INSUFFICIENT_MEMORY;
    }
    return WB_REASON_NONE;
}

static wb_reason find_start(cursor *c, layout *l)
{
    uint32_t n;
    if (leb(c, &n) < 0)
        return WB_REASON_NOT_WASM;
    for (uint32_t i = 0; i < n; i++) {
        char name[NAME_KEEP];
        uint32_t len, index;
        uint8_t kind;
        if (name_of(c, name, &len) < 0 || next(c, &kind) < 0 || leb(c, &index) < 0)
            return WB_REASON_NOT_WASM;
        if (kind == KIND_FUNCTION && name_is(name, len, "wasmbed_start")) {
            l->start = index;
            l->has_start = true;
        }
    }
    return WB_REASON_NONE;
}

/* The entry point must be () -> i32. */
static wb_reason check_start(cursor *c, const layout *l, char *text)
{
    char type[20];
    uint32_t n, index = 0;
    say(text, "wasmbed_start");
    if (!l->has_start || l->start < l->imported)
        return WB_REASON_NO_ENTRY_POINT;
    seek(c, l->functions, l->functions_end);
    if (leb(c, &n) < 0 || l->start - l->imported >= n)
        return WB_REASON_NOT_WASM;
    for (uint32_t i = 0; i <= l->start - l->imported; i++)
        if (leb(c, &index) < 0)
            return WB_REASON_NOT_WASM;
    if (type_at(c, l, index, type, sizeof type) < 0)
        return WB_REASON_NOT_WASM;
    if (strcmp(type, ":i") != 0)
        return WB_REASON_NO_ENTRY_POINT;
    text[0] = '\0';
    return WB_REASON_NONE;
}

/* The order of sections is their number, but for tag (13, between memory and global) and data count (12, before
 * code). */
static unsigned rank(uint8_t id)
{
    static const uint8_t ranks[SECTION_LAST + 1] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 11, 6};
    return ranks[id];
}

static wb_reason walk(cursor *c, layout *l, const wb_limits *limits, char *text)
{
    unsigned last = 0;
    while (c->at < c->m->size) {
        uint8_t id;
        uint32_t size;
        seek(c, c->at, c->m->size);
        if (next(c, &id) < 0 || id > SECTION_LAST || leb(c, &size) < 0 || size > c->m->size - c->at)
            return WB_REASON_NOT_WASM;
        uint32_t body = c->at, end = c->at + size;
        if (id != SECTION_CUSTOM) {
            if (rank(id) <= last)
                return WB_REASON_NOT_WASM;
            last = rank(id);
        }
        wb_reason r = WB_REASON_NONE;
        seek(c, body, end);
        switch (id) {
        case SECTION_TYPE:
            l->types = body;
            l->types_end = end;
            break;
        case SECTION_IMPORT:
            r = check_imports(c, l, limits, text);
            break;
        case SECTION_FUNCTION:
            l->functions = body;
            l->functions_end = end;
            break;
        case SECTION_MEMORY:
            r = check_memory(c, limits, text);
            break;
        case SECTION_EXPORT:
            r = find_start(c, l);
            break;
        default:
            break;
        }
        if (r != WB_REASON_NONE)
            return r;
        seek(c, end, c->m->size);
    }
    return check_start(c, l, text);
}

wb_reason wb_wasm_check(const wb_module *m, const wb_limits *limits, char *text)
{
    static const uint8_t magic[8] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    cursor c;
    layout l;
    memset(&c, 0, sizeof c);
    memset(&l, 0, sizeof l);
    c.m = m;
    text[0] = '\0';
    seek(&c, 0, m->size);
    for (unsigned i = 0; i < sizeof magic; i++) {
        uint8_t b;
        if (next(&c, &b) < 0 || b != magic[i])
            return c.io ? WB_REASON_STORAGE_ERROR : WB_REASON_NOT_WASM;
    }
    wb_reason r = walk(&c, &l, limits, text);
    return c.io ? WB_REASON_STORAGE_ERROR : r;
}
