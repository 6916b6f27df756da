/*
 * A module before WAMR sees it: what of it is kept in the pool, what ABI 1 forbids and WAMR allows, and what it is made
 * of, as far as that says how much memory it takes. Reads through a small window, so the module may be anywhere.
 * Validating it is WAMR's; what is not understood here is left to it.
 */
#include <string.h>

#include "internal.h"

enum {
    SECTION_CUSTOM,
    SECTION_TYPE,
    SECTION_IMPORT,
    SECTION_FUNCTION,
    SECTION_TABLE,
    SECTION_MEMORY,
    SECTION_GLOBAL,
    SECTION_EXPORT,
    SECTION_START,
    SECTION_ELEMENT,
    SECTION_CODE,
    SECTION_DATA,
    SECTION_DATA_COUNT
};

enum { KIND_FUNCTION, KIND_TABLE, KIND_MEMORY, KIND_GLOBAL };

/* Reads forward. After a read that did not fit `bad` is set, and everything reads as zero. */
typedef struct cursor {
    const wb_module *m;
    uint32_t at, end;
    uint32_t start, len; /* of the window */
    bool bad, io;
    uint8_t window[128];
} cursor;

static uint8_t byte(cursor *c)
{
    if (c->bad || c->at >= c->end) {
        c->bad = true;
        return 0;
    }
    if (c->m->mapped != NULL)
        return c->m->mapped[c->at++];
    if (c->at < c->start || c->at - c->start >= c->len) {
        uint32_t n = c->m->size - c->at;
        c->start = c->at;
        c->len = n < sizeof c->window ? n : (uint32_t)sizeof c->window;
        if (c->m->read(c->m, c->start, c->window, c->len) < 0) {
            c->bad = c->io = true;
            c->len = 0;
            return 0;
        }
    }
    return c->window[c->at++ - c->start];
}

static void skip(cursor *c, uint32_t n)
{
    if (c->bad || n > c->end - c->at)
        c->bad = true;
    else
        c->at += n;
}

/* LEB128 of up to 64 bits: the lower 32, not sign-extended. */
static uint32_t leb(cursor *c)
{
    uint32_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t b = byte(c);
        if (shift < 32)
            v |= (uint32_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return v;
    }
    c->bad = true;
    return 0;
}

/* The number of elements that follow, each of which has at least one byte. */
static uint32_t count(cursor *c)
{
    uint32_t n = leb(c);
    if (c->bad || n > c->end - c->at) {
        c->bad = true;
        return 0;
    }
    return n;
}

static void name(cursor *c) { skip(c, leb(c)); }

static bool name_is(cursor *c, const char *want)
{
    uint32_t n = count(c), at = c->at;
    bool same = strlen(want) == n;
    for (uint32_t i = 0; i < n && same; i++)
        same = byte(c) == (uint8_t)want[i];
    if (!c->bad)
        c->at = at + n;
    return same;
}

/* The limits of a table or memory: the minimum. */
static uint32_t limits_min(cursor *c)
{
    uint8_t flags = byte(c);
    uint32_t min = leb(c);
    if (flags & 1)
        (void)leb(c);
    return min;
}

/* A constant expression. Whether it is one i32.const that is not negative, and then its value. */
static bool constant(cursor *c, uint32_t *value)
{
    bool plain = false;
    *value = 0;
    for (unsigned n = 0; !c->bad; n++) {
        uint8_t op = byte(c);
        switch (op) {
        case 0x0b: /* end */
            return plain && n == 1;
        case 0x41: /* i32.const */
            *value = leb(c);
            plain = n == 0;
            break;
        case 0x42: /* i64.const */
        case 0x23: /* global.get */
        case 0xd0: /* ref.null */
        case 0xd2: /* ref.func */
            (void)leb(c);
            break;
        case 0x43: /* f32.const */
            skip(c, 4);
            break;
        case 0x44: /* f64.const */
            skip(c, 8);
            break;
        default: /* a vector and the like: not of ABI 1 */
            c->bad = true;
            break;
        }
    }
    return false;
}

/* Steps over the immediates of one instruction (core specification, 5.4). */
static void immediates(cursor *c, uint8_t op, wb_wamr_shape *s)
{
    uint32_t n = 0; /* LEB128 numbers */
    if ((op >= 0x02 && op <= 0x04) || op == 0x0c || op == 0x0d || op == 0x10 || (op >= 0x20 && op <= 0x26) ||
        op == 0x41 || op == 0x42 || op == 0xd0 || op == 0xd2) {
        n = 1;
    } else if (op == 0x11 || (op >= 0x28 && op <= 0x3e)) {
        n = 2;
    } else if (op == 0x3f || op == 0x40) {
        s->grows = true;
        n = 1;
    } else if (op == 0x0e) {
        n = count(c) + 1;
    } else if (op == 0x1c) {
        skip(c, count(c));
    } else if (op == 0x43) {
        skip(c, 4);
    } else if (op == 0x44) {
        skip(c, 8);
    } else if (op == 0xfc) {
        uint32_t sub = leb(c);
        n = sub < 8 ? 0 : sub == 8 || sub == 10 || sub == 12 || sub == 14 ? 2 : 1;
    }
    for (; n > 0 && !c->bad; n--)
        (void)leb(c);
}

/* One function: how many locals it declares, not more than one over the limit. */
static uint32_t function_body(cursor *c, wb_wamr_shape *s)
{
    uint32_t size = leb(c), end = c->at + size, outer = c->end, locals = 0;
    if (c->bad || size > outer - c->at) {
        c->bad = true;
        return 0;
    }
    c->end = end;
    for (uint32_t groups = count(c); groups > 0 && !c->bad; groups--) {
        uint32_t n = leb(c);
        (void)byte(c);
        locals = n > WB_WAMR_LOCALS_MAX - locals ? WB_WAMR_LOCALS_MAX + 1 : locals + n;
        if (locals > WB_WAMR_LOCALS_MAX)
            break;
    }
    while (c->at < end && !c->bad && !s->grows)
        immediates(c, byte(c), s);
    /* What is not understood in there is WAMR's to refuse. */
    if (!c->io) {
        c->bad = false;
        c->at = end;
    }
    c->end = outer;
    return locals;
}

static const char *type_entry(cursor *c, wb_wamr_shape *s)
{
    uint32_t n = 0;
    (void)byte(c);
    for (unsigned side = 0; side < 2; side++) {
        n = count(c);
        s->type_values += n;
        skip(c, n);
    }
    return n > 1 ? "functions with several results" : NULL;
}

/* The global whose index an export names is looked up again: globals stand before exports. */
typedef struct places {
    uint32_t types, types_end;
    uint32_t globals, globals_end;
    uint32_t heap_base, data_end; /* index + 1 */
} places;

static bool global_at(cursor *c, const places *p, uint32_t index, uint32_t *value)
{
    cursor g = *c;
    bool plain = false;
    g.at = p->globals;
    g.end = p->globals_end;
    uint32_t n = count(&g);
    *value = 0;
    for (uint32_t i = 0; i <= index && i < n && !g.bad; i++) {
        uint8_t type = byte(&g), mutable = byte(&g);
        plain = constant(&g, value) && type == 0x7f && mutable == 0 && i == index;
    }
    return plain && !g.bad;
}

static const char *element(cursor *c, wb_wamr_shape *s)
{
    uint32_t flag = leb(c), ignored;
    if (flag > 7)
        return "an unknown kind of element segment";
    if (!(flag & 1)) {
        if (flag & 2)
            (void)leb(c);
        (void)constant(c, &ignored);
    }
    if (flag & 3)
        (void)byte(c);
    uint32_t n = count(c);
    s->element_entries += n;
    for (; n > 0 && !c->bad; n--) {
        if (flag & 4)
            (void)constant(c, &ignored);
        else
            (void)leb(c);
    }
    return NULL;
}

static void export_entry(cursor *c, wb_wamr_shape *s, places *p)
{
    cursor again = *c;
    bool memory = name_is(&again, "memory");
    again = *c;
    bool base = name_is(&again, "__heap_base");
    again = *c;
    bool end = name_is(&again, "__data_end");
    name(c);
    uint8_t kind = byte(c);
    uint32_t index = leb(c);
    s->function_exports += kind == KIND_FUNCTION;
    if (kind == KIND_MEMORY && memory)
        s->exports_memory = true;
    if (kind == KIND_GLOBAL && base)
        p->heap_base = index + 1;
    if (kind == KIND_GLOBAL && end)
        p->data_end = index + 1;
}

/* One section; what is wrong with it. */
static const char *section(cursor *c, uint8_t id, wb_wamr_shape *s, places *p)
{
    if (id == SECTION_START || id == SECTION_DATA_COUNT)
        return NULL;
    if (id == SECTION_GLOBAL) {
        p->globals = c->at;
        p->globals_end = c->end;
    }
    uint32_t n = count(c), ignored;
    for (uint32_t i = 0; i < n && !c->bad; i++) {
        const char *wrong = NULL;
        switch (id) {
        case SECTION_TYPE:
            wrong = type_entry(c, s);
            s->types++;
            break;
        case SECTION_IMPORT:
            name(c);
            name(c);
            if (byte(c) != KIND_FUNCTION && !c->bad)
                return "imports something else than a function";
            (void)leb(c);
            s->imports++;
            break;
        case SECTION_FUNCTION:
            (void)leb(c);
            s->functions++;
            break;
        case SECTION_TABLE:
            (void)byte(c);
            ignored = limits_min(c);
            s->tables++;
            if (ignored > WB_WAMR_TABLE_MAX)
                return "a table with too many entries";
            s->table_entries += ignored;
            break;
        case SECTION_MEMORY:
            s->pages = limits_min(c);
            s->memories++;
            break;
        case SECTION_GLOBAL:
            skip(c, 2);
            (void)constant(c, &ignored);
            s->globals++;
            break;
        case SECTION_EXPORT:
            export_entry(c, s, p);
            s->exports++;
            break;
        case SECTION_ELEMENT:
            wrong = element(c, s);
            s->elements++;
            break;
        case SECTION_CODE:
            ignored = function_body(c, s);
            if (ignored > WB_WAMR_LOCALS_MAX)
                return "a function with too many locals";
            s->locals += ignored;
            break;
        case SECTION_DATA:
            ignored = leb(c);
            if (ignored == 2)
                (void)leb(c);
            if (ignored != 1)
                (void)constant(c, &ignored);
            name(c); /* as long as its length says */
            s->data++;
            break;
        default:
            return "an unknown section";
        }
        if (wrong != NULL)
            return wrong;
    }
    return c->bad ? "a count or length is longer than its section" : NULL;
}

static int wrong(wb_trap *trap, wb_reason reason, const char *text)
{
    wb_trap_set(trap, reason, NULL, text);
    return WB_ETRAP;
}

/* Steps to the next section: its first byte (of the header) and id. False at the end. */
static bool next_section(cursor *c, uint32_t *from, uint8_t *id)
{
    if (c->bad || c->at >= c->m->size)
        return false;
    c->end = c->m->size;
    *from = c->at;
    *id = byte(c);
    uint32_t size = leb(c);
    if (c->bad || size > c->m->size - c->at) {
        c->bad = true;
        return false;
    }
    c->end = c->at + size;
    return true;
}

static void open_module(cursor *c, const wb_module *m)
{
    memset(c, 0, sizeof *c);
    c->m = m;
    c->end = m->size;
}

int wb_wamr_scan(const wb_module *m, wb_wamr_shape *out, wb_trap *trap)
{
    static const uint8_t magic[8] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    cursor c;
    places p;
    uint32_t from;
    uint8_t id;
    unsigned sections = 0;
    const char *text = NULL;
    memset(out, 0, sizeof *out);
    memset(&p, 0, sizeof p);
    open_module(&c, m);
    for (unsigned i = 0; i < sizeof magic; i++)
        if (byte(&c) != magic[i])
            return c.io ? WB_EIO : wrong(trap, WB_REASON_NOT_WASM, "does not begin as a WebAssembly 1 module");
    out->kept = sizeof magic;
    while (text == NULL && next_section(&c, &from, &id)) {
        uint32_t end = c.end;
        if (++sections > WB_WAMR_SECTIONS_MAX)
            text = "too many sections";
        if (id != SECTION_CUSTOM && text == NULL) {
            out->kept += end - from;
            text = section(&c, id, out, &p);
        }
        if (c.io)
            return WB_EIO;
        c.at = end;
    }
    if (c.io)
        return WB_EIO;
    if (text != NULL || c.bad)
        return wrong(trap, WB_REASON_NOT_WASM, text != NULL ? text : "a section is longer than the module");
    uint32_t base, data_end;
    c.at = 0;
    if (p.heap_base > 0 && p.data_end > 0 && global_at(&c, &p, p.heap_base - 1, &base) &&
        global_at(&c, &p, p.data_end - 1, &data_end) && ((data_end + 15) & ~15u) <= base)
        out->heap_base = base;
    return 0;
}

int wb_wamr_copy(const wb_module *m, uint8_t *buf, uint32_t len)
{
    cursor c;
    uint32_t from, at = 8;
    uint8_t id;
    open_module(&c, m);
    if (m->read(m, 0, buf, 8) < 0)
        return WB_EIO;
    for (c.at = 8; next_section(&c, &from, &id); c.at = c.end) {
        uint32_t n = c.end - from;
        if (id == SECTION_CUSTOM)
            continue;
        if (n > len - at || m->read(m, from, buf + at, n) < 0)
            return WB_EIO;
        at += n;
    }
    return at == len && !c.bad ? 0 : WB_EIO;
}
