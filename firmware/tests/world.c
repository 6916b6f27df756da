#include "world.h"

#include "harness.h"

#define ALL "log,clock,telemetry,message,kv,timer,random"

world *world_new(void)
{
    world *w = calloc(1, sizeof *w);
    sim_script script = {.telemetry = 1, .config = 1};
    sim_init(&w->s);
    gw_init(&w->g, &w->s);
    w->v1 = gw_add(&w->g, "app-1", "telemetry", ALL, &script, 700);
    script.logs = 1;
    w->v2 = gw_add(&w->g, "app-2", "telemetry,log", ALL, &script, 900);
    script.kv = 1;
    w->v3 = gw_add(&w->g, "app-3", "telemetry,log,kv_get,kv_set", ALL, &script, 500);
    for (int i = 0; i < w->g.revisions; i++) {
        w->g.revision[i].config_key = "rev";
        w->g.revision[i].config_value = w->g.revision[i].name;
    }
    return w;
}

void world_free(world *w)
{
    sim_free(&w->s);
    free(w);
}

bool is_enrolled(gw *g)
{
    return g->open && g->phase == 2 && g->reported;
}

void world_enroll(world *w)
{
    CHECK_EQ(sim_boot(&w->s), 0);
    CHECK(gw_run(&w->g, 10000, is_enrolled));
}

bool app_is(gw *g, const char *app, wb_state state, const char *revision)
{
    gw_app *a = gw_reported(g, app);
    if (state == WB_STATE_NONE)
        return a == NULL;
    return a != NULL && a->state == state && strcmp(a->revision, revision) == 0 &&
           (state != WB_STATE_RUNNING || a->confirmed);
}

static const char *want_app, *want_revision;
static wb_state want_state;

static bool as_wanted(gw *g)
{
    return is_enrolled(g) && app_is(g, want_app, want_state, want_revision);
}

bool run_until(world *w, const char *app, wb_state state, const char *revision)
{
    want_app = app;
    want_state = state;
    want_revision = revision;
    bool ok = gw_run(&w->g, 120000, as_wanted);
    gw_app *a = gw_reported(&w->g, app);
    if (!ok && a != NULL)
        fprintf(stderr, "reported: %s %s running %s reason %d\n", wb_state_name(a->state), a->revision, a->running,
                a->reason);
    return ok;
}

void world_confirm(world *w, const char *app, const gw_revision *r, uint64_t attempt)
{
    gw_set(&w->g, app, r, attempt);
    CHECK(run_until(w, app, WB_STATE_RUNNING, r->name));
}

void world_reboot(world *w)
{
    gw_close(&w->g);
    CHECK_EQ(sim_boot(&w->s), 0);
}
