/*
 * What runs: instances, timers, restarts after a fault, and the calls into modules. Verdicts on revisions are in trial.c.
 */
#include <string.h>

#include "internal.h"
#include "wasm.h"

/* A module as engines see it, and where its bytes are. */
typedef struct source {
    wb_module m;
    wb_device *d;
    uint8_t app, slot;
} source;

static int source_read(const wb_module *m, uint32_t offset, uint8_t *buf, uint32_t len)
{
    const source *s = m->source;
    if (offset > m->size || len > m->size - offset)
        return WB_EINVAL;
    return s->d->port.slot_read(s->d->port.ctx, s->app, s->slot, offset, buf, len);
}

static void source_init(source *s, wb_device *d, const wb_app *a, uint8_t slot)
{
    memset(s, 0, sizeof *s);
    s->d = d;
    s->app = a->inst.index;
    s->slot = slot;
    s->m.size = a->slot[slot].size;
    memcpy(s->m.digest, a->slot[slot].digest, sizeof s->m.digest);
    s->m.read = source_read;
    s->m.source = s;
    if (d->port.slot_map != NULL)
        s->m.mapped = d->port.slot_map(d->port.ctx, s->app, slot, s->m.size);
}

static wb_reason plan_permissions(const wb_device *d, const wb_manifest *m, wb_plan *plan, char *text)
{
    wb_reader r;
    wb_reader_init(&r, m->permissions.data.data, m->permissions.data.len);
    for (size_t i = 0; i < m->permissions.count; i++) {
        wb_text t;
        if (wb_read_text(&r, &t) < 0)
            return WB_REASON_STORAGE_ERROR;
        uint32_t bit = wb_permission_bit(t.data, t.len);
        if (bit == 0 || (bit & ~d->cfg.permissions) != 0) {
            wb_copy(text, WB_TEXT_MAX + 1, t);
            return WB_REASON_UNSUPPORTED;
        }
        plan->limits.permissions |= bit;
    }
    return WB_REASON_NONE;
}

static wb_reason make_plan(const wb_device *d, const wb_manifest *m, wb_plan *plan, char *text)
{
    wb_reader r;
    memset(plan, 0, sizeof *plan);
    plan->limits.memory_pages = m->memory_pages;
    plan->limits.stack = m->stack;
    plan->limits.call_timeout = m->call_timeout;
    plan->limits.instructions = m->instructions;
    plan->health_window = m->health_window;
    plan->max_traps = m->max_traps < WB_TRAPS_KEPT ? m->max_traps : WB_TRAPS_KEPT;
    plan->trap_period = m->trap_period;
    wb_reader_init(&r, m->timers.data.data, m->timers.data.len);
    for (size_t i = 0; i < m->timers.count && i < WB_TIMERS_MAX; i++)
        if (wb_item_timer(&r, &plan->timer[plan->timers++]) < 0)
            return WB_REASON_STORAGE_ERROR;
    if (m->call_timeout > d->cfg.max_call_timeout) {
        wb_copy(text, WB_TEXT_MAX + 1, wb_cstr("callTimeout"));
        return WB_REASON_UNSUPPORTED;
    }
    return plan_permissions(d, m, plan, text);
}

wb_reason wb_slot_check(wb_device *d, wb_app *a, uint8_t slot, wb_plan *plan, char *text)
{
    wb_bytes raw;
    wb_manifest m;
    source s;
    text[0] = '\0';
    if (wb_load_manifest(d, a, slot, &raw) < 0 || wb_decode_manifest(raw, &m) < 0)
        return WB_REASON_STORAGE_ERROR;
    wb_reason r = make_plan(d, &m, plan, text);
    if (r != WB_REASON_NONE)
        return r;
    source_init(&s, d, a, slot);
    r = wb_wasm_check(&s.m, &plan->limits, text);
    if (r != WB_REASON_NONE || d->port.runtime.memory_need == NULL)
        return r;
    int64_t need = d->port.runtime.memory_need(d->port.runtime.ctx, &s.m, &plan->limits);
    if (need > (int64_t)d->cfg.module_memory)
        return WB_REASON_INSUFFICIENT_MEMORY;
    return WB_REASON_NONE;
}

static void start_timers(wb_device *d, wb_app *a)
{
    memset(a->timer, 0, sizeof a->timer);
    for (unsigned i = 0; i < a->plan.timers; i++) {
        a->timer[i].id = a->plan.timer[i].id;
        a->timer[i].period = a->plan.timer[i].period;
        a->timer[i].due = d->now + a->timer[i].period;
    }
}

/* What an engine's failure comes to. */
static wb_reason failure_of(int err, const wb_trap *t)
{
    switch (err) {
    case WB_ETRAP:
        return t->reason != WB_REASON_NONE ? t->reason : WB_REASON_TRAP;
    case WB_ENOSPC:
        return WB_REASON_INSUFFICIENT_MEMORY;
    case WB_EFORMAT:
        return WB_REASON_NOT_WASM;
    case WB_EUNSUPPORTED:
        return WB_REASON_UNSUPPORTED;
    case WB_EIO:
        return WB_REASON_STORAGE_ERROR;
    case WB_ENOENT:
        return WB_REASON_NO_ENTRY_POINT;
    default:
        return WB_REASON_TRAP;
    }
}

static void clean_text(char *s, size_t cap)
{
    s[cap - 1] = '\0';
    if (!wb_utf8_valid((const uint8_t *)s, strlen(s)))
        for (; *s != '\0'; s++)
            if ((unsigned char)*s >= 0x80)
                *s = '?';
}

/* An engine's words travel: they have to be text, and the reason one that fits. */
static void clean_trap(wb_trap *t)
{
    clean_text(t->where, sizeof t->where);
    clean_text(t->text, sizeof t->text);
    t->reason = (wb_reason)((unsigned)t->reason & 0xff);
    if (t->reason == WB_REASON_NONE)
        t->reason = WB_REASON_TRAP;
}

wb_reason wb_slot_start(wb_device *d, wb_app *a, uint8_t slot, const wb_plan *plan, wb_trap *trap)
{
    source s;
    wb_call c;
    wb_runtime *rt = &d->port.runtime;
    source_init(&s, d, a, slot);
    memset(trap, 0, sizeof *trap);
    memset(&c, 0, sizeof c);
    a->plan = *plan;
    a->inst.slot = slot;
    a->inst.engine = NULL;
    start_timers(d, a); /* before the start function: it may set timers of its own */
    int err = rt->load(rt->ctx, &a->inst, &s.m, &plan->limits, trap);
    if (err == 0) {
        c.entry = WB_ENTRY_START;
        c.timeout = plan->limits.call_timeout;
        err = rt->call(rt->ctx, &a->inst, &c, trap);
    }
    wb_clock(d);
    if (err == 0 && c.result == 0) {
        a->run = WB_RUN_ON;
        a->on_since = d->now;
        return WB_REASON_NONE;
    }
    rt->unload(rt->ctx, &a->inst);
    a->inst.engine = NULL;
    a->run = WB_RUN_OFF;
    if (err == 0) {
        wb_trap_set(trap, WB_REASON_EXIT, "wasmbed_start", "start returned an error");
    } else {
        trap->reason = failure_of(err, trap);
        clean_trap(trap);
    }
    return trap->reason;
}

void wb_app_halt(wb_device *d, wb_app *a, bool graceful)
{
    wb_runtime *rt = &d->port.runtime;
    if (a->run == WB_RUN_ON) {
        if (graceful) {
            wb_call c;
            wb_trap trap;
            memset(&c, 0, sizeof c);
            memset(&trap, 0, sizeof trap);
            c.entry = WB_ENTRY_STOP;
            c.timeout = a->plan.limits.call_timeout;
            /* It ends in any case: what stop says does not matter, but a fault in it is told. */
            if (rt->call(rt->ctx, &a->inst, &c, &trap) == WB_ETRAP) {
                clean_trap(&trap);
                a->traps++;
                wb_queue_trap(d, a, &trap, "wasmbed_stop");
            }
            wb_clock(d);
        }
        rt->unload(rt->ctx, &a->inst);
        a->inst.engine = NULL;
    }
    a->run = WB_RUN_OFF;
    memset(a->timer, 0, sizeof a->timer);
}

void wb_start_active(wb_device *d, wb_app *a, int64_t delay)
{
    if (a->run == WB_RUN_ON && a->inst.slot == a->active)
        return;
    a->run = WB_RUN_WAIT;
    a->run_at = d->now + delay;
    wb_wake(d, a->run_at);
}

/* Whether this fault makes a trap loop. */
static bool note_fault(wb_device *d, wb_app *a)
{
    if (a->trap_count == WB_TRAPS_KEPT) {
        memmove(a->trap_at, a->trap_at + 1, (WB_TRAPS_KEPT - 1) * sizeof a->trap_at[0]);
        a->trap_count--;
    }
    a->trap_at[a->trap_count++] = d->now;
    if (a->trap_count < a->plan.max_traps)
        return false;
    return d->now - a->trap_at[a->trap_count - a->plan.max_traps] <= (int64_t)a->plan.trap_period;
}

/* Doubles from restart_delay, but stays short enough for a loop to show as one. */
static int64_t restart_delay(const wb_device *d, const wb_app *a)
{
    uint64_t delay = (uint64_t)d->cfg.restart_delay << (a->row < 16 ? a->row : 16);
    uint64_t most = a->plan.trap_period / (2 * (uint64_t)a->plan.max_traps);
    if (most < d->cfg.restart_delay)
        most = d->cfg.restart_delay;
    return (int64_t)(delay < most ? delay : most);
}

void wb_app_fault(wb_device *d, wb_app *a, const wb_trap *t, const char *entry)
{
    bool trial = a->inst.slot == a->candidate;
    wb_app_halt(d, a, false);
    a->traps++;
    wb_queue_trap(d, a, t, entry);
    wb_note(d, WB_ERROR, a, wb_reason_name(t->reason), t->text);
    if (trial) {
        wb_candidate_failed(d, a, t->reason, t->text);
    } else if (a->first_start) {
        wb_active_failed(d, a, t->reason, t->text);
    } else if (note_fault(d, a)) {
        wb_active_failed(d, a, WB_REASON_TRAP_LOOP, wb_reason_name(t->reason));
    } else {
        if (a->trap_count >= 2 && d->now - a->trap_at[a->trap_count - 2] > (int64_t)a->plan.trap_period)
            a->row = 0;
        wb_start_active(d, a, restart_delay(d, a));
        a->restarts++;
        if (a->row < UINT8_MAX)
            a->row++;
    }
}

int wb_app_call(wb_device *d, wb_app *a, wb_call *c, wb_trap *trap)
{
    static const char *const entries[] = {"", "wasmbed_start", "wasmbed_timer", "wasmbed_message", "invoke",
                                          "wasmbed_stop"};
    if (a->run != WB_RUN_ON)
        return WB_ENOENT;
    memset(trap, 0, sizeof *trap);
    if (c->timeout == 0 || c->timeout > a->plan.limits.call_timeout)
        c->timeout = a->plan.limits.call_timeout;
    int err = d->port.runtime.call(d->port.runtime.ctx, &a->inst, c, trap);
    wb_clock(d);
    if (err == WB_ENOENT || err == WB_ENOSPC)
        return err;
    if (err == 0 && (c->entry == WB_ENTRY_INVOKE || c->result == 0))
        return 0;
    if (err == 0)
        wb_trap_set(trap, WB_REASON_EXIT, entries[c->entry], "returned an error");
    trap->reason = err == 0 ? WB_REASON_EXIT : failure_of(err, trap);
    clean_trap(trap);
    wb_app_fault(d, a, trap, entries[c->entry]);
    return WB_ETRAP;
}

static void run_timers(wb_device *d, wb_app *a)
{
    for (unsigned i = 0; i < WB_TIMERS_MAX && a->run == WB_RUN_ON; i++) {
        wb_app_timer *t = &a->timer[i];
        if (t->period == 0)
            continue;
        if (d->now >= t->due) {
            wb_call c;
            wb_trap trap;
            t->due += t->period;
            if (t->due <= d->now) /* several periods have passed: one call */
                t->due = d->now + t->period;
            memset(&c, 0, sizeof c);
            c.entry = WB_ENTRY_TIMER;
            c.timer = t->id;
            (void)wb_app_call(d, a, &c, &trap);
        }
        if (a->run == WB_RUN_ON && t->period != 0)
            wb_wake(d, t->due);
    }
}

/* The confirmed revision: at boot, after a fault, or after a candidate was given up. */
static void start_now(wb_device *d, wb_app *a)
{
    wb_plan plan;
    wb_trap trap;
    uint8_t slot = (uint8_t)a->active;
    if (!wb_verify(d, a, slot))
        return;
    memset(&trap, 0, sizeof trap);
    trap.reason = wb_slot_check(d, a, slot, &plan, trap.text);
    if (trap.reason == WB_REASON_STORAGE_ERROR) {
        wb_slot_unreadable(d, a, slot, trap.reason);
        return;
    }
    if (trap.reason == WB_REASON_NONE && wb_slot_start(d, a, slot, &plan, &trap) == WB_REASON_NONE) {
        a->first_start = false;
        wb_finish(d, a, WB_COMMAND_DONE, WB_REASON_NONE);
        return;
    }
    a->plan = plan;
    a->inst.slot = slot;
    wb_app_fault(d, a, &trap, "wasmbed_start");
}

void wb_app_save(wb_device *d, wb_app *a)
{
    int err = wb_store_app(d, a);
    a->unsaved = err < 0;
    if (err < 0) {
        a->save_at = d->now + 1000;
        wb_note(d, WB_ERROR, a, "not saved", wb_error_name(err));
    }
}

static void candidate_step(wb_device *d, wb_app *a);

void wb_app_step(wb_device *d, wb_app *a)
{
    if (a->unsaved) {
        if (d->now >= a->save_at)
            wb_app_save(d, a);
        if (a->unsaved)
            wb_wake(d, a->save_at);
    }
    if (a->candidate >= 0)
        candidate_step(d, a);
    if (a->run == WB_RUN_WAIT) {
        if (a->active < 0)
            a->run = WB_RUN_OFF;
        else if (d->now >= a->run_at)
            start_now(d, a);
        else
            wb_wake(d, a->run_at);
    }
    if (a->run == WB_RUN_ON)
        run_timers(d, a);
}

/* Ends the trial well, when its time has come. It is not confirmed before that is written down. */
static void confirm(wb_device *d, wb_app *a)
{
    uint8_t slot = (uint8_t)a->candidate;
    int8_t former = a->active;
    bool shown = a->failed_shown;
    int64_t end = a->on_since + a->plan.health_window;
    if (d->now < end) {
        wb_wake(d, end);
        return;
    }
    if (a->unsaved)
        return;
    a->slot[slot].stage = WB_STAGE_GOOD;
    a->active = (int8_t)slot;
    a->candidate = -1;
    a->failed_shown = false;
    if (wb_store_app(d, a) < 0) {
        a->slot[slot].stage = WB_STAGE_TRIAL;
        a->active = former;
        a->candidate = (int8_t)slot;
        a->failed_shown = shown;
        a->unsaved = true;
        a->save_at = d->now + 1000;
        return;
    }
    a->leave = false;
    a->trial_boots = 0;
    a->deadline = 0;
    a->deadline_at = 0;
    a->trap_count = a->row = 0;
    wb_note(d, WB_INFO, a, "confirmed", a->slot[slot].revision);
    wb_finish(d, a, WB_COMMAND_DONE, WB_REASON_NONE);
}

/* Everything that can be found wrong is found while the former revision runs. */
static bool look_at_candidate(wb_device *d, wb_app *a, wb_plan *plan)
{
    char text[WB_TEXT_MAX + 1];
    uint8_t slot = (uint8_t)a->candidate;
    if (!wb_verify(d, a, slot))
        return false;
    wb_reason r = wb_slot_check(d, a, slot, plan, text);
    if (r != WB_REASON_NONE) {
        wb_candidate_failed(d, a, r, text);
        return false;
    }
    return true;
}

/* From the former revision to the candidate. */
static void launch(wb_device *d, wb_app *a)
{
    wb_plan plan;
    wb_trap trap;
    uint8_t slot = (uint8_t)a->candidate;
    bool sure = a->slot[slot].stage == WB_STAGE_GOOD;
    if (!look_at_candidate(d, a, &plan))
        return;
    if (a->slot[slot].stage != WB_STAGE_TRIAL) { /* else the boot did it */
        uint8_t former_stage = a->active >= 0 ? a->slot[a->active].stage : 0;
        int8_t former = a->active;
        if (former >= 0 && (sure || a->leave))
            a->slot[former].stage = WB_STAGE_BAD;
        if (sure) {
            a->active = (int8_t)slot;
            a->candidate = -1;
            a->failed_shown = false;
            a->deadline = 0;
            a->deadline_at = 0;
        } else {
            a->slot[slot].stage = WB_STAGE_TRIAL;
            a->trial_boots = 0;
        }
        a->restarts = a->traps = 0;
        if (wb_store_app(d, a) < 0) {
            if (former >= 0)
                a->slot[former].stage = former_stage;
            a->slot[slot].stage = sure ? WB_STAGE_GOOD : WB_STAGE_STAGED;
            a->active = former;
            a->candidate = (int8_t)slot;
            wb_candidate_failed(d, a, WB_REASON_STORAGE_ERROR, "record");
            return;
        }
    }
    wb_app_halt(d, a, true);
    if (sure) {
        a->first_start = true;
        a->trap_count = a->row = 0;
        wb_start_active(d, a, 0);
        return;
    }
    if (wb_slot_start(d, a, slot, &plan, &trap) == WB_REASON_NONE) {
        wb_note(d, WB_INFO, a, "on trial", a->slot[slot].revision);
        return;
    }
    wb_app_fault(d, a, &trap, "wasmbed_start");
}

static void candidate_step(wb_device *d, wb_app *a)
{
    uint8_t slot = (uint8_t)a->candidate;
    if (a->deadline_at != 0) {
        if (d->now >= a->deadline_at) {
            wb_candidate_failed(d, a, WB_REASON_DEADLINE_EXCEEDED, "");
            return;
        }
        wb_wake(d, a->deadline_at);
    }
    switch (a->slot[slot].stage) {
    case WB_STAGE_FETCHING:
        wb_fetch_step(d, a);
        break;
    case WB_STAGE_TRIAL:
        if (a->run == WB_RUN_ON && a->inst.slot == slot)
            confirm(d, a);
        else
            launch(d, a);
        break;
    default: /* STAGED, or GOOD by Rollback */
        if (a->want_run) {
            launch(d, a);
        } else if (!a->checked) {
            wb_plan plan;
            a->checked = look_at_candidate(d, a, &plan);
            if (a->checked) {
                a->deadline_at = 0;
                wb_finish(d, a, WB_COMMAND_DONE, WB_REASON_NONE);
            }
        }
        break;
    }
}
