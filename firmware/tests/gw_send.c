/* The fake platform's wishes, and frames of its own. */
#include "gw.h"

#include "harness.h"
#include "sha256.h"

void gw_init(gw *g, sim *s)
{
    memset(g, 0, sizeof *g);
    g->s = s;
    g->next_command = 1;
    g->heartbeat = 1000;
    g->features = 0x3f;
    g->time = 1700000000000u;
}

gw_revision *gw_add(gw *g, const char *name, const char *imports, const char *permissions, const sim_script *script,
                    size_t size)
{
    wb_sha256 h;
    gw_revision *r = &g->revision[g->revisions++];
    snprintf(r->name, sizeof r->name, "%s", name);
    r->size = sim_make_module(r->bytes, sizeof r->bytes, imports, script, size);
    wb_sha256_start(&h);
    wb_sha256_update(&h, r->bytes, r->size);
    wb_sha256_finish(&h, r->digest);
    r->health_window = 1000;
    r->max_traps = 3;
    r->trap_period = 60000;
    r->call_timeout = 100;
    r->timer = 100;
    r->permissions = permissions;
    return r;
}

gw_want *gw_set(gw *g, const char *app, const gw_revision *r, uint64_t attempt)
{
    gw_want *w = NULL;
    for (int i = 0; i < GW_APPS && w == NULL; i++)
        if (strcmp(g->want[i].app, app) == 0)
            w = &g->want[i];
    for (int i = 0; i < GW_APPS && w == NULL; i++)
        if (g->want[i].app[0] == '\0')
            w = &g->want[i];
    memset(w, 0, sizeof *w);
    snprintf(w->app, sizeof w->app, "%s", app);
    w->revision = r;
    w->attempt = attempt;
    g->desired++;
    return w;
}

gw_app *gw_reported(gw *g, const char *app)
{
    for (int i = 0; i < GW_APPS; i++)
        if (g->app[i].there && strcmp(g->app[i].name, app) == 0)
            return &g->app[i];
    return NULL;
}

/* ---- sending ---- */

void gw_raw(gw *g, const uint8_t *frame, size_t len)
{
    if (!g->s->connected)
        return;
    sim_pipe_put(&g->s->to_device, frame, sim_pass(g->s, len));
}

uint64_t gw_send(gw *g, wb_msg *m)
{
    static uint8_t buf[70000];
    m->id = g->next_id++;
    int n = wb_encode(m, buf, sizeof buf);
    CHECK(n > 0);
    if (n > 0)
        gw_raw(g, buf, (size_t)n);
    return m->id;
}

void gw_close(gw *g)
{
    g->s->connected = false;
    g->open = false;
}

bool gw_busy(gw *g, uint64_t id)
{
    wb_msg m = {.type = WB_ERROR_FRAME, .u = {.error = {id, WB_CODE_BUSY, {NULL, 0}}}};
    if (g->busy == 0)
        return false;
    g->busy--;
    gw_send(g, &m);
    return true;
}

void gw_ack(gw *g, uint64_t id)
{
    wb_msg m = {.type = WB_ACK, .u = {.ack = {id}}};
    if (!g->away)
        gw_send(g, &m);
}

static size_t count_words(const char *list)
{
    size_t n = list[0] != '\0';
    for (; *list != '\0'; list++)
        n += *list == ',';
    return n;
}

static void emit_words(wb_writer *w, const void *ctx)
{
    const char *p = ctx;
    while (*p != '\0') {
        size_t n = strcspn(p, ",");
        wb_write_text(w, p, n);
        p += n + (p[n] == ',');
    }
}

static void emit_config(wb_writer *w, const void *ctx)
{
    const gw_revision *r = ctx;
    wb_write_text(w, r->config_key, strlen(r->config_key));
    wb_write_text(w, r->config_value, strlen(r->config_value));
    for (int i = 0; i < r->config_times; i++) {
        char key[8] = {'x', (char)('a' + i)};
        wb_write_text(w, key, 2);
        wb_write_text(w, r->config_value, strlen(r->config_value));
    }
}

static void emit_timer(wb_writer *w, const void *ctx)
{
    const gw_revision *r = ctx;
    wb_write_map(w, 2);
    wb_write_uint(w, 1);
    wb_write_uint(w, 1);
    wb_write_uint(w, 2);
    wb_write_uint(w, r->timer);
}

static void put_id(uint8_t *out, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(v >> (56 - 8 * i));
}

wb_msg gw_command(gw *g, const gw_want *w, uint8_t verb)
{
    static uint8_t id[8], era[8] = {9, 9, 9, 9, 9, 9, 9, 9};
    wb_msg m = {.type = WB_COMMAND};
    wb_command *c = &m.u.command;
    const gw_revision *r = w->revision;
    put_id(id, w->command);
    c->command = (wb_bytes){id, 8};
    c->verb = verb;
    c->app = (wb_text){w->app, strlen(w->app)};
    c->era = (wb_bytes){era, 8};
    c->desired = g->desired;
    c->deadline = w->deadline;
    if (r == NULL || verb == WB_VERB_START || verb == WB_VERB_REMOVE)
        return m;
    c->revision = (wb_text){r->name, strlen(r->name)};
    c->attempt = w->attempt;
    c->digest = (wb_bytes){r->digest, sizeof r->digest};
    c->size = (uint32_t)r->size;
    wb_manifest *f = &c->manifest;
    f->present = true;
    f->memory_pages = 1;
    f->stack = 4096;
    f->call_timeout = r->call_timeout;
    f->instructions = r->instructions;
    f->permissions = (wb_items){count_words(r->permissions), {NULL, 0}, emit_words, r->permissions};
    if (r->config_key != NULL)
        f->config = (wb_items){1u + (size_t)r->config_times, {NULL, 0}, emit_config, r};
    if (r->timer != 0)
        f->timers = (wb_items){1, {NULL, 0}, emit_timer, r};
    f->health_window = r->health_window;
    f->max_traps = r->max_traps;
    f->trap_period = r->trap_period;
    return m;
}

