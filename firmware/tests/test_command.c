/* Commands at the wrong moment, twice, out of order; and what a module or a storage can do wrong besides. */
#include "harness.h"
#include "internal.h"
#include "world.h"

#define ALL "log,clock,telemetry,message,kv,timer,random"

/* Sends a command of the test's own, beside what the fake platform wants; its id is never used twice. */
static void order(world *w, uint8_t verb, const gw_revision *r, uint64_t attempt)
{
    static uint64_t id = 1000;
    gw_want want = {.app = "app", .revision = r, .attempt = attempt, .command = ++id};
    wb_msg m = gw_command(&w->g, &want, verb);
    w->g.last_result = 0;
    gw_send(&w->g, &m);
    gw_settle(&w->g);
}

static gw_revision *rev(world *w, const char *name, sim_script script)
{
    gw_revision *r = gw_add(&w->g, name, "telemetry", ALL, &script, 600);
    return r;
}

/* While v2 is on its way: again, older, larger, to be stopped, started. */
static void on_its_way(void)
{
    world *w = world_new();
    world_enroll(w);
    w->g.not_found = 1 << 20;
    order(w, WB_VERB_DEPLOY, w->v2, 5);
    CHECK_EQ(w->g.results[WB_COMMAND_ACCEPTED], 1);
    CHECK(gw_run(&w->g, 500, NULL));
    CHECK(app_is(&w->g, "app", WB_STATE_FETCHING, "app-2"));
    order(w, WB_VERB_DEPLOY, w->v2, 4); /* stale */
    CHECK_EQ(w->g.results[WB_COMMAND_DONE], 1);
    CHECK_EQ(gw_reported(&w->g, "app")->attempt, 5);
    order(w, WB_VERB_UPDATE, w->v2, 6);
    CHECK_EQ(w->g.results[WB_COMMAND_ACCEPTED], 2);
    CHECK_EQ(gw_reported(&w->g, "app")->attempt, 6);
    order(w, WB_VERB_STOP, NULL, 0);
    CHECK_EQ(w->g.results[WB_COMMAND_ACCEPTED], 3);
    w->g.not_found = 0;
    CHECK(run_until(w, "app", WB_STATE_STOPPED, "app-2"));
    CHECK(gw_run(&w->g, 100, NULL));
    CHECK_EQ(w->g.results[WB_COMMAND_DONE], 2);
    CHECK_EQ(w->s.starts, 0);
    order(w, WB_VERB_START, NULL, 0);
    CHECK_EQ(w->g.results[WB_COMMAND_ACCEPTED], 4);
    CHECK(gw_run(&w->g, 200, NULL));
    CHECK(sim_running(&w->s, "app-2") != NULL);
    order(w, WB_VERB_STOP, w->v2, 6); /* on trial: stopped without a verdict */
    CHECK(sim_running(&w->s, NULL) == NULL);
    CHECK(app_is(&w->g, "app", WB_STATE_STOPPED, "app-2"));
    order(w, WB_VERB_START, NULL, 0);
    CHECK(run_until(w, "app", WB_STATE_RUNNING, "app-2"));
    order(w, WB_VERB_START, NULL, 0);
    CHECK_EQ(w->g.last_reason, 0);
    order(w, WB_VERB_STOP, w->v2, 5); /* stale */
    CHECK(sim_running(&w->s, NULL) != NULL);
    world_free(w);
}

static void without_an_app(void)
{
    world *w = world_new();
    gw_revision *bad = rev(w, "app-bad", (sim_script){.start_result = 1});
    world_enroll(w);
    order(w, WB_VERB_START, NULL, 0);
    CHECK_EQ(w->g.results[WB_COMMAND_REFUSED], 1);
    CHECK_EQ(w->g.last_reason, WB_REASON_UNKNOWN_APP);
    order(w, WB_VERB_DEPLOY, bad, 1);
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-bad"));
    order(w, WB_VERB_START, NULL, 0);
    CHECK_EQ(w->g.last_reason, WB_REASON_EXIT);
    order(w, WB_VERB_STOP, NULL, 0);
    CHECK_EQ(w->g.last_reason, WB_REASON_EXIT);
    CHECK(app_is(&w->g, "app", WB_STATE_FAILED, "app-bad"));
    order(w, WB_VERB_STOP, w->v1, 2); /* brought, never started */
    CHECK(run_until(w, "app", WB_STATE_STOPPED, "app-1"));
    order(w, WB_VERB_REMOVE, NULL, 0);
    CHECK(run_until(w, "app", WB_STATE_NONE, ""));
    CHECK_EQ(w->s.starts, 1);
    world_free(w);
}

/* A former revision that stood still does not come back. */
static void former_stood_still(void)
{
    world *w = world_new();
    gw_revision *bad = rev(w, "app-bad", (sim_script){.start_trap = WB_REASON_TRAP});
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    w->g.want[0].app[0] = '\0';
    order(w, WB_VERB_STOP, NULL, 0);
    CHECK(run_until(w, "app", WB_STATE_STOPPED, "app-1"));
    order(w, WB_VERB_UPDATE, bad, 2);
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-bad"));
    CHECK(sim_running(&w->s, NULL) == NULL);
    order(w, WB_VERB_START, NULL, 0);
    CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "app-bad"));
    CHECK(sim_running(&w->s, "app-1") != NULL);
    order(w, WB_VERB_STOP, NULL, 0);
    CHECK(run_until(w, "app", WB_STATE_STOPPED, "app-1"));
    world_free(w);
}

/* RolledBack, and the platform says that it wants what runs: then it is that revision's state. */
static void settles_for_what_runs(void)
{
    world *w = world_new();
    gw_revision *bad = rev(w, "app-bad", (sim_script){.start_trap = WB_REASON_TRAP});
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    gw_set(&w->g, "app", bad, 2);
    CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "app-bad"));
    w->g.want[0].app[0] = '\0';
    unsigned starts = w->s.starts;
    order(w, WB_VERB_ROLLBACK, w->v1, 3);
    CHECK_EQ(w->g.results[WB_COMMAND_DONE], 2);
    CHECK(app_is(&w->g, "app", WB_STATE_RUNNING, "app-1"));
    CHECK_EQ(gw_reported(&w->g, "app")->attempt, 3);
    CHECK_EQ(w->s.starts, starts);
    order(w, WB_VERB_UPDATE, bad, 2); /* the memory of it stays */
    CHECK_EQ(w->g.results[WB_COMMAND_FAILED], 2);
    world_free(w);
}

/* Only the configuration changes: the bytes are copied from the slot that has them. */
static void same_module_other_manifest(void)
{
    for (int big = 0; big < 2; big++) {
        world *w = world_new();
        sim_script script = {.telemetry = 1, .config = 1};
        if (big) {
            w->s.erase_block = 512;
            w->s.write_block = 16;
        }
        gw_revision *a = gw_add(&w->g, "app-a", "telemetry", ALL, &script, 3000);
        gw_revision *b = gw_add(&w->g, "app-b", "telemetry", ALL, &script, 3000);
        a->config_key = b->config_key = "rev";
        a->config_value = a->name;
        b->config_value = b->name;
        world_enroll(w);
        world_confirm(w, "app", a, 1);
        int chunks = w->g.chunks;
        world_confirm(w, "app", b, 2);
        CHECK_EQ(w->g.chunks, chunks);
        world_confirm(w, "app", a, 3);
        CHECK_EQ(w->g.chunks, chunks);
        /* Rotten where it is copied from: then it is fetched after all. */
        world_reboot(w);
        CHECK(run_until(w, "app", WB_STATE_RUNNING, "app-a"));
        w->s.slot[0][0].bytes[900] ^= 1;
        w->s.slot[0][1].bytes[900] ^= 1;
        gw_revision *c = gw_add(&w->g, "app-c", "telemetry", ALL, &script, 3000);
        c->config_key = "rev";
        c->config_value = c->name;
        world_confirm(w, "app", c, 4);
        CHECK(w->g.chunks > chunks);
        world_free(w);
    }
}

static void manifests_that_ask_too_much(void)
{
    world *w = world_new();
    char value[250];
    world_enroll(w);
    gw_revision *slow = rev(w, "app-slow", (sim_script){0});
    slow->call_timeout = 1 << 20;
    order(w, WB_VERB_DEPLOY, slow, 1);
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-slow"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_UNSUPPORTED);
    world_free(w);
    w = world_new();
    w->s.cfg.frame_in = 4096;
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    world_enroll(w);
    gw_revision *large = rev(w, "app-large", (sim_script){0});
    large->config_key = "k";
    large->config_value = value;
    large->config_times = 5;
    order(w, WB_VERB_DEPLOY, large, 1);
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-large"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_UNSUPPORTED);
    CHECK_EQ(w->s.slot[0][0].state[0], BYTE_UNDEFINED); /* not a byte of it was taken */
    world_free(w);
}

static void engines_that_fail(void)
{
    static const struct {
        int error;
        wb_reason reason;
    } cases[] = {{WB_ENOSPC, WB_REASON_INSUFFICIENT_MEMORY}, {WB_EFORMAT, WB_REASON_NOT_WASM},
                 {WB_EUNSUPPORTED, WB_REASON_UNSUPPORTED},   {WB_EIO, WB_REASON_STORAGE_ERROR},
                 {WB_ENOENT, WB_REASON_NO_ENTRY_POINT},      {WB_EINVAL, WB_REASON_TRAP}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        world *w = world_new();
        world_enroll(w);
        gw_revision *r = rev(w, "app-x", (sim_script){.load_error = (uint8_t)-cases[i].error});
        world_confirm(w, "app", w->v1, 1);
        gw_set(&w->g, "app", r, 2);
        CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "app-x"));
        CHECK_EQ(gw_reported(&w->g, "app")->reason, cases[i].reason);
        world_free(w);
    }
}

static void stop_that_traps(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", rev(w, "app-s", (sim_script){.stop_traps = 1}), 1);
    world_confirm(w, "app", w->v1, 2);
    CHECK(gw_run(&w->g, 1000, NULL));
    CHECK_EQ(w->g.traps, 1);
    world_free(w);
}

/* A confirmed revision whose start fails after a reboot is no trial: it is tried again, then it is a loop. */
static void start_fails_later(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    world_confirm(w, "app", w->v2, 2);
    w->s.memory_need = 2 << 20; /* another firmware, with less memory */
    gw_close(&w->g);
    CHECK_EQ(sim_boot(&w->s), 0);
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-1"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_TRAP_LOOP);
    CHECK(w->g.traps >= 3);
    world_free(w);
}

/* Rollback to a slot whose start fails: Failed, never back to what was left. */
static void rollback_that_fails(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    world_confirm(w, "app", w->v2, 2);
    sim_module *x = sim_running(&w->s, "app-2");
    CHECK(x != NULL);
    w->s.start_fails = true;
    gw_set(&w->g, "app", w->v1, 3)->rollback = true;
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-1"));
    CHECK(gw_run(&w->g, 5000, NULL));
    CHECK(sim_running(&w->s, NULL) == NULL);
    world_free(w);
}

static void smaller_slots_than_before(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v3, 1); /* 500 bytes */
    world_confirm(w, "app", w->v2, 2); /* 900 */
    w->s.cfg.module_size = 600;
    gw_close(&w->g);
    CHECK_EQ(sim_boot(&w->s), 0);
    CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "app-2"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_MODULE_TOO_LARGE);
    CHECK(sim_running(&w->s, "app-3") != NULL);
    world_free(w);
}

static void certificates_that_do_not_fit(void)
{
    world *w = world_new();
    w->s.store_fails = true;
    CHECK_EQ(sim_boot(&w->s), 0);
    CHECK(gw_run(&w->g, 10000, NULL));
    CHECK(w->g.enrolls > 1); /* asked again, in a new session */
    CHECK(!w->s.enrolled);
    w->s.store_fails = false;
    CHECK(gw_run(&w->g, 60000, is_enrolled));
    w->s.untrusted = true; /* the gateway's certificate is not valid at the time it says */
    uint64_t honest = w->g.time;
    w->g.time += 20ull * 365 * 86400 * 1000;
    uint64_t lie = w->g.time;
    gw_close(&w->g);
    CHECK(gw_run(&w->g, 10000, NULL));
    CHECK(!is_enrolled(&w->g));
    w->g.time = honest;
    CHECK_EQ(sim_boot(&w->s), 0);
    CHECK(w->s.wall_floor < lie); /* what it said was not kept: it would lock out every honest gateway */
    w->s.untrusted = false;
    CHECK(gw_run(&w->g, 90000, is_enrolled));
    w->s.renew_at = w->g.time + (uint64_t)w->s.now + 5000; /* the port knows the certificate's end itself */
    CHECK(gw_run(&w->g, 4000, NULL));
    CHECK_EQ(w->g.renews, 0);
    CHECK(gw_run(&w->g, 4000, NULL));
    CHECK_EQ(w->g.renews, 1);
    world_free(w);
}

static void asked_for_a_report(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    int fulls = w->g.fulls;
    wb_msg m = {.type = WB_REPORT_REQUEST};
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK_EQ(w->g.fulls, fulls + 1);
    world_free(w);
}

/* Enrollment does not wait for anything but the gateway's goodbye. */
static void enrolls_without_delay(void)
{
    world *w = world_new();
    CHECK_EQ(sim_boot(&w->s), 0);
    int64_t then = w->s.now;
    CHECK(gw_run(&w->g, 10000, is_enrolled));
    CHECK(w->s.now - then < 500);
    world_free(w);
}

/* While the peer takes no bytes the device does not spin, and gives up after twenty seconds. */
static void blocked_link(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    w->s.send_most = 1;
    sim_pipe_put(&w->s.to_gateway, (const uint8_t *)"x", 1);
    unsigned opens = w->s.opens;
    int polls = 0;
    int64_t then = w->s.now;
    while (w->s.opens == opens && polls < 5000) {
        int64_t ms = wb_device_poll(w->s.d);
        w->s.now += ms > 0 ? ms : 0;
        polls++;
    }
    CHECK(polls < 1000);
    CHECK(w->s.now - then < 25000);
    world_free(w);
}

const test command_tests[] = {
    {"command: on its way", on_its_way},
    {"command: without an app", without_an_app},
    {"command: former stood still", former_stood_still},
    {"command: settles for what runs", settles_for_what_runs},
    {"command: same module, other manifest", same_module_other_manifest},
    {"command: manifests that ask too much", manifests_that_ask_too_much},
    {"command: engines that fail", engines_that_fail},
    {"command: stop that traps", stop_that_traps},
    {"command: start fails later", start_fails_later},
    {"command: rollback that fails", rollback_that_fails},
    {"command: smaller slots than before", smaller_slots_than_before},
    {"command: certificates that do not fit", certificates_that_do_not_fit},
    {"command: asked for a report", asked_for_a_report},
    {"command: enrolls without delay", enrolls_without_delay},
    {"command: blocked link", blocked_link},
    {NULL, NULL},
};
