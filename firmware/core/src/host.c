/* What modules may call. docs/spec/abi.md. */
#include <string.h>

#include "internal.h"

static wb_app *app_of(wb_instance *inst)
{
    return &inst->d->app[inst->index];
}

void wb_instance_set_engine(wb_instance *inst, void *engine)
{
    inst->engine = engine;
}

void *wb_instance_engine(const wb_instance *inst)
{
    return inst->engine;
}

uint8_t wb_instance_index(const wb_instance *inst)
{
    return inst->index;
}

wb_text wb_instance_app(const wb_instance *inst)
{
    return wb_cstr(inst->d->app[inst->index].name);
}

wb_text wb_instance_revision(const wb_instance *inst)
{
    const wb_app *a = &inst->d->app[inst->index];
    return wb_cstr(inst->slot < WB_SLOTS ? a->slot[inst->slot].revision : "");
}

static bool permitted(wb_instance *inst, uint32_t permission)
{
    return (app_of(inst)->plan.limits.permissions & permission) != 0;
}

int wb_host_log(wb_instance *inst, uint32_t level, const char *text, size_t len)
{
    wb_device *d = inst->d;
    char line[WB_LOG_LINE_MAX + 1];
    if (!permitted(inst, WB_PERMIT_LOG))
        return WB_EDENIED;
    if (level < WB_DEBUG || level > WB_ERROR)
        level = WB_INFO;
    /* Queued lines must be UTF-8: what is not is shown as '?', byte by byte. */
    wb_copy(line, sizeof line, (wb_text){text, len});
    size_t n = strlen(line);
    if (!wb_utf8_valid((const uint8_t *)line, n))
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)line[i] >= 0x80)
                line[i] = '?';
    if (d->port.log != NULL)
        d->port.log(d->port.ctx, (wb_level)level, line, n);
    return wb_queue_log(d, app_of(inst), (uint8_t)level, (wb_text){line, n});
}

int64_t wb_host_clock_now(wb_instance *inst)
{
    if (!permitted(inst, WB_PERMIT_CLOCK))
        return WB_EDENIED;
    wb_clock(inst->d);
    return (int64_t)wb_wall(inst->d);
}

int64_t wb_host_clock_uptime(wb_instance *inst)
{
    if (!permitted(inst, WB_PERMIT_CLOCK))
        return WB_EDENIED;
    wb_clock(inst->d);
    return inst->d->now - inst->d->boot_clock;
}

int wb_host_telemetry(wb_instance *inst, const char *name, size_t name_len, double value)
{
    wb_device *d = inst->d;
    if (!permitted(inst, WB_PERMIT_TELEMETRY))
        return WB_EDENIED;
    if (name_len == 0 || name_len > WB_TELEMETRY_NAME_MAX || !wb_utf8_valid((const uint8_t *)name, name_len))
        return WB_EINVAL;
    if ((wb_double_bits(value) >> 52 & 0x7ff) == 0x7ff) { /* not finite: cannot travel */
        d->telemetry.dropped++;
        return 0;
    }
    return wb_queue_telemetry(d, app_of(inst), (wb_text){name, name_len}, value);
}

int wb_host_message_send(wb_instance *inst, const char *topic, size_t topic_len, const uint8_t *data, size_t len)
{
    wb_device *d = inst->d;
    if (!permitted(inst, WB_PERMIT_MESSAGE))
        return WB_EDENIED;
    if (topic_len == 0 || topic_len > WB_TELEMETRY_NAME_MAX || !wb_utf8_valid((const uint8_t *)topic, topic_len))
        return WB_EINVAL;
    if (len > WB_PAYLOAD_MAX || len + topic_len + WB_NAME_MAX + 40 > d->cfg.frame_out)
        return WB_ENOSPC;
    return wb_queue_message(d, app_of(inst), (wb_text){topic, topic_len}, (wb_bytes){data, len});
}

/* ---- the key-value store: entries {key length, value length (2), key, value}, one after the other in scratch ---- */

#define KV_KEY_MAX 63u
#define KV_ENTRY 3u

static uint8_t *kv_entry(wb_device *d, uint32_t used, const char *key, size_t key_len, uint32_t *size)
{
    uint8_t *base = d->scratch + WB_ENVELOPE;
    uint32_t at = 0;
    while (used - at >= KV_ENTRY) {
        uint32_t k = base[at], v = (uint32_t)base[at + 1] | (uint32_t)base[at + 2] << 8;
        uint32_t whole = KV_ENTRY + k + v;
        if (whole > used - at)
            return NULL; /* not ours */
        if (k == key_len && memcmp(base + at + KV_ENTRY, key, key_len) == 0) {
            *size = whole;
            return base + at;
        }
        at += whole;
    }
    return NULL;
}

/* Copies what fits and says how long it is. */
static int give(const uint8_t *value, uint32_t len, uint8_t *buf, size_t cap)
{
    size_t n = len < cap ? len : cap;
    if (n > 0)
        memcpy(buf, value, n);
    return (int)len;
}

int wb_host_kv_get(wb_instance *inst, const char *key, size_t key_len, uint8_t *buf, size_t cap)
{
    uint32_t size;
    if (!permitted(inst, WB_PERMIT_KV))
        return WB_EDENIED;
    if (key_len == 0 || key_len > KV_KEY_MAX)
        return WB_EINVAL;
    int used = wb_load_kv(inst->d, app_of(inst));
    if (used < 0)
        return WB_EIO;
    uint8_t *e = kv_entry(inst->d, (uint32_t)used, key, key_len, &size);
    if (e == NULL)
        return WB_ENOENT;
    return give(e + KV_ENTRY + key_len, size - KV_ENTRY - (uint32_t)key_len, buf, cap);
}

int wb_host_kv_set(wb_instance *inst, const char *key, size_t key_len, const uint8_t *data, size_t len)
{
    wb_device *d = inst->d;
    uint8_t *base = d->scratch + WB_ENVELOPE;
    uint32_t size;
    if (!permitted(inst, WB_PERMIT_KV))
        return WB_EDENIED;
    if (key_len == 0 || key_len > KV_KEY_MAX)
        return WB_EINVAL;
    if (len > 0xffff)
        return WB_ENOSPC;
    int n = wb_load_kv(d, app_of(inst));
    if (n < 0)
        return WB_EIO;
    uint32_t used = (uint32_t)n, room = d->cfg.scratch - WB_ENVELOPE;
    uint8_t *e = kv_entry(d, used, key, key_len, &size);
    if (e != NULL) {
        size_t value = size - KV_ENTRY - key_len;
        if (value == len && (len == 0 || memcmp(e + KV_ENTRY + key_len, data, len) == 0))
            return 0; /* as it is: spare the flash */
        memmove(e, e + size, used - (size_t)(e - base) - size);
        used -= size;
    } else if (len == 0) {
        return 0;
    }
    if (len > 0) {
        size_t need = KV_ENTRY + key_len + len;
        if (need > room - used)
            return WB_ENOSPC;
        uint8_t *p = base + used;
        p[0] = (uint8_t)key_len;
        p[1] = (uint8_t)len;
        p[2] = (uint8_t)(len >> 8);
        memcpy(p + KV_ENTRY, key, key_len);
        memcpy(p + KV_ENTRY + key_len, data, len);
        used += (uint32_t)need;
    }
    int err = wb_store_kv(d, app_of(inst), used);
    return err == 0 || err == WB_ENOSPC ? err : WB_EIO;
}

int wb_host_config_get(wb_instance *inst, const char *key, size_t key_len, char *buf, size_t cap)
{
    wb_bytes raw;
    wb_manifest m;
    wb_reader r;
    if (key_len == 0 || key_len > KV_KEY_MAX + 1)
        return WB_EINVAL;
    if (inst->slot >= WB_SLOTS || wb_load_manifest(inst->d, app_of(inst), inst->slot, &raw) < 0 ||
        wb_decode_manifest(raw, &m) < 0)
        return WB_EIO;
    wb_reader_init(&r, m.config.data.data, m.config.data.len);
    for (size_t i = 0; i < m.config.count; i++) {
        wb_text k, v;
        if (wb_read_text(&r, &k) < 0 || wb_read_text(&r, &v) < 0)
            return WB_EIO;
        if (k.len == key_len && memcmp(k.data, key, key_len) == 0)
            return give((const uint8_t *)v.data, (uint32_t)v.len, (uint8_t *)buf, cap);
    }
    return WB_ENOENT;
}

int wb_host_gpio_read(wb_instance *inst, uint32_t pin)
{
    wb_device *d = inst->d;
    if (!permitted(inst, WB_PERMIT_GPIO))
        return WB_EDENIED;
    return d->port.gpio_read != NULL ? d->port.gpio_read(d->port.ctx, pin) : WB_EUNSUPPORTED;
}

int wb_host_gpio_write(wb_instance *inst, uint32_t pin, uint32_t value)
{
    wb_device *d = inst->d;
    if (!permitted(inst, WB_PERMIT_GPIO))
        return WB_EDENIED;
    if (value > 1)
        return WB_EINVAL;
    return d->port.gpio_write != NULL ? d->port.gpio_write(d->port.ctx, pin, value) : WB_EUNSUPPORTED;
}

int wb_host_sensor_read(wb_instance *inst, uint32_t id, double *out)
{
    wb_device *d = inst->d;
    if (!permitted(inst, WB_PERMIT_SENSOR))
        return WB_EDENIED;
    return d->port.sensor_read != NULL ? d->port.sensor_read(d->port.ctx, id, out) : WB_EUNSUPPORTED;
}

int wb_host_timer_set(wb_instance *inst, uint32_t id, uint32_t period_ms)
{
    wb_device *d = inst->d;
    wb_app *a = app_of(inst);
    wb_app_timer *t = NULL;
    if (!permitted(inst, WB_PERMIT_TIMER))
        return WB_EDENIED;
    for (unsigned i = 0; i < WB_TIMERS_MAX; i++) {
        if (a->timer[i].period != 0 && a->timer[i].id == id) {
            t = &a->timer[i];
            break;
        }
        if (a->timer[i].period == 0 && t == NULL)
            t = &a->timer[i];
    }
    if (period_ms == 0) {
        if (t != NULL && t->period != 0)
            t->period = 0;
        return 0;
    }
    if (t == NULL)
        return WB_ENOSPC;
    wb_clock(d);
    t->id = id;
    t->period = period_ms;
    t->due = d->now + period_ms;
    wb_wake(d, t->due);
    return 0;
}

int wb_host_random(wb_instance *inst, uint8_t *buf, size_t len)
{
    wb_device *d = inst->d;
    if (!permitted(inst, WB_PERMIT_RANDOM))
        return WB_EDENIED;
    return d->port.entropy(d->port.ctx, buf, len);
}
