/* The simulated engine and the modules for it: real WebAssembly headers, a script instead of code. */
#include "harness.h"
#include "sim.h"

/* ---- modules ---- */

typedef struct bytes {
    uint8_t *p;
    size_t n, cap;
} bytes;

static void put(bytes *b, uint8_t v)
{
    if (b->n < b->cap)
        b->p[b->n] = v;
    b->n++;
}

static void put_leb(bytes *b, uint32_t v)
{
    do {
        put(b, (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0)));
        v >>= 7;
    } while (v != 0);
}

static void put_name(bytes *b, const char *s, size_t n)
{
    put_leb(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        put(b, (uint8_t)s[i]);
}

static void put_section(bytes *b, uint8_t id, const bytes *body)
{
    put(b, id);
    put_leb(b, (uint32_t)body->n);
    for (size_t i = 0; i < body->n; i++)
        put(b, body->p[i]);
}

static void put_type(bytes *b, const char *type)
{
    const char *colon = strchr(type, ':');
    put(b, 0x60);
    for (int side = 0; side < 2; side++) {
        const char *p = side == 0 ? type : colon + 1;
        size_t n = side == 0 ? (size_t)(colon - type) : strlen(p);
        put_leb(b, (uint32_t)n);
        for (size_t i = 0; i < n; i++)
            put(b, p[i] == 'i' ? 0x7f : p[i] == 'I' ? 0x7e : p[i] == 'f' ? 0x7d : 0x7c);
    }
}

static const wb_import *import_named(const char *name, size_t n)
{
    size_t count;
    const wb_import *all = wb_imports(&count);
    for (size_t i = 0; i < count; i++)
        if (strlen(all[i].name) == n && memcmp(all[i].name, name, n) == 0)
            return &all[i];
    return NULL;
}

size_t sim_make_module(uint8_t *out, size_t cap, const char *imports, const sim_script *script, size_t size)
{
    static const uint8_t magic[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    uint8_t types[512], imps[1024], small[256];
    bytes b = {out, 0, cap}, t = {types, 0, sizeof types}, im = {imps, 0, sizeof imps}, s;
    uint32_t count = 0;
    bytes counted = {small, 0, sizeof small};
    for (const char *p = imports; *p != '\0';) {
        size_t n = strcspn(p, ",");
        const wb_import *known = import_named(p, n);
        put_type(&t, known != NULL ? known->type : "i:i");
        put_name(&im, "wasmbed", 7);
        put_name(&im, p, n);
        put(&im, 0);
        put_leb(&im, count++);
        p += n + (p[n] == ',');
    }
    put_type(&t, ":i");
    for (size_t i = 0; i < sizeof magic; i++)
        put(&b, magic[i]);
    /* Each vector's count goes in front of it. */
    uint8_t whole[1100];
    s = (bytes){whole, 0, sizeof whole};
    put_leb(&s, count + 1);
    for (size_t i = 0; i < t.n; i++)
        put(&s, types[i]);
    put_section(&b, 1, &s);
    s.n = 0;
    put_leb(&s, count);
    for (size_t i = 0; i < im.n; i++)
        put(&s, imps[i]);
    if (count > 0)
        put_section(&b, 2, &s);
    counted.n = 0;
    put_leb(&counted, 1);
    put_leb(&counted, count);
    put_section(&b, 3, &counted);
    counted.n = 0;
    put_leb(&counted, 1); /* one memory of one page */
    put(&counted, 0);
    put_leb(&counted, 1);
    put_section(&b, 5, &counted);
    counted.n = 0;
    put_leb(&counted, 2);
    put_name(&counted, "memory", 6);
    put(&counted, 2);
    put_leb(&counted, 0);
    put_name(&counted, "wasmbed_start", 13);
    put(&counted, 0);
    put_leb(&counted, count);
    put_section(&b, 7, &counted);
    counted.n = 0;
    put_leb(&counted, 1);
    put_leb(&counted, 4); /* body: no locals, i32.const 0, end */
    put(&counted, 0);
    put(&counted, 0x41);
    put(&counted, 0);
    put(&counted, 0x0b);
    put_section(&b, 10, &counted);
    counted.n = 0;
    put_name(&counted, "script", 6);
    for (size_t i = 0; i < sizeof *script; i++)
        put(&counted, ((const uint8_t *)script)[i]);
    put_section(&b, 0, &counted);
    while (b.n + 8 < size) { /* custom sections as padding; small ones, so that any size can be had */
        size_t n = size - b.n - 2;
        if (n > 120)
            n = 120;
        counted.n = 0;
        put_name(&counted, "pad", 3);
        while (counted.n < n)
            put(&counted, (uint8_t)(b.n * 31 + counted.n));
        put_section(&b, 0, &counted);
    }
    CHECK(b.n <= cap);
    return b.n;
}

/* ---- the engine ---- */

static sim_module *module_of(sim *s, const wb_instance *inst)
{
    return &s->module[wb_instance_index(inst)];
}

sim_module *sim_running(sim *s, const char *revision)
{
    for (int i = 0; i < SIM_APPS; i++)
        if (s->module[i].loaded && (revision == NULL || strcmp(s->module[i].revision, revision) == 0))
            return &s->module[i];
    return NULL;
}

static int64_t memory_need(void *ctx, const wb_module *m, const wb_limits *limits)
{
    (void)m;
    (void)limits;
    return ((sim *)ctx)->memory_need;
}

static int load(void *ctx, wb_instance *inst, const wb_module *m, const wb_limits *limits, wb_trap *trap)
{
    sim *s = ctx;
    uint8_t all[SIM_SLOT];
    static const char mark[] = "\x06script";
    (void)trap;
    CHECK(limits->call_timeout > 0);
    CHECK(m->size <= sizeof all);
    if (m->read(m, 0, all, m->size) < 0)
        return WB_EIO;
    CHECK(m->read(m, m->size, all, 1) == WB_EINVAL);
    if (m->mapped != NULL)
        CHECK(memcmp(m->mapped, all, m->size) == 0);
    for (size_t i = 0; i + sizeof mark - 1 + sizeof(sim_script) <= m->size; i++)
        if (memcmp(all + i, mark, sizeof mark - 1) == 0) {
            sim_module *x = module_of(s, inst);
            CHECK(!x->loaded); /* never two of one application */
            memset(x, 0, sizeof *x);
            memcpy(&x->script, all + i + sizeof mark - 1, sizeof x->script);
            if (x->script.load_error != 0)
                return -(int)x->script.load_error;
            wb_text r = wb_instance_revision(inst);
            CHECK(wb_instance_app(inst).len > 0);
            memcpy(x->revision, r.data, r.len);
            x->loaded = true;
            wb_instance_set_engine(inst, x);
            return 0;
        }
    return WB_EFORMAT;
}

static int fault(sim *s, wb_trap *trap, uint8_t reason, const char *where)
{
    s->traps_made++;
    wb_trap_set(trap, (wb_reason)reason, where, "scripted");
    memset(trap->text + 40, 0xc3, sizeof trap->text - 40); /* an engine may well say what is no text */
    memcpy(trap->text + 8, "................................", 32);
    return WB_ETRAP;
}

static void start(sim *s, sim_module *x, wb_instance *inst, wb_call *c)
{
    s->starts++;
    c->result = x->script.start_result;
    s->traps_made += c->result != 0;
    if (x->script.sets_timer)
        CHECK_EQ(wb_host_timer_set(inst, 77, 100), 0);
    if (x->script.config) {
        char rev[WB_REVISION_MAX + 1] = "";
        int n = wb_host_config_get(inst, "rev", 3, rev, sizeof rev - 1);
        CHECK(n > 0);
        CHECK_STR(rev, x->revision);
        CHECK_EQ(wb_host_config_get(inst, "other", 5, rev, sizeof rev), WB_ENOENT);
    }
    if (x->script.kv) {
        uint8_t n = 0;
        int len = wb_host_kv_get(inst, "starts", 6, &n, 1);
        CHECK(len == 1 || len == WB_ENOENT);
        s->kv_seen = n;
        n++;
        bool failing = s->fail_puts > 0 || (s->fail_at != 0 && s->fail_at == s->steps + 1);
        CHECK_EQ(wb_host_kv_set(inst, "starts", 6, &n, 1), failing ? WB_EIO : 0);
    }
}

static int timer(sim *s, sim_module *x, wb_instance *inst, const wb_call *c, wb_trap *trap)
{
    s->timers++;
    x->calls++;
    for (int i = 0; i < x->script.telemetry; i++) {
        CHECK_EQ(wb_host_telemetry(inst, "ticks", 5, (double)s->telemetry_made), 0);
        s->telemetry_made++;
    }
    for (int i = 0; i < x->script.logs; i++) {
        CHECK_EQ(wb_host_log(inst, WB_INFO, "tick", 4), 0);
        s->logs_made++;
    }
    for (int i = 0; i < x->script.messages; i++) {
        CHECK_EQ(wb_host_message_send(inst, "t", 1, (const uint8_t *)"m", 1), 0);
        s->messages_made++;
    }
    if (x->script.hangs) {
        s->now += c->timeout;
        return fault(s, trap, WB_REASON_TIMEOUT, "timer");
    }
    if (x->script.timer_trap != 0 && x->calls >= x->script.trap_after)
        return fault(s, trap, x->script.timer_trap, "timer");
    return 0;
}

static int invoke(sim *s, wb_call *c, wb_trap *trap)
{
    s->invokes++;
    if (c->function.len == 4 && memcmp(c->function.data, "echo", 4) == 0) {
        if (c->payload.len > c->answer_cap)
            return WB_ENOSPC;
        if (c->payload.len > 0)
            memcpy(c->answer, c->payload.data, c->payload.len);
        c->answer_len = c->payload.len;
        return 0;
    }
    if (c->function.len == 4 && memcmp(c->function.data, "trap", 4) == 0)
        return fault(s, trap, WB_REASON_DIVIDE_BY_ZERO, "trap");
    if (c->function.len == 4 && memcmp(c->function.data, "fail", 4) == 0) {
        c->result = 5;
        return 0;
    }
    return WB_ENOENT;
}

static int call(void *ctx, wb_instance *inst, wb_call *c, wb_trap *trap)
{
    sim *s = ctx;
    sim_module *x = wb_instance_engine(inst);
    CHECK(x != NULL && x == module_of(s, inst) && x->loaded);
    CHECK(c->timeout > 0 || c->entry == WB_ENTRY_STOP);
    switch (c->entry) {
    case WB_ENTRY_START:
        if (x->script.start_trap != 0 || s->start_fails)
            return fault(s, trap, s->start_fails ? WB_REASON_TRAP : x->script.start_trap, "start");
        start(s, x, inst, c);
        return 0;
    case WB_ENTRY_TIMER:
        return timer(s, x, inst, c, trap);
    case WB_ENTRY_MESSAGE:
        s->messages++;
        snprintf(s->last_topic, sizeof s->last_topic, "%.*s", (int)c->topic.len, c->topic.data);
        snprintf(s->last_payload, sizeof s->last_payload, "%.*s", (int)c->payload.len, (const char *)c->payload.data);
        return 0;
    case WB_ENTRY_INVOKE:
        return invoke(s, c, trap);
    case WB_ENTRY_STOP:
        s->stops++;
        return x->script.stop_traps ? fault(s, trap, WB_REASON_TRAP, "") : 0;
    }
    return WB_ENOENT;
}

static void unload(void *ctx, wb_instance *inst)
{
    sim_module *x = module_of(ctx, inst);
    x->loaded = false;
    wb_instance_set_engine(inst, NULL);
}

wb_runtime sim_runtime(sim *s)
{
    wb_runtime r = {s, "sim", memory_need, load, call, unload};
    return r;
}
