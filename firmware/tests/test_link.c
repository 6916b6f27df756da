/*
 * The link drops at every byte that passes, in either direction, once in a life; and again and again. The device comes
 * back, and what it made arrives: every record, trap and message once, or more often and recognisable by boot and number.
 */
#include "harness.h"
#include "scenario.h"

static char what[128];

/* What the modules made is what the platform has, and the end is the same. */
static void check_delivery(scenario *c)
{
    sim *s = &c->w->s;
    gw *g = &c->w->g;
    scenario_check_end(c);
    CHECK_EQ(g->telemetry, s->telemetry_made);
    CHECK_EQ(g->logs, s->logs_made);
    CHECK_EQ(g->traps, s->traps_made);
    CHECK_EQ(g->messages, s->messages_made);
    CHECK_EQ(s->traps_made, 3);
}

static long live(long cut_at, long every, size_t send_most)
{
    scenario c;
    scenario_begin(&c);
    sim *s = &c.w->s;
    s->cfg.telemetry_queue = s->cfg.log_queue = 16384; /* nothing is dropped for want of room */
    s->cfg.backoff_max = 2000;
    s->link_cut_at = cut_at;
    s->link_cut_every = every;
    s->send_most = send_most;
    CHECK_EQ(sim_boot(s), 0);
    CHECK(scenario_go(&c));
    s->link_cut_at = s->link_cut_every = 0;
    check_delivery(&c);
    long bytes = s->bytes;
    scenario_end(&c);
    return bytes;
}

static void each_byte(void)
{
    context_of_check = "link, no cut";
    long bytes = live(0, 0, 0);
    CHECK(bytes > 3000);
    /* Under a sanitizer every third byte, beginning with a different one each time a life has another length; all of
     * them with CUT_EVERY_BYTE set. */
    long stride = getenv("CUT_EVERY_BYTE") != NULL ? 1 : 3;
    for (long k = 1; k <= bytes; k += stride) {
        snprintf(what, sizeof what, "link, cut at byte %ld of %ld", k, bytes);
        context_of_check = what;
        live(k, 0, 0);
    }
}

static void again_and_again(void)
{
    /* A session has to get through its opening and its largest frame, 1 KiB of records, or nothing ever does. */
    for (long every = 1700; every < 3500; every += 37) {
        snprintf(what, sizeof what, "link, cut at each %ldth byte", every);
        context_of_check = what;
        live(every, every, 0);
    }
}

static void a_narrow_link(void)
{
    for (size_t most = 1; most < 40; most += 6) {
        snprintf(what, sizeof what, "link that takes %zu bytes at once", most);
        context_of_check = what;
        live(0, 0, most);
    }
}

/* Nobody acknowledges for a while: everything waits, nothing is sent twice in one session. */
static void nobody_accepts(void)
{
    scenario c;
    context_of_check = "link, nobody accepts";
    scenario_begin(&c);
    sim *s = &c.w->s;
    s->cfg.telemetry_queue = s->cfg.log_queue = 16384;
    CHECK_EQ(sim_boot(s), 0);
    CHECK(gw_run(&c.w->g, 10000, is_enrolled));
    gw_set(&c.w->g, "app", c.w->v1, 1);
    CHECK(run_until(c.w, "app", WB_STATE_RUNNING, "app-1"));
    c.w->g.away = true;
    CHECK(gw_run(&c.w->g, 20000, NULL));
    CHECK_EQ(c.w->g.repeats, 0);
    gw_close(&c.w->g); /* another gateway, and somebody accepts again */
    c.w->g.away = false;
    CHECK(gw_run(&c.w->g, 10000, NULL));
    CHECK(c.w->g.repeats > 0);
    c.phase = PHASE_V1;
    CHECK(scenario_go(&c));
    check_delivery(&c);
    scenario_end(&c);
}

/* Acknowledged frames answered with Busy are sent again in the same session, with the same numbers. */
static void busy(void)
{
    for (int n = 1; n < 30; n += 3) {
        scenario c;
        snprintf(what, sizeof what, "link, busy %d times", n);
        context_of_check = what;
        scenario_begin(&c);
        c.w->s.cfg.telemetry_queue = c.w->s.cfg.log_queue = 16384;
        c.w->s.cfg.backoff_max = 2000;
        c.w->g.busy = n;
        CHECK_EQ(sim_boot(&c.w->s), 0);
        CHECK(scenario_go(&c));
        check_delivery(&c);
        CHECK_EQ(c.w->s.opens, 2);
        scenario_end(&c);
    }
}

const test link_tests[] = {
    {"link: each byte", each_byte},
    {"link: again and again", again_and_again},
    {"link: a narrow one", a_narrow_link},
    {"link: nobody accepts", nobody_accepts},
    {"link: busy", busy},
    {NULL, NULL},
};
