/*
 * A device in the hands of a mad gateway: the input says which frames come, good, mad and half ones, when time passes,
 * when the link drops and when power goes. Nothing may break, and a device that is left alone afterwards works.
 *
 * One step is {what, argument or length, bytes}.
 */
#include "fuzz.h"
#include "harness.h"
#include "world.h"

const char *const fuzz_name = "session";
const size_t fuzz_skip = 0;
int checks_failed;
const char *context_of_check = "fuzz";

static void good_frame(world *w, uint8_t which, uint8_t arg)
{
    static const uint8_t verbs[] = {WB_VERB_DEPLOY, WB_VERB_UPDATE, WB_VERB_START, WB_VERB_STOP,
                                    WB_VERB_REMOVE, WB_VERB_ROLLBACK, WB_VERB_REBOOT, 42};
    static const char *const apps[] = {"a", "b", "c"};
    gw *g = &w->g;
    wb_msg m = {.type = WB_REPORT_REQUEST};
    gw_want want = {.attempt = arg % 7 + 1u, .command = arg};
    switch (which % 8) {
    case 0:
    case 1:
    case 2:
        snprintf(want.app, sizeof want.app, "%s", apps[arg % 3]);
        want.revision = &g->revision[arg / 3 % g->revisions];
        want.deadline = arg % 5 == 0 ? 3000 : 0;
        m = gw_command(g, &want, verbs[which / 8 % 8]);
        if (arg % 4 == 0 && m.u.command.verb == WB_VERB_STOP) {
            m = gw_command(g, &want, WB_VERB_UPDATE);
            m.u.command.verb = WB_VERB_STOP;
        }
        break;
    case 3:
        m.type = WB_INVOKE;
        m.u.invoke = (wb_invoke){{(const uint8_t *)"12345678" + 0, 8}, {apps[arg % 3], 1}, {"echo", 4}, {(const uint8_t *)"abc", arg % 4u}, 50};
        break;
    case 4:
        m.type = WB_MESSAGE_DOWN;
        m.u.message = (wb_message){{apps[arg % 3], 1}, {"t", 1}, {NULL, 0}, 0};
        break;
    case 5:
        m.type = WB_ACK;
        m.u.ack.refers = arg + 1u;
        break;
    case 6:
        m.type = WB_ERROR_FRAME;
        m.u.error.refers = arg;
        m.u.error.code = which / 8 % 12 + 1;
        break;
    default:
        break;
    }
    gw_send(g, &m);
}

static void step(world *w, uint8_t what, uint8_t arg, const uint8_t *data, size_t len)
{
    uint8_t header[4] = {0, 0, 0, (uint8_t)len};
    switch (what % 8) {
    case 0:
        gw_raw(&w->g, data, len); /* no frame at all */
        break;
    case 1:
        gw_raw(&w->g, header, 4);
        gw_raw(&w->g, data, len);
        break;
    case 2:
    case 3:
        if (len > 1)
            good_frame(w, data[0], data[1]);
        break;
    case 4:
        gw_run(&w->g, arg * 8, NULL);
        break;
    case 5:
        if (what & 8)
            gw_close(&w->g);
        w->g.away = what & 16;
        w->g.not_found = what & 32 ? 3 : 0;
        w->g.corrupt = what & 64;
        w->g.busy = what & 128 ? 2 : 0;
        break;
    case 6:
        if (what & 8)
            world_reboot(w);
        if (what & 16)
            w->s.fail_puts = (what >> 5) & 3;
        break;
    default:
        gw_settle(&w->g);
        break;
    }
    if (w->s.rebooted)
        world_reboot(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sim_script bad = {.telemetry = 1, .timer_trap = WB_REASON_TRAP, .trap_after = 4};
    world *w = world_new();
    w->s.cfg.apps = 2;
    gw_add(&w->g, "app-bad", "telemetry", "log,telemetry", &bad, 400)->max_traps = 2;
    world_enroll(w);
    for (size_t at = 0; at + 2 <= size;) {
        size_t len = data[at] % 8 < 2 ? data[at + 1] % 64 : data[at] % 8 < 4 ? 2 : 0;
        if (len > size - at - 2)
            len = size - at - 2;
        step(w, data[at], data[at + 1], data + at + 2, len);
        at += 2 + len;
    }
    /* Left alone: it comes back, does as told, and says so. A reboot that it was told to do comes first. */
    w->g.away = false;
    (void)gw_run(&w->g, 3000, NULL);
    if (w->s.rebooted)
        world_reboot(w);
    w->s.fail_puts = 0;
    w->g.away = w->g.corrupt = false;
    w->g.not_found = w->g.busy = 0;
    for (int i = 0; i < GW_APPS; i++)
        if (w->g.app[i].there)
            gw_set(&w->g, w->g.app[i].name, NULL, 0);
    gw_close(&w->g);
    bool ok = gw_run(&w->g, 200000, is_enrolled);
    for (int i = 0; i < GW_APPS; i++)
        if (w->g.app[i].there)
            gw_set(&w->g, w->g.app[i].name, NULL, 0);
    ok = ok && gw_run(&w->g, 20000, NULL);
    gw_set(&w->g, "end", w->v1, 1000);
    ok = ok && run_until(w, "end", WB_STATE_RUNNING, "app-1");
    if (!ok || checks_failed > 0) {
        fprintf(stderr, "the device does not work any more\n");
        abort();
    }
    world_free(w);
    return 0;
}
