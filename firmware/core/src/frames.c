/* What the gateway's frames do. SPEC sections 7, 8 and 15. */
#include <string.h>

#include "internal.h"

#define ENROLL_AGAIN 1000       /* ms, least wait before asking again while pending */
#define ENROLL_CLOSE 30000      /* ms: when the wait is longer the link is closed meanwhile */
#define REJECTED_LEAST 60000    /* ms */
#define REJECTED_MOST 3600000   /* ms */
#define RENEW_AGAIN 60000       /* ms */
#define SUPERSEDED_WAIT 10000   /* ms */
#define REVOKED_WAIT 60000      /* ms */
#define TIME_MOST (1ull << 53)  /* Unix ms that cannot be meant */
#define WALL_STEP 3600000u      /* ms between two writes of the floor of the wall time */

bool wb_retriable(uint8_t code)
{
    return code == WB_CODE_BUSY || code == WB_CODE_INTERNAL || code > WB_CODE_INTERNAL;
}

/* An error frame for a frame that is not taken. The session ends when its code or its phase says so, or when it is one
 * too many. */
void wb_refuse(wb_device *d, uint64_t refers, uint8_t code)
{
    wb_session *s = &d->s;
    if (s->closing)
        return;
    s->error_code = code;
    s->error_refers = refers;
    d->stats.bad_frames++;
    d->stats.last_code = code;
    bool ends = code == WB_CODE_FRAME || code == WB_CODE_CBOR || code == WB_CODE_AUTH || s->state != WB_SESSION_ACTIVE;
    if (++s->errors >= WB_ERRORS_MAX || ends)
        wb_session_goodbye(d, WB_GOODBYE_PROTOCOL);
}

void wb_on_bad_length(wb_device *d)
{
    wb_refuse(d, 0, WB_CODE_FRAME);
}

/* Keeps a time that an enrolled device heard from a gateway that it trusts: it has certainly passed. */
static void keep_wall(wb_device *d, uint64_t unix_ms)
{
    if (unix_ms <= TIME_MOST && unix_ms >= d->wall_floor + WALL_STEP) {
        d->wall_floor = unix_ms;
        (void)wb_store_device(d);
    }
}

static void on_welcome(wb_device *d, const wb_welcome *w)
{
    wb_session *s = &d->s;
    if (w->refers != s->hello_id || w->version != WB_PROTOCOL_VERSION) {
        wb_refuse(d, 0, WB_CODE_STATE);
        return;
    }
    if (w->time <= TIME_MOST)
        wb_wall_set(d, w->time);
    if (d->port.link_trusted != NULL && d->port.link_trusted(d->port.ctx) < 0) {
        wb_session_end(d, WB_EAUTH);
        return;
    }
    if (w->enrolled) /* only now: a floor that a refused gateway set would lock the device out for good */
        keep_wall(d, w->time);
    d->stats.sessions++;
    s->since = d->now;
    s->features = w->features & d->cfg.features;
    s->heartbeat = w->heartbeat;
    s->epoch = w->epoch;
    s->renew_before = w->renew_before;
    s->enrolled = w->enrolled;
    if (!w->enrolled) {
        s->state = WB_SESSION_ENROLLING;
        memcpy(s->nonce, w->nonce.data, sizeof s->nonce);
        s->has_nonce = true;
        s->enroll_due = true;
        s->enroll_at = d->now;
        return;
    }
    s->state = WB_SESSION_ACTIVE;
    s->expired = false;
    s->enroll_tries = 0;
    s->auth_failures = 0;
    s->frame_cap = w->frame;
    s->full_wanted = true;
    /* Spread over the interval, or a herd that came together beats together for ever. */
    s->beat_at = d->now + w->heartbeat - wb_random32(d) % (w->heartbeat / 4);
    wb_fetch_online(d);
}

static uint32_t at_least(uint32_t ms, uint32_t least)
{
    return ms > least ? ms : least;
}

static void on_accepted(wb_device *d, const wb_enroll_result *r, bool renewal)
{
    wb_bytes chain[4];
    wb_reader rd;
    wb_reader_init(&rd, r->chain.data.data, r->chain.data.len);
    for (size_t i = 0; i < r->chain.count; i++)
        if (wb_read_bytes(&rd, &chain[i]) < 0)
            return;
    int err = d->port.identity_store(d->port.ctx, chain, r->chain.count);
    if (err < 0) {
        wb_note(d, WB_ERROR, NULL, "certificate not taken", wb_error_name(err));
        d->s.renew_at = d->now + RENEW_AGAIN;
        if (!renewal)
            wb_session_end(d, err);
        return;
    }
    d->s.expired = false;
    d->stats.enroll_reason = WB_REASON_NONE;
    if (renewal) {
        d->s.renew_before = 0; /* the next welcome says when again */
        return;
    }
    d->s.enroll_tries = 0;
    d->s.tries = 0;
    d->s.at_once = true;
    /* The gateway says goodbye (Enrolled); we do not wait for it longer than this. */
    d->s.enroll_id = 0;
    d->s.enroll_due = false;
    d->s.leave_at = d->now + 2000;
    wb_wake(d, d->s.leave_at);
}

static void on_enroll_result(wb_device *d, const wb_enroll_result *r)
{
    wb_session *s = &d->s;
    bool renewal = s->state == WB_SESSION_ACTIVE;
    uint64_t id = renewal ? s->renew_id : s->enroll_id;
    if (id == 0 || r->refers != id)
        return; /* of an older question */
    if (r->status == WB_ENROLL_ACCEPTED) {
        s->renew_id = 0;
        on_accepted(d, r, renewal);
        return;
    }
    if (renewal) {
        s->renew_id = 0;
        s->renew_at = d->now + at_least(r->retry_after, RENEW_AGAIN);
        return;
    }
    d->stats.enroll_reason = (wb_reason)r->reason;
    s->enroll_until = d->now + 60000;
    if (r->status == WB_ENROLL_PENDING) {
        uint32_t wait = at_least(r->retry_after, ENROLL_AGAIN);
        if (wait > ENROLL_CLOSE) {
            s->retry_after = wait;
            wb_session_goodbye(d, WB_GOODBYE_IDLE);
            return;
        }
        s->enroll_due = true;
        s->enroll_at = d->now + wait;
        s->enroll_until = s->enroll_at + 60000;
        return;
    }
    uint32_t wait = REJECTED_LEAST << (s->enroll_tries < 6 ? s->enroll_tries : 6);
    if (s->enroll_tries < 6)
        s->enroll_tries++;
    wait = at_least(r->retry_after, wait < REJECTED_MOST ? wait : REJECTED_MOST);
    wb_note(d, WB_WARNING, NULL, "enrollment rejected", wb_reason_name((wb_reason)r->reason));
    s->retry_after = wait;
    wb_session_goodbye(d, WB_GOODBYE_IDLE);
}

static void on_goodbye(wb_device *d, const wb_goodbye *g)
{
    wb_session *s = &d->s;
    s->retry_after = g->retry_after;
    switch (g->reason) {
    case WB_GOODBYE_SUPERSEDED:
        s->retry_after = at_least(g->retry_after, SUPERSEDED_WAIT);
        break;
    case WB_GOODBYE_REVOKED:
        d->stats.enroll_reason = WB_REASON_REVOKED;
        s->retry_after = at_least(g->retry_after, REVOKED_WAIT);
        break;
    case WB_GOODBYE_EXPIRED:
        s->expired = true;
        break;
    case WB_GOODBYE_ENROLLED:
        s->at_once = d->port.identity_enrolled(d->port.ctx) == 1;
        break;
    default:
        break;
    }
    wb_session_end(d, WB_OK);
}

/* The gateway did not take a frame of ours. */
static void on_error(wb_device *d, const wb_error_frame *e)
{
    wb_session *s = &d->s;
    uint64_t id = e->refers;
    wb_note(d, WB_WARNING, NULL, "refused by the gateway", NULL);
    if (id == 0)
        return;
    if (s->state == WB_SESSION_HELLO || (s->state == WB_SESSION_ENROLLING && id != s->enroll_id))
        return; /* a goodbye follows, or the time runs out */
    if (s->state == WB_SESSION_ENROLLING) {
        if (!wb_retriable(e->code))
            return;
        s->enroll_due = true;
        s->enroll_at = d->now + wb_back_off(d, s->enroll_tries++);
        s->enroll_until = s->enroll_at + 60000;
        return;
    }
    if (id == s->renew_id) {
        s->renew_id = 0;
        s->renew_at = d->now + RENEW_AGAIN;
        return;
    }
    if (wb_fetch_refused(d, id, e->code) || wb_report_settled(d, id, e->code) || wb_results_settled(d, id, e->code) ||
        wb_answer_settled(d, id, e->code))
        return;
    (void)wb_queues_settled(d, id, e->code);
}

static void on_ack(wb_device *d, uint64_t id)
{
    if (wb_queues_settled(d, id, 0) || wb_report_settled(d, id, 0) || wb_results_settled(d, id, 0))
        return;
    (void)wb_answer_settled(d, id, 0);
}

/* Whether a gateway may send the type in the session's phase. */
static bool allowed(const wb_session *s, uint8_t type)
{
    switch (type) {
    case WB_ERROR_FRAME:
    case WB_GOODBYE:
        return true;
    case WB_WELCOME:
        return s->state == WB_SESSION_HELLO && !s->hello_due;
    case WB_ENROLL_RESULT:
        return s->state == WB_SESSION_ENROLLING || s->state == WB_SESSION_ACTIVE;
    case WB_HEARTBEAT_ACK:
    case WB_ACK:
    case WB_COMMAND:
    case WB_CHUNK:
    case WB_REPORT_REQUEST:
    case WB_INVOKE:
    case WB_MESSAGE_DOWN:
        return s->state == WB_SESSION_ACTIVE;
    default:
        return false; /* devices send it */
    }
}

static void on_message(wb_device *d, const wb_msg *m)
{
    switch (m->type) {
    case WB_WELCOME:
        on_welcome(d, &m->u.welcome);
        break;
    case WB_ERROR_FRAME:
        on_error(d, &m->u.error);
        break;
    case WB_GOODBYE:
        on_goodbye(d, &m->u.goodbye);
        break;
    case WB_ENROLL_RESULT:
        on_enroll_result(d, &m->u.enroll_result);
        break;
    case WB_HEARTBEAT_ACK:
        if (m->u.heartbeat_ack.time <= TIME_MOST)
            wb_wall_set(d, m->u.heartbeat_ack.time);
        keep_wall(d, m->u.heartbeat_ack.time);
        break;
    case WB_ACK:
        on_ack(d, m->u.ack.refers);
        break;
    case WB_COMMAND:
        wb_on_command(d, m->id, &m->u.command);
        break;
    case WB_CHUNK:
        wb_fetch_chunk(d, &m->u.chunk);
        break;
    case WB_REPORT_REQUEST:
        d->s.full_wanted = true;
        break;
    case WB_INVOKE:
        if (d->s.features & WB_FEATURE_INVOKE)
            wb_on_invoke(d, m->id, &m->u.invoke);
        else
            wb_refuse(d, m->id, WB_CODE_STATE);
        break;
    case WB_MESSAGE_DOWN:
        if (d->s.features & WB_FEATURE_MESSAGES)
            wb_on_message(d, m->id, &m->u.message);
        else
            wb_refuse(d, m->id, WB_CODE_STATE);
        break;
    default:
        break;
    }
}

void wb_on_frame(wb_device *d, const uint8_t *body, size_t len)
{
    wb_msg m;
    int code = wb_decode(body, len, &m);
    bool polite = m.type == WB_ERROR_FRAME || m.type == WB_GOODBYE;
    if (code != 0) {
        d->stats.last_code = (uint8_t)code;
        if (polite)
            wb_session_end(d, WB_EFORMAT); /* these are never answered */
        else
            wb_refuse(d, m.id, (uint8_t)code);
        return;
    }
    if (!allowed(&d->s, m.type)) {
        wb_refuse(d, m.id, WB_CODE_STATE);
        return;
    }
    on_message(d, &m);
    wb_wake(d, d->now);
}
