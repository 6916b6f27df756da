/* A device's memory, its poll, and the small things that the others share. */
#include <string.h>

#include "internal.h"

/* The constants of WB_MEMORY() are upper bounds. */
typedef char fixed_is_enough[sizeof(struct wb_device) + 8 * 10 <= WB_MEMORY_FIXED ? 1 : -1];
typedef char app_is_enough[sizeof(wb_app) + WB_NAME_MAX + 9 <= WB_MEMORY_APP ? 1 : -1];

#define FEATURES_ALL                                                                                                   \
    (WB_FEATURE_INVOKE | WB_FEATURE_MESSAGES | WB_FEATURE_TELEMETRY | WB_FEATURE_LOGS | WB_FEATURE_RENEW |            \
     WB_FEATURE_ATTEST)
#define PERMISSIONS_USUAL                                                                                              \
    (WB_PERMIT_LOG | WB_PERMIT_CLOCK | WB_PERMIT_TELEMETRY | WB_PERMIT_MESSAGE | WB_PERMIT_KV | WB_PERMIT_TIMER |     \
     WB_PERMIT_RANDOM)
#define CHUNK_OVERHEAD 96u /* of a chunk's frame besides its data */
#define SCRATCH_LEAST 1024u
#define FRAME_OUT_LEAST 512u
#define REPORT_BASE 160u /* of a full report's frame, and of each application without its text */
#define REPORT_APP 288u

/* ---- small things ---- */

void wb_wake(wb_device *d, int64_t at)
{
    if (at < d->next)
        d->next = at;
}

void wb_clock(wb_device *d)
{
    int64_t now = d->port.clock_ms(d->port.ctx);
    if (now > d->now)
        d->now = now;
}

uint32_t wb_random32(wb_device *d)
{
    uint8_t b[4] = {0};
    (void)d->port.entropy(d->port.ctx, b, sizeof b); /* jitter alone depends on it */
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

uint32_t wb_back_off(wb_device *d, unsigned tries)
{
    uint64_t wait = (uint64_t)d->cfg.backoff_min << (tries < 16 ? tries : 16);
    if (wait > d->cfg.backoff_max)
        wait = d->cfg.backoff_max;
    return (uint32_t)(wait / 2 + wb_random32(d) % (wait / 2 + 1));
}

wb_text wb_cstr(const char *s)
{
    wb_text t = {s, s != NULL ? strlen(s) : 0};
    return t;
}

bool wb_text_is(wb_text t, const char *s)
{
    return strlen(s) == t.len && memcmp(t.data, s, t.len) == 0;
}

void wb_copy(char *out, size_t cap, wb_text t)
{
    size_t n = t.len < cap - 1 ? t.len : cap - 1;
    if (n < t.len)
        while (n > 0 && ((unsigned char)t.data[n] & 0xc0) == 0x80)
            n--;
    if (n > 0)
        memmove(out, t.data, n);
    out[n] = '\0';
}

/* A line for the console: "app: what: more". */
void wb_note(wb_device *d, wb_level level, const wb_app *a, const char *what, const char *more)
{
    char line[2 * WB_NAME_MAX + WB_REVISION_MAX];
    const char *part[3] = {a != NULL ? a->name : "", what, more != NULL ? more : ""};
    size_t n = 0;
    if (d->port.log == NULL)
        return;
    for (unsigned i = 0; i < 3; i++) {
        size_t len = strlen(part[i]);
        if (len == 0)
            continue;
        if (n > 0 && n + 2 < sizeof line) {
            line[n++] = ':';
            line[n++] = ' ';
        }
        if (len > sizeof line - n)
            len = sizeof line - n;
        memcpy(line + n, part[i], len);
        n += len;
    }
    d->port.log(d->port.ctx, level, line, n);
}

void wb_wall_set(wb_device *d, uint64_t unix_ms)
{
    d->wall_offset = (int64_t)unix_ms - d->now;
    d->wall_known = true;
    if (d->port.clock_wall != NULL)
        d->port.clock_wall(d->port.ctx, unix_ms, false);
}

uint64_t wb_wall(const wb_device *d)
{
    return d->wall_known ? (uint64_t)(d->now + d->wall_offset) : 0;
}

/* ---- configuration and memory ---- */

static uint32_t or_else(uint32_t v, uint32_t otherwise)
{
    return v != 0 ? v : otherwise;
}

static void set_defaults(wb_config *c)
{
    c->apps = (uint8_t)or_else(c->apps, 2);
    c->permissions = or_else(c->permissions, PERMISSIONS_USUAL);
    c->features = c->features != 0 ? c->features & FEATURES_ALL : FEATURES_ALL;
    c->frame_in = or_else(c->frame_in, WB_FRAME_MIN);
    c->frame_out = or_else(c->frame_out, 1024);
    c->scratch = or_else(c->scratch, SCRATCH_LEAST);
    uint32_t most = c->frame_in > CHUNK_OVERHEAD ? c->frame_in - CHUNK_OVERHEAD : 0;
    c->chunk = c->chunk != 0 && c->chunk < most ? c->chunk : most;
    if (c->chunk > WB_CHUNK_MAX)
        c->chunk = WB_CHUNK_MAX;
    c->telemetry_queue = or_else(c->telemetry_queue, 2048);
    c->log_queue = or_else(c->log_queue, 1024);
    c->message_queue = or_else(c->message_queue, 1024);
    c->trap_queue = or_else(c->trap_queue, 512);
    c->answer = or_else(c->answer, 1024);
    c->backoff_min = or_else(c->backoff_min, 1000);
    c->backoff_max = or_else(c->backoff_max, 60000);
    c->connect_timeout = or_else(c->connect_timeout, 20000);
    c->answer_timeout = or_else(c->answer_timeout, 10000);
    c->batch_delay = or_else(c->batch_delay, 1000);
    c->transfer_timeout = or_else(c->transfer_timeout, 60000);
    c->max_call_timeout = or_else(c->max_call_timeout, 30000);
    c->restart_delay = or_else(c->restart_delay, 500);
}

static bool length_in(const char *s, size_t max)
{
    return s != NULL && s[0] != '\0' && strlen(s) <= max && wb_utf8_valid((const uint8_t *)s, strlen(s));
}

static bool valid(const wb_config *c)
{
    if (!length_in(c->board, WB_BOARD_MAX) || !length_in(c->firmware, WB_FIRMWARE_MAX))
        return false;
    if (c->name != NULL && c->name[0] != '\0' && (strlen(c->name) > WB_NAME_MAX || !wb_name_valid(wb_cstr(c->name))))
        return false;
    if (c->apps > WB_APPS_MAX || c->module_size == 0 || c->module_memory == 0 || c->claim.len > WB_CLAIM_MAX)
        return false;
    if (c->frame_in < WB_FRAME_MIN || c->frame_in > WB_FRAME_MAX || c->frame_out > WB_FRAME_MAX)
        return false;
    if (c->frame_out < FRAME_OUT_LEAST || c->frame_out < REPORT_BASE + REPORT_APP * (uint32_t)c->apps)
        return false;
    if (c->module_size > WB_MODULE_MAX || c->chunk < WB_CHUNK_MIN || c->scratch < SCRATCH_LEAST)
        return false;
    return c->backoff_min <= c->backoff_max;
}

static size_t rounded(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

size_t wb_device_memory(const wb_config *config)
{
    wb_config c = *config;
    set_defaults(&c);
    if (!valid(&c))
        return 0;
    return rounded(sizeof(wb_device)) + c.apps * (rounded(sizeof(wb_app)) + WB_NAME_MAX + 1) +
           rounded(c.frame_in + WB_HEADER_SIZE) +
           rounded(c.frame_out + WB_HEADER_SIZE) + rounded(c.scratch) + rounded(c.answer) + rounded(c.telemetry_queue) +
           rounded(c.log_queue) + rounded(c.message_queue) + rounded(c.trap_queue);
}

static uint8_t *take(uint8_t **at, size_t n)
{
    uint8_t *p = *at;
    *at += rounded(n);
    return p;
}

static void lay_out(wb_device *d, uint8_t *at)
{
    const wb_config *c = &d->cfg;
    d->app = (wb_app *)(void *)take(&at, c->apps * rounded(sizeof(wb_app)));
    d->removed = (char (*)[WB_NAME_MAX + 1])take(&at, (size_t)c->apps * (WB_NAME_MAX + 1));
    d->rx = take(&at, c->frame_in + WB_HEADER_SIZE);
    d->tx = take(&at, c->frame_out + WB_HEADER_SIZE);
    d->scratch = take(&at, c->scratch);
    d->answer = take(&at, c->answer);
    wb_queue_init(&d->telemetry, take(&at, c->telemetry_queue), c->telemetry_queue);
    wb_queue_init(&d->logs, take(&at, c->log_queue), c->log_queue);
    wb_queue_init(&d->messages, take(&at, c->message_queue), c->message_queue);
    wb_queue_init(&d->traps, take(&at, c->trap_queue), c->trap_queue);
    for (uint8_t i = 0; i < c->apps; i++) {
        wb_app *a = &d->app[i];
        memset(a, 0, sizeof *a);
        a->inst.d = d;
        a->inst.index = i;
        a->inst.slot = WB_SLOTS;
        a->active = a->candidate = -1;
    }
}

static bool port_complete(const wb_port *p)
{
    return p->link_open != NULL && p->link_state != NULL && p->link_send != NULL && p->link_recv != NULL &&
           p->link_close != NULL && p->identity_csr != NULL && p->identity_enrolled != NULL &&
           p->identity_store != NULL && p->blob_get != NULL && p->blob_put != NULL && p->blob_delete != NULL &&
           p->slot_erase != NULL && p->slot_write != NULL && p->slot_read != NULL && p->slot_sync != NULL &&
           p->clock_ms != NULL && p->entropy != NULL && p->runtime.load != NULL && p->runtime.call != NULL &&
           p->runtime.unload != NULL && p->erase_block > 0 && p->write_block > 0;
}

int wb_device_init(wb_device **out, const wb_config *config, const wb_port *port)
{
    size_t need = wb_device_memory(config);
    if (need == 0 || !port_complete(port) || config->memory == NULL || (uintptr_t)config->memory % 8 != 0)
        return WB_EINVAL;
    if (config->memory_size < need)
        return WB_ENOSPC;
    wb_device *d = config->memory;
    memset(d, 0, sizeof *d);
    d->cfg = *config;
    set_defaults(&d->cfg);
    d->port = *port;
    if (d->cfg.measurement == NULL || port->identity_sign == NULL || port->identity_key == NULL)
        d->cfg.features &= ~(uint64_t)WB_FEATURE_ATTEST;
    d->cfg.chunk -= d->cfg.chunk % port->write_block;
    if (d->cfg.chunk < WB_CHUNK_MIN)
        return WB_EINVAL;
    d->now = d->boot_clock = port->clock_ms(port->ctx);
    d->digest_apps = UINT8_MAX;
    lay_out(d, (uint8_t *)config->memory + rounded(sizeof(wb_device)));
    if (port->entropy(port->ctx, d->boot_id, sizeof d->boot_id) < 0)
        return WB_EIO;
    int err = wb_store_boot(d);
    if (err < 0)
        return err;
    if (d->wall_floor != 0 && port->clock_wall != NULL)
        port->clock_wall(port->ctx, d->wall_floor, true);
    for (unsigned i = 0; i < d->cfg.apps; i++)
        if (d->app[i].used)
            wb_app_boot(d, &d->app[i]);
    d->s.at = d->now + wb_random32(d) % (d->cfg.backoff_min / 4 + 1); /* power comes back to many at once */
    *out = d;
    return 0;
}

/* ---- poll ---- */

static void reboot_step(wb_device *d)
{
    bool waits = false;
    if (d->reboot_at == 0)
        return;
    for (unsigned i = 0; i < WB_RESULTS; i++) /* the answer, and its acknowledgement */
        waits = waits || (d->result[i].used && memcmp(d->result[i].id, d->reboot_id, WB_COMMAND_SIZE) == 0);
    if (waits && d->now < d->reboot_at) {
        wb_wake(d, d->reboot_at);
        return;
    }
    d->reboot_at = 0;
    void (*reboot)(void *) = d->port.reboot;
    void *ctx = d->port.ctx;
    wb_device_deinit(d);
    reboot(ctx);
}

int64_t wb_device_poll(wb_device *d)
{
    if (d->ended)
        return WB_NEVER;
    wb_clock(d);
    d->next = WB_NEVER;
    if (d->device_unsaved)
        (void)wb_store_device(d);
    wb_session_step(d);
    wb_verify_step(d);
    for (unsigned i = 0; i < d->cfg.apps; i++)
        if (d->app[i].used)
            wb_app_step(d, &d->app[i]);
    wb_send_step(d);
    reboot_step(d);
    if (d->ended)
        return WB_NEVER;
    int64_t now = d->now;
    wb_clock(d);
    if (d->next <= now)
        return 0;
    return d->next <= d->now ? 0 : d->next - d->now;
}

void wb_device_deinit(wb_device *d)
{
    if (d->ended)
        return;
    for (unsigned i = 0; i < d->cfg.apps; i++) {
        wb_app *a = &d->app[i];
        if (!a->used)
            continue;
        wb_app_halt(d, a, true);
        /* A trial that ends in good order begins again at the boot, without counting against the revision. */
        if (a->candidate >= 0 && a->slot[a->candidate].stage == WB_STAGE_TRIAL) {
            a->slot[a->candidate].stage = WB_STAGE_STAGED;
            (void)wb_store_app(d, a);
        }
    }
    if (d->s.state == WB_SESSION_ACTIVE || d->s.state == WB_SESSION_ENROLLING) {
        wb_session_goodbye(d, WB_GOODBYE_SHUTDOWN);
        wb_send_step(d);
    }
    d->port.link_close(d->port.ctx);
    d->ended = true;
}

uint32_t wb_device_wait(const wb_device *d)
{
    uint32_t wait = 0;
    if (d->ended || d->s.state < WB_SESSION_CONNECTING)
        return 0;
    wait |= WB_WAIT_READ;
    if (d->s.state == WB_SESSION_CONNECTING || d->s.tx_sent < d->s.tx_len)
        wait |= WB_WAIT_WRITE;
    return wait;
}

/* ---- looking at it ---- */

void wb_device_stats(const wb_device *d, wb_stats *out)
{
    *out = d->stats;
    out->session = (wb_session_state)d->s.state;
    out->enrolled = d->s.state == WB_SESSION_ACTIVE;
    out->epoch = d->s.epoch;
    out->dropped = d->telemetry.dropped + d->logs.dropped + d->messages.dropped + d->traps.dropped;
    out->queued = d->telemetry.count + d->logs.count + d->messages.count + d->traps.count;
    out->telemetry_acked = d->telemetry.acked;
    out->logs_acked = d->logs.acked;
    out->traps_acked = d->traps.acked;
    out->seen_desired = d->seen_desired;
}

int wb_device_app(const wb_device *d, uint8_t index, wb_app_info *out)
{
    wb_app_state s;
    if (index >= d->cfg.apps)
        return WB_EINVAL;
    const wb_app *a = &d->app[index];
    if (!a->used)
        return WB_ENOENT;
    memset(out, 0, sizeof *out);
    wb_app_state_of(d, a, &s);
    wb_copy(out->name, sizeof out->name, wb_cstr(a->name));
    out->state = (wb_state)s.state;
    wb_copy(out->revision, sizeof out->revision, s.revision);
    out->attempt = s.attempt;
    wb_copy(out->running, sizeof out->running, s.running);
    out->confirmed = s.confirmed;
    out->reason = (wb_reason)s.reason;
    wb_copy(out->text, sizeof out->text, s.text);
    out->restarts = s.restarts;
    out->progress = s.progress;
    out->traps = s.traps;
    return 0;
}

int wb_device_app_find(const wb_device *d, const char *name, wb_app_info *out)
{
    for (uint8_t i = 0; i < d->cfg.apps; i++)
        if (d->app[i].used && wb_text_is(wb_cstr(name), d->app[i].name))
            return wb_device_app(d, i, out);
    return WB_ENOENT;
}

void wb_device_boot_id(const wb_device *d, uint8_t out[WB_BOOT_ID_SIZE])
{
    memcpy(out, d->boot_id, WB_BOOT_ID_SIZE);
}

void wb_device_state_digest(wb_device *d, uint8_t out[WB_STATE_DIGEST_SIZE])
{
    wb_state_refresh(d);
    memcpy(out, d->digest, WB_STATE_DIGEST_SIZE);
}

uint64_t wb_device_wall(const wb_device *d)
{
    return wb_wall(d);
}
