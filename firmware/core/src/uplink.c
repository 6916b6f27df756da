/*
 * The queues: telemetry, logs, messages and traps on their way up. Every function sends one frame at most. SPEC sections 9
 * and 13.
 */
#include <string.h>

#include "internal.h"

#define BATCH_OVERHEAD 40u  /* of a telemetry or logs frame besides its records */
#define RECORD_OVERHEAD 24u /* of a record besides its texts */
#define UPTIME (1ull << 63) /* a record's time is of the uptime clock: the wall time was not known */


static void put64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* Texts follow each other in a record, each behind its length. */
static uint8_t *put_text(uint8_t *p, wb_text t)
{
    *p++ = (uint8_t)t.len;
    if (t.len > 0)
        memcpy(p, t.data, t.len);
    return p + t.len;
}

static const uint8_t *get_text(const uint8_t *p, wb_text *t)
{
    t->len = *p++;
    t->data = (const char *)p;
    return p + t->len;
}

static uint64_t stamp(const wb_device *d)
{
    return d->wall_known ? wb_wall(d) : UPTIME | (uint64_t)d->now;
}

static uint64_t record_time(const wb_device *d, const uint8_t *p)
{
    uint64_t t = get64(p);
    if (!(t & UPTIME))
        return t;
    return d->wall_known ? (uint64_t)((int64_t)(t & ~UPTIME) + d->wall_offset) : 0;
}

static uint8_t *push(wb_device *d, wb_queue *q, size_t len)
{
    if (q->count == 0) {
        q->since = d->now;
        wb_wake(d, d->now + d->cfg.batch_delay);
    }
    return wb_queue_push(q, (uint32_t)len);
}

int wb_queue_telemetry(wb_device *d, const wb_app *a, wb_text name, double value)
{
    wb_text app = wb_cstr(a->name);
    uint8_t *p = push(d, &d->telemetry, 8 + 8 + 2 + app.len + name.len);
    if (p == NULL)
        return WB_ENOSPC;
    put64(p, stamp(d));
    put64(p + 8, wb_double_bits(value));
    put_text(put_text(p + 16, app), name);
    return 0;
}

int wb_queue_log(wb_device *d, const wb_app *a, uint8_t level, wb_text line)
{
    wb_text app = wb_cstr(a != NULL ? a->name : "");
    uint8_t *p = push(d, &d->logs, 8 + 1 + 2 + app.len + line.len);
    if (p == NULL)
        return WB_ENOSPC;
    put64(p, stamp(d));
    p[8] = level;
    put_text(put_text(p + 9, app), line);
    return 0;
}

int wb_queue_message(wb_device *d, const wb_app *a, wb_text topic, wb_bytes payload)
{
    wb_text app = wb_cstr(a->name);
    uint8_t *p = push(d, &d->messages, 2 + app.len + topic.len + payload.len);
    if (p == NULL)
        return WB_ENOSPC;
    p = put_text(put_text(p, app), topic);
    if (payload.len > 0)
        memcpy(p, payload.data, payload.len);
    return 0;
}

void wb_queue_trap(wb_device *d, const wb_app *a, const wb_trap *t, const char *entry)
{
    wb_text app = wb_cstr(a->name), text = wb_cstr(t->text);
    wb_text where = wb_cstr(t->where[0] != '\0' ? t->where : entry);
    wb_text revision = wb_cstr(a->inst.slot < WB_SLOTS ? a->slot[a->inst.slot].revision : "");
    d->stats.traps++;
    uint8_t *p = push(d, &d->traps, 1 + 4 + app.len + revision.len + where.len + text.len);
    if (p == NULL)
        return;
    *p++ = (uint8_t)t->reason;
    put_text(put_text(put_text(put_text(p, app), revision), where), text);
}

typedef struct batch {
    const wb_device *d;
    const wb_queue *q;
    uint32_t count;
} batch;

static void emit_telemetry(wb_writer *w, const void *ctx)
{
    const batch *b = ctx;
    wb_queue_cursor c;
    wb_queue_start(b->q, &c);
    for (uint32_t i = 0; i < b->count && wb_queue_next(b->q, &c); i++) {
        wb_telemetry_record t;
        t.time = record_time(b->d, c.data);
        t.value = wb_bits_double(get64(c.data + 8));
        get_text(get_text(c.data + 16, &t.app), &t.name);
        wb_put_telemetry(w, &t);
    }
}

static void emit_logs(wb_writer *w, const void *ctx)
{
    const batch *b = ctx;
    wb_queue_cursor c;
    wb_queue_start(b->q, &c);
    for (uint32_t i = 0; i < b->count && wb_queue_next(b->q, &c); i++) {
        wb_log_record l;
        l.time = record_time(b->d, c.data);
        l.level = c.data[8];
        get_text(get_text(c.data + 9, &l.app), &l.text);
        wb_put_log(w, &l);
    }
}

/* The oldest record can never be sent. */
static void drop_oldest(wb_queue *q)
{
    wb_queue_sent(q, UINT64_MAX, 1);
    (void)wb_queue_give_up(q, UINT64_MAX);
}

/* After one record or batch was encoded, or could not be. */
static int sent(wb_device *d, wb_queue *q, const wb_msg *m, int len, uint32_t records)
{
    if (len > 0) {
        wb_queue_sent(q, m->id, records);
    } else if (len < 0) {
        drop_oldest(q);
        wb_wake(d, d->now);
        return 0;
    }
    return len;
}

/* How many records fit into a frame, and whether that is all that a frame takes. */
static uint32_t batch_size(const wb_device *d, const wb_queue *q, bool *full)
{
    uint32_t room = d->s.frame_cap < d->cfg.frame_out ? d->s.frame_cap : d->cfg.frame_out;
    uint32_t used = BATCH_OVERHEAD, n = 0;
    wb_queue_cursor c;
    wb_queue_start(q, &c);
    *full = true;
    while (n < WB_RECORDS_MAX && wb_queue_next(q, &c)) {
        used += RECORD_OVERHEAD + c.len;
        if (used > room)
            return n;
        n++;
    }
    *full = n == WB_RECORDS_MAX;
    return n;
}

/* Whether a queue may send now; wakes when it may later. */
static bool ready(wb_device *d, const wb_queue *q, int64_t at)
{
    if (q->count == 0 || q->flying != 0)
        return false;
    if (at < q->hold)
        at = q->hold;
    if (d->now >= at)
        return true;
    wb_wake(d, at);
    return false;
}

static int send_batch(wb_device *d, wb_queue *q, uint8_t type, void (*emit)(wb_writer *, const void *))
{
    bool full;
    wb_msg m;
    batch b = {d, q, 0};
    if (q->count == 0 || q->flying != 0)
        return 0;
    b.count = batch_size(d, q, &full);
    if (!ready(d, q, full ? d->now : q->since + d->cfg.batch_delay))
        return 0;
    memset(&m, 0, sizeof m);
    m.type = type;
    m.u.records.seq = q->first;
    m.u.records.records = (wb_items){b.count, {NULL, 0}, emit, &b};
    return sent(d, q, &m, b.count > 0 ? wb_send(d, &m) : WB_ENOSPC, b.count);
}

static int send_message(wb_device *d)
{
    wb_queue *q = &d->messages;
    wb_queue_cursor c;
    wb_msg m;
    if (!ready(d, q, d->now))
        return 0;
    memset(&m, 0, sizeof m);
    m.type = WB_MESSAGE_UP;
    wb_queue_start(q, &c);
    (void)wb_queue_next(q, &c);
    const uint8_t *p = get_text(get_text(c.data, &m.u.message.app), &m.u.message.topic);
    m.u.message.payload = (wb_bytes){p, c.len - (size_t)(p - c.data)};
    m.u.message.seq = q->first;
    return sent(d, q, &m, wb_send(d, &m), 1);
}

static int send_trap(wb_device *d)
{
    wb_queue *q = &d->traps;
    wb_queue_cursor c;
    wb_msg m;
    if (!ready(d, q, d->now))
        return 0;
    memset(&m, 0, sizeof m);
    m.type = WB_TRAP_FRAME;
    wb_queue_start(q, &c);
    (void)wb_queue_next(q, &c);
    m.u.trap.reason = c.data[0];
    const uint8_t *p = get_text(get_text(c.data + 1, &m.u.trap.app), &m.u.trap.revision);
    get_text(get_text(p, &m.u.trap.where), &m.u.trap.text);
    m.u.trap.seq = q->first;
    return sent(d, q, &m, wb_send(d, &m), 1);
}

int wb_queues_send(wb_device *d)
{
    int len = send_trap(d);
    if (len == 0 && (d->s.features & WB_FEATURE_MESSAGES))
        len = send_message(d);
    if (len == 0 && (d->s.features & WB_FEATURE_TELEMETRY))
        len = send_batch(d, &d->telemetry, WB_TELEMETRY, emit_telemetry);
    if (len == 0 && (d->s.features & WB_FEATURE_LOGS))
        len = send_batch(d, &d->logs, WB_LOGS, emit_logs);
    return len;
}

bool wb_queues_settled(wb_device *d, uint64_t id, uint8_t code)
{
    wb_queue *all[] = {&d->telemetry, &d->logs, &d->messages, &d->traps};
    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
        wb_queue *q = all[i];
        if (q->flying == 0 || q->flying != id)
            continue;
        if (code == 0) {
            (void)wb_queue_ack(q, id);
            q->since = d->now;
        } else if (wb_retriable(code)) {
            wb_queue_lost(q);
            q->hold = d->now + wb_back_off(d, q->tries++);
        } else {
            (void)wb_queue_give_up(q, id);
        }
        return true;
    }
    return false;
}

void wb_queues_lost(wb_device *d)
{
    wb_queue *all[] = {&d->telemetry, &d->logs, &d->messages, &d->traps};
    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
        wb_queue_lost(all[i]);
        all[i]->since = d->now - d->cfg.batch_delay; /* waited long enough */
        all[i]->hold = 0;
        all[i]->tries = 0;
    }
    for (unsigned i = 0; i < WB_RESULTS; i++) {
        d->result[i].flying = 0;
        d->result[i].refers = 0;
        d->result[i].hold = 0;
        d->result[i].tries = 0;
    }
}
