/*
 * The link: when it is opened, how long each step may take, what is read and written, how it ends. What the frames mean is
 * in frames.c. SPEC sections 8, 9.3 and 17.
 */
#include <string.h>

#include "internal.h"

#define GOODBYE_WAIT 2000     /* ms from goodbye until we close */
#define BLOCKED_MOST 20000    /* ms that the peer may take no bytes */
#define STABLE_AFTER 60000    /* ms of a session after which the back-off begins anew */
#define MISSED_HEARTBEATS 3
#define AUTH_FAILURES 3       /* handshakes refused in a row before the stored certificate is not shown any more */
#define FRAMES_PER_POLL 16    /* taken before modules get their turn */

static void go_to(wb_device *d, wb_session_state state, int64_t within)
{
    d->s.state = (uint8_t)state;
    d->s.at = d->now + within;
    wb_wake(d, d->s.at);
}

void wb_session_end(wb_device *d, int error)
{
    wb_session *s = &d->s;
    bool lived = s->state == WB_SESSION_ACTIVE && d->now - s->since >= STABLE_AFTER;
    d->port.link_close(d->port.ctx);
    d->stats.last_error = error;
    /* In TLS 1.3 the word that our certificate was refused comes after the handshake. */
    if (error == WB_EAUTH && s->operational && s->state <= WB_SESSION_HELLO)
        s->auth_failures++;
    else if (error != WB_EAUTH)
        s->auth_failures = 0;
    if (lived)
        s->tries = 0;
    int64_t wait;
    if (s->at_once) {
        wait = 0;
    } else if (s->retry_after > 0) {
        wait = (int64_t)s->retry_after + wb_random32(d) % 1000;
    } else {
        wait = wb_back_off(d, s->tries);
        if (s->tries < UINT8_MAX)
            s->tries++;
    }
    uint8_t keep[] = {s->auth_failures, s->tries, s->enroll_tries, s->expired};
    memset(s, 0, sizeof *s);
    s->auth_failures = keep[0];
    s->tries = keep[1];
    s->enroll_tries = keep[2];
    s->expired = keep[3];
    wb_queues_lost(d);
    wb_answers_lost(d);
    go_to(d, WB_SESSION_WAITING, wait);
}

static void open_link(wb_device *d)
{
    wb_session *s = &d->s;
    s->operational = !s->expired && s->auth_failures < AUTH_FAILURES && d->port.identity_enrolled(d->port.ctx) == 1;
    s->auth_failures = s->operational ? s->auth_failures : 0;
    d->stats.connects++;
    go_to(d, WB_SESSION_CONNECTING, d->cfg.connect_timeout);
    int err = d->port.link_open(d->port.ctx, s->operational ? WB_LINK_OPERATIONAL : WB_LINK_FIRST_CONTACT);
    if (err < 0)
        wb_session_end(d, err);
}

static void connected(wb_device *d)
{
    go_to(d, WB_SESSION_HELLO, d->cfg.answer_timeout);
    d->s.hello_due = true;
    d->s.heard = d->now;
    d->s.next_id = 1;
    d->s.frame_cap = WB_FRAME_PREAUTH;
}

void wb_session_goodbye(wb_device *d, uint8_t reason)
{
    if (d->s.closing)
        return;
    d->s.goodbye = reason;
    d->s.closing = true;
    d->s.at = d->now + GOODBYE_WAIT;
    wb_wake(d, d->s.at);
}

/* One frame from the link: 1 when it was handled, 0 when there is none yet, negative at the end. */
static int receive(wb_device *d)
{
    wb_session *s = &d->s;
    for (;;) {
        uint32_t want = WB_HEADER_SIZE;
        if (s->rx_len >= WB_HEADER_SIZE) {
            uint32_t n = (uint32_t)d->rx[0] << 24 | (uint32_t)d->rx[1] << 16 | (uint32_t)d->rx[2] << 8 | d->rx[3];
            if (n == 0 || n > d->cfg.frame_in) {
                wb_on_bad_length(d);
                return 0;
            }
            want = WB_HEADER_SIZE + n;
        }
        if (s->rx_len == want) {
            s->rx_len = 0;
            s->heard = d->now;
            d->stats.frames_in++;
            wb_on_frame(d, d->rx + WB_HEADER_SIZE, want - WB_HEADER_SIZE);
            return 1;
        }
        int n = d->port.link_recv(d->port.ctx, d->rx + s->rx_len, want - s->rx_len);
        if (n == WB_EAGAIN || n == 0)
            return 0;
        if (n < 0)
            return n;
        s->rx_len += (uint32_t)n;
    }
}

static void read_frames(wb_device *d)
{
    for (unsigned i = 0; i < FRAMES_PER_POLL; i++) {
        if (d->s.state < WB_SESSION_HELLO)
            return; /* a frame ended the session */
        if (d->s.error_code != 0)
            return; /* one answer after the other: the next frame when this one is out */
        if (d->s.closing) { /* nothing is taken any more; only the end is of interest */
            int n = d->port.link_recv(d->port.ctx, d->rx, WB_HEADER_SIZE + d->cfg.frame_in);
            if (n > 0 && d->s.at_once) { /* the goodbye (Enrolled) that was waited for */
                wb_session_end(d, WB_OK);
                return;
            }
            if (n < 0 && n != WB_EAGAIN)
                wb_session_end(d, n);
            if (n <= 0)
                return;
            continue;
        }
        int n = receive(d);
        if (n < 0) {
            wb_session_end(d, n);
            return;
        }
        if (n == 0)
            return;
    }
    wb_wake(d, d->now);
}

/* Steps that take too long. */
static void check_times(wb_device *d)
{
    wb_session *s = &d->s;
    if (s->closing || s->state == WB_SESSION_HELLO) {
        if (d->now >= s->at)
            wb_session_end(d, s->closing ? WB_OK : WB_ETIMEOUT);
        else
            wb_wake(d, s->at);
        return;
    }
    if (s->state == WB_SESSION_ENROLLING) {
        if (s->leave_at != 0) {
            if (d->now >= s->leave_at)
                wb_session_end(d, WB_OK);
            else
                wb_wake(d, s->leave_at);
            return;
        }
        if (s->enroll_id != 0 && d->now >= s->enroll_until) {
            wb_session_end(d, WB_ETIMEOUT);
            return;
        }
        if (s->enroll_id != 0)
            wb_wake(d, s->enroll_until);
    }
    if (s->state == WB_SESSION_ACTIVE) {
        int64_t dead = s->heard + (int64_t)MISSED_HEARTBEATS * s->heartbeat;
        if (d->now >= dead) {
            wb_session_end(d, WB_ETIMEOUT);
            return;
        }
        wb_wake(d, dead);
        if (s->beat_at > d->now) /* else it goes out with this poll, or when the link takes bytes again */
            wb_wake(d, s->beat_at);
    }
    if (s->blocked != 0 && d->now - s->blocked >= BLOCKED_MOST)
        wb_session_end(d, WB_ETIMEOUT);
}

void wb_session_step(wb_device *d)
{
    wb_session *s = &d->s;
    if (s->state == WB_SESSION_WAITING) {
        if (d->now < s->at) {
            wb_wake(d, s->at);
            return;
        }
        open_link(d);
    }
    if (s->state == WB_SESSION_CONNECTING) {
        int st = d->port.link_state(d->port.ctx);
        if (st == WB_LINK_CONNECTED) {
            connected(d);
        } else if (st < 0 || d->now >= s->at) {
            wb_session_end(d, st < 0 ? st : WB_ETIMEOUT);
            return;
        } else {
            wb_wake(d, s->at);
            return;
        }
    }
    if (s->state >= WB_SESSION_HELLO)
        read_frames(d);
    if (s->state >= WB_SESSION_HELLO)
        check_times(d);
}

/* Hands the tx buffer to the link: true when it is empty then. */
static bool flush(wb_device *d)
{
    wb_session *s = &d->s;
    while (s->tx_sent < s->tx_len) {
        int n = d->port.link_send(d->port.ctx, d->tx + s->tx_sent, s->tx_len - s->tx_sent);
        if (n == WB_EAGAIN || n == 0) {
            if (s->blocked == 0)
                s->blocked = d->now != 0 ? d->now : 1;
            wb_wake(d, s->blocked + BLOCKED_MOST);
            return false;
        }
        if (n < 0) {
            wb_session_end(d, n);
            return false;
        }
        s->blocked = 0;
        s->tx_sent += (uint32_t)n;
    }
    s->tx_len = s->tx_sent = 0;
    return true;
}

int wb_send(wb_device *d, wb_msg *m)
{
    wb_session *s = &d->s;
    size_t cap = WB_HEADER_SIZE + (s->frame_cap < d->cfg.frame_out ? s->frame_cap : d->cfg.frame_out);
    m->id = s->next_id;
    int len = wb_encode(m, d->tx, cap);
    if (len < 0)
        return len;
    s->next_id++;
    s->tx_len = (uint32_t)len;
    s->tx_sent = 0;
    d->stats.frames_out++;
    return len;
}

static int send_error(wb_device *d)
{
    wb_msg m;
    memset(&m, 0, sizeof m);
    m.type = WB_ERROR_FRAME;
    m.u.error.code = d->s.error_code;
    m.u.error.refers = d->s.error_refers;
    d->s.error_code = 0;
    wb_wake(d, d->now);
    return wb_send(d, &m);
}

static int send_goodbye(wb_device *d)
{
    wb_msg m;
    memset(&m, 0, sizeof m);
    m.type = WB_GOODBYE;
    m.u.goodbye.reason = d->s.goodbye;
    d->s.goodbye = 0;
    return wb_send(d, &m);
}

static int send_hello(wb_device *d);
static int send_enroll(wb_device *d);
static int send_renew(wb_device *d);
static int send_heartbeat(wb_device *d);

static int send_chunk_request(wb_device *d)
{
    for (unsigned i = 0; i < d->cfg.apps; i++) {
        wb_app *a = &d->app[i];
        wb_msg m;
        if (!wb_fetch_wants(d, a))
            continue;
        memset(&m, 0, sizeof m);
        m.type = WB_CHUNK_REQUEST;
        wb_fetch_request(d, a, &m.u.chunk_request);
        int len = wb_send(d, &m);
        if (len > 0)
            wb_fetch_sent(d, a, m.id);
        return len;
    }
    return 0;
}

/* The next frame into the empty tx buffer, the most urgent first: > 0 when there was one. */
static int next_frame(wb_device *d)
{
    wb_session *s = &d->s;
    int len = 0;
    if (s->error_code != 0)
        return send_error(d);
    if (s->goodbye != 0)
        return send_goodbye(d);
    if (s->closing)
        return 0;
    if (s->state == WB_SESSION_HELLO)
        return s->hello_due ? send_hello(d) : 0;
    if (s->state == WB_SESSION_ENROLLING)
        return send_enroll(d);
    if (s->state != WB_SESSION_ACTIVE)
        return 0;
    if (d->now >= s->beat_at)
        len = send_heartbeat(d);
    if (len == 0)
        len = wb_report_send(d);
    if (!s->full_sent)
        return len; /* the first report goes before everything else */
    if (len == 0)
        len = wb_results_send(d);
    if (len == 0)
        len = wb_answers_send(d);
    if (len == 0)
        len = send_chunk_request(d);
    if (len == 0)
        len = send_renew(d);
    if (len == 0)
        len = wb_queues_send(d);
    return len;
}

void wb_send_step(wb_device *d)
{
    for (unsigned i = 0; i < FRAMES_PER_POLL; i++) {
        if (d->s.state < WB_SESSION_HELLO || !flush(d))
            return;
        int len = next_frame(d);
        if (len < 0)
            wb_note(d, WB_ERROR, NULL, "a frame could not be made", wb_error_name(len));
        if (len <= 0)
            return;
    }
    wb_wake(d, d->now);
}

/* ---- frames of the session itself ---- */

static void emit_permissions(wb_writer *w, const void *ctx)
{
    const wb_device *d = ctx;
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        const char *name = d->cfg.permissions & bit ? wb_permission_name(bit) : NULL;
        if (name != NULL)
            wb_write_text(w, name, strlen(name));
    }
}

static size_t count_permissions(const wb_device *d)
{
    size_t n = 0;
    for (uint32_t bit = 1; bit != 0; bit <<= 1)
        if ((d->cfg.permissions & bit) && wb_permission_name(bit) != NULL)
            n++;
    return n;
}

static int send_hello(wb_device *d)
{
    static const uint8_t versions[] = {WB_PROTOCOL_VERSION};
    wb_msg m;
    memset(&m, 0, sizeof m);
    m.type = WB_HELLO;
    wb_hello *h = &m.u.hello;
    wb_state_refresh(d);
    h->versions = (wb_bytes){versions, sizeof versions};
    h->features = d->cfg.features;
    h->boot_id = (wb_bytes){d->boot_id, sizeof d->boot_id};
    h->board = wb_cstr(d->cfg.board);
    h->firmware = wb_cstr(d->cfg.firmware);
    h->capabilities.module_memory = d->cfg.module_memory;
    h->capabilities.module_size = d->cfg.module_size;
    h->capabilities.chunk = d->cfg.chunk;
    h->capabilities.frame = d->cfg.frame_in;
    h->capabilities.apps = d->cfg.apps;
    h->capabilities.abi = WB_ABI_VERSION;
    h->capabilities.permissions = (wb_items){count_permissions(d), {NULL, 0}, emit_permissions, d};
    if (d->has_era) {
        h->era = (wb_bytes){d->era, sizeof d->era};
        h->seen_desired = d->seen_desired;
    }
    h->state_digest = (wb_bytes){d->digest, sizeof d->digest};
    d->s.hello_due = false;
    int len = wb_send(d, &m);
    d->s.hello_id = m.id;
    return len;
}

/* Evidence over this session's nonce, when there is all that it takes. 115 bytes are signed. */
static void make_evidence(wb_device *d, wb_evidence *e, uint8_t *sig, size_t cap)
{
    static const char context[] = "wasmbed/1 evidence"; /* its final zero belongs to it */
    uint8_t tbs[sizeof context + WB_NONCE_SIZE + 2 * WB_DIGEST_SIZE];
    uint8_t *p = tbs + sizeof context;
    if (!(d->cfg.features & WB_FEATURE_ATTEST) || !d->s.has_nonce)
        return;
    memcpy(tbs, context, sizeof context);
    memcpy(p, d->s.nonce, WB_NONCE_SIZE);
    memcpy(p + WB_NONCE_SIZE, d->cfg.measurement, WB_DIGEST_SIZE);
    if (d->port.identity_key(d->port.ctx, p + WB_NONCE_SIZE + WB_DIGEST_SIZE) < 0)
        return;
    int n = d->port.identity_sign(d->port.ctx, tbs, sizeof tbs, sig, cap);
    if (n <= 0)
        return;
    e->present = true;
    e->format = 1;
    e->nonce = (wb_bytes){d->s.nonce, WB_NONCE_SIZE};
    e->measurement = (wb_bytes){d->cfg.measurement, WB_DIGEST_SIZE};
    e->signature = (wb_bytes){sig, (size_t)n};
}

static int send_enroll(wb_device *d)
{
    uint8_t sig[80];
    wb_msg m;
    if (!d->s.enroll_due)
        return 0;
    if (d->now < d->s.enroll_at) {
        wb_wake(d, d->s.enroll_at);
        return 0;
    }
    memset(&m, 0, sizeof m);
    m.type = WB_ENROLL;
    int n = d->port.identity_csr(d->port.ctx, d->scratch, d->cfg.scratch);
    if (n < 0) {
        wb_session_end(d, n);
        return 0;
    }
    m.u.enroll.csr = (wb_bytes){d->scratch, (size_t)n};
    m.u.enroll.name = wb_cstr(d->cfg.name);
    m.u.enroll.claim = d->cfg.claim;
    make_evidence(d, &m.u.enroll.evidence, sig, sizeof sig);
    int len = wb_send(d, &m);
    if (len > 0) {
        d->s.enroll_due = false;
        d->s.enroll_id = m.id;
        d->s.enroll_until = d->now + 60000;
        wb_wake(d, d->s.enroll_until);
    } else if (len < 0) {
        wb_session_end(d, len);
        return 0;
    }
    return len;
}

static int send_renew(wb_device *d)
{
    wb_session *s = &d->s;
    wb_msg m;
    uint64_t now = wb_wall(d), at = s->renew_before;
    if (!(s->features & WB_FEATURE_RENEW) || s->renew_id != 0 || now == 0)
        return 0;
    if (d->port.identity_renew_at != NULL) {
        uint64_t own = d->port.identity_renew_at(d->port.ctx);
        if (own != 0 && (at == 0 || own < at))
            at = own;
    }
    if (at == 0)
        return 0;
    if (now < at) {
        wb_wake(d, d->now + (at - now < 3600000 ? (int64_t)(at - now) : 3600000));
        return 0;
    }
    if (d->now < s->renew_at) {
        wb_wake(d, s->renew_at);
        return 0;
    }
    memset(&m, 0, sizeof m);
    m.type = WB_RENEW;
    int n = d->port.identity_csr(d->port.ctx, d->scratch, d->cfg.scratch);
    s->renew_at = d->now + 60000;
    if (n < 0)
        return n;
    m.u.renew.csr = (wb_bytes){d->scratch, (size_t)n};
    int len = wb_send(d, &m);
    if (len > 0)
        s->renew_id = m.id;
    return len;
}

static int send_heartbeat(wb_device *d)
{
    wb_msg m;
    wb_stats st;
    memset(&m, 0, sizeof m);
    m.type = WB_HEARTBEAT;
    wb_state_refresh(d);
    wb_device_stats(d, &st);
    m.u.heartbeat.uptime = (uint64_t)(d->now - d->boot_clock);
    m.u.heartbeat.free_memory = d->port.memory_free != NULL ? d->port.memory_free(d->port.ctx) : 0;
    m.u.heartbeat.state_digest = (wb_bytes){d->digest, sizeof d->digest};
    m.u.heartbeat.queued = st.queued;
    m.u.heartbeat.dropped = st.dropped;
    d->s.beat_at = d->now + d->s.heartbeat;
    wb_wake(d, d->s.beat_at);
    return wb_send(d, &m);
}
