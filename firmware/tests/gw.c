/* The fake platform's ears: what the device says, and what it is told then. */
#include "gw.h"

#include "harness.h"
#include "internal.h"
#include "sha256.h"

/* SPEC section 10.5. */
static uint8_t verb_for(const gw_want *w, const gw_app *a)
{
    if (w->revision == NULL)
        return a != NULL ? WB_VERB_REMOVE : 0;
    bool same = a != NULL && strcmp(a->revision, w->revision->name) == 0;
    if (w->stopped) {
        if (same && a->state == WB_STATE_STOPPED)
            return 0;
        return WB_VERB_STOP;
    }
    if (a == NULL)
        return WB_VERB_DEPLOY;
    if (a->state == WB_STATE_RUNNING && same && a->attempt >= w->attempt)
        return 0;
    if (a->state == WB_STATE_ROLLED_BACK && strcmp(a->running, w->revision->name) == 0)
        return 0;
    if (same && a->attempt == w->attempt &&
        (a->state == WB_STATE_FETCHING || a->state == WB_STATE_STAGED || a->state == WB_STATE_STARTING))
        return 0;
    if (same && (a->state == WB_STATE_STOPPED || a->state == WB_STATE_STOPPING))
        return WB_VERB_START;
    if (same && (a->state == WB_STATE_FAILED || a->state == WB_STATE_ROLLED_BACK) && a->attempt >= w->attempt)
        return 0;
    return w->rollback ? WB_VERB_ROLLBACK : WB_VERB_UPDATE;
}

static void reconcile(gw *g)
{
    if (!g->open || g->phase != 2 || !g->reported)
        return;
    for (int i = 0; i < GW_APPS; i++) {
        gw_want *w = &g->want[i];
        if (w->app[0] == '\0')
            continue;
        uint8_t verb = verb_for(w, gw_reported(g, w->app));
        if (verb == 0)
            continue;
        if (w->command != 0 && g->s->now < g->retry_command_at)
            continue; /* not the same again before ten seconds have passed */
        if (w->command == 0)
            w->command = g->next_command++;
        g->retry_command_at = g->s->now + 10000;
        wb_msg m = gw_command(g, w, verb);
        g->commands++;
        gw_send(g, &m);
    }
}

/* ---- receiving ---- */

/* Whether a record is new. One that comes again must be the same. */
static bool accept(gw *g, uint8_t kind, uint64_t seq, const uint8_t *content, size_t len)
{
    uint32_t crc = wb_crc32(0, content, len);
    for (int i = 0; i < g->records; i++) {
        gw_record *r = &g->record[i];
        if (r->kind == kind && r->seq == seq && memcmp(r->boot, g->boot, 8) == 0) {
            CHECK_EQ(r->crc, crc);
            g->repeats++;
            return false;
        }
    }
    if (g->records == GW_RECORDS)
        abort();
    gw_record *r = &g->record[g->records++];
    r->kind = kind;
    r->seq = seq;
    memcpy(r->boot, g->boot, 8);
    r->crc = crc;
    return true;
}

static void on_records(gw *g, const wb_msg *m)
{
    wb_reader r;
    wb_reader_init(&r, m->u.records.records.data.data, m->u.records.records.data.len);
    for (size_t i = 0; i < m->u.records.records.count; i++) {
        wb_telemetry_record t;
        wb_log_record l;
        const uint8_t *start;
        if (m->type == WB_TELEMETRY) {
            CHECK_EQ(wb_item_telemetry(&r, &t), 0);
            start = (const uint8_t *)t.app.data; /* the time before it may be known better the second time */
            g->telemetry += accept(g, WB_TELEMETRY, m->u.records.seq + i, start, (size_t)(r.p - start));
        } else {
            CHECK_EQ(wb_item_log(&r, &l), 0);
            start = (const uint8_t *)l.app.data;
            g->logs += accept(g, WB_LOGS, m->u.records.seq + i, start, (size_t)(r.p - start));
        }
    }
}

static void copy(char *out, size_t cap, wb_text t)
{
    snprintf(out, cap, "%.*s", (int)t.len, t.len > 0 ? t.data : "");
}

static gw_app *app_named(gw *g, wb_text name)
{
    char text[64];
    copy(text, sizeof text, name);
    gw_app *a = gw_reported(g, text);
    for (int i = 0; i < GW_APPS && a == NULL; i++)
        if (!g->app[i].there)
            a = &g->app[i];
    CHECK(a != NULL);
    memset(a, 0, sizeof *a);
    a->there = true;
    snprintf(a->name, sizeof a->name, "%s", text);
    return a;
}

static void digest_of(gw *g, uint8_t out[8])
{
    int order[GW_APPS], n = 0;
    uint8_t buf[2048], full[32];
    wb_writer w;
    wb_sha256 h;
    for (int i = 0; i < GW_APPS; i++) {
        if (!g->app[i].there)
            continue;
        int at = n++;
        while (at > 0) {
            const char *x = g->app[order[at - 1]].name, *y = g->app[i].name;
            if (strlen(x) < strlen(y) || (strlen(x) == strlen(y) && strcmp(x, y) < 0))
                break;
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
    wb_writer_init(&w, buf, sizeof buf);
    wb_write_map(&w, (size_t)n);
    for (int i = 0; i < n; i++) {
        gw_app *a = &g->app[order[i]];
        wb_write_text(&w, a->name, strlen(a->name));
        wb_write_array(&w, 6);
        wb_write_uint(&w, a->state);
        wb_write_text(&w, a->revision, strlen(a->revision));
        wb_write_uint(&w, a->attempt);
        wb_write_text(&w, a->running, strlen(a->running));
        wb_write_bool(&w, a->confirmed);
        wb_write_uint(&w, a->reason);
    }
    wb_sha256_start(&h);
    wb_sha256_update(&h, buf, w.len);
    wb_sha256_finish(&h, full);
    memcpy(out, full, 8);
}

static void on_report(gw *g, const wb_msg *m)
{
    const wb_report *p = &m->u.report;
    wb_reader r;
    uint8_t digest[8];
    CHECK_EQ(p->version, g->report_version + 1);
    g->report_version = p->version;
    if (gw_busy(g, m->id))
        return;
    CHECK(p->version > 1 || p->full);
    CHECK(g->reported || p->full);
    if (p->full) {
        g->fulls++;
        memset(g->app, 0, sizeof g->app);
    } else {
        g->deltas++;
    }
    wb_reader_init(&r, p->removed.data.data, p->removed.data.len);
    for (size_t i = 0; i < p->removed.count; i++) {
        wb_text t;
        CHECK_EQ(wb_read_text(&r, &t), 0);
        app_named(g, t)->there = false;
    }
    wb_reader_init(&r, p->apps.data.data, p->apps.data.len);
    for (size_t i = 0; i < p->apps.count; i++) {
        wb_text name;
        wb_app_state s;
        CHECK_EQ(wb_item_app_state(&r, &name, &s), 0);
        gw_app *a = app_named(g, name);
        a->state = (wb_state)s.state;
        copy(a->revision, sizeof a->revision, s.revision);
        copy(a->running, sizeof a->running, s.running);
        a->attempt = s.attempt;
        a->confirmed = s.confirmed;
        a->reason = s.reason;
        a->restarts = s.restarts;
        a->traps = s.traps;
        a->progress = s.progress;
    }
    digest_of(g, digest);
    CHECK(memcmp(digest, p->state_digest.data, 8) == 0);
    g->reported = true;
    gw_ack(g, m->id);
}

static void on_hello(gw *g, const wb_msg *m)
{
    static uint8_t era[8] = {9, 9, 9, 9, 9, 9, 9, 9}, nonce[32] = {7};
    wb_msg w = {.type = WB_WELCOME};
    bool in = g->s->kind == WB_LINK_OPERATIONAL && g->enrolled;
    memcpy(g->boot, m->u.hello.boot_id.data, 8);
    g->features_attest = m->u.hello.features & WB_FEATURE_ATTEST;
    w.u.welcome.refers = m->id;
    w.u.welcome.version = 1;
    w.u.welcome.features = m->u.hello.features & g->features;
    w.u.welcome.time = g->time + (uint64_t)g->s->now;
    w.u.welcome.heartbeat = g->heartbeat;
    w.u.welcome.frame = 16384;
    w.u.welcome.enrolled = in;
    if (in) {
        w.u.welcome.epoch = ++g->epoch;
        w.u.welcome.era = (wb_bytes){era, 8};
        w.u.welcome.renew_before = g->renew_before;
    } else {
        w.u.welcome.nonce = (wb_bytes){nonce, 32};
    }
    g->phase = in ? 2 : 1;
    g->retry_command_at = 0;
    gw_send(g, &w);
}

static void emit_chain(wb_writer *w, const void *ctx)
{
    (void)ctx;
    wb_write_bytes(w, "leaf certificate", 16);
    wb_write_bytes(w, "intermediate", 12);
}

static void on_enroll(gw *g, const wb_msg *m, bool renewal)
{
    wb_msg r = {.type = WB_ENROLL_RESULT};
    r.u.enroll_result.refers = m->id;
    r.u.enroll_result.retry_after = g->retry_after;
    if (renewal) {
        g->renews++;
    } else {
        g->enrolls++;
        g->enroll_id = m->id;
        g->evidence_seen = m->u.enroll.evidence.present;
    }
    if (g->rejected) {
        r.u.enroll_result.status = WB_ENROLL_REJECTED;
        r.u.enroll_result.reason = WB_REASON_NOT_PAIRED;
    } else if (g->pending) {
        r.u.enroll_result.status = WB_ENROLL_PENDING;
        r.u.enroll_result.reason = WB_REASON_AWAITING_APPROVAL;
    } else {
        r.u.enroll_result.status = WB_ENROLL_ACCEPTED;
        r.u.enroll_result.chain = (wb_items){2, {NULL, 0}, emit_chain, NULL};
        r.u.enroll_result.retry_after = 0;
        g->enrolled = true;
    }
    gw_send(g, &r);
    if (r.u.enroll_result.status == WB_ENROLL_ACCEPTED && !renewal) {
        wb_msg b = {.type = WB_GOODBYE};
        b.u.goodbye.reason = WB_GOODBYE_ENROLLED;
        gw_send(g, &b);
        g->phase = 3;
    }
}

static void on_chunk_request(gw *g, const wb_msg *m)
{
    const wb_chunk_request *q = &m->u.chunk_request;
    uint8_t wrong[SIM_SLOT];
    wb_msg r = {.type = WB_ERROR_FRAME};
    r.u.error.refers = m->id;
    r.u.error.code = WB_CODE_NOT_FOUND;
    if (g->not_found > 0) {
        g->not_found--;
        gw_send(g, &r);
        return;
    }
    for (int i = 0; i < g->revisions; i++) {
        gw_revision *v = &g->revision[i];
        if (memcmp(v->digest, q->digest.data, WB_DIGEST_SIZE) != 0 || q->offset >= v->size)
            continue;
        uint32_t n = (uint32_t)v->size - q->offset < q->length ? (uint32_t)v->size - q->offset : q->length;
        CHECK(q->length <= g->s->cfg.chunk);
        memset(&r, 0, sizeof r);
        r.type = WB_CHUNK;
        r.u.chunk.refers = m->id;
        r.u.chunk.digest = q->digest;
        r.u.chunk.offset = q->offset;
        r.u.chunk.data = (wb_bytes){v->bytes + q->offset, n};
        r.u.chunk.total = (uint32_t)v->size;
        if (g->corrupt) {
            memcpy(wrong, v->bytes + q->offset, n);
            wrong[0] ^= 1;
            r.u.chunk.data.data = wrong;
        }
        g->chunks++;
        break;
    }
    gw_send(g, &r);
}

static void on_frame(gw *g, const uint8_t *body, size_t len)
{
    wb_msg m;
    int code = wb_decode(body, len, &m);
    CHECK_EQ(code, 0);
    if (code != 0) {
        g->bad++;
        return;
    }
    CHECK(g->phase != 0 || m.type == WB_HELLO || m.type == WB_ERROR_FRAME || m.type == WB_GOODBYE);
    CHECK(g->phase != 1 || m.type == WB_ENROLL || m.type == WB_ERROR_FRAME || m.type == WB_GOODBYE);
    CHECK(g->phase != 2 || g->report_version > 0 || m.type == WB_REPORT || m.type == WB_HEARTBEAT || m.type == WB_ERROR_FRAME ||
          m.type == WB_GOODBYE);
    bool acknowledged = m.type == WB_COMMAND_RESULT || m.type == WB_TRAP_FRAME || m.type == WB_TELEMETRY ||
                        m.type == WB_LOGS || m.type == WB_MESSAGE_UP || m.type == WB_INVOKE_RESULT;
    if (acknowledged && gw_busy(g, m.id))
        return;
    switch (m.type) {
    case WB_HELLO:
        on_hello(g, &m);
        break;
    case WB_ENROLL:
        on_enroll(g, &m, false);
        break;
    case WB_RENEW:
        on_enroll(g, &m, true);
        break;
    case WB_HEARTBEAT: {
        wb_msg r = {.type = WB_HEARTBEAT_ACK};
        r.u.heartbeat_ack.refers = m.id;
        r.u.heartbeat_ack.time = g->time + (uint64_t)g->s->now;
        g->heartbeats++;
        gw_send(g, &r);
        break;
    }
    case WB_REPORT:
        on_report(g, &m);
        break;
    case WB_COMMAND_RESULT:
        g->results[m.u.command_result.status]++;
        g->last_reason = m.u.command_result.reason;
        g->last_result = 0;
        for (int i = 0; i < 8; i++)
            g->last_result = g->last_result << 8 | m.u.command_result.command.data[i];
        gw_ack(g, m.id);
        break;
    case WB_CHUNK_REQUEST:
        on_chunk_request(g, &m);
        break;
    case WB_TRAP_FRAME:
        g->traps += accept(g, WB_TRAP_FRAME, m.u.trap.seq, (const uint8_t *)m.u.trap.app.data, m.u.trap.app.len);
        g->trap_reason = m.u.trap.reason;
        gw_ack(g, m.id);
        break;
    case WB_TELEMETRY:
    case WB_LOGS:
        on_records(g, &m);
        gw_ack(g, m.id);
        break;
    case WB_MESSAGE_UP:
        g->messages += accept(g, WB_MESSAGE_UP, m.u.message.seq, m.u.message.payload.data, m.u.message.payload.len);
        gw_ack(g, m.id);
        break;
    case WB_INVOKE_RESULT:
        g->invoke_status = m.u.invoke_result.status;
        g->invoke_reason = m.u.invoke_result.reason;
        g->invoke_len = m.u.invoke_result.payload.len;
        CHECK(g->invoke_len <= sizeof g->invoke_payload);
        if (g->invoke_len > 0)
            memcpy(g->invoke_payload, m.u.invoke_result.payload.data, g->invoke_len);
        gw_ack(g, m.id);
        break;
    case WB_ERROR_FRAME:
        g->errors++;
        g->last_error = m.u.error.code;
        break;
    case WB_GOODBYE:
        g->goodbyes++;
        gw_close(g);
        break;
    default:
        g->bad++;
        break;
    }
}

static void accept_link(gw *g)
{
    g->open = true;
    g->phase = 0;
    g->next_id = 1;
    g->report_version = 0;
    g->reported = false;
    g->rx_len = 0;
    memset(g->boot, 0, sizeof g->boot);
}

static bool receive(gw *g)
{
    static unsigned seen; /* which link this is: a new one may have come between two looks */
    bool any = false;
    if (g->s->up && (!g->open || seen != g->s->opens)) {
        accept_link(g);
        seen = g->s->opens;
    }
    if (!g->open) {
        g->s->to_gateway.len = 0; /* nobody is there to hear it */
        return false;
    }
    g->rx_len += sim_pipe_get(&g->s->to_gateway, g->rx + g->rx_len, sizeof g->rx - g->rx_len);
    while (g->open && g->rx_len >= 4) {
        size_t n = (size_t)g->rx[0] << 24 | (size_t)g->rx[1] << 16 | (size_t)g->rx[2] << 8 | g->rx[3];
        CHECK(n > 0 && n <= (g->phase == 2 ? 16384 : 4096));
        if (g->rx_len < 4 + n)
            break;
        on_frame(g, g->rx + 4, n);
        any = true;
        memmove(g->rx, g->rx + 4 + n, g->rx_len - 4 - n);
        g->rx_len -= 4 + n;
    }
    if (g->open && !g->s->connected && g->s->to_gateway.len == 0)
        g->open = false;
    return any;
}

void gw_settle(gw *g)
{
    for (int i = 0; i < 10000; i++) {
        int64_t ms = g->s->d != NULL ? wb_device_poll(g->s->d) : INT64_MAX;
        if (g->s->rebooted)
            return;
        bool any = receive(g);
        reconcile(g);
        bool waits = g->s->d != NULL && g->s->connected && (wb_device_wait(g->s->d) & WB_WAIT_WRITE);
        if (ms > 0 && !any && !waits && g->s->to_device.len == 0 && g->s->to_gateway.len == 0)
            return;
    }
    CHECK(!"the device does not come to rest");
}

bool gw_run(gw *g, int64_t ms, bool (*done)(gw *g))
{
    int64_t end = g->s->now + ms;
    for (;;) {
        gw_settle(g);
        if (done != NULL && done(g))
            return true;
        if (g->s->now >= end || g->s->rebooted)
            return done == NULL;
        int64_t wait = wb_device_poll(g->s->d);
        if (wait < 1)
            wait = 1;
        if (wait > 100)
            wait = 100; /* the gateway has clocks too */
        g->s->now += wait;
    }
}
