/* The session: enrollment in all its turns, renewal, heartbeats, times that run out, refusals, back-off. */
#include "harness.h"
#include "world.h"

static wb_stats stats(world *w)
{
    wb_stats st;
    wb_device_stats(w->s.d, &st);
    return st;
}

static void enrolls_and_comes_back(void)
{
    static const uint8_t measurement[32] = {1};
    world *w = world_new();
    w->s.cfg.measurement = measurement;
    world_enroll(w);
    CHECK(w->s.enrolled);
    CHECK_EQ(w->s.leaf_len, 16);
    CHECK_EQ(w->s.opens, 2);
    CHECK(w->g.evidence_seen);
    CHECK(w->g.features_attest);
    CHECK_EQ(w->g.fulls, 1);
    CHECK_EQ(stats(w).session, WB_SESSION_ACTIVE);
    CHECK(stats(w).enrolled);
    CHECK_EQ(stats(w).epoch, 1);
    CHECK(w->s.wall >= 1700000000000u);
    /* The floor of the wall time is known at the next boot, before anybody has said the time. */
    w->s.refuse = true;
    world_reboot(w);
    CHECK(w->s.wall_floor >= 1700000000000u);
    CHECK_EQ(wb_device_wall(w->s.d), 0);
    CHECK_EQ(w->s.kind, WB_LINK_OPERATIONAL);
    world_free(w);
}

static void waits_for_approval(void)
{
    world *w = world_new();
    w->g.pending = true;
    w->g.retry_after = 5000;
    CHECK_EQ(sim_boot(&w->s), 0);
    CHECK(gw_run(&w->g, 26000, NULL));
    CHECK_EQ(w->g.enrolls, 6); /* now and every five seconds, in one session */
    CHECK_EQ(w->s.opens, 1);
    CHECK_EQ(stats(w).session, WB_SESSION_ENROLLING);
    CHECK_EQ(stats(w).enroll_reason, WB_REASON_AWAITING_APPROVAL);
    /* A further result for the same question, without being asked. */
    w->g.pending = false;
    w->g.enrolled = true;
    wb_msg m = {.type = WB_ENROLL_RESULT};
    m.u.enroll_result.refers = w->g.enroll_id;
    m.u.enroll_result.status = WB_ENROLL_ACCEPTED;
    m.u.enroll_result.chain = (wb_items){1, {(const uint8_t *)"\x41x", 2}, NULL, NULL};
    gw_send(&w->g, &m);
    CHECK(gw_run(&w->g, 5000, is_enrolled)); /* no goodbye came: the device waits two seconds for it */
    CHECK_EQ(w->s.opens, 2);
    CHECK_EQ(stats(w).enroll_reason, WB_REASON_NONE);
    world_free(w);
}

static void closes_while_it_waits_long(void)
{
    world *w = world_new();
    w->g.pending = true;
    w->g.retry_after = 120000;
    CHECK_EQ(sim_boot(&w->s), 0);
    CHECK(gw_run(&w->g, 100000, NULL));
    CHECK_EQ(w->g.enrolls, 1);
    CHECK_EQ(w->s.opens, 1);
    w->g.pending = false;
    CHECK(gw_run(&w->g, 60000, is_enrolled));
    CHECK_EQ(w->g.enrolls, 2);
    world_free(w);
}

static void rejected(void)
{
    world *w = world_new();
    w->g.rejected = true;
    CHECK_EQ(sim_boot(&w->s), 0);
    CHECK(gw_run(&w->g, 59000, NULL));
    CHECK_EQ(w->g.enrolls, 1);
    CHECK_EQ(stats(w).enroll_reason, WB_REASON_NOT_PAIRED);
    CHECK(gw_run(&w->g, 5000, NULL));
    CHECK_EQ(w->g.enrolls, 2);
    CHECK(gw_run(&w->g, 8 * 3600000LL, NULL));
    CHECK(w->g.enrolls > 8 && w->g.enrolls < 20); /* once an hour at last */
    w->g.rejected = false;
    CHECK(gw_run(&w->g, 3700000, is_enrolled));
    world_free(w);
}

static void renews(void)
{
    world *w = world_new();
    w->g.renew_before = w->g.time + 30000;
    world_enroll(w);
    CHECK(gw_run(&w->g, 25000, NULL));
    CHECK_EQ(w->g.renews, 0);
    w->g.pending = true;
    CHECK(gw_run(&w->g, 10000, NULL));
    CHECK_EQ(w->g.renews, 1);
    w->g.pending = false;
    CHECK(gw_run(&w->g, 50000, NULL));
    CHECK_EQ(w->g.renews, 1);
    CHECK(gw_run(&w->g, 20000, NULL));
    CHECK_EQ(w->g.renews, 2);
    CHECK(gw_run(&w->g, 200000, NULL));
    CHECK_EQ(w->g.renews, 2);
    CHECK_EQ(w->s.opens, 2); /* the session went on */
    world_free(w);
}

static void heartbeats(void)
{
    world *w = world_new();
    world_enroll(w);
    int before = w->g.heartbeats;
    CHECK(gw_run(&w->g, 20000, NULL));
    CHECK(w->g.heartbeats - before >= 19 && w->g.heartbeats - before <= 21);
    /* Nobody answers: three intervals, then a new link. */
    unsigned opens = w->s.opens;
    w->s.to_gateway.len = 0;
    w->g.open = false;
    for (int i = 0; i < 60 && w->s.opens == opens; i++) {
        wb_device_poll(w->s.d);
        w->s.to_gateway.len = 0;
        w->s.now += 100;
    }
    CHECK_EQ(stats(w).last_error, WB_ETIMEOUT);
    CHECK(gw_run(&w->g, 30000, is_enrolled));
    world_free(w);
}

static void goodbyes(void)
{
    static const struct {
        uint8_t reason;
        uint32_t retry;
        int64_t least, most;
    } cases[] = {
        {WB_GOODBYE_DRAIN, 5000, 5000, 6100},    {WB_GOODBYE_SUPERSEDED, 0, 10000, 11100},
        {WB_GOODBYE_REVOKED, 0, 60000, 61100},   {WB_GOODBYE_BUSY, 1000, 1000, 2100},
        {WB_GOODBYE_SHUTDOWN, 0, 500, 1100},     {200, 0, 500, 1100},
        {WB_GOODBYE_REVOKED, 90000, 90000, 91100},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        world *w = world_new();
        world_enroll(w);
        CHECK(gw_run(&w->g, 61000, NULL)); /* lived long enough for the back-off to begin anew */
        unsigned opens = w->s.opens;
        int64_t then = w->s.now;
        wb_msg m = {.type = WB_GOODBYE, .u = {.goodbye = {cases[i].reason, cases[i].retry, {NULL, 0}}}};
        gw_send(&w->g, &m);
        while (w->s.opens == opens && w->s.now < then + 200000) {
            gw_settle(&w->g);
            w->s.now += 10;
        }
        CHECK(w->s.now - then >= cases[i].least && w->s.now - then <= cases[i].most);
        CHECK(gw_run(&w->g, 10000, is_enrolled));
        world_free(w);
    }
}

static void expired_certificate(void)
{
    world *w = world_new();
    world_enroll(w);
    wb_msg m = {.type = WB_GOODBYE, .u = {.goodbye = {WB_GOODBYE_EXPIRED, 0, {NULL, 0}}}};
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    int before = w->g.enrolls;
    CHECK(gw_run(&w->g, 10000, is_enrolled));
    CHECK_EQ(w->g.enrolls, before + 1);
    /* A gateway that does not know the certificate treats it as first contact; so does the device. */
    w->g.enrolled = false;
    gw_close(&w->g);
    CHECK(gw_run(&w->g, 10000, NULL));
    CHECK_EQ(w->g.enrolls, before + 2);
    CHECK(is_enrolled(&w->g));
    /* Handshakes that fail for the certificate: after three of them it is not shown any more. */
    w->s.link_auth_fails = true;
    gw_close(&w->g);
    CHECK(gw_run(&w->g, 60000, NULL));
    CHECK(w->g.enrolls > before + 2);
    w->s.link_auth_fails = false;
    CHECK(gw_run(&w->g, 60000, is_enrolled));
    world_free(w);
}

static void backs_off(void)
{
    world *w = world_new();
    int64_t last = 0, longest = 0;
    unsigned opens = 0;
    w->s.refuse = true;
    CHECK_EQ(sim_boot(&w->s), 0);
    for (int i = 0; i < 600000; i += 50) {
        wb_device_poll(w->s.d);
        if (w->s.opens != opens) {
            opens = w->s.opens;
            if (w->s.now - last > longest)
                longest = w->s.now - last;
            last = w->s.now;
        }
        w->s.now += 50;
    }
    CHECK(opens > 12 && opens < 40);
    CHECK(longest > 30000 && longest <= 60100);
    CHECK_EQ(stats(w).last_error, WB_ECLOSED);
    world_free(w);
}

static void refuse(const uint8_t *frame, size_t len, uint8_t code, bool ends)
{
    world *w = world_new();
    world_enroll(w);
    int goodbyes = w->g.goodbyes;
    unsigned opens = w->s.opens;
    gw_raw(&w->g, frame, len);
    gw_settle(&w->g);
    CHECK_EQ(w->g.last_error, code);
    CHECK_EQ(w->g.goodbyes, goodbyes + ends);
    CHECK(gw_run(&w->g, 10000, NULL));
    CHECK_EQ(w->s.opens, opens + ends);
    CHECK(is_enrolled(&w->g));
    world_free(w);
}

static void refuses(void)
{
    refuse((const uint8_t *)"\0\0\0\0", 4, WB_CODE_FRAME, true);
    refuse((const uint8_t *)"\0\0\x08\x01", 4, WB_CODE_FRAME, true);
    refuse((const uint8_t *)"\0\0\0\x03\xa1\x00\xff", 7, WB_CODE_CBOR, true);
    refuse((const uint8_t *)"\0\0\0\x05\xa2\x00\x0c\x01\x01", 9, WB_CODE_SCHEMA, false);
    refuse((const uint8_t *)"\0\0\0\x06\xa2\x00\x18\x63\x01\x01", 10, WB_CODE_UNKNOWN_TYPE, false);
    refuse((const uint8_t *)"\0\0\0\x05\xa2\x00\x0a\x01\x01", 9, WB_CODE_SCHEMA, false);
}

/* Each refused frame is answered, also when many come at once. */
static void refusals_in_a_row(void)
{
    world *w = world_new();
    world_enroll(w);
    for (int i = 0; i < 10; i++)
        gw_raw(&w->g, (const uint8_t *)"\0\0\0\x06\xa2\x00\x18\x63\x01\x01", 10);
    gw_settle(&w->g);
    CHECK_EQ(w->g.errors, 10);
    CHECK(is_enrolled(&w->g));
    world_free(w);
}

static void sixteen_errors_are_enough(void)
{
    world *w = world_new();
    world_enroll(w);
    for (int i = 0; i < 15; i++) {
        gw_raw(&w->g, (const uint8_t *)"\0\0\0\x06\xa2\x00\x18\x63\x01\x01", 10);
        gw_settle(&w->g);
    }
    CHECK_EQ(w->g.errors, 15);
    CHECK_EQ(w->g.goodbyes, 0);
    gw_raw(&w->g, (const uint8_t *)"\0\0\0\x06\xa2\x00\x18\x63\x01\x01", 10);
    gw_settle(&w->g);
    CHECK_EQ(w->g.errors, 16);
    CHECK_EQ(w->g.goodbyes, 1);
    world_free(w);
}

static void no_welcome(void)
{
    world *w = world_new();
    CHECK_EQ(sim_boot(&w->s), 0);
    for (int i = 0; i < 140 && w->s.opens < 2; i++) {
        wb_device_poll(w->s.d);
        w->s.now += 100;
    }
    CHECK_EQ(w->s.opens, 2);
    CHECK(w->s.now >= 11000 && w->s.now < 13500);
    CHECK_EQ(stats(w).last_error, WB_ETIMEOUT);
    world_free(w);
}

static void invokes(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    wb_msg m = {.type = WB_INVOKE};
    m.u.invoke = (wb_invoke){{(const uint8_t *)"12345678", 8}, {"app", 3}, {"echo", 4}, {(const uint8_t *)"hello", 5}, 1000};
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK_EQ(w->g.invoke_status, WB_COMMAND_DONE);
    CHECK(w->g.invoke_len == 5 && memcmp(w->g.invoke_payload, "hello", 5) == 0);
    gw_send(&w->g, &m); /* again: answered from memory */
    gw_settle(&w->g);
    CHECK_EQ(w->s.invokes, 1);
    CHECK(w->g.invoke_len == 5 && w->g.invoke_status == WB_COMMAND_DONE);
    m.u.invoke.command.data = (const uint8_t *)"12345679";
    m.u.invoke.function = (wb_text){"none", 4};
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK_EQ(w->g.invoke_status, WB_COMMAND_REFUSED);
    CHECK_EQ(w->g.invoke_reason, WB_REASON_UNSUPPORTED);
    m.u.invoke.command.data = (const uint8_t *)"1234567a";
    m.u.invoke.function = (wb_text){"fail", 4};
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK_EQ(w->g.invoke_status, WB_COMMAND_FAILED);
    CHECK_EQ(w->g.invoke_reason, WB_REASON_EXIT);
    m.u.invoke.command.data = (const uint8_t *)"1234567b";
    m.u.invoke.app = (wb_text){"none", 4};
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK_EQ(w->g.invoke_status, WB_COMMAND_REFUSED);
    CHECK_EQ(w->g.invoke_reason, WB_REASON_UNKNOWN_APP);
    m.u.invoke.command.data = (const uint8_t *)"1234567c";
    m.u.invoke.app = (wb_text){"app", 3};
    m.u.invoke.function = (wb_text){"trap", 4};
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK_EQ(w->g.invoke_status, WB_COMMAND_FAILED);
    CHECK_EQ(w->g.invoke_reason, WB_REASON_DIVIDE_BY_ZERO);
    CHECK(gw_run(&w->g, 2000, NULL));
    CHECK_EQ(w->g.traps, 1); /* a fault of the application as any other */
    world_free(w);
}

/* Many in a row, small and large ones: the newest eight are remembered with their answers. */
static void many_invokes(void)
{
    world *w = world_new();
    uint8_t id[8] = {0}, payload[200];
    wb_msg m = {.type = WB_INVOKE};
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    for (int i = 0; i < 100; i++) {
        size_t n = (size_t)(i * 37 % 200);
        memset(payload, i, sizeof payload);
        id[7] = (uint8_t)i;
        m.u.invoke = (wb_invoke){{id, 8}, {"app", 3}, {"echo", 4}, {payload, n}, 1000};
        gw_send(&w->g, &m);
        gw_settle(&w->g);
        CHECK_EQ(w->g.invoke_status, WB_COMMAND_DONE);
        CHECK_EQ(w->g.invoke_len, n);
        CHECK(n == 0 || memcmp(w->g.invoke_payload, payload, n) == 0);
        w->g.invoke_status = 0;
        gw_send(&w->g, &m);
        gw_settle(&w->g);
        CHECK_EQ(w->g.invoke_status, WB_COMMAND_DONE);
        CHECK_EQ(w->s.invokes, i + 1);
    }
    world_free(w);
}

static void messages(void)
{
    world *w = world_new();
    world_enroll(w);
    world_confirm(w, "app", w->v1, 1);
    wb_msg m = {.type = WB_MESSAGE_DOWN};
    m.u.message = (wb_message){{"app", 3}, {"lamp", 4}, {(const uint8_t *)"on", 2}, 0};
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK_STR(w->s.last_topic, "lamp");
    CHECK_STR(w->s.last_payload, "on");
    m.u.message.app = (wb_text){"none", 4};
    gw_send(&w->g, &m);
    gw_settle(&w->g);
    CHECK_EQ(w->g.last_error, WB_CODE_NOT_FOUND);
    CHECK_EQ(w->s.messages, 1);
    world_free(w);
}

/* A gateway without a feature is never shown it. */
static void features(void)
{
    world *w = world_new();
    sim_script script = {.telemetry = 1, .logs = 1, .messages = 1};
    gw_revision *r = gw_add(&w->g, "app-m", "telemetry,log,message_send", "log,telemetry,message", &script, 500);
    w->g.features = 0;
    world_enroll(w);
    world_confirm(w, "app", r, 1);
    CHECK(gw_run(&w->g, 5000, NULL));
    CHECK_EQ(w->g.telemetry + w->g.logs + w->g.messages, 0);
    CHECK(stats(w).queued > 0);
    w->g.features = 0x3f;
    gw_close(&w->g);
    CHECK(gw_run(&w->g, 10000, NULL));
    CHECK(w->g.telemetry > 0 && w->g.logs > 0 && w->g.messages > 0);
    world_free(w);
}

/* More than the rings hold: the oldest go, they are counted, and the numbers show the hole. */
static void drops_are_counted(void)
{
    world *w = world_new();
    sim_script script = {.telemetry = 5, .logs = 2};
    gw_revision *r = gw_add(&w->g, "app-m", "telemetry,log", "log,telemetry", &script, 500);
    world_enroll(w);
    world_confirm(w, "app", r, 1);
    w->g.away = true;
    CHECK(gw_run(&w->g, 60000, NULL));
    w->g.away = false;
    gw_close(&w->g);
    CHECK(gw_run(&w->g, 10000, NULL));
    gw_set(&w->g, "app", r, 1)->stopped = true;
    CHECK(run_until(w, "app", WB_STATE_STOPPED, "app-m"));
    CHECK(gw_run(&w->g, 5000, NULL));
    CHECK(stats(w).dropped > 100);
    CHECK_EQ(stats(w).queued, 0);
    CHECK((int64_t)(w->g.telemetry + w->g.logs + stats(w).dropped) >= w->s.telemetry_made + w->s.logs_made);
    world_free(w);
}

const test session_tests[] = {
    {"session: enrolls and comes back", enrolls_and_comes_back},
    {"session: waits for approval", waits_for_approval},
    {"session: closes while it waits long", closes_while_it_waits_long},
    {"session: rejected", rejected},
    {"session: renews", renews},
    {"session: heartbeats", heartbeats},
    {"session: goodbyes", goodbyes},
    {"session: expired certificate", expired_certificate},
    {"session: backs off", backs_off},
    {"session: refuses", refuses},
    {"session: refusals in a row", refusals_in_a_row},
    {"session: sixteen errors are enough", sixteen_errors_are_enough},
    {"session: no welcome", no_welcome},
    {"session: invokes", invokes},
    {"session: many invokes", many_invokes},
    {"session: messages", messages},
    {"session: features", features},
    {"session: drops are counted", drops_are_counted},
    {NULL, NULL},
};
