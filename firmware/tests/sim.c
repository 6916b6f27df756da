#include "sim.h"

#include "harness.h"
#include "sha256.h"

/* ---- power ---- */

/* Every step that changes storage comes here first: true when this one is cut, in the way that the test chose. */
static bool hit(sim *s)
{
    s->steps++;
    return s->cut_at != 0 && s->steps == s->cut_at;
}

static bool fails(const sim *s)
{
    return s->fail_at != 0 && s->steps == s->fail_at;
}

static uint8_t noise(sim *s)
{
    s->random = s->random * 1664525u + 1013904223u;
    return (uint8_t)(s->random >> 24);
}

static void lose_power(sim *s)
{
    /* What was written and not synced is anything now. */
    for (int a = 0; a < SIM_APPS; a++)
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < SIM_SLOT; i++)
                if (s->slot[a][k].state[i] == BYTE_WRITTEN) {
                    s->slot[a][k].state[i] = BYTE_UNDEFINED;
                    s->slot[a][k].bytes[i] = noise(s);
                }
    if (!s->powered) {
        fprintf(stderr, "power lost outside of a test that expects it\n");
        abort();
    }
    longjmp(s->power, 1);
}

/* ---- blobs ---- */

static sim_blob *find_blob(sim *s, uint16_t key, bool make)
{
    sim_blob *free_one = NULL;
    for (int i = 0; i < SIM_BLOBS; i++) {
        if (s->blob[i].there && s->blob[i].key == key)
            return &s->blob[i];
        if (!s->blob[i].there && free_one == NULL)
            free_one = &s->blob[i];
    }
    return make ? free_one : NULL;
}

static int blob_get(void *ctx, uint16_t key, uint8_t *buf, size_t cap)
{
    sim *s = ctx;
    sim_blob *b = find_blob(s, key, false);
    if (b == NULL)
        return WB_ENOENT;
    if (b->len > cap)
        return WB_ENOSPC;
    memcpy(buf, b->data, b->len);
    return (int)b->len;
}

static void set_blob(sim *s, uint16_t key, const uint8_t *data, size_t len)
{
    sim_blob *b = find_blob(s, key, true);
    if (b == NULL)
        abort();
    b->there = true;
    b->key = key;
    b->len = len;
    memcpy(b->data, data, len);
}

static int blob_put(void *ctx, uint16_t key, const uint8_t *data, size_t len)
{
    sim *s = ctx;
    if (len > SIM_BLOB)
        return WB_ENOSPC;
    if (s->fail_puts > 0) {
        s->fail_puts--;
        return WB_EIO;
    }
    bool cut = hit(s);
    if (fails(s))
        return WB_EIO;
    if (cut && s->cut_kind == SIM_CUT_BEFORE)
        lose_power(s);
    set_blob(s, key, data, len);
    if (cut && s->cut_kind == SIM_CUT_TORN) { /* garbage under this key, of another length */
        sim_blob *b = find_blob(s, key, true);
        b->len = len / 2 + 1;
        for (size_t i = len / 3; i < b->len; i++)
            b->data[i] = noise(s);
    }
    if (cut)
        lose_power(s);
    return 0;
}

static int blob_delete(void *ctx, uint16_t key)
{
    sim *s = ctx;
    sim_blob *b = find_blob(s, key, false);
    if (b == NULL)
        return 0;
    bool cut = hit(s);
    if (fails(s))
        return WB_EIO;
    if (cut && s->cut_kind == SIM_CUT_BEFORE)
        lose_power(s);
    if (cut && s->cut_kind == SIM_CUT_TORN)
        b->len /= 2;
    else
        b->there = false;
    if (cut)
        lose_power(s);
    return 0;
}

/* ---- slots, with the manners of NOR flash ---- */

static int slot_erase(void *ctx, uint8_t app, uint8_t slot, uint32_t offset, uint32_t len)
{
    sim *s = ctx;
    sim_slot *t = &s->slot[app][slot];
    CHECK(app < SIM_APPS && slot < 2);
    CHECK(offset % s->erase_block == 0 && len % s->erase_block == 0);
    CHECK(offset + len <= SIM_SLOT);
    bool cut = hit(s);
    if (fails(s))
        return WB_EIO;
    if (cut && s->cut_kind == SIM_CUT_BEFORE)
        lose_power(s);
    uint32_t n = cut && s->cut_kind == SIM_CUT_TORN ? len / 2 : len;
    for (uint32_t i = offset; i < offset + n; i++) {
        t->bytes[i] = 0xff;
        t->state[i] = BYTE_ERASED;
    }
    for (uint32_t i = offset + n; i < offset + len; i++) {
        t->bytes[i] = noise(s);
        t->state[i] = BYTE_UNDEFINED;
    }
    if (cut)
        lose_power(s);
    return 0;
}

static int slot_write(void *ctx, uint8_t app, uint8_t slot, uint32_t offset, const uint8_t *data, uint32_t len)
{
    sim *s = ctx;
    sim_slot *t = &s->slot[app][slot];
    CHECK(app < SIM_APPS && slot < 2 && len > 0);
    CHECK(offset % s->write_block == 0 && offset + len <= SIM_SLOT);
    bool cut = hit(s);
    if (fails(s))
        return WB_EIO;
    if (cut && s->cut_kind == SIM_CUT_BEFORE)
        lose_power(s);
    uint32_t n = cut && s->cut_kind == SIM_CUT_TORN ? len / 2 : len;
    for (uint32_t i = 0; i < len; i++) {
        CHECK(t->state[offset + i] == BYTE_ERASED);
        t->bytes[offset + i] = i < n ? data[i] : noise(s);
        t->state[offset + i] = BYTE_WRITTEN;
    }
    if (cut)
        lose_power(s);
    return 0;
}

static int slot_read(void *ctx, uint8_t app, uint8_t slot, uint32_t offset, uint8_t *buf, uint32_t len)
{
    sim *s = ctx;
    CHECK(app < SIM_APPS && slot < 2 && offset + len <= SIM_SLOT);
    memcpy(buf, s->slot[app][slot].bytes + offset, len);
    return 0;
}

static int slot_sync(void *ctx, uint8_t app, uint8_t slot)
{
    sim *s = ctx;
    sim_slot *t = &s->slot[app][slot];
    bool cut = hit(s);
    if (fails(s))
        return WB_EIO;
    if (cut && s->cut_kind != SIM_CUT_AFTER)
        lose_power(s);
    for (int i = 0; i < SIM_SLOT; i++)
        if (t->state[i] == BYTE_WRITTEN)
            t->state[i] = BYTE_SYNCED;
    if (cut)
        lose_power(s);
    return 0;
}

static const uint8_t *slot_map(void *ctx, uint8_t app, uint8_t slot, uint32_t len)
{
    sim *s = ctx;
    CHECK(len <= SIM_SLOT);
    return s->map_slots ? s->slot[app][slot].bytes : NULL;
}

/* ---- link ---- */

void sim_pipe_put(sim_pipe *p, const uint8_t *data, size_t len)
{
    if (p->len + len > SIM_PIPE)
        abort();
    for (size_t i = 0; i < len; i++)
        p->bytes[(p->head + p->len + i) % SIM_PIPE] = data[i];
    p->len += len;
}

size_t sim_pipe_get(sim_pipe *p, uint8_t *out, size_t cap)
{
    size_t n = p->len < cap ? p->len : cap;
    for (size_t i = 0; i < n; i++)
        out[i] = p->bytes[(p->head + i) % SIM_PIPE];
    p->head = (p->head + n) % SIM_PIPE;
    p->len -= n;
    return n;
}

size_t sim_pass(sim *s, size_t n)
{
    if (s->link_cut_at != 0 && s->bytes < s->link_cut_at && s->bytes + (long)n >= s->link_cut_at) {
        n = (size_t)(s->link_cut_at - s->bytes);
        s->connected = false;
        if (s->link_cut_every != 0)
            s->link_cut_at += s->link_cut_every;
    }
    s->bytes += (long)n;
    return n;
}

static int link_open(void *ctx, wb_link_kind kind)
{
    sim *s = ctx;
    s->opens++;
    s->kind = kind;
    s->up = !s->refuse;
    s->connected = s->up;
    memset(&s->to_device, 0, sizeof s->to_device);
    memset(&s->to_gateway, 0, sizeof s->to_gateway);
    CHECK(kind != WB_LINK_OPERATIONAL || s->enrolled);
    return 0;
}

static int link_state(void *ctx)
{
    sim *s = ctx;
    if (s->link_auth_fails && s->kind == WB_LINK_OPERATIONAL)
        return WB_EAUTH;
    return s->connected ? WB_LINK_CONNECTED : WB_ECLOSED;
}

static int link_trusted(void *ctx)
{
    return ((sim *)ctx)->untrusted ? WB_EAUTH : 0;
}

static uint64_t identity_renew_at(void *ctx)
{
    return ((sim *)ctx)->renew_at;
}

static int link_send(void *ctx, const uint8_t *data, size_t len)
{
    sim *s = ctx;
    if (!s->connected)
        return WB_ECLOSED;
    if (s->send_most != 0) {
        if (s->to_gateway.len >= s->send_most)
            return WB_EAGAIN;
        if (len > s->send_most - s->to_gateway.len)
            len = s->send_most - s->to_gateway.len;
    }
    sim_pipe_put(&s->to_gateway, data, sim_pass(s, len));
    return (int)len;
}

static int link_recv(void *ctx, uint8_t *buf, size_t cap)
{
    sim *s = ctx;
    size_t n = sim_pipe_get(&s->to_device, buf, cap);
    if (n > 0)
        return (int)n;
    return s->connected ? WB_EAGAIN : WB_ECLOSED;
}

static void link_close(void *ctx)
{
    sim *s = ctx;
    s->up = s->connected = false;
    s->to_device.len = 0; /* nobody reads it any more; what was sent still arrives */
}

/* ---- identity, clock, entropy ---- */

static int identity_csr(void *ctx, uint8_t *buf, size_t cap)
{
    (void)ctx;
    if (cap < 300)
        return WB_ENOSPC;
    memset(buf, 0x30, 300);
    return 300;
}

static int identity_enrolled(void *ctx)
{
    return ((sim *)ctx)->enrolled;
}

static int identity_store(void *ctx, const wb_bytes *chain, size_t count)
{
    sim *s = ctx;
    CHECK(count >= 1);
    if (chain[0].len > sizeof s->leaf || s->store_fails)
        return WB_EFORMAT;
    bool cut = hit(s);
    if (fails(s))
        return WB_EIO;
    if (cut && s->cut_kind != SIM_CUT_AFTER)
        lose_power(s);
    memcpy(s->leaf, chain[0].data, chain[0].len);
    s->leaf_len = chain[0].len;
    s->enrolled = true;
    if (cut)
        lose_power(s);
    return 0;
}

static int identity_sign(void *ctx, const uint8_t *tbs, size_t len, uint8_t *sig, size_t cap)
{
    (void)ctx;
    CHECK_EQ(len, 115);
    CHECK(memcmp(tbs, "wasmbed/1 evidence", 19) == 0);
    CHECK(cap >= 72);
    memset(sig, 0x5a, 71);
    return 71;
}

static int identity_key(void *ctx, uint8_t out[WB_DIGEST_SIZE])
{
    (void)ctx;
    memset(out, 0x11, WB_DIGEST_SIZE);
    return 0;
}

static int64_t clock_ms(void *ctx)
{
    return ((sim *)ctx)->now;
}

static void clock_wall(void *ctx, uint64_t unix_ms, bool floor)
{
    sim *s = ctx;
    if (floor)
        s->wall_floor = unix_ms;
    else
        s->wall = unix_ms;
}

static int entropy(void *ctx, uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = noise(ctx);
    return 0;
}

static wb_sha256 port_sha;

static int sha_start(void *ctx)
{
    (void)ctx;
    wb_sha256_start(&port_sha);
    return 0;
}

static int sha_update(void *ctx, const uint8_t *data, size_t len)
{
    (void)ctx;
    wb_sha256_update(&port_sha, data, len);
    return 0;
}

static int sha_finish(void *ctx, uint8_t out[WB_DIGEST_SIZE])
{
    (void)ctx;
    wb_sha256_finish(&port_sha, out);
    return 0;
}

static void log_line(void *ctx, wb_level level, const char *text, size_t len)
{
    sim *s = ctx;
    if (len > sizeof s->last_log - 1)
        len = sizeof s->last_log - 1;
    memcpy(s->last_log, text, len);
    s->last_log[len] = '\0';
    if (getenv("SIM_LOG") != NULL)
        fprintf(stderr, "%8lld %d %s\n", (long long)s->now, level, s->last_log);
}

static void reboot(void *ctx)
{
    ((sim *)ctx)->rebooted = true;
}

static int gpio_read(void *ctx, uint32_t pin)
{
    (void)ctx;
    return pin < 8 ? (int)(pin & 1) : WB_ENOENT;
}

/* ---- life ---- */

void sim_init(sim *s)
{
    memset(s, 0, sizeof *s);
    s->erase_block = 1;
    s->write_block = 1;
    s->random = 1;
    s->now = 1000;
    s->cfg.board = "Sim";
    s->cfg.firmware = "1.0.0";
    s->cfg.name = "dev-1";
    s->cfg.module_size = SIM_SLOT;
    s->cfg.module_memory = 1 << 20;
    s->cfg.chunk = 128;
    s->cfg.batch_delay = 50;
    s->cfg.restart_delay = 50;
}

int sim_boot(sim *s)
{
    wb_port p = {
        .ctx = s,
        .link_open = link_open,
        .link_state = link_state,
        .link_trusted = link_trusted,
        .link_send = link_send,
        .link_recv = link_recv,
        .link_close = link_close,
        .identity_csr = identity_csr,
        .identity_enrolled = identity_enrolled,
        .identity_store = identity_store,
        .identity_renew_at = identity_renew_at,
        .identity_sign = identity_sign,
        .identity_key = identity_key,
        .blob_get = blob_get,
        .blob_put = blob_put,
        .blob_delete = blob_delete,
        .erase_block = s->erase_block,
        .write_block = s->write_block,
        .slot_erase = slot_erase,
        .slot_write = slot_write,
        .slot_read = slot_read,
        .slot_sync = slot_sync,
        .slot_map = slot_map,
        .clock_ms = clock_ms,
        .clock_wall = clock_wall,
        .entropy = entropy,
        .log = log_line,
        .reboot = reboot,
        .gpio_read = gpio_read,
    };
    if (!s->own_sha) {
        p.sha256_start = sha_start;
        p.sha256_update = sha_update;
        p.sha256_finish = sha_finish;
    }
    sim_drop(s);
    p.runtime = sim_runtime(s);
    s->cfg.memory_size = wb_device_memory(&s->cfg);
    s->memory = malloc(s->cfg.memory_size); /* exactly as much: the sanitizer sees what goes beyond */
    s->cfg.memory = s->memory;
    memset(s->memory, 0xa5, s->cfg.memory_size);
    memset(s->module, 0, sizeof s->module);
    return wb_device_init(&s->d, &s->cfg, &p);
}

bool sim_powered(sim *s, void (*run)(void *), void *arg)
{
    bool alive = setjmp(s->power) == 0;
    if (alive) {
        s->powered = true;
        run(arg);
    }
    s->powered = false;
    return alive;
}

void sim_drop(sim *s)
{
    free(s->memory);
    s->memory = NULL;
    s->d = NULL;
    s->up = s->connected = false;
    s->to_device.len = s->to_gateway.len = 0;
    s->rebooted = false;
}

void sim_free(sim *s)
{
    sim_drop(s);
}
