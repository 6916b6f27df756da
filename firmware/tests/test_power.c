/*
 * Power is cut at every step that changes storage, before it, after it and in the middle of it, and between any two polls;
 * then the device boots and goes on. It has to end as if nothing had happened, and there is no boot after which neither
 * the old nor the new module runs.
 */
#include "harness.h"
#include "scenario.h"

static char what[128];

/* Nobody answers: what runs now, runs from what is in storage. */
static bool runs_alone(scenario *c)
{
    sim *s = &c->w->s;
    s->refuse = true;
    for (int i = 0; i < 400 && sim_running(s, NULL) == NULL; i++) {
        int64_t ms = wb_device_poll(s->d);
        s->now += ms > 0 && ms < 20 ? ms : ms > 0 ? 20 : 0;
    }
    s->refuse = false;
    s->up = s->connected = false;
    return sim_running(s, NULL) != NULL;
}

typedef struct powered_life {
    scenario c;
    int boots;
} powered_life;

static void one_boot(void *arg)
{
    powered_life *l = arg;
    int err = sim_boot(&l->c.w->s);
    CHECK_EQ(err, 0);
    if (err < 0)
        return;
    if (l->boots > 0 && l->c.had_v1 && l->c.phase < PHASE_REMOVE)
        CHECK(runs_alone(&l->c));
    CHECK(scenario_go(&l->c));
    scenario_check_end(&l->c);
}

/* One life with one cut, or with one cut after the other every `every` steps. Returns the number of storage steps. */
static long live(uint32_t erase_block, long cut_at, enum sim_cut kind, long every)
{
    powered_life l = {.boots = 0};
    scenario_begin(&l.c);
    sim *s = &l.c.w->s;
    s->erase_block = erase_block;
    s->cut_at = cut_at;
    s->cut_kind = kind;
    while (!sim_powered(s, one_boot, &l)) {
        gw_close(&l.c.w->g);
        s->cut_at = every > 0 ? s->steps + every : 0;
        CHECK(++l.boots < 400);
        if (l.boots >= 400)
            break;
    }
    long steps = s->steps;
    CHECK(every > 0 || l.boots == (cut_at != 0));
    scenario_end(&l.c);
    return steps;
}

static void every_step(uint32_t erase_block)
{
    static const char *const kinds[] = {"before", "after", "torn"};
    snprintf(what, sizeof what, "power, blocks of %u, no cut", (unsigned)erase_block);
    context_of_check = what;
    long steps = live(erase_block, 0, SIM_CUT_BEFORE, 0);
    CHECK(steps > 40);
    for (int kind = 0; kind < SIM_CUT_KINDS; kind++)
        for (long k = 1; k <= steps; k++) {
            snprintf(what, sizeof what, "power, blocks of %u, cut %s step %ld of %ld", (unsigned)erase_block, kinds[kind],
                     k, steps);
            live(erase_block, k, (enum sim_cut)kind, 0);
        }
}

static void each_step_of_overwritable_storage(void)
{
    every_step(1);
}

static void each_step_of_flash(void)
{
    every_step(256);
}

static void again_and_again(void)
{
    /* Every n-th step is cut, all through the life. Seldom enough that a chunk gets through between two cuts. */
    for (long every = 9; every <= 40; every++)
        for (int kind = 0; kind < SIM_CUT_KINDS; kind++) {
            snprintf(what, sizeof what, "power, cut at each %ldth step, kind %d", every, kind);
            context_of_check = what;
            live(1, every, (enum sim_cut)kind, every);
        }
}

/* Power goes between two polls, storage in peace: RAM alone is lost. */
static long looks_left;

static bool looked_enough(gw *g)
{
    (void)g;
    return --looks_left == 0;
}

static void between_any_two_polls(void)
{
    /* The scenario's own steps are taken in scenario_go; here the device is switched off after n looks of the gateway. */
    for (long n = 1; n < 120; n++) {
        scenario c;
        snprintf(what, sizeof what, "power, cut after look %ld", n);
        context_of_check = what;
        scenario_begin(&c);
        c.w->s.own_sha = n % 2;
        CHECK_EQ(sim_boot(&c.w->s), 0);
        looks_left = n;
        gw_set(&c.w->g, "app", c.w->v1, 1);
        c.phase = PHASE_V1;
        gw_run(&c.w->g, 600000, looked_enough);
        world_reboot(c.w);
        CHECK(scenario_go(&c));
        scenario_check_end(&c);
        scenario_end(&c);
    }
}

/* A storage that fails once, at any step, and works again: nothing runs into a wall, nothing is left undone. */
static void each_step_fails_once(void)
{
    for (long k = 1; k < 90; k++) {
        scenario c;
        snprintf(what, sizeof what, "storage fails at step %ld", k);
        context_of_check = what;
        scenario_begin(&c);
        c.w->s.fail_at = k;
        CHECK_EQ(sim_boot(&c.w->s), 0);
        CHECK(scenario_go(&c));
        scenario_check_end(&c);
        world_reboot(c.w);
        CHECK(gw_run(&c.w->g, 10000, is_enrolled));
        CHECK(gw_reported(&c.w->g, "app") == NULL);
        scenario_end(&c);
    }
}

/* From v2 to v3 in the slot that v1 had: bytes and manifest of it are replaced. */
typedef struct update {
    world *w;
    int boots;
} update;

static void boot_and_update(void *arg)
{
    update *u = arg;
    if (u->boots > 0)
        world_reboot(u->w);
    CHECK(run_until(u->w, "app", WB_STATE_RUNNING, "app-3"));
}

static void update_into_a_used_slot(void)
{
    long steps = 0;
    for (int kind = 0; kind < SIM_CUT_KINDS; kind++)
        for (long k = 0; k <= steps; k++) {
            update u = {world_new(), 0};
            snprintf(what, sizeof what, "power, update into a used slot, kind %d step %ld of %ld", kind, k, steps);
            context_of_check = what;
            u.w->v3->health_window = 200;
            world_enroll(u.w);
            world_confirm(u.w, "app", u.w->v1, 1);
            world_confirm(u.w, "app", u.w->v2, 2);
            gw_set(&u.w->g, "app", u.w->v3, 3);
            long before = u.w->s.steps;
            u.w->s.cut_kind = (enum sim_cut)kind;
            u.w->s.cut_at = k > 0 ? before + k : 0;
            while (!sim_powered(&u.w->s, boot_and_update, &u)) {
                u.w->s.cut_at = 0;
                u.boots++;
                gw_close(&u.w->g);
            }
            CHECK_EQ(u.boots, k > 0);
            if (k == 0)
                steps = u.w->s.steps - before;
            CHECK(sim_running(&u.w->s, "app-3") != NULL);
            world_free(u.w);
        }
}

static void boot_v3(void *arg)
{
    world *w = arg;
    gw_close(&w->g);
    world_reboot(w);
    CHECK(run_until(w, "app", WB_STATE_RUNNING, "app-3"));
}

/* What a module keeps is old or new, and counts every start but the one that was cut. */
static void key_value_store(void)
{
    for (int kind = 0; kind < SIM_CUT_KINDS; kind++)
        for (int i = 0; i < 6; i++) {
            world *w = world_new();
            snprintf(what, sizeof what, "power, key-value store, kind %d step %d", kind, i);
            context_of_check = what;
            world_enroll(w);
            world_confirm(w, "app", w->v3, 1);
            for (int n = 0; n < 3; n++)
                boot_v3(w);
            CHECK_EQ(w->s.kv_seen, 3);
            w->s.cut_kind = (enum sim_cut)kind;
            w->s.cut_at = w->s.steps + 1 + i;
            (void)sim_powered(&w->s, boot_v3, w);
            w->s.cut_at = 0;
            boot_v3(w);
            CHECK(w->s.kv_seen == 4 || w->s.kv_seen == 5);
            world_free(w);
        }
}

const test power_tests[] = {
    {"power: each step of overwritable storage", each_step_of_overwritable_storage},
    {"power: each step of flash", each_step_of_flash},
    {"power: again and again", again_and_again},
    {"power: between any two polls", between_any_two_polls},
    {"power: each step fails once", each_step_fails_once},
    {"power: update into a used slot", update_into_a_used_slot},
    {"power: key-value store", key_value_store},
    {NULL, NULL},
};
