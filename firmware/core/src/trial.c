/*
 * Verdicts: a revision that is given up, what runs instead, and what a boot finds.
 */
#include <string.h>

#include "internal.h"

bool wb_given_up(const wb_app *a, wb_text revision, uint64_t attempt, wb_reason *reason)
{
    for (unsigned i = 0; i < WB_FAILURES_KEPT; i++)
        if (wb_text_is(revision, a->failed[i].revision) && attempt <= a->failed[i].attempt) {
            *reason = (wb_reason)a->failed[i].reason;
            return true;
        }
    return false;
}

static void remember_failure(wb_app *a, wb_text revision, uint64_t attempt, wb_reason reason, const char *text)
{
    unsigned last = WB_FAILURES_KEPT - 1;
    for (unsigned i = 0; i < last; i++)
        if (wb_text_is(revision, a->failed[i].revision))
            last = i; /* its own older entry goes, nobody else's */
    memmove(&a->failed[1], &a->failed[0], last * sizeof a->failed[0]);
    wb_copy(a->failed[0].revision, sizeof a->failed[0].revision, revision);
    a->failed[0].attempt = attempt;
    a->failed[0].reason = (uint8_t)reason;
    a->failed_shown = true;
    wb_copy(a->failed_text, sizeof a->failed_text, wb_cstr(text));
}

void wb_finish(wb_device *d, wb_app *a, uint8_t status, wb_reason reason)
{
    if (!a->owes)
        return;
    a->owes = false;
    /* When there is no room the report says it alone. */
    (void)wb_result_add(d, a->command, 0, status, reason, NULL);
}

static bool complete(uint8_t stage)
{
    return stage >= WB_STAGE_STAGED;
}

/* Without a verdict: newer intent. Ends a trial that runs. The bytes are kept, when they are complete. */
void wb_drop_candidate(wb_device *d, wb_app *a)
{
    if (a->candidate < 0)
        return;
    wb_slot *s = &a->slot[a->candidate];
    wb_verify_cancel(d, a);
    if (a->run == WB_RUN_ON && a->inst.slot == a->candidate)
        wb_app_halt(d, a, true);
    if (s->stage != WB_STAGE_GOOD)
        s->stage = complete(s->stage) ? WB_STAGE_BAD : WB_STAGE_EMPTY;
    a->candidate = -1;
    a->checked = false;
    a->leave = false;
    a->owes = false;
    a->deadline = 0;
    a->deadline_at = 0;
    a->request = 0;
}

/* The former revision goes on when it was never stopped for this, or comes back when it was to run. */
static void without_candidate(wb_device *d, wb_app *a, wb_reason reason)
{
    bool goes_on = a->run != WB_RUN_OFF && a->active >= 0;
    bool comes_back = a->active >= 0 && a->former_run && a->slot[a->active].stage == WB_STAGE_GOOD;
    a->want_run = goes_on || comes_back;
    if (comes_back && a->run == WB_RUN_OFF) {
        a->trap_count = a->row = 0;
        a->restarts = 0;
        wb_start_active(d, a, 0);
    }
    wb_app_save(d, a);
    wb_finish(d, a, WB_COMMAND_FAILED, reason);
}

void wb_candidate_failed(wb_device *d, wb_app *a, wb_reason reason, const char *text)
{
    wb_slot *s = &a->slot[a->candidate];
    bool on_trial = a->inst.slot == a->candidate;
    char kept[WB_TEXT_MAX + 1];
    wb_copy(kept, sizeof kept, wb_cstr(text)); /* may point into what is changed here */
    wb_note(d, WB_WARNING, a, "given up", s->revision);
    wb_verify_cancel(d, a);
    if (a->run == WB_RUN_ON && on_trial) /* not a fault of its own: its time was up */
        wb_app_halt(d, a, true);
    remember_failure(a, wb_cstr(s->revision), s->attempt, reason, kept);
    s->stage = complete(s->stage) ? WB_STAGE_BAD : WB_STAGE_EMPTY;
    a->candidate = -1;
    a->checked = false;
    a->leave = false;
    a->trial_boots = 0;
    a->deadline = 0;
    a->deadline_at = 0;
    a->request = 0;
    without_candidate(d, a, reason);
}

/* A revision that never came into a slot. */
void wb_revision_failed(wb_device *d, wb_app *a, wb_text revision, uint64_t attempt, wb_reason reason, const char *text)
{
    remember_failure(a, revision, attempt, reason, text);
    without_candidate(d, a, reason);
}

void wb_active_failed(wb_device *d, wb_app *a, wb_reason reason, const char *text)
{
    wb_slot *s = &a->slot[a->active];
    int8_t other = (int8_t)(1 - a->active);
    char kept[WB_TEXT_MAX + 1];
    wb_copy(kept, sizeof kept, wb_cstr(text));
    wb_note(d, WB_WARNING, a, "given up", s->revision);
    wb_app_halt(d, a, false);
    remember_failure(a, wb_cstr(s->revision), s->attempt, reason, kept);
    s->stage = reason == WB_REASON_DIGEST_MISMATCH || reason == WB_REASON_STORAGE_ERROR ? WB_STAGE_EMPTY : WB_STAGE_BAD;
    a->first_start = false;
    a->trap_count = a->row = 0;
    a->former_run = false;
    if (a->candidate < 0 && a->slot[other].stage == WB_STAGE_GOOD && a->slot[other].size <= d->cfg.module_size &&
        strcmp(a->slot[other].revision, a->failed[0].revision) != 0) {
        a->active = other;
        wb_start_active(d, a, 0);
    } else {
        a->active = -1;
        if (a->candidate < 0)
            a->want_run = false;
    }
    wb_app_save(d, a);
    if (a->candidate < 0)
        wb_finish(d, a, WB_COMMAND_FAILED, reason);
}

/* The bytes or the manifest of a slot are not what they were. */
void wb_slot_unreadable(wb_device *d, wb_app *a, uint8_t slot, wb_reason reason)
{
    a->verified[slot] = false;
    if (slot == a->active) {
        wb_active_failed(d, a, reason, "stored module");
        return;
    }
    if (slot != a->candidate)
        return;
    if (reason != WB_REASON_DIGEST_MISMATCH || a->mismatches > 0) {
        wb_candidate_failed(d, a, reason, "stored module");
        return;
    }
    /* Once more from the beginning. */
    a->mismatches++;
    a->slot[slot].stage = WB_STAGE_FETCHING;
    wb_fetch_begin(d, a, 0);
    wb_app_save(d, a);
}

/* The candidate is of no use, e.g. its manifest was not written when power went: the command was not answered, and will
 * come again. */
static void boot_without_manifest(wb_device *d, wb_app *a)
{
    a->slot[a->candidate].stage = WB_STAGE_EMPTY;
    a->candidate = -1;
    a->leave = false;
    a->deadline = 0;
    a->want_run = a->active >= 0 && a->former_run;
    memset(a->command, 0, sizeof a->command);
    if (a->active < 0 && !a->failed_shown) {
        if (wb_store_remove(d, a) == 0)
            a->used = false;
        return;
    }
    wb_app_save(d, a);
}

static void boot_candidate(wb_device *d, wb_app *a)
{
    wb_bytes raw;
    wb_slot *s = &a->slot[a->candidate];
    int err = wb_load_manifest(d, a, (uint8_t)a->candidate, &raw);
    if (err == WB_ENOENT || err == WB_ECORRUPT) {
        boot_without_manifest(d, a);
        return;
    }
    if (a->deadline != 0)
        a->deadline_at = d->now + a->deadline;
    if (s->stage == WB_STAGE_FETCHING) {
        uint32_t offset = 0;
        (void)wb_load_progress(d, a, &offset);
        wb_fetch_begin(d, a, offset <= s->size ? offset : 0);
    } else if (s->stage == WB_STAGE_TRIAL) {
        if (a->trial_boots >= WB_TRIAL_BOOTS) {
            wb_candidate_failed(d, a, WB_REASON_POWER_LOSS, "");
            return;
        }
        a->trial_boots++;
        wb_app_save(d, a); /* before it starts: the next boot has to know */
    } else if (s->stage != WB_STAGE_STAGED && s->stage != WB_STAGE_GOOD) {
        boot_without_manifest(d, a); /* cannot be; whatever it was, the active one is untouched */
    }
}

void wb_app_boot(wb_device *d, wb_app *a)
{
    a->inst.slot = WB_SLOTS; /* nothing was loaded yet */
    /* A firmware with smaller slots than the one that wrote the record. */
    if (a->candidate >= 0 && a->slot[a->candidate].size > d->cfg.module_size)
        boot_without_manifest(d, a);
    else if (a->candidate >= 0)
        boot_candidate(d, a);
    if (a->used && a->active >= 0 && a->slot[a->active].size > d->cfg.module_size)
        wb_active_failed(d, a, WB_REASON_MODULE_TOO_LARGE, "");
    if (!a->used || a->active < 0)
        return;
    bool trial = a->candidate >= 0 && a->slot[a->candidate].stage == WB_STAGE_TRIAL;
    bool wanted = a->candidate >= 0 ? a->former_run : a->want_run;
    if (wanted && !trial)
        wb_start_active(d, a, 0);
}
