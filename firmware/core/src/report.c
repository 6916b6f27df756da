/* Reports and results of commands. Every function sends one frame at most. SPEC sections 9, 10 and 11.4. */
#include <string.h>

#include "internal.h"

#define COUNTERS_EVERY 1000 /* ms between two reports of counters alone */

/* ---- reports ---- */

typedef struct report_content {
    const wb_device *d;
    bool full, texts;
    uint8_t order[WB_APPS_MAX];
    unsigned count;
} report_content;

static bool differs(const wb_app *a)
{
    return !a->told || a->now_state != a->told_state;
}

static bool counters_due(wb_device *d, const wb_app *a)
{
    if (a->now_counters == a->told_counters)
        return false;
    if (d->now - a->told_at >= COUNTERS_EVERY)
        return true;
    wb_wake(d, a->told_at + COUNTERS_EVERY);
    return false;
}

/* Which applications, in the order of the wire. */
static void choose_apps(wb_device *d, report_content *r)
{
    uint8_t all[WB_APPS_MAX];
    unsigned n = wb_app_order(d, all);
    r->count = 0;
    for (unsigned i = 0; i < n; i++)
        if (r->full || differs(&d->app[all[i]]) || counters_due(d, &d->app[all[i]]))
            r->order[r->count++] = all[i];
}

static void emit_apps(wb_writer *w, const void *ctx)
{
    const report_content *r = ctx;
    for (unsigned i = 0; i < r->count; i++) {
        const wb_app *a = &r->d->app[r->order[i]];
        wb_app_state s;
        wb_app_state_of(r->d, a, &s);
        if (!r->texts)
            s.text.len = 0;
        wb_put_app_state(w, wb_cstr(a->name), &s);
    }
}

static void emit_removed(wb_writer *w, const void *ctx)
{
    const wb_device *d = ctx;
    for (unsigned i = 0; i < d->removed_count; i++)
        wb_write_text(w, d->removed[i], strlen(d->removed[i]));
}

static int free_report(const wb_device *d)
{
    for (int i = 0; i < WB_REPORTS_FLYING; i++)
        if (d->s.reports[i] == 0)
            return i;
    return -1;
}

static int encode_report(wb_device *d, report_content *r, wb_msg *m)
{
    memset(m, 0, sizeof *m);
    m->type = WB_REPORT;
    m->u.report.version = d->s.report_version + 1;
    m->u.report.full = r->full;
    if (d->has_era) {
        m->u.report.era = (wb_bytes){d->era, sizeof d->era};
        m->u.report.seen_desired = d->seen_desired;
    }
    m->u.report.apps = (wb_items){r->count, {NULL, 0}, emit_apps, r};
    if (!r->full)
        m->u.report.removed = (wb_items){d->removed_count, {NULL, 0}, emit_removed, d};
    m->u.report.state_digest = (wb_bytes){d->digest, sizeof d->digest};
    return wb_send(d, m);
}

int wb_report_send(wb_device *d)
{
    report_content r = {.d = d, .full = d->s.full_wanted, .texts = true};
    wb_msg m;
    int place = free_report(d);
    if (d->now < d->s.report_hold) {
        wb_wake(d, d->s.report_hold);
        return 0;
    }
    wb_state_refresh(d);
    choose_apps(d, &r);
    if (place < 0 || (!r.full && r.count == 0 && d->removed_count == 0))
        return 0;
    int len = encode_report(d, &r, &m);
    if (len == WB_ENOSPC) { /* people's texts go before anything else does */
        r.texts = false;
        len = encode_report(d, &r, &m);
    }
    if (len == WB_ENOSPC && !r.full && r.count > 1) { /* the rest in the next one; the digest says that there is more */
        r.count = 1;
        len = encode_report(d, &r, &m);
    }
    if (len <= 0)
        return len;
    d->s.report_version++;
    d->s.reports[place] = m.id;
    d->s.full_wanted = false;
    d->s.full_sent = true;
    d->removed_count = 0;
    for (unsigned i = 0; i < r.count; i++) {
        wb_app *a = &d->app[r.order[i]];
        a->told = true;
        a->told_state = a->now_state;
        a->told_counters = a->now_counters;
        a->told_at = d->now;
    }
    return len;
}

bool wb_report_settled(wb_device *d, uint64_t id, uint8_t code)
{
    for (unsigned i = 0; i < WB_REPORTS_FLYING; i++) {
        if (d->s.reports[i] == 0 || d->s.reports[i] != id)
            continue;
        d->s.reports[i] = 0;
        if (code == 0) {
            d->s.report_tries = 0;
        } else if (wb_retriable(code)) { /* what it said is said by a full one */
            d->s.full_wanted = true;
            d->s.report_hold = d->now + wb_back_off(d, d->s.report_tries++);
        }
        return true;
    }
    return false;
}

/* ---- results of commands ---- */

int wb_results_send(wb_device *d)
{
    for (unsigned i = 0; i < WB_RESULTS; i++) {
        wb_result *r = &d->result[i];
        wb_msg m;
        if (!r->used || r->flying != 0)
            continue;
        if (d->now < r->hold) {
            wb_wake(d, r->hold);
            continue;
        }
        memset(&m, 0, sizeof m);
        m.type = WB_COMMAND_RESULT;
        m.u.command_result.refers = r->refers;
        m.u.command_result.command = (wb_bytes){r->id, sizeof r->id};
        m.u.command_result.status = r->status;
        m.u.command_result.reason = r->reason;
        if (r->text != NULL)
            m.u.command_result.text = wb_cstr(r->text);
        int len = wb_send(d, &m);
        if (len > 0)
            r->flying = m.id;
        return len;
    }
    return 0;
}

bool wb_results_settled(wb_device *d, uint64_t id, uint8_t code)
{
    for (unsigned i = 0; i < WB_RESULTS; i++) {
        wb_result *r = &d->result[i];
        if (!r->used || r->flying == 0 || r->flying != id)
            continue;
        r->flying = 0;
        if (code != 0 && wb_retriable(code))
            r->hold = d->now + wb_back_off(d, r->tries++);
        else
            r->used = false;
        return true;
    }
    return false;
}
