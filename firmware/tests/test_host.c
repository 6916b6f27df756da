/* Host functions called as an engine calls them, from the instance of a running module. */
#include <math.h>

#include "harness.h"
#include "internal.h"
#include "world.h"

typedef struct hosted {
    world *w;
    wb_instance *inst;
} hosted;

static hosted host_new(const char *permissions, uint32_t on_board)
{
    hosted h = {world_new(), NULL};
    sim_script script = {0};
    gw_revision *r = gw_add(&h.w->g, "app-h", "", permissions, &script, 300);
    r->config_key = "color";
    r->config_value = "blue";
    h.w->s.cfg.permissions = on_board;
    world_enroll(h.w);
    world_confirm(h.w, "app", r, 1);
    h.inst = &h.w->s.d->app[0].inst;
    return h;
}

static void permissions(void)
{
    hosted h = host_new("", 0x1ff);
    uint8_t b[4];
    double v;
    CHECK_EQ(wb_host_log(h.inst, 2, "x", 1), WB_EDENIED);
    CHECK_EQ(wb_host_clock_now(h.inst), WB_EDENIED);
    CHECK_EQ(wb_host_clock_uptime(h.inst), WB_EDENIED);
    CHECK_EQ(wb_host_telemetry(h.inst, "x", 1, 1), WB_EDENIED);
    CHECK_EQ(wb_host_message_send(h.inst, "x", 1, b, 1), WB_EDENIED);
    CHECK_EQ(wb_host_kv_get(h.inst, "x", 1, b, 1), WB_EDENIED);
    CHECK_EQ(wb_host_kv_set(h.inst, "x", 1, b, 1), WB_EDENIED);
    CHECK_EQ(wb_host_gpio_read(h.inst, 1), WB_EDENIED);
    CHECK_EQ(wb_host_gpio_write(h.inst, 1, 1), WB_EDENIED);
    CHECK_EQ(wb_host_sensor_read(h.inst, 1, &v), WB_EDENIED);
    CHECK_EQ(wb_host_timer_set(h.inst, 1, 1), WB_EDENIED);
    CHECK_EQ(wb_host_random(h.inst, b, 4), WB_EDENIED);
    CHECK_EQ(wb_host_config_get(h.inst, "color", 5, (char *)b, 4), 4); /* always allowed */
    CHECK(memcmp(b, "blue", 4) == 0);
    world_free(h.w);
}

static void key_value(void)
{
    hosted h = host_new("kv", 0);
    uint8_t big[2000], buf[2000];
    char key[16];
    memset(big, 7, sizeof big);
    CHECK_EQ(wb_host_kv_get(h.inst, "a", 1, buf, 10), WB_ENOENT);
    CHECK_EQ(wb_host_kv_set(h.inst, "", 0, big, 1), WB_EINVAL);
    CHECK_EQ(wb_host_kv_set(h.inst, (const char *)big, 64, big, 1), WB_EINVAL);
    CHECK_EQ(wb_host_kv_set(h.inst, "a", 1, big, 2000), WB_ENOSPC);
    CHECK_EQ(wb_host_kv_set(h.inst, "a", 1, big, 100), 0);
    CHECK_EQ(wb_host_kv_get(h.inst, "a", 1, buf, 10), 100); /* cut, and says so */
    CHECK_EQ(wb_host_kv_set(h.inst, "a", 1, big, 0), 0);
    CHECK_EQ(wb_host_kv_get(h.inst, "a", 1, buf, 10), WB_ENOENT);
    CHECK_EQ(wb_host_kv_set(h.inst, "none", 4, big, 0), 0);
    /* Against a model, over a reboot. */
    int len[20];
    memset(len, 0, sizeof len);
    uint32_t r = 3;
    for (int i = 0; i < 600; i++) {
        r = r * 1664525u + 1013904223u;
        int k = (int)(r >> 20) % 20, n = (int)(r >> 10) % 120;
        snprintf(key, sizeof key, "key%d", k);
        memset(big, k * 16 + n % 16, sizeof big);
        int err = wb_host_kv_set(h.inst, key, strlen(key), big, (size_t)n);
        CHECK(err == 0 || err == WB_ENOSPC);
        if (err == 0)
            len[k] = n;
        if (i == 300) {
            world_reboot(h.w);
            CHECK(run_until(h.w, "app", WB_STATE_RUNNING, "app-h"));
            h.inst = &h.w->s.d->app[0].inst;
        }
        for (k = 0; k < 20; k++) {
            snprintf(key, sizeof key, "key%d", k);
            int got = wb_host_kv_get(h.inst, key, strlen(key), buf, sizeof buf);
            CHECK_EQ(got, len[k] > 0 ? len[k] : WB_ENOENT);
            if (got > 0)
                CHECK_EQ(buf[got - 1], (k * 16 + len[k] % 16) & 0xff);
        }
    }
    /* The same value again costs no write. */
    for (int k = 0; k < 20; k++) {
        snprintf(key, sizeof key, "key%d", k);
        CHECK_EQ(wb_host_kv_set(h.inst, key, strlen(key), big, 0), 0);
    }
    long steps = h.w->s.steps;
    CHECK_EQ(wb_host_kv_set(h.inst, "same", 4, big, 5), 0);
    CHECK_EQ(h.w->s.steps, steps + 1);
    CHECK_EQ(wb_host_kv_set(h.inst, "same", 4, big, 5), 0);
    CHECK_EQ(h.w->s.steps, steps + 1);
    world_free(h.w);
}

static void records(void)
{
    hosted h = host_new("log,telemetry,message", 0);
    char line[600];
    memset(line, 'x', sizeof line);
    CHECK_EQ(wb_host_telemetry(h.inst, "", 0, 1), WB_EINVAL);
    CHECK_EQ(wb_host_telemetry(h.inst, line, 64, 1), WB_EINVAL);
    CHECK_EQ(wb_host_telemetry(h.inst, "\xff", 1, 1), WB_EINVAL);
    CHECK_EQ(wb_host_telemetry(h.inst, line, 63, 1), 0);
    CHECK_EQ(wb_host_telemetry(h.inst, "nan", 3, NAN), 0); /* taken, dropped, counted */
    CHECK_EQ(wb_host_telemetry(h.inst, "inf", 3, INFINITY), 0);
    wb_stats st;
    wb_device_stats(h.w->s.d, &st);
    CHECK_EQ(st.dropped, 2);
    CHECK_EQ(wb_host_log(h.inst, 77, line, sizeof line), 0); /* cut to 200, level info */
    CHECK_EQ(strlen(h.w->s.last_log), 200);
    CHECK_EQ(wb_host_log(h.inst, 1, "a\xff\x80z", 4), 0);
    CHECK_STR(h.w->s.last_log, "a??z");
    CHECK_EQ(wb_host_message_send(h.inst, "t", 1, (const uint8_t *)line, 600), 0);
    CHECK_EQ(wb_host_message_send(h.inst, "t", 1, (const uint8_t *)line, 5000), WB_ENOSPC);
    CHECK_EQ(wb_host_message_send(h.inst, "", 0, NULL, 0), WB_EINVAL);
    CHECK_EQ(wb_host_message_send(h.inst, "t", 1, NULL, 0), 0);
    CHECK(gw_run(&h.w->g, 3000, NULL));
    CHECK_EQ(h.w->g.telemetry, 1);
    CHECK_EQ(h.w->g.logs, 2);
    CHECK_EQ(h.w->g.messages, 2);
    world_free(h.w);
}

static void timers(void)
{
    hosted h = host_new("timer", 0);
    unsigned before = h.w->s.timers;
    CHECK(gw_run(&h.w->g, 1000, NULL));
    CHECK(h.w->s.timers - before >= 9 && h.w->s.timers - before <= 11); /* the manifest's, 100 ms */
    CHECK_EQ(wb_host_timer_set(h.inst, 1, 1000), 0);                   /* replaced */
    before = h.w->s.timers;
    CHECK(gw_run(&h.w->g, 5000, NULL));
    CHECK(h.w->s.timers - before >= 4 && h.w->s.timers - before <= 6);
    for (uint32_t id = 2; id <= 8; id++)
        CHECK_EQ(wb_host_timer_set(h.inst, id, 500), 0);
    CHECK_EQ(wb_host_timer_set(h.inst, 9, 500), WB_ENOSPC);
    for (uint32_t id = 1; id <= 8; id++)
        CHECK_EQ(wb_host_timer_set(h.inst, id, 0), 0);
    CHECK_EQ(wb_host_timer_set(h.inst, 99, 0), 0);
    before = h.w->s.timers;
    CHECK(gw_run(&h.w->g, 5000, NULL));
    CHECK_EQ(h.w->s.timers, before);
    /* Periods that passed while nobody looked are one call. */
    CHECK_EQ(wb_host_timer_set(h.inst, 1, 10), 0);
    h.w->s.now += 1000;
    wb_device_poll(h.w->s.d);
    CHECK_EQ(h.w->s.timers, before + 1);
    world_free(h.w);
}

static void clock_random_pins(void)
{
    hosted h = host_new("clock,random,gpio,sensor", 0x1ff);
    uint8_t b[16] = {0}, zero[16] = {0};
    double v;
    CHECK(wb_host_clock_now(h.inst) > 1700000000000);
    CHECK(wb_host_clock_uptime(h.inst) >= 0 && wb_host_clock_uptime(h.inst) < 100000);
    CHECK_EQ(wb_host_random(h.inst, b, 16), 0);
    CHECK(memcmp(b, zero, 16) != 0);
    CHECK_EQ(wb_host_gpio_read(h.inst, 3), 1);
    CHECK_EQ(wb_host_gpio_read(h.inst, 30), WB_ENOENT);
    CHECK_EQ(wb_host_gpio_write(h.inst, 3, 2), WB_EINVAL);
    CHECK_EQ(wb_host_gpio_write(h.inst, 3, 1), WB_EUNSUPPORTED);
    CHECK_EQ(wb_host_sensor_read(h.inst, 0, &v), WB_EUNSUPPORTED);
    world_free(h.w);
}

const test host_tests[] = {
    {"host: permissions", permissions},     {"host: key-value store", key_value}, {"host: records", records},
    {"host: timers", timers},               {"host: clock, random, pins", clock_random_pins},
    {NULL, NULL},
};
