#include "scenario.h"

#include "harness.h"

#define ALL "log,clock,telemetry,message,kv,timer,random"

void scenario_begin(scenario *c)
{
    sim_script v2 = {.telemetry = 1, .logs = 1, .kv = 1, .timer_trap = WB_REASON_OUT_OF_BOUNDS, .trap_after = 8};
    memset(c, 0, sizeof *c);
    c->w = world_new();
    c->w->v1->health_window = 300;
    gw_revision *r = gw_add(&c->w->g, "app-bad", "telemetry,log,kv_get,kv_set", ALL, &v2, 600);
    r->health_window = 500;
    c->bad = r;
}

void scenario_end(scenario *c)
{
    world_free(c->w);
}

static scenario *now_playing;

/* The platform's side: what it wants next follows from what was reported. */
static bool advance(gw *g)
{
    scenario *c = now_playing;
    if (!is_enrolled(g))
        return false;
    switch (c->phase) {
    case PHASE_ENROLL:
        gw_set(g, "app", c->w->v1, ++c->attempt);
        c->phase = PHASE_V1;
        break;
    case PHASE_V1:
        if (app_is(g, "app", WB_STATE_FAILED, "app-1") && gw_reported(g, "app")->reason == WB_REASON_STORAGE_ERROR)
            gw_set(g, "app", c->w->v1, ++c->attempt); /* storage failed, not the revision: the platform tries again */
        if (app_is(g, "app", WB_STATE_RUNNING, "app-1")) {
            c->had_v1 = true;
            gw_set(g, "app", c->bad, ++c->attempt);
            c->phase = PHASE_V2;
        }
        break;
    case PHASE_V2:
        if (app_is(g, "app", WB_STATE_ROLLED_BACK, "app-bad")) {
            gw_set(g, "app", NULL, 0);
            c->phase = PHASE_REMOVE;
        }
        break;
    case PHASE_REMOVE:
        if (gw_reported(g, "app") == NULL)
            c->phase = PHASE_END;
        break;
    case PHASE_END:
        return true;
    }
    return false;
}

bool scenario_go(scenario *c)
{
    now_playing = c;
    return gw_run(&c->w->g, 600000, advance);
}

void scenario_check_end(scenario *c)
{
    wb_app_info info;
    CHECK_EQ(c->phase, PHASE_END);
    CHECK(wb_device_app_find(c->w->s.d, "app", &info) == WB_ENOENT);
    CHECK(sim_running(&c->w->s, NULL) == NULL);
    CHECK(c->w->s.enrolled);
    /* Everything that waits is delivered in the end. */
    CHECK(gw_run(&c->w->g, 5000, NULL));
    wb_stats st;
    wb_device_stats(c->w->s.d, &st);
    CHECK_EQ(st.queued, 0);
    CHECK_EQ(st.dropped, 0);
    CHECK_EQ(c->w->g.bad, 0);
}
