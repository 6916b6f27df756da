#include "fake.h"

void wb_instance_set_engine(wb_instance *inst, void *engine) { inst->engine = engine; }
void *wb_instance_engine(const wb_instance *inst) { return inst->engine; }
uint8_t wb_instance_index(const wb_instance *inst) { return inst->index; }

static fake_pair *pair_named(const fake_pair *all, const char *key, size_t len)
{
    for (size_t i = 0; i < FAKE_PAIRS; i++)
        if (all[i].there && strlen(all[i].key) == len && memcmp(all[i].key, key, len) == 0)
            return (fake_pair *)&all[i];
    return NULL;
}

static int set(fake_pair *all, const char *key, size_t key_len, const void *value, size_t len)
{
    fake_pair *p = pair_named(all, key, key_len);
    for (size_t i = 0; i < FAKE_PAIRS && p == NULL; i++)
        if (!all[i].there)
            p = &all[i];
    if (p == NULL || key_len >= sizeof p->key || len >= sizeof p->value)
        return WB_ENOSPC;
    memset(p, 0, sizeof *p);
    memcpy(p->key, key, key_len);
    memcpy(p->value, value, len);
    p->len = len;
    p->there = len > 0;
    return 0;
}

static int get(const fake_pair *all, const char *key, size_t key_len, void *buf, size_t cap)
{
    if (key_len == 0)
        return WB_EINVAL;
    const fake_pair *p = pair_named(all, key, key_len);
    if (p == NULL)
        return WB_ENOENT;
    memcpy(buf, p->value, p->len < cap ? p->len : cap);
    return (int)p->len;
}

void fake_config(fake_world *w, const char *key, const char *value)
{
    CHECK(set(w->config, key, strlen(key), value, strlen(value)) == 0);
}

const char *fake_kv(const fake_world *w, const char *key)
{
    const fake_pair *p = pair_named(w->kv, key, strlen(key));
    return p == NULL ? NULL : p->value;
}

double fake_value(const fake_world *w, const char *name)
{
    for (unsigned i = 0; i < w->values; i++)
        if (strcmp(w->value_name[i], name) == 0)
            return w->value[i];
    return 0;
}

static void keep(char *out, size_t cap, const char *text, size_t len)
{
    size_t n = len < cap - 1 ? len : cap - 1;
    memcpy(out, text, n);
    out[n] = '\0';
}

int wb_host_log(wb_instance *inst, uint32_t level, const char *text, size_t len)
{
    (void)level;
    keep(inst->world->last_log, sizeof inst->world->last_log, text, len);
    inst->world->logs++;
    return 0;
}

int64_t wb_host_clock_now(wb_instance *inst)
{
    (void)inst;
    return 1700000000000;
}

int64_t wb_host_clock_uptime(wb_instance *inst)
{
    (void)inst;
    return 1234;
}

int wb_host_telemetry(wb_instance *inst, const char *name, size_t len, double value)
{
    fake_world *w = inst->world;
    unsigned i = 0;
    if (len == 0)
        return WB_EINVAL;
    while (i < w->values && (strlen(w->value_name[i]) != len || memcmp(w->value_name[i], name, len) != 0))
        i++;
    if (i == w->values) {
        if (i == sizeof w->value / sizeof w->value[0])
            return WB_ENOSPC;
        keep(w->value_name[w->values++], sizeof w->value_name[0], name, len);
    }
    w->value[i] = value;
    return 0;
}

int wb_host_message_send(wb_instance *inst, const char *topic, size_t topic_len, const uint8_t *data, size_t len)
{
    fake_world *w = inst->world;
    if (topic_len == 0)
        return WB_EINVAL;
    if (w->sends == 4 || topic_len >= sizeof w->sent[0] || len >= sizeof w->sent[0] - topic_len - 2)
        return WB_ENOSPC;
    char *out = w->sent[w->sends++];
    keep(out, topic_len + 1, topic, topic_len);
    strcat(out, "=");
    keep(out + topic_len + 1, len + 1, (const char *)data, len);
    return 0;
}

int wb_host_kv_get(wb_instance *inst, const char *key, size_t key_len, uint8_t *buf, size_t cap)
{
    return get(inst->world->kv, key, key_len, buf, cap);
}

int wb_host_kv_set(wb_instance *inst, const char *key, size_t key_len, const uint8_t *data, size_t len)
{
    return key_len == 0 ? WB_EINVAL : set(inst->world->kv, key, key_len, data, len);
}

int wb_host_config_get(wb_instance *inst, const char *key, size_t key_len, char *buf, size_t cap)
{
    return get(inst->world->config, key, key_len, buf, cap);
}

int wb_host_gpio_read(wb_instance *inst, uint32_t pin) { return pin == 1 ? (int)inst->world->pin : WB_ENOENT; }

int wb_host_gpio_write(wb_instance *inst, uint32_t pin, uint32_t value)
{
    if (pin != 1)
        return WB_ENOENT;
    inst->world->pin = value;
    return 0;
}

int wb_host_sensor_read(wb_instance *inst, uint32_t id, double *out)
{
    (void)inst;
    *out = 21.5;
    return id == 0 ? 0 : WB_ENOENT;
}

int wb_host_timer_set(wb_instance *inst, uint32_t id, uint32_t period_ms)
{
    if (id >= 9)
        return WB_ENOSPC;
    inst->world->timer[id] = period_ms;
    return 0;
}

int wb_host_random(wb_instance *inst, uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = (uint8_t)(i * 37 + 11);
    return inst->world->entropy;
}

static int read_source(const wb_module *m, uint32_t offset, uint8_t *buf, uint32_t len)
{
    fake_source *s = (fake_source *)m->source;
    if (s->fails > 0 && ++s->reads >= s->fails)
        return WB_EIO;
    if (offset > m->size || len > m->size - offset)
        return WB_EINVAL;
    memcpy(buf, s->bytes + offset, len);
    return 0;
}

void fake_source_init(fake_source *s, const uint8_t *bytes, uint32_t size, bool mapped)
{
    memset(s, 0, sizeof *s);
    s->bytes = bytes;
    s->m.size = size;
    s->m.read = read_source;
    s->m.source = s;
    s->m.mapped = mapped ? bytes : NULL;
}
