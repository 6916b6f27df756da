/*
 * A module on its way into a slot: chunks asked for one after the other, written in order, counted only when they are
 * durable; then the digest over what is really there.
 */
#include <string.h>

#include "internal.h"

#define CHUNK_TIMEOUT 10000    /* ms from a request until it is sent again */
#define NOT_FOUND_FIRST 1000   /* ms after the gateway did not have it, doubling … */
#define NOT_FOUND_MOST 60000   /* … up to this */
#define VERIFY_PER_STEP 16384u /* bytes hashed between two looks at the link */

static bool fetching(const wb_app *a)
{
    return a->used && a->candidate >= 0 && a->slot[a->candidate].stage == WB_STAGE_FETCHING;
}

void wb_fetch_begin(wb_device *d, wb_app *a, uint32_t offset)
{
    /* What power interrupted may lie behind `offset` in its erase block: the whole block is written again. */
    offset -= offset % d->port.erase_block;
    a->offset = a->erased = offset;
    a->verified[a->candidate] = false;
    a->request = 0;
    a->request_at = d->now;
    a->moved_at = d->now;
    a->retry = 0;
    wb_verify_cancel(d, a);
}

void wb_fetch_online(wb_device *d)
{
    for (unsigned i = 0; i < d->cfg.apps; i++) {
        wb_app *a = &d->app[i];
        a->request = 0;
        a->request_at = a->moved_at = d->now;
        a->retry = 0;
    }
}

/* The active revision is of the same module, e.g. when only its configuration changes: nothing has to come. */
static bool copies(const wb_app *a)
{
    const wb_slot *s = &a->slot[a->candidate];
    return a->active >= 0 && a->mismatches == 0 && a->slot[a->active].size == s->size &&
           memcmp(a->slot[a->active].digest, s->digest, WB_DIGEST_SIZE) == 0;
}

bool wb_fetch_wants(wb_device *d, wb_app *a)
{
    if (!fetching(a) || copies(a) || a->request != 0 || a->offset >= a->slot[a->candidate].size)
        return false;
    if (d->now < a->request_at) {
        wb_wake(d, a->request_at);
        return false;
    }
    return true;
}

void wb_fetch_request(const wb_device *d, const wb_app *a, wb_chunk_request *out)
{
    const wb_slot *s = &a->slot[a->candidate];
    uint32_t left = s->size - a->offset;
    out->digest.data = s->digest;
    out->digest.len = sizeof s->digest;
    out->offset = a->offset;
    out->length = left < d->cfg.chunk ? left : d->cfg.chunk;
}

void wb_fetch_sent(wb_device *d, wb_app *a, uint64_t id)
{
    a->request = id;
    a->request_at = d->now + CHUNK_TIMEOUT;
    wb_wake(d, a->request_at);
}

static void storage_failed(wb_device *d, wb_app *a, int err)
{
    wb_candidate_failed(d, a, err == WB_ENOSPC ? WB_REASON_STORAGE_FULL : WB_REASON_STORAGE_ERROR, wb_error_name(err));
}

/* Erases what the next n bytes touch and is not erased yet. */
static int make_room(wb_device *d, wb_app *a, uint32_t n)
{
    uint32_t block = d->port.erase_block, end = a->offset + n;
    if (end <= a->erased)
        return 0;
    uint32_t len = end - a->erased;
    len += (block - len % block) % block;
    int err = d->port.slot_erase(d->port.ctx, a->inst.index, (uint8_t)a->candidate, a->erased, len);
    if (err == 0)
        a->erased += len;
    return err;
}

static int keep_chunk(wb_device *d, wb_app *a, const uint8_t *data, uint32_t n)
{
    uint8_t slot = (uint8_t)a->candidate;
    int err = make_room(d, a, n);
    if (err == 0)
        err = d->port.slot_write(d->port.ctx, a->inst.index, slot, a->offset, data, n);
    if (err == 0)
        err = d->port.slot_sync(d->port.ctx, a->inst.index, slot);
    if (err < 0)
        return err;
    a->offset += n;
    return wb_store_progress(d, a);
}

void wb_fetch_chunk(wb_device *d, const wb_chunk *c)
{
    for (unsigned i = 0; i < d->cfg.apps; i++) {
        wb_app *a = &d->app[i];
        if (!fetching(a) || c->offset != a->offset || a->offset >= a->slot[a->candidate].size)
            continue;
        wb_slot *s = &a->slot[a->candidate];
        if (memcmp(c->digest.data, s->digest, WB_DIGEST_SIZE) != 0)
            continue;
        if (c->total != s->size) {
            wb_candidate_failed(d, a, WB_REASON_DIGEST_MISMATCH, "another size");
            continue;
        }
        if (c->data.len > d->cfg.chunk)
            continue; /* more than was asked for */
        uint32_t n = (uint32_t)c->data.len;
        if (a->offset + n < s->size)
            n -= n % d->port.write_block;
        a->request = 0;
        a->request_at = n > 0 ? d->now : d->now + NOT_FOUND_FIRST;
        if (n == 0)
            continue;
        int err = keep_chunk(d, a, c->data.data, n);
        if (err < 0) {
            storage_failed(d, a, err);
            continue;
        }
        d->stats.chunks++;
        a->moved_at = d->now;
        a->retry = 0;
    }
}

bool wb_fetch_refused(wb_device *d, uint64_t refers, uint8_t code)
{
    for (unsigned i = 0; i < d->cfg.apps; i++) {
        wb_app *a = &d->app[i];
        if (!fetching(a) || a->request != refers)
            continue;
        a->request = 0;
        if (!wb_retriable(code) && code != WB_CODE_NOT_FOUND) {
            wb_candidate_failed(d, a, WB_REASON_TRANSFER_TIMEOUT, "refused by the gateway");
            return true;
        }
        a->retry = a->retry == 0 ? NOT_FOUND_FIRST : a->retry < NOT_FOUND_MOST / 2 ? a->retry * 2 : NOT_FOUND_MOST;
        a->request_at = d->now + a->retry;
        wb_wake(d, a->request_at);
        return true;
    }
    return false;
}

/* As a chunk that came, from the slot that has it. The pieces are large enough to be worth a sync each. */
static void copy_some(wb_device *d, wb_app *a)
{
    uint32_t left = a->slot[a->candidate].size - a->offset, n = d->cfg.scratch;
    if (left <= n)
        n = left;
    else
        n -= n % d->port.write_block;
    int err = d->port.slot_read(d->port.ctx, a->inst.index, (uint8_t)a->active, a->offset, d->scratch, n);
    if (err == 0)
        err = keep_chunk(d, a, d->scratch, n);
    if (err < 0)
        storage_failed(d, a, err);
    wb_wake(d, d->now);
}

void wb_fetch_step(wb_device *d, wb_app *a)
{
    uint8_t slot = (uint8_t)a->candidate;
    if (a->offset == a->slot[slot].size) {
        if (!wb_verify(d, a, slot))
            return;
        a->slot[slot].stage = WB_STAGE_STAGED;
        wb_app_save(d, a);
        wb_wake(d, d->now);
        return;
    }
    if (copies(a)) {
        copy_some(d, a);
        return;
    }
    if (d->s.state != WB_SESSION_ACTIVE || d->s.closing)
        return; /* time without a connection does not count */
    int64_t end = a->moved_at + d->cfg.transfer_timeout;
    if (d->now >= end) {
        wb_candidate_failed(d, a, WB_REASON_TRANSFER_TIMEOUT, "");
        return;
    }
    wb_wake(d, end);
    if (a->request != 0 && d->now >= a->request_at) { /* no answer: ask again */
        a->request = 0;
        a->request_at = d->now;
    }
    if (a->request_at > d->now) /* else it is asked for with this poll, or when the link takes bytes again */
        wb_wake(d, a->request_at);
}

/* ---- the digest ---- */

static bool own_sha(const wb_device *d)
{
    return d->port.sha256_start == NULL || d->port.sha256_update == NULL || d->port.sha256_finish == NULL;
}

bool wb_verify(wb_device *d, wb_app *a, uint8_t slot)
{
    if (a->verified[slot])
        return true;
    if (d->verify.app != NULL)
        return false; /* its own, or another one's: the end of that wakes us */
    if (!own_sha(d) && d->port.sha256_start(d->port.ctx) < 0)
        return false;
    wb_sha256_start(&d->verify.own);
    d->verify.app = a;
    d->verify.slot = slot;
    d->verify.offset = 0;
    wb_wake(d, d->now);
    return false;
}

void wb_verify_cancel(wb_device *d, const wb_app *a)
{
    if (d->verify.app == a)
        d->verify.app = NULL;
}

static int verify_some(wb_device *d, uint32_t size)
{
    uint32_t done = 0;
    while (d->verify.offset < size && done < VERIFY_PER_STEP) {
        uint32_t n = size - d->verify.offset;
        if (n > d->cfg.scratch)
            n = d->cfg.scratch;
        int err = d->port.slot_read(d->port.ctx, d->verify.app->inst.index, d->verify.slot, d->verify.offset, d->scratch, n);
        if (err == 0 && !own_sha(d))
            err = d->port.sha256_update(d->port.ctx, d->scratch, n);
        else if (err == 0)
            wb_sha256_update(&d->verify.own, d->scratch, n);
        if (err < 0)
            return err;
        d->verify.offset += n;
        done += n;
    }
    return 0;
}

void wb_verify_step(wb_device *d)
{
    uint8_t digest[WB_DIGEST_SIZE];
    wb_app *a = d->verify.app;
    if (a == NULL)
        return;
    uint8_t slot = d->verify.slot;
    wb_wake(d, d->now);
    int err = verify_some(d, a->slot[slot].size);
    if (err == 0 && d->verify.offset < a->slot[slot].size)
        return;
    d->verify.app = NULL;
    if (err == 0) {
        if (own_sha(d))
            wb_sha256_finish(&d->verify.own, digest);
        else
            err = d->port.sha256_finish(d->port.ctx, digest);
    }
    if (err < 0) {
        wb_slot_unreadable(d, a, slot, WB_REASON_STORAGE_ERROR);
        return;
    }
    if (memcmp(digest, a->slot[slot].digest, sizeof digest) == 0) {
        a->verified[slot] = true;
        return;
    }
    if (fetching(a) && slot == a->candidate) {
        if (a->mismatches > 0) {
            wb_candidate_failed(d, a, WB_REASON_DIGEST_MISMATCH, "");
            return;
        }
        a->mismatches++;
        wb_fetch_begin(d, a, 0);
        (void)wb_store_progress(d, a);
        return;
    }
    wb_slot_unreadable(d, a, slot, WB_REASON_DIGEST_MISMATCH);
}
