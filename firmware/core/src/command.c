/*
 * What is wanted: commands. Each is carried out at once as far as it can be; what takes time is written into the
 * application's record and goes on in lifecycle.c. SPEC section 11.
 */
#include <string.h>

#include "internal.h"

bool wb_result_add(wb_device *d, const uint8_t *id, uint64_t refers, uint8_t status, wb_reason reason, const char *text)
{
    wb_result *r = NULL;
    for (unsigned i = 0; i < WB_RESULTS && r == NULL; i++)
        if (!d->result[i].used)
            r = &d->result[i];
    if (r == NULL)
        return false;
    memset(r, 0, sizeof *r);
    r->used = true;
    memcpy(r->id, id, sizeof r->id);
    r->refers = refers;
    r->status = status;
    r->reason = (uint8_t)reason;
    r->text = text;
    wb_wake(d, d->now);
    return true;
}

/* What a command comes to. */
typedef struct outcome {
    uint8_t status;
    wb_reason reason;
    const char *text;
    wb_app *fails; /* accepted, and the revision is given up at once for `reason`: the answer goes first */
} outcome;

static outcome done(void)
{
    return (outcome){WB_COMMAND_DONE, WB_REASON_NONE, NULL, NULL};
}

static outcome accepted(void)
{
    return (outcome){WB_COMMAND_ACCEPTED, WB_REASON_NONE, NULL, NULL};
}

static outcome refused(wb_reason reason, const char *text)
{
    return (outcome){WB_COMMAND_REFUSED, reason, text, NULL};
}

static outcome failed(wb_reason reason)
{
    return (outcome){WB_COMMAND_FAILED, reason, NULL, NULL};
}

static outcome accepted_and_fails(wb_app *a, wb_reason reason, const char *text)
{
    return (outcome){WB_COMMAND_ACCEPTED, reason, text, a};
}

/* The answer to a command that was carried out before. */
static outcome as_it_is(const wb_app *a)
{
    if (a->candidate >= 0 && (a->want_run || !a->checked))
        return accepted();
    if (a->candidate < 0 && a->failed_shown)
        return failed((wb_reason)a->failed[0].reason);
    if (a->want_run && a->run != WB_RUN_ON)
        return accepted();
    return done();
}

static void take_command(wb_app *a, const wb_command *c)
{
    memcpy(a->command, c->command.data, sizeof a->command);
    a->owes = false;
}

/* Everything else that a command changes is written with one record: the old intent or the new one. When that cannot be
 * written the former record counts again. */
static bool save_or_undo(wb_device *d, wb_app *a)
{
    if (wb_store_app(d, a) == 0)
        return true;
    int err = wb_store_reload(d, a);
    if (err == WB_ENOENT || err == WB_ECORRUPT) {
        a->used = false;
        a->active = a->candidate = -1;
    } else if (err < 0) {
        a->unsaved = true; /* neither written nor read: what is in memory counts and is written when that is possible */
        a->save_at = d->now + 1000;
        return true;
    }
    return false;
}

/* It is back before the platform was told that it went. */
static void forget_removed(wb_device *d, const char *name)
{
    for (unsigned i = 0; i < d->removed_count; i++)
        if (strcmp(d->removed[i], name) == 0) {
            d->removed_count--;
            memmove(d->removed[i], d->removed[d->removed_count], sizeof d->removed[i]);
            return;
        }
}

static wb_app *new_app(wb_device *d, wb_text name)
{
    for (unsigned i = 0; i < d->cfg.apps; i++) {
        wb_app *a = &d->app[i];
        if (a->used)
            continue;
        wb_instance inst = a->inst;
        wb_pair record = a->record, progress = a->progress, kv = a->kv;
        memset(a, 0, sizeof *a);
        a->inst = inst;
        a->inst.slot = WB_SLOTS;
        a->record = record;
        a->progress = progress;
        a->kv = kv;
        a->active = a->candidate = -1;
        wb_copy(a->name, sizeof a->name, name);
        forget_removed(d, a->name);
        return a;
    }
    return NULL;
}

static bool same_digest(const wb_slot *s, const wb_command *c)
{
    return s->stage >= WB_STAGE_STAGED && s->size == c->size && memcmp(s->digest, c->digest.data, WB_DIGEST_SIZE) == 0;
}

/* The slot for a new revision: never the active one, if possible one that has the bytes. */
static uint8_t choose_slot(const wb_app *a, const wb_command *c)
{
    if (a->active >= 0)
        return (uint8_t)(1 - a->active);
    return same_digest(&a->slot[1], c) ? 1 : 0;
}

static void set_deadline(wb_device *d, wb_app *a, uint32_t ms)
{
    a->deadline = ms;
    a->deadline_at = ms > 0 ? d->now + ms : 0;
}

/* The candidate is not to run, and nothing else either. */
static void stand_still(wb_app *a)
{
    wb_slot *s = &a->slot[a->candidate];
    a->want_run = a->former_run = false;
    if (s->stage == WB_STAGE_TRIAL)
        s->stage = WB_STAGE_STAGED;
}

/* The revision on its way is wanted again. */
static outcome again_candidate(wb_device *d, wb_app *a, const wb_command *c, bool run)
{
    wb_slot *s = &a->slot[a->candidate];
    if (c->attempt < s->attempt)
        return done(); /* stale */
    take_command(a, c);
    s->attempt = c->attempt;
    a->want_run = run;
    set_deadline(d, a, c->deadline);
    if (!run)
        stand_still(a);
    wb_app_save(d, a);
    if (!run)
        wb_app_halt(d, a, true);
    a->owes = true;
    return accepted();
}

/* The confirmed revision is wanted. */
static outcome again_active(wb_device *d, wb_app *a, const wb_command *c, bool run)
{
    wb_slot *s = &a->slot[a->active];
    if (c->attempt < s->attempt)
        return done();
    wb_drop_candidate(d, a);
    take_command(a, c);
    s->attempt = c->attempt;
    a->failed_shown = false;
    a->want_run = run;
    wb_app_save(d, a);
    if (!run) {
        wb_app_halt(d, a, true);
        return done();
    }
    if (a->run == WB_RUN_ON)
        return done();
    if (a->run == WB_RUN_OFF)
        wb_start_active(d, a, 0);
    a->owes = true;
    return accepted();
}

/* What can be known of a revision before a byte of it is there. */
static wb_reason refuse_early(const wb_device *d, const wb_command *c, const char **text)
{
    *text = "";
    if (c->size > d->cfg.module_size)
        return WB_REASON_MODULE_TOO_LARGE;
    if (c->manifest.raw.len > d->cfg.scratch - WB_ENVELOPE) {
        *text = "manifest";
        return WB_REASON_UNSUPPORTED;
    }
    return WB_REASON_NONE;
}

/* Bytes, manifest and record of a new revision: progress first, then the record, which names manifest and digest, then
 * the manifest. Power between them leaves the old intent or a candidate that the boot takes back. */
static outcome begin_candidate(wb_device *d, wb_app *a, const wb_command *c)
{
    uint8_t slot = (uint8_t)a->candidate;
    wb_slot *s = &a->slot[slot];
    bool run = a->want_run;
    if (s->stage == WB_STAGE_FETCHING) {
        wb_fetch_begin(d, a, 0);
        (void)wb_store_progress(d, a); /* an older one would only cost a second fetch */
    }
    if (!save_or_undo(d, a))
        return refused(WB_REASON_STORAGE_ERROR, NULL);
    a->used = true;
    a->owes = true;
    set_deadline(d, a, c->deadline);
    if (!run)
        wb_app_halt(d, a, true);
    if (wb_store_manifest(d, a, slot, c->manifest.raw) < 0)
        return accepted_and_fails(a, WB_REASON_STORAGE_ERROR, "manifest");
    return accepted();
}

/* Deploy, Update, Rollback, and Start and Stop with the whole. */
static outcome bring(wb_device *d, wb_app *a, const wb_command *c)
{
    wb_reason reason;
    const char *text;
    bool run = c->verb != WB_VERB_STOP, fresh = a == NULL;
    if (a != NULL && wb_given_up(a, c->revision, c->attempt, &reason))
        return failed(reason);
    if (a != NULL && a->candidate >= 0 && wb_text_is(c->revision, a->slot[a->candidate].revision))
        return again_candidate(d, a, c, run);
    if (a != NULL && a->active >= 0 && wb_text_is(c->revision, a->slot[a->active].revision))
        return again_active(d, a, c, run);
    if (fresh)
        a = new_app(d, c->app);
    if (a == NULL)
        return refused(WB_REASON_TOO_MANY_APPS, NULL);
    if (fresh && wb_store_clean(d, a) < 0)
        return refused(WB_REASON_STORAGE_ERROR, NULL);
    bool former_run = a->candidate >= 0 ? a->former_run : a->active >= 0 && a->want_run;
    wb_drop_candidate(d, a);
    take_command(a, c);
    a->want_run = run;
    a->former_run = run && former_run;
    a->failed_shown = false;
    reason = refuse_early(d, c, &text);
    if (reason != WB_REASON_NONE) { /* it takes no slot, and nothing of it is written but the verdict */
        a->used = true;
        a->owes = true;
        if (!run)
            wb_app_halt(d, a, true);
        return accepted_and_fails(a, reason, text);
    }
    uint8_t slot = choose_slot(a, c);
    wb_slot *s = &a->slot[slot];
    bool have = same_digest(s, c);
    bool sure = have && c->verb == WB_VERB_ROLLBACK && s->stage == WB_STAGE_GOOD && wb_text_is(c->revision, s->revision);
    if (!have)
        a->verified[slot] = false;
    wb_copy(s->revision, sizeof s->revision, c->revision);
    s->attempt = c->attempt;
    memcpy(s->digest, c->digest.data, WB_DIGEST_SIZE);
    s->size = c->size;
    s->manifest_crc = wb_crc32(0, c->manifest.raw.data, c->manifest.raw.len);
    s->stage = sure ? WB_STAGE_GOOD : have ? WB_STAGE_STAGED : WB_STAGE_FETCHING;
    a->candidate = (int8_t)slot;
    a->leave = c->verb == WB_VERB_ROLLBACK;
    a->deadline = c->deadline;
    a->checked = false;
    a->mismatches = 0;
    a->trial_boots = 0;
    if (a->former_run && a->run == WB_RUN_OFF) /* the one on trial made way for it */
        wb_start_active(d, a, 0);
    return begin_candidate(d, a, c);
}

static outcome start(wb_device *d, wb_app *a, const wb_command *c)
{
    if (c->manifest.present)
        return bring(d, a, c);
    if (a == NULL)
        return refused(WB_REASON_UNKNOWN_APP, NULL);
    if (a->candidate < 0 && a->active < 0)
        return failed((wb_reason)a->failed[0].reason);
    const wb_slot *s = &a->slot[a->candidate >= 0 ? a->candidate : a->active];
    if (c->revision.len > 0 && !wb_text_is(c->revision, s->revision))
        return refused(WB_REASON_UNKNOWN_APP, "no such revision");
    take_command(a, c);
    a->want_run = true;
    if (a->candidate >= 0)
        set_deadline(d, a, c->deadline);
    wb_app_save(d, a);
    if (a->candidate >= 0) {
        a->owes = true;
        return accepted();
    }
    if (a->run == WB_RUN_ON)
        return done();
    if (a->run == WB_RUN_OFF)
        wb_start_active(d, a, 0);
    a->owes = true;
    return accepted();
}

static outcome stop(wb_device *d, wb_app *a, const wb_command *c)
{
    if (c->manifest.present)
        return bring(d, a, c);
    if (a == NULL)
        return refused(WB_REASON_UNKNOWN_APP, NULL);
    if (a->candidate < 0 && a->active < 0)
        return failed((wb_reason)a->failed[0].reason);
    take_command(a, c);
    if (a->candidate >= 0) {
        stand_still(a);
        set_deadline(d, a, c->deadline);
        a->owes = true;
    } else {
        a->want_run = false;
        a->failed_shown = false;
    }
    wb_app_save(d, a);
    wb_app_halt(d, a, true);
    return a->owes ? accepted() : done();
}

static void report_removed(wb_device *d, const wb_app *a)
{
    if (!a->told) /* the platform never heard of it */
        return;
    if (d->removed_count == d->cfg.apps) {
        d->s.full_wanted = true;
        return;
    }
    memcpy(d->removed[d->removed_count++], a->name, sizeof a->name);
}

/* The bytes themselves. Nothing can reach them any more, so it does not matter when this fails. */
static void erase_slots(wb_device *d, const wb_app *a)
{
    uint32_t block = d->port.erase_block;
    for (uint8_t i = 0; i < WB_SLOTS; i++) {
        uint32_t len = a->slot[i].size + (block - a->slot[i].size % block) % block;
        if (len > 0 && a->slot[i].size <= d->cfg.module_size)
            (void)d->port.slot_erase(d->port.ctx, a->inst.index, i, 0, len);
    }
}

static outcome remove_app(wb_device *d, wb_app *a)
{
    if (a == NULL)
        return done();
    bool ran = a->run != WB_RUN_OFF;
    wb_verify_cancel(d, a);
    wb_app_halt(d, a, true);
    if (wb_store_remove(d, a) < 0) {
        if (ran)
            wb_start_active(d, a, 0);
        return refused(WB_REASON_STORAGE_ERROR, NULL);
    }
    erase_slots(d, a);
    report_removed(d, a);
    a->used = false;
    a->candidate = a->active = -1;
    a->now_state = 0;
    return done();
}

static outcome reboot(wb_device *d, const wb_command *c)
{
    if (memcmp(d->reboot_id, c->command.data, sizeof d->reboot_id) == 0)
        return d->reboot_at != 0 ? accepted() : done();
    if (d->port.reboot == NULL)
        return refused(WB_REASON_UNSUPPORTED, NULL);
    uint8_t former[WB_COMMAND_SIZE];
    memcpy(former, d->reboot_id, sizeof former);
    memcpy(d->reboot_id, c->command.data, sizeof d->reboot_id);
    if (wb_store_device(d) < 0) { /* it would come again after the boot */
        memcpy(d->reboot_id, former, sizeof former);
        return refused(WB_REASON_STORAGE_ERROR, NULL);
    }
    d->reboot_at = d->now + 2000;
    wb_wake(d, d->reboot_at);
    return accepted();
}

/* The platform's bookkeeping: the largest desired version of an era. */
static void note_desired(wb_device *d, const wb_command *c)
{
    if (c->era.len == 0 || c->desired == 0)
        return;
    bool same = d->has_era && memcmp(d->era, c->era.data, sizeof d->era) == 0;
    if (same && c->desired <= d->seen_desired)
        return;
    memcpy(d->era, c->era.data, sizeof d->era);
    d->has_era = true;
    d->seen_desired = c->desired;
    d->device_unsaved = true;
}

static outcome carry_out(wb_device *d, const wb_command *c)
{
    wb_app *a = wb_app_by_name(d, c->app);
    if (c->verb == WB_VERB_REBOOT)
        return reboot(d, c);
    if (c->verb > WB_VERB_REBOOT)
        return refused(WB_REASON_UNSUPPORTED, "verb");
    if (c->verb == WB_VERB_REMOVE)
        return remove_app(d, a);
    if (a != NULL && memcmp(a->command, c->command.data, sizeof a->command) == 0)
        return as_it_is(a);
    if (c->verb == WB_VERB_START)
        return start(d, a, c);
    if (c->verb == WB_VERB_STOP)
        return stop(d, a, c);
    return bring(d, a, c);
}

void wb_on_command(wb_device *d, uint64_t id, const wb_command *c)
{
    bool room = false;
    for (unsigned i = 0; i < WB_RESULTS; i++)
        room = room || !d->result[i].used;
    if (!room) {
        wb_refuse(d, id, WB_CODE_BUSY);
        return;
    }
    outcome o = carry_out(d, c);
    if (o.status != WB_COMMAND_REFUSED)
        note_desired(d, c);
    if (d->device_unsaved)
        (void)wb_store_device(d);
    (void)wb_result_add(d, c->command.data, id, o.status, o.fails != NULL ? WB_REASON_NONE : o.reason,
                        o.fails != NULL ? NULL : o.text);
    if (o.fails != NULL && o.fails->candidate >= 0)
        wb_candidate_failed(d, o.fails, o.reason, o.text);
    else if (o.fails != NULL)
        wb_revision_failed(d, o.fails, c->revision, c->attempt, o.reason, o.text);
}
