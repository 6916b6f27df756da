/*
 * Calls from the platform into modules: invoke, at most once per command id in a boot, and messages. SPEC sections 13
 * and 14. The answers' memory is used round and round; the newest answers stay in it until they are overwritten.
 */
#include <string.h>

#include "internal.h"

#define ANSWER_OVERHEAD 160u /* of an invoke-result's frame besides its payload */

static uint32_t answer_most(const wb_device *d)
{
    uint32_t most = d->cfg.frame_out - ANSWER_OVERHEAD;
    return d->cfg.answer < most ? d->cfg.answer : most;
}

static wb_call_kept *kept_call(wb_device *d, const uint8_t *id)
{
    for (unsigned i = 0; i < WB_CALLS_KEPT; i++)
        if (d->call[i].status != 0 && memcmp(d->call[i].id, id, WB_COMMAND_SIZE) == 0)
            return &d->call[i];
    return NULL;
}

static bool overlaps(const wb_call_kept *k, uint32_t at, uint32_t len)
{
    return k->status != 0 && !k->lost && k->len > 0 && k->at < at + len && at < k->at + k->len;
}

/* Where the next answer goes: WB_EAGAIN while one that was not sent is in the way, or no entry is free. */
static int place_answer(wb_device *d, uint32_t *at)
{
    uint32_t most = answer_most(d);
    *at = d->cfg.answer - d->answer_at < most ? 0 : d->answer_at;
    if (d->call[d->call_next].due)
        return WB_EAGAIN;
    for (unsigned i = 0; i < WB_CALLS_KEPT; i++)
        if (d->call[i].due && overlaps(&d->call[i], *at, most))
            return WB_EAGAIN;
    return 0;
}

static void call_module(wb_device *d, wb_app *a, const wb_invoke *in, wb_call_kept *k)
{
    wb_call c;
    wb_trap trap;
    memset(&c, 0, sizeof c);
    c.entry = WB_ENTRY_INVOKE;
    c.function = in->function;
    c.payload = in->payload;
    c.timeout = in->deadline;
    c.answer = d->answer + k->at;
    c.answer_cap = answer_most(d);
    bool short_deadline = in->deadline < a->plan.limits.call_timeout;
    int err = wb_app_call(d, a, &c, &trap);
    k->status = WB_COMMAND_FAILED;
    switch (err) {
    case 0:
        if (c.result != 0) {
            k->reason = WB_REASON_EXIT;
            break;
        }
        k->status = WB_COMMAND_DONE;
        k->len = c.answer_len < c.answer_cap ? (uint32_t)c.answer_len : (uint32_t)c.answer_cap;
        break;
    case WB_ENOENT:
        k->status = WB_COMMAND_REFUSED;
        k->reason = WB_REASON_UNSUPPORTED;
        break;
    case WB_ENOSPC:
        k->reason = WB_REASON_INSUFFICIENT_MEMORY;
        break;
    default:
        k->reason = (uint8_t)trap.reason;
        if (trap.reason == WB_REASON_TIMEOUT && short_deadline)
            k->reason = WB_REASON_DEADLINE_EXCEEDED;
        break;
    }
}

void wb_on_invoke(wb_device *d, uint64_t id, const wb_invoke *in)
{
    uint32_t at;
    wb_call_kept *k = kept_call(d, in->command.data);
    if (k != NULL) {
        k->refers = id;
        k->due = true;
        k->hold = 0;
        return;
    }
    if (place_answer(d, &at) < 0) {
        wb_refuse(d, id, WB_CODE_BUSY);
        return;
    }
    k = &d->call[d->call_next];
    d->call_next = (uint8_t)((d->call_next + 1) % WB_CALLS_KEPT);
    memset(k, 0, sizeof *k);
    memcpy(k->id, in->command.data, sizeof k->id);
    k->refers = id;
    k->at = at;
    wb_app *a = wb_app_by_name(d, in->app);
    if (a == NULL || a->run != WB_RUN_ON) {
        k->status = WB_COMMAND_REFUSED;
        k->reason = WB_REASON_UNKNOWN_APP;
    } else {
        call_module(d, a, in, k);
    }
    for (unsigned i = 0; i < WB_CALLS_KEPT; i++)
        if (&d->call[i] != k && overlaps(&d->call[i], k->at, k->len))
            d->call[i].lost = true;
    d->answer_at = k->at + k->len;
    k->due = true;
}

int wb_answers_send(wb_device *d)
{
    for (unsigned n = 0; n < WB_CALLS_KEPT; n++) {
        wb_call_kept *k = &d->call[(d->call_next + n) % WB_CALLS_KEPT]; /* the oldest first */
        wb_msg m;
        if (!k->due)
            continue;
        if (d->now < k->hold) {
            wb_wake(d, k->hold);
            continue;
        }
        memset(&m, 0, sizeof m);
        m.type = WB_INVOKE_RESULT;
        m.u.invoke_result.refers = k->refers;
        m.u.invoke_result.command = (wb_bytes){k->id, sizeof k->id};
        m.u.invoke_result.status = k->status;
        m.u.invoke_result.reason = k->reason;
        if (k->lost) { /* said again too late: it was done, and the answer is gone */
            m.u.invoke_result.status = WB_COMMAND_FAILED;
            m.u.invoke_result.reason = WB_REASON_STORAGE_FULL;
            m.u.invoke_result.text = wb_cstr("done before; the answer is not kept any more");
        } else {
            m.u.invoke_result.payload = (wb_bytes){d->answer + k->at, k->len};
        }
        int len = wb_send(d, &m);
        if (len > 0) {
            k->due = false;
            k->flying = m.id;
        }
        return len;
    }
    return 0;
}

bool wb_answer_settled(wb_device *d, uint64_t id, uint8_t code)
{
    for (unsigned i = 0; i < WB_CALLS_KEPT; i++) {
        wb_call_kept *k = &d->call[i];
        if (k->status == 0 || k->flying == 0 || k->flying != id)
            continue;
        k->flying = 0;
        if (code != 0 && wb_retriable(code)) {
            k->due = true;
            k->hold = d->now + wb_back_off(d, k->tries++);
        }
        return true;
    }
    return false;
}

/* Not sent again after a reconnect: its `refers` means nothing there. */
void wb_answers_lost(wb_device *d)
{
    for (unsigned i = 0; i < WB_CALLS_KEPT; i++) {
        d->call[i].due = false;
        d->call[i].flying = 0;
    }
}

void wb_on_message(wb_device *d, uint64_t id, const wb_message *m)
{
    wb_call c;
    wb_trap trap;
    wb_app *a = wb_app_by_name(d, m->app);
    if (a == NULL || a->run != WB_RUN_ON) {
        wb_refuse(d, id, WB_CODE_NOT_FOUND);
        return;
    }
    memset(&c, 0, sizeof c);
    c.entry = WB_ENTRY_MESSAGE;
    c.topic = m->topic;
    c.payload = m->payload;
    (void)wb_app_call(d, a, &c, &trap);
}
