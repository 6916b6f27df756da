/* The parts that can be looked at alone: queue, module check, stored records. */
#include "harness.h"
#include "internal.h"
#include "queue.h"
#include "sim.h"
#include "wasm.h"
#include "world.h"

/* ---- queue: against a model that keeps everything ---- */

static uint32_t rnd_state = 7;

static uint32_t rnd(uint32_t n)
{
    rnd_state = rnd_state * 1664525u + 1013904223u;
    return (rnd_state >> 8) % n;
}

static void check_queue(const wb_queue *q, const uint8_t *lens, uint64_t pushed)
{
    wb_queue_cursor c;
    uint64_t seq = q->first;
    wb_queue_start(q, &c);
    while (wb_queue_next(q, &c)) {
        CHECK_EQ(c.len, lens[seq % 4096]);
        for (uint32_t i = 0; i < c.len; i++)
            CHECK(c.data[i] == (uint8_t)(seq + i));
        seq++;
    }
    CHECK_EQ(seq, pushed + 1);
}

static void queue_model(void)
{
    for (uint32_t size = 4; size < 200; size += 13) {
        static uint8_t lens[4096];
        uint8_t *buf = malloc(size);
        wb_queue q;
        uint64_t pushed = 0, flying = 0;
        wb_queue_init(&q, buf, size);
        for (int i = 0; i < 3000; i++) {
            uint32_t len = rnd(40);
            uint8_t *p;
            switch (rnd(4)) {
            case 0:
            case 1:
                p = wb_queue_push(&q, len);
                CHECK_EQ(p == NULL, len + 2 > size);
                if (p == NULL)
                    break;
                pushed++;
                lens[pushed % 4096] = (uint8_t)len;
                for (uint32_t k = 0; k < len; k++)
                    p[k] = (uint8_t)(pushed + k);
                break;
            case 2:
                if (q.count > 0 && q.flying == 0)
                    wb_queue_sent(&q, ++flying, 1 + rnd(q.count));
                break;
            default:
                if (rnd(4) == 0)
                    wb_queue_lost(&q);
                else if (q.flying != 0)
                    CHECK(wb_queue_ack(&q, q.flying));
                CHECK(!wb_queue_ack(&q, 1u << 30));
                break;
            }
            CHECK_EQ(q.count + q.dropped + q.acked, pushed);
            check_queue(&q, lens, pushed);
        }
        CHECK(size < 42 || q.acked > 0);
        free(buf);
    }
}

/* ---- module check ---- */

static int read_module(const wb_module *m, uint32_t offset, uint8_t *buf, uint32_t len)
{
    if (offset > m->size || len > m->size - offset)
        return WB_EINVAL;
    memcpy(buf, (const uint8_t *)m->source + offset, len);
    return 0;
}

static wb_reason check_module(const uint8_t *bytes, size_t len, uint32_t permissions, uint32_t pages, char *text)
{
    wb_limits l = {.memory_pages = pages, .permissions = permissions};
    wb_module m = {.size = (uint32_t)len, .read = read_module, .source = bytes};
    wb_reason a = wb_wasm_check(&m, &l, text);
    m.mapped = bytes;
    char again[WB_TEXT_MAX + 1];
    CHECK_EQ(wb_wasm_check(&m, &l, again), a);
    CHECK_STR(again, text);
    return a;
}

static void module_check(void)
{
    uint8_t all[2048], *tight;
    char text[WB_TEXT_MAX + 1];
    sim_script script = {0};
    size_t n = sim_make_module(all, sizeof all, "log,clock_now,telemetry,kv_get,random", &script, 0);
    tight = malloc(n);
    memcpy(tight, all, n);
    CHECK_EQ(check_module(tight, n, ~0u, 1, text), WB_REASON_NONE);
    CHECK_EQ(check_module(tight, n, ~0u, 0, text), WB_REASON_INSUFFICIENT_MEMORY);
    CHECK_EQ(check_module(tight, n, ~0u & ~WB_PERMIT_KV, 1, text), WB_REASON_PERMISSION_DENIED);
    CHECK_STR(text, "wasmbed.kv_get");
    free(tight);
    /* A module that ends early is none, or lacks its entry point; one with any bit flipped breaks nothing. */
    for (size_t k = 0; k < n; k++) {
        tight = malloc(k > 0 ? k : 1);
        memcpy(tight, all, k);
        wb_reason r = check_module(tight, k, ~0u, 1, text);
        CHECK(r == WB_REASON_NOT_WASM || r == WB_REASON_NO_ENTRY_POINT || k > n - 40);
        free(tight);
    }
    for (size_t k = 0; k < n * 8; k++) {
        all[k / 8] ^= (uint8_t)(1u << k % 8);
        check_module(all, n, ~0u, 1, text);
        all[k / 8] ^= (uint8_t)(1u << k % 8);
    }
    n = sim_make_module(all, sizeof all, "telemetry,no_such", &script, 0);
    CHECK_EQ(check_module(all, n, ~0u, 1, text), WB_REASON_MISSING_IMPORT);
    CHECK_STR(text, "wasmbed.no_such");
}

/* Hand-made: what the builder does not make. */
static void module_oddities(void)
{
    static const uint8_t head[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    static const struct {
        const char *bytes;
        size_t len;
        wb_reason reason;
    } cases[] = {
        {"", 0, WB_REASON_NO_ENTRY_POINT},
        /* imports a memory */
        {"\x02\x08\x01\x01" "a" "\x01" "b" "\x02\x00", 10, WB_REASON_NOT_WASM}, /* its limits are cut off */
        {"\x02\x0a\x01\x01" "a" "\x01" "b" "\x02\x00\x01\x00", 12, WB_REASON_MISSING_IMPORT},
        /* sections out of order */
        {"\x03\x01\x00\x01\x01\x00", 6, WB_REASON_NOT_WASM},
        /* a section longer than the module */
        {"\x01\x7f\x00", 3, WB_REASON_NOT_WASM},
        /* a number of more than 32 bits */
        {"\x01\xff\xff\xff\xff\x7f", 6, WB_REASON_NOT_WASM},
        /* start is () -> () */
        {"\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x07\x11\x01\x0dwasmbed_start\x00\x00", 29, WB_REASON_NO_ENTRY_POINT},
        /* start is a function that is not there */
        {"\x01\x05\x01\x60\x00\x01\x7f\x03\x02\x01\x00\x07\x11\x01\x0dwasmbed_start\x00\x05", 30, WB_REASON_NOT_WASM},
        {"\x01\x05\x01\x60\x00\x01\x7f\x03\x02\x01\x00\x07\x11\x01\x0dwasmbed_start\x00\x00", 30, WB_REASON_NONE},
        /* two memories */
        {"\x05\x05\x02\x00\x01\x00\x01", 7, WB_REASON_NOT_WASM},
        /* memory64 */
        {"\x05\x03\x01\x04\x01", 5, WB_REASON_NOT_WASM},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t all[128];
        char text[WB_TEXT_MAX + 1];
        memcpy(all, head, sizeof head);
        memcpy(all + sizeof head, cases[i].bytes, cases[i].len);
        wb_reason r = check_module(all, sizeof head + cases[i].len, ~0u, 1, text);
        if (i == 1)
            CHECK(r == WB_REASON_NOT_WASM || r == WB_REASON_MISSING_IMPORT);
        else
            CHECK_EQ(r, cases[i].reason);
    }
}

/* ---- stored records: any garbage under any key leaves a device that boots ---- */

static void garbage_in_storage(void)
{
    for (int i = 0; i < 400; i++) {
        world *w = world_new();
        world_enroll(w);
        world_confirm(w, "app", w->v1, 1);
        world_confirm(w, "app", w->v2, 2);
        for (uint32_t k = 0; k < 1 + rnd(3); k++) {
            sim_blob *b = &w->s.blob[rnd(SIM_BLOBS)];
            if (!b->there || b->len == 0)
                continue;
            if (rnd(3) == 0)
                b->len = rnd((uint32_t)b->len + 1);
            else
                b->data[rnd((uint32_t)b->len)] ^= (uint8_t)(1 + rnd(255));
        }
        world_reboot(w);
        CHECK(gw_run(&w->g, 20000, is_enrolled));
        CHECK(gw_run(&w->g, 30000, NULL));
        CHECK(sim_running(&w->s, NULL) != NULL); /* what was lost was sent again */
        world_free(w);
    }
}

/* Records that pass the checksum and say what cannot be. */
static void forged_records(void)
{
    for (int i = 0; i < 1500; i++) {
        world *w = world_new();
        sim_script script = {.telemetry = 1, .timer_trap = WB_REASON_TRAP, .trap_after = 12};
        world_enroll(w);
        world_confirm(w, "app", gw_add(&w->g, "app-4", "telemetry", "telemetry,log", &script, 300), 1);
        for (int k = 0; k < SIM_BLOBS; k++) {
            sim_blob *b = &w->s.blob[k];
            if (!b->there || b->len < 10 || rnd(2) == 0)
                continue;
            b->data[8 + rnd((uint32_t)b->len - 8)] = (uint8_t)rnd(256);
            uint8_t key[2] = {(uint8_t)b->key, (uint8_t)(b->key >> 8)};
            uint32_t crc = wb_crc32(wb_crc32(0, key, 2), b->data + 4, b->len - 4);
            for (int n = 0; n < 4; n++)
                b->data[n] = (uint8_t)(crc >> (8 * n));
        }
        w->g.want[0].app[0] = '\0';
        gw_close(&w->g);
        if (sim_boot(&w->s) == 0)
            for (int n = 0; n < 200; n++) {
                int64_t ms = wb_device_poll(w->s.d);
                w->s.now += ms < 50 ? ms : 50;
            }
        world_free(w);
    }
}

static void configurations(void)
{
    sim s;
    sim_init(&s);
    wb_config good = s.cfg, c = good;
    CHECK(wb_device_memory(&c) > 0);
    /* 8 KiB or so for the usual two applications on a small board, and the constant is an upper bound. */
    CHECK(wb_device_memory(&c) <= WB_MEMORY(2, 2048, 1024, 1024, 2048 + 1024 + 1024 + 512, 1024));
#define BAD(field, value)                                                                                              \
    do {                                                                                                               \
        c = good;                                                                                                      \
        c.field = value;                                                                                               \
        CHECK_EQ(wb_device_memory(&c), 0);                                                                             \
    } while (0)
    BAD(board, NULL);
    BAD(board, "a board with a name that is much too long");
    BAD(firmware, "");
    BAD(name, "Not A Name");
    BAD(apps, 17);
    BAD(apps, 8); /* a full report does not fit into frame_out */
    BAD(module_size, 0);
    BAD(module_memory, 0);
    BAD(frame_in, 1000);
    BAD(frame_out, 100000);
    BAD(chunk, 10);
    BAD(scratch, 100);
    sim_boot(&s);
    wb_device *d;
    wb_port p = s.d->port;
    s.cfg.memory_size--;
    CHECK_EQ(wb_device_init(&d, &s.cfg, &p), WB_ENOSPC);
    s.cfg.memory_size++;
    p.slot_sync = NULL;
    CHECK_EQ(wb_device_init(&d, &s.cfg, &p), WB_EINVAL);
    sim_free(&s);
}

const test queue_tests[] = {{"queue: against a model", queue_model}, {NULL, NULL}};
const test wasm_tests[] = {
    {"module: check", module_check}, {"module: oddities", module_oddities}, {NULL, NULL}};
const test store_tests[] = {
    {"store: garbage", garbage_in_storage},
    {"store: forged records", forged_records},
    {"store: configurations", configurations},
    {NULL, NULL},
};
