/* An application's life, with everything working: deploy, trial, fallback, trap loops, stop, start, rollback, remove. */
#include "harness.h"
#include "sha256.h"
#include "world.h"

#define ALL "log,clock,telemetry,message,kv,timer,random"

static const gw_revision *faulty(world *w, const char *name, sim_script script)
{
    return gw_add(&w->g, name, "telemetry", ALL, &script, 600);
}

static void deploys_and_confirms(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    CHECK(sim_running(&w->s, "app-1") != NULL);
    CHECK_EQ(w->g.results[WB_COMMAND_ACCEPTED], 1);
    CHECK(gw_run(&w->g, 1000, NULL));
    CHECK_EQ(w->g.results[WB_COMMAND_DONE], 1);
    CHECK_EQ(w->s.starts, 1);
    world_free(w);
}

static void updates_and_keeps_running(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    world_confirm(w, "app", w->v2, 2);
    CHECK_EQ(w->s.starts, 2);
    CHECK_EQ(w->s.stops, 1);
    world_confirm(w, "app", w->v3, 3);
    CHECK_EQ(w->s.starts, 3);
    world_reboot(w);
    CHECK(run_until(w, "app", WB_STATE_RUNNING, "app-3"));
    CHECK_EQ(w->s.starts, 4);
    CHECK_EQ(w->g.commands, 3); /* nothing was sent again */
    world_free(w);
}

static void trial_failure(sim_script script, wb_reason reason)
{
    world *w = world_new();
    const gw_revision *bad = faulty(w, "app-bad", script);
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    gw_set(&w->g, "app", bad, 2);
    CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "app-bad"));
    gw_app *a = gw_reported(&w->g, "app");
    CHECK_STR(a->running, "app-1");
    CHECK_EQ(a->reason, reason);
    CHECK_EQ(a->attempt, 2);
    CHECK(sim_running(&w->s, "app-1") != NULL);
    CHECK(gw_run(&w->g, 2000, NULL));
    CHECK_EQ(w->g.traps, 1);
    CHECK_EQ(w->g.results[WB_COMMAND_FAILED], 1);
    /* It is final, over a reboot too, and the same attempt is answered without being tried. */
    unsigned starts = w->s.starts;
    world_reboot(w);
    CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "app-bad"));
    CHECK_EQ(w->s.starts, starts + 1);
    gw_set(&w->g, "app", bad, 2)->command = 4711;
    wb_msg m = gw_command(&w->g, &w->g.want[0], WB_VERB_UPDATE);
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK_EQ(w->g.results[WB_COMMAND_FAILED], 2);
    CHECK_EQ(w->g.last_reason, reason);
    CHECK_EQ(w->s.starts, starts + 1);
    /* A larger attempt is tried, without fetching again. */
    int chunks = w->g.chunks;
    gw_set(&w->g, "app", bad, 3);
    CHECK(gw_run(&w->g, 3000, NULL));
    CHECK(app_is(&w->g, "app", WB_STATE_ROLLED_BACK, "app-bad"));
    CHECK_EQ(gw_reported(&w->g, "app")->attempt, 3);
    CHECK_EQ(w->g.chunks, chunks);
    CHECK_EQ(w->s.starts, starts + 2 + (script.start_trap == 0));
    world_free(w);
}

static void falls_back_from_a_trap_in_start(void)
{
    trial_failure((sim_script){.start_trap = WB_REASON_OUT_OF_BOUNDS}, WB_REASON_OUT_OF_BOUNDS);
}

static void falls_back_from_an_error_in_start(void)
{
    trial_failure((sim_script){.start_result = 3}, WB_REASON_EXIT);
}

static void falls_back_from_a_trap_on_trial(void)
{
    trial_failure((sim_script){.timer_trap = WB_REASON_DIVIDE_BY_ZERO, .trap_after = 3}, WB_REASON_DIVIDE_BY_ZERO);
}

static void falls_back_from_a_call_that_hangs(void)
{
    trial_failure((sim_script){.hangs = 1}, WB_REASON_TIMEOUT);
}

static void fails_without_a_former_revision(void)
{
    world *w = world_new();
    const gw_revision *bad = faulty(w, "app-bad", (sim_script){.start_trap = WB_REASON_TRAP});
    world_enroll(w);
    gw_set(&w->g, "app", bad, 1);
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-bad"));
    CHECK_STR(gw_reported(&w->g, "app")->running, "");
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_TRAP);
    world_reboot(w);
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-bad"));
    CHECK_EQ(w->s.starts, 0);
    world_confirm(w, "app", w->v1, 2);
    world_free(w);
}

static void trap_loop_falls_back(void)
{
    world *w = world_new();
    /* Good for the health window of 1 s, then traps at the 15th call of each instance. */
    const gw_revision *bad = faulty(w, "app-bad", (sim_script){.timer_trap = WB_REASON_TRAP, .trap_after = 15});
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    world_confirm(w, "app", bad, 2);
    CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "app-bad"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_TRAP_LOOP);
    CHECK_STR(gw_reported(&w->g, "app")->running, "app-1");
    CHECK(gw_run(&w->g, 1000, NULL));
    CHECK_EQ(w->g.traps, 3);
    world_free(w);
}

/* SPEC 11.2.9: what runs after RolledBack fails too: Failed, of that revision. */
static void second_failure_is_final(void)
{
    world *w = world_new();
    const gw_revision *one = faulty(w, "app-one", (sim_script){.timer_trap = WB_REASON_TRAP, .trap_after = 15});
    const gw_revision *two = faulty(w, "app-two", (sim_script){.start_result = 1});
    world_enroll(w);
    world_confirm(w, "app", one, 1);
    gw_set(&w->g, "app", two, 2);
    CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "app-two"));
    w->g.want[0].app[0] = '\0'; /* nobody interferes */
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-one"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_TRAP_LOOP);
    CHECK(sim_running(&w->s, NULL) == NULL);
    world_free(w);
}

static void restarts_after_single_traps(void)
{
    world *w = world_new();
    const gw_revision *r = faulty(w, "app-r", (sim_script){.timer_trap = WB_REASON_TRAP, .trap_after = 15});
    ((gw_revision *)r)->trap_period = 2000; /* a trap every 1.5 s is no loop of three in two */
    world_enroll(w);
    world_confirm(w, "app", r, 1);
    CHECK(gw_run(&w->g, 20000, NULL));
    CHECK(run_until(w, "app", WB_STATE_RUNNING, "app-r"));
    CHECK(w->s.starts > 8);
    CHECK(gw_reported(&w->g, "app")->restarts > 5);
    CHECK(gw_reported(&w->g, "app")->traps > 5);
    CHECK_EQ(w->g.traps, w->s.traps_made);
    world_free(w);
}

static void stops_and_starts(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    gw_set(&w->g, "app", w->v1, 1)->stopped = true;
    CHECK(run_until(w, "app", WB_STATE_STOPPED, "app-1"));
    CHECK(sim_running(&w->s, NULL) == NULL);
    world_reboot(w);
    CHECK(run_until(w, "app", WB_STATE_STOPPED, "app-1"));
    CHECK(gw_run(&w->g, 3000, NULL));
    CHECK(sim_running(&w->s, NULL) == NULL);
    gw_set(&w->g, "app", w->v1, 1);
    CHECK(run_until(w, "app", WB_STATE_RUNNING, "app-1"));
    /* Another revision that shall stand still is fetched, and never started. */
    unsigned starts = w->s.starts;
    gw_set(&w->g, "app", w->v2, 2)->stopped = true;
    CHECK(run_until(w, "app", WB_STATE_STOPPED, "app-2"));
    CHECK_EQ(w->s.starts, starts);
    CHECK(sim_running(&w->s, NULL) == NULL);
    gw_set(&w->g, "app", w->v2, 2);
    CHECK(run_until(w, "app", WB_STATE_RUNNING, "app-2"));
    world_free(w);
}

static void stop_of_the_unknown(void)
{
    world *w = world_new();
    world_enroll(w);
    gw_want want = {.app = "other", .command = 99};
    wb_msg m = gw_command(&w->g, &want, WB_VERB_STOP);
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK_EQ(w->g.results[WB_COMMAND_REFUSED], 1);
    CHECK_EQ(w->g.last_reason, WB_REASON_UNKNOWN_APP);
    want.command = 100;
    m = gw_command(&w->g, &want, WB_VERB_REMOVE);
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK_EQ(w->g.results[WB_COMMAND_DONE], 1);
    want.command = 101;
    m = gw_command(&w->g, &want, 99);
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK_EQ(w->g.last_reason, WB_REASON_UNSUPPORTED);
    world_free(w);
}

static void rolls_back_on_request(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    world_confirm(w, "app", w->v2, 2);
    int chunks = w->g.chunks;
    gw_set(&w->g, "app", w->v1, 3)->rollback = true;
    CHECK(run_until(w, "app", WB_STATE_RUNNING, "app-1"));
    CHECK_EQ(w->g.chunks, chunks); /* its slot still held it */
    CHECK_EQ(gw_reported(&w->g, "app")->attempt, 3);
    /* To one that is in no slot: fetched, on trial, and the revision that is left is not gone back to. */
    gw_set(&w->g, "app", w->v3, 4)->rollback = true;
    CHECK(run_until(w, "app", WB_STATE_RUNNING, "app-3"));
    CHECK(w->g.chunks > chunks);
    world_free(w);
}

static void rollback_to_a_bad_one_fails(void)
{
    world *w = world_new();
    const gw_revision *bad = faulty(w, "app-bad", (sim_script){.start_result = 1});
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    gw_set(&w->g, "app", bad, 2)->rollback = true;
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-bad"));
    CHECK(sim_running(&w->s, NULL) == NULL);
    world_free(w);
}

static void removes(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v3, 1);
    CHECK_EQ(w->s.kv_seen, 0);
    world_confirm(w, "other", w->v1, 1);
    gw_set(&w->g, "app", NULL, 0);
    CHECK(run_until(w, "app", WB_STATE_NONE, ""));
    CHECK(w->g.deltas > 0);
    CHECK_EQ(w->s.stops, 1);
    CHECK(app_is(&w->g, "other", WB_STATE_RUNNING, "app-1"));
    world_reboot(w);
    CHECK(run_until(w, "app", WB_STATE_NONE, ""));
    CHECK(gw_reported(&w->g, "app") == NULL);
    /* The same name again: nothing is left of the first one. */
    world_confirm(w, "app", w->v3, 1);
    CHECK_EQ(w->s.kv_seen, 0);
    world_confirm(w, "app", w->v1, 2);
    world_confirm(w, "app", w->v3, 3);
    CHECK_EQ(w->s.kv_seen, 1); /* outlives updates */
    world_free(w);
}

static void refuses_what_does_not_fit(void)
{
    static const struct {
        const char *imports, *permissions;
        size_t size;
        wb_reason reason;
    } cases[] = {
        {"telemetry", ALL, SIM_SLOT + 100, WB_REASON_MODULE_TOO_LARGE},
        {"no_such_function", ALL, 600, WB_REASON_MISSING_IMPORT},
        {"kv_set", "log", 600, WB_REASON_PERMISSION_DENIED},
        {"telemetry", "telemetry,teleport", 600, WB_REASON_UNSUPPORTED},
        {"telemetry", "telemetry,gpio", 600, WB_REASON_UNSUPPORTED}, /* not on this board */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        world *w = world_new();
        sim_script script = {0};
        world_enroll(w);
        world_confirm(w, "app", w->v1, 1);
        gw_revision *bad = gw_add(&w->g, "app-bad", cases[i].imports, cases[i].permissions, &script, 600);
        if (cases[i].size > SIM_SLOT)
            bad->size = cases[i].size;
        gw_set(&w->g, "app", bad, 2);
        CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "app-bad"));
        CHECK_EQ(gw_reported(&w->g, "app")->reason, cases[i].reason);
        CHECK_EQ(w->s.stops, 0); /* the former one was never stopped for it */
        CHECK_EQ(w->g.results[WB_COMMAND_ACCEPTED], 2);
        CHECK(gw_run(&w->g, 500, NULL));
        CHECK_EQ(w->g.results[WB_COMMAND_FAILED], 1);
        world_free(w);
    }
}

static void refuses_what_is_no_module(void)
{
    world *w = world_new();
    sim_script script = {0};
    world_enroll(w);
    gw_revision *r = gw_add(&w->g, "app-x", "log", ALL, &script, 600);
    r->bytes[0] = 'x';
    wb_sha256 h;
    wb_sha256_start(&h);
    wb_sha256_update(&h, r->bytes, r->size);
    wb_sha256_finish(&h, r->digest);
    gw_set(&w->g, "app", r, 1);
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-x"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_NOT_WASM);
    w->s.memory_need = 2 << 20;
    gw_set(&w->g, "app", w->v1, 2);
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-1"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_INSUFFICIENT_MEMORY);
    world_free(w);
}

static void too_many_apps(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "a", w->v1, 1);
    world_confirm(w, "b", w->v1, 1);
    gw_set(&w->g, "c", w->v1, 1);
    CHECK(gw_run(&w->g, 2000, NULL));
    CHECK_EQ(w->g.results[WB_COMMAND_REFUSED], 1);
    CHECK_EQ(w->g.last_reason, WB_REASON_TOO_MANY_APPS);
    gw_set(&w->g, "a", NULL, 0);
    CHECK(run_until(w, "c", WB_STATE_RUNNING, "app-1"));
    CHECK(run_until(w, "b", WB_STATE_RUNNING, "app-1"));
    world_free(w);
}

static void wrong_bytes(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    int before = w->g.chunks;
    w->g.corrupt = true;
    gw_set(&w->g, "app", w->v2, 2);
    CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "app-2"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_DIGEST_MISMATCH);
    CHECK_EQ(w->g.chunks - before, 2 * ((900 + 127) / 128)); /* twice */
    CHECK_EQ(w->s.stops, 0);
    world_free(w);
}

static void newer_intent_wins(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    w->g.not_found = 1000; /* a fetch that does not come to its end */
    gw_set(&w->g, "app", w->v2, 2);
    CHECK(gw_run(&w->g, 3000, NULL));
    CHECK(app_is(&w->g, "app", WB_STATE_FETCHING, "app-2"));
    CHECK_STR(gw_reported(&w->g, "app")->running, "app-1");
    w->g.not_found = 0;
    world_confirm(w, "app", w->v3, 3);
    CHECK(gw_run(&w->g, 500, NULL));
    CHECK_EQ(w->g.results[WB_COMMAND_DONE], 2); /* none for the one in between */
    /* On trial: the new one comes, the confirmed one runs meanwhile. */
    w->v1->health_window = 1000000;
    gw_set(&w->g, "app", w->v1, 4);
    CHECK(gw_run(&w->g, 3000, NULL));
    CHECK(sim_running(&w->s, "app-1") != NULL);
    w->g.not_found = 1000;
    gw_set(&w->g, "app", w->v2, 5);
    CHECK(gw_run(&w->g, 3000, NULL));
    CHECK(app_is(&w->g, "app", WB_STATE_FETCHING, "app-2"));
    CHECK(sim_running(&w->s, "app-3") != NULL);
    /* Back to what runs. */
    gw_set(&w->g, "app", w->v3, 6);
    CHECK(run_until(w, "app", WB_STATE_RUNNING, "app-3"));
    CHECK_EQ(gw_reported(&w->g, "app")->attempt, 6);
    world_free(w);
}

static void transfer_and_deadline_end(void)
{
    world *w = world_new();
    world_enroll(w);
    w->g.not_found = 1000000;
    gw_set(&w->g, "app", w->v1, 1);
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-1"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_TRANSFER_TIMEOUT);
    gw_set(&w->g, "app", w->v2, 2)->deadline = 5000;
    CHECK(run_until(w, "app", WB_STATE_FAILED, "app-2"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_DEADLINE_EXCEEDED);
    world_free(w);
}

static void reboots_once(void)
{
    world *w = world_new();
    world_enroll(w);
    gw_want want = {.app = "", .command = 7};
    wb_msg m = gw_command(&w->g, &want, WB_VERB_REBOOT);
    m.u.command.app.len = 0;
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK(w->s.rebooted);
    CHECK_EQ(w->g.results[WB_COMMAND_ACCEPTED], 1);
    world_reboot(w);
    CHECK(gw_run(&w->g, 10000, is_enrolled));
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK(!w->s.rebooted);
    CHECK_EQ(w->g.results[WB_COMMAND_DONE], 1);
    world_free(w);
}

static void same_command_twice(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    wb_msg m = gw_command(&w->g, &w->g.want[0], WB_VERB_DEPLOY);
    unsigned starts = w->s.starts;
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    m = gw_command(&w->g, &w->g.want[0], WB_VERB_DEPLOY);
    w->g.want[0].command = 12345; /* the same intent under another id */
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK_EQ(w->s.starts, starts);
    CHECK_EQ(w->g.results[WB_COMMAND_DONE], 3);
    world_free(w);
}

static void trial_survives_three_boots(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    w->v2->health_window = 1000000;
    gw_set(&w->g, "app", w->v2, 2);
    CHECK(gw_run(&w->g, 3000, NULL));
    CHECK(sim_running(&w->s, "app-2") != NULL);
    for (int i = 0; i < 3; i++) {
        world_reboot(w);
        CHECK(gw_run(&w->g, 3000, NULL));
        CHECK(sim_running(&w->s, "app-2") != NULL);
    }
    world_reboot(w);
    CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "app-2"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_POWER_LOSS);
    CHECK(sim_running(&w->s, "app-1") != NULL);
    world_free(w);
}

static void good_order_does_not_count_as_power_loss(void)
{
    world *w = world_new();
    world_enroll(w);
    w->v2->health_window = 1000000;
    gw_set(&w->g, "app", w->v2, 2);
    CHECK(gw_run(&w->g, 3000, NULL));
    for (int i = 0; i < 6; i++) {
        wb_device_deinit(w->s.d);
        world_reboot(w);
        CHECK(gw_run(&w->g, 3000, NULL));
        CHECK(sim_running(&w->s, "app-2") != NULL);
    }
    world_free(w);
}

static void rotten_bytes_are_found_at_boot(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    world_confirm(w, "app", w->v2, 2);
    int slot = w->s.slot[0][0].bytes[300] == w->v2->bytes[300] && w->s.slot[0][0].bytes[8] == w->v2->bytes[8] &&
                       memcmp(w->s.slot[0][0].bytes, w->v2->bytes, w->v2->size) == 0
                   ? 0
                   : 1;
    w->s.slot[0][slot].bytes[300] ^= 4;
    world_reboot(w);
    CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "app-2"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_DIGEST_MISMATCH);
    CHECK(sim_running(&w->s, "app-1") != NULL);
    world_free(w);
}

static void storage_that_fails(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    w->s.fail_puts = 1; /* progress */
    gw_set(&w->g, "app", w->v2, 2);
    CHECK(run_until(w, "app", WB_STATE_RUNNING, "app-2"));
    w->s.fail_puts = 2; /* and the record */
    gw_set(&w->g, "app", w->v3, 3);
    CHECK(gw_run(&w->g, 2000, NULL));
    CHECK_EQ(w->g.results[WB_COMMAND_REFUSED], 1);
    CHECK_EQ(w->g.last_reason, WB_REASON_STORAGE_ERROR);
    CHECK(app_is(&w->g, "app", WB_STATE_RUNNING, "app-2"));
    CHECK(sim_running(&w->s, "app-2") != NULL);
    CHECK(run_until(w, "app", WB_STATE_RUNNING, "app-3")); /* asked for again after ten seconds */
    world_free(w);
}

static void flash_with_large_blocks(void)
{
    static const struct {
        uint32_t erase, write;
    } geometry[] = {{512, 1}, {512, 8}, {4096, 16}, {1, 8}, {64, 64}};
    for (size_t i = 0; i < sizeof geometry / sizeof geometry[0]; i++) {
        world *w = world_new();
        w->s.erase_block = geometry[i].erase;
        w->s.write_block = geometry[i].write;
        w->s.cfg.chunk = 130; /* not a multiple */
        w->s.map_slots = i % 2 == 0;
        w->s.own_sha = i % 2 == 1;
        world_enroll(w);
        world_confirm(w, "app", w->v1, 1);
        world_confirm(w, "app", w->v2, 2);
        world_confirm(w, "app", w->v3, 3);
        world_free(w);
    }
}

const test life_tests[] = {
    {"life: deploys and confirms", deploys_and_confirms},
    {"life: updates and keeps running", updates_and_keeps_running},
    {"life: falls back from a trap in start", falls_back_from_a_trap_in_start},
    {"life: falls back from an error in start", falls_back_from_an_error_in_start},
    {"life: falls back from a trap on trial", falls_back_from_a_trap_on_trial},
    {"life: falls back from a call that hangs", falls_back_from_a_call_that_hangs},
    {"life: fails without a former revision", fails_without_a_former_revision},
    {"life: trap loop falls back", trap_loop_falls_back},
    {"life: second failure is final", second_failure_is_final},
    {"life: restarts after single traps", restarts_after_single_traps},
    {"life: stops and starts", stops_and_starts},
    {"life: stop of the unknown", stop_of_the_unknown},
    {"life: rolls back on request", rolls_back_on_request},
    {"life: rollback to a bad one fails", rollback_to_a_bad_one_fails},
    {"life: removes", removes},
    {"life: refuses what does not fit", refuses_what_does_not_fit},
    {"life: refuses what is no module", refuses_what_is_no_module},
    {"life: too many apps", too_many_apps},
    {"life: wrong bytes", wrong_bytes},
    {"life: newer intent wins", newer_intent_wins},
    {"life: transfer and deadline end", transfer_and_deadline_end},
    {"life: reboots once", reboots_once},
    {"life: same command twice", same_command_twice},
    {"life: trial survives three boots", trial_survives_three_boots},
    {"life: good order does not count as power loss", good_order_does_not_count_as_power_loss},
    {"life: rotten bytes are found at boot", rotten_bytes_are_found_at_boot},
    {"life: storage that fails", storage_that_fails},
    {"life: flash with large blocks", flash_with_large_blocks},
    {NULL, NULL},
};
