/* What the platform sees of an application, and the fingerprints of it. */
#include <string.h>

#include "internal.h"

wb_app *wb_app_by_name(wb_device *d, wb_text name)
{
    for (unsigned i = 0; i < d->cfg.apps; i++)
        if (d->app[i].used && wb_text_is(name, d->app[i].name))
            return &d->app[i];
    return NULL;
}

/* Text keys of CBOR: the shorter first, then bytewise. */
static bool before(const char *a, const char *b)
{
    size_t an = strlen(a), bn = strlen(b);
    return an != bn ? an < bn : memcmp(a, b, an) < 0;
}

unsigned wb_app_order(const wb_device *d, uint8_t order[WB_APPS_MAX])
{
    unsigned n = 0;
    for (uint8_t i = 0; i < d->cfg.apps; i++) {
        if (!d->app[i].used)
            continue;
        unsigned at = n++;
        for (; at > 0 && before(d->app[i].name, d->app[order[at - 1]].name); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    return n;
}

static void speak_of(wb_app_state *out, const wb_slot *s, wb_state state)
{
    out->state = (uint8_t)state;
    out->revision = wb_cstr(s->revision);
    out->attempt = s->attempt;
}

static void candidate_state(const wb_app *a, bool on, wb_app_state *out)
{
    const wb_slot *s = &a->slot[a->candidate];
    switch (s->stage) {
    case WB_STAGE_FETCHING:
        speak_of(out, s, WB_STATE_FETCHING);
        out->progress = a->offset;
        break;
    case WB_STAGE_TRIAL:
        speak_of(out, s, on && a->inst.slot == a->candidate ? WB_STATE_RUNNING : WB_STATE_STARTING);
        break;
    default:
        speak_of(out, s, a->want_run ? WB_STATE_STAGED : WB_STATE_STOPPED);
        break;
    }
}

static void failed_state(const wb_app *a, bool on, wb_app_state *out)
{
    const wb_failure *f = &a->failed[0];
    out->state = on ? WB_STATE_ROLLED_BACK : WB_STATE_FAILED;
    out->revision = wb_cstr(f->revision);
    out->attempt = f->attempt;
    out->reason = f->reason;
    out->text = wb_cstr(a->failed_text);
}

void wb_app_state_of(const wb_device *d, const wb_app *a, wb_app_state *out)
{
    bool on = a->run == WB_RUN_ON;
    (void)d;
    memset(out, 0, sizeof *out);
    if (on && a->inst.slot < WB_SLOTS)
        out->running = wb_cstr(a->slot[a->inst.slot].revision);
    if (a->candidate >= 0) {
        candidate_state(a, on, out);
    } else if (a->failed_shown && (on || a->active < 0 || !a->want_run)) {
        failed_state(a, on, out);
    } else if (a->active >= 0) {
        wb_state s = on ? WB_STATE_RUNNING : a->want_run ? WB_STATE_STARTING : WB_STATE_STOPPED;
        speak_of(out, &a->slot[a->active], s);
        out->confirmed = on;
    } else { /* cannot be; said so rather than left out */
        speak_of(out, &a->slot[0], WB_STATE_FAILED);
        out->reason = WB_REASON_STORAGE_ERROR;
    }
    out->restarts = a->restarts;
    out->traps = a->traps;
}

/* One entry of the map that the state digest is made of. */
static void write_entry(wb_writer *w, const wb_app *a, const wb_app_state *s)
{
    wb_write_text(w, a->name, strlen(a->name));
    wb_write_array(w, 6);
    wb_write_uint(w, s->state);
    wb_write_text(w, s->revision.data, s->revision.len);
    wb_write_uint(w, s->attempt);
    wb_write_text(w, s->running.data, s->running.len);
    wb_write_bool(w, s->confirmed);
    wb_write_uint(w, s->reason);
}

/* Whether the application's state is another than at the last call. */
static bool refresh(const wb_device *d, wb_app *a, wb_writer *w)
{
    wb_app_state s;
    uint32_t counters[3];
    wb_app_state_of(d, a, &s);
    w->len = 0;
    write_entry(w, a, &s);
    uint32_t crc = wb_crc32(0, w->buf, w->len);
    bool changed = crc != a->now_state;
    a->now_state = crc;
    counters[0] = s.restarts;
    counters[1] = s.traps;
    counters[2] = s.progress;
    a->now_counters = wb_crc32(0, (const uint8_t *)counters, sizeof counters);
    return changed;
}

void wb_state_refresh(wb_device *d)
{
    uint8_t order[WB_APPS_MAX], buf[32 + WB_NAME_MAX + 2 * WB_REVISION_MAX], full[WB_DIGEST_SIZE];
    unsigned n = wb_app_order(d, order);
    bool changed = n != d->digest_apps;
    wb_sha256 h;
    wb_writer w;
    wb_writer_init(&w, buf, sizeof buf);
    for (unsigned i = 0; i < n; i++)
        changed = refresh(d, &d->app[order[i]], &w) || changed;
    if (!changed)
        return;
    d->digest_apps = (uint8_t)n;
    wb_sha256_start(&h);
    w.len = 0;
    wb_write_map(&w, n);
    wb_sha256_update(&h, buf, w.len);
    for (unsigned i = 0; i < n; i++) {
        (void)refresh(d, &d->app[order[i]], &w);
        wb_sha256_update(&h, buf, w.len);
    }
    wb_sha256_finish(&h, full);
    memcpy(d->digest, full, sizeof d->digest);
}
