/*
 * What a device keeps. Blob keys:
 *
 *   0x0001, 0x0002            the device: era, seen desired version, floor of the wall time, last reboot command
 *   0x0100 + 0x10 * app:
 *     +0, +1                  the application's record
 *     +2, +3                  how far the transfer is
 *     +4, +5                  manifest of slot 0, of slot 1
 *     +6, +7                  key-value store
 *
 * Everything but manifests stands twice and is written in turn: envelope {checksum, sequence}, then the value. At boot
 * the newer one whose checksum fits counts. So a put that power interrupts, however it ends, leaves the value before it.
 * A manifest stands once: its slot's record names its checksum, and is written first; a manifest that does
 * not fit makes the candidate void, never the active slot, whose manifest is not written.
 */
#include <string.h>

#include "internal.h"

#define KEY_DEVICE 0x0001u
#define KEY_APP(a) ((uint16_t)(0x0100u + 0x10u * (a)->inst.index))
#define KEY_RECORD 0u
#define KEY_PROGRESS 2u
#define KEY_MANIFEST 4u
#define KEY_KV 6u
#define RECORD_VERSION 1u

uint32_t wb_crc32(uint32_t crc, const uint8_t *p, size_t n)
{
    crc = ~crc;
    while (n-- > 0) {
        crc ^= *p++;
        for (unsigned k = 0; k < 8; k++)
            crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

static void put32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The checksum covers the key too: a value that turns up under another key is not one. */
static uint32_t checksum(uint16_t key, const uint8_t *from_seq, size_t n)
{
    uint8_t k[2] = {(uint8_t)key, (uint8_t)(key >> 8)};
    return wb_crc32(wb_crc32(0, k, 2), from_seq, n);
}

/* Reads one blob into scratch: length of the value behind the envelope, or negative. */
static int read_blob(wb_device *d, uint16_t key, uint32_t *seq)
{
    int n = d->port.blob_get(d->port.ctx, key, d->scratch, d->cfg.scratch);
    if (n < 0)
        return n;
    if ((size_t)n < WB_ENVELOPE || (uint32_t)n > d->cfg.scratch)
        return WB_ECORRUPT;
    if (get32(d->scratch) != checksum(key, d->scratch + 4, (size_t)n - 4))
        return WB_ECORRUPT;
    *seq = get32(d->scratch + 4);
    return n - WB_ENVELOPE;
}

/* Writes scratch[WB_ENVELOPE … WB_ENVELOPE + len] under the key. */
static int write_blob(wb_device *d, uint16_t key, uint32_t seq, size_t len)
{
    put32(d->scratch + 4, seq);
    put32(d->scratch, checksum(key, d->scratch + 4, len + 4));
    return d->port.blob_put(d->port.ctx, key, d->scratch, len + WB_ENVELOPE);
}

/* Reads the newer one of a pair into scratch and sets up the pair for writing. WB_ENOENT when there is none. An
 * WB_EIO of the port counts as a lost copy only when the other one is there: otherwise it is returned, so that a
 * storage that fails is not taken for an empty one. */
static int read_pair(wb_device *d, uint16_t key, wb_pair *p)
{
    uint32_t seq[2] = {0, 0};
    int len[2];
    for (unsigned i = 0; i < 2; i++)
        len[i] = read_blob(d, (uint16_t)(key + i), &seq[i]);
    p->seq = 0;
    p->next = 0;
    if (len[0] < 0 && len[1] < 0)
        return len[0] == WB_EIO || len[1] == WB_EIO ? WB_EIO : WB_ENOENT;
    unsigned newer = len[0] < 0 || (len[1] >= 0 && (int32_t)(seq[1] - seq[0]) > 0) ? 1 : 0;
    p->seq = seq[newer];
    p->next = (uint8_t)(1 - newer);
    if (newer == 0) /* scratch holds the other one, or garbage */
        return read_blob(d, key, &seq[0]);
    return len[1];
}

static int write_pair(wb_device *d, uint16_t key, wb_pair *p, size_t len)
{
    int err = write_blob(d, (uint16_t)(key + p->next), p->seq + 1, len);
    if (err < 0)
        return err; /* the copy may be harmed now: the next try goes to the same place */
    p->seq++;
    p->next = (uint8_t)(1 - p->next);
    return 0;
}

/* The older copy goes first, so that what is left between the two deletes is the newer one. */
static int delete_pair(wb_device *d, uint16_t key, wb_pair *p)
{
    int err = d->port.blob_delete(d->port.ctx, (uint16_t)(key + p->next));
    if (err == 0)
        err = d->port.blob_delete(d->port.ctx, (uint16_t)(key + 1 - p->next));
    if (err == 0)
        memset(p, 0, sizeof *p);
    return err;
}

static void scratch_writer(wb_device *d, wb_writer *w)
{
    wb_writer_init(w, d->scratch + WB_ENVELOPE, d->cfg.scratch - WB_ENVELOPE);
}

static void write_str(wb_writer *w, const char *s)
{
    wb_write_text(w, s, strlen(s));
}

/* ---- the device ---- */

int wb_store_device(wb_device *d)
{
    wb_writer w;
    scratch_writer(d, &w);
    wb_write_uint(&w, RECORD_VERSION);
    wb_write_bytes(&w, d->era, d->has_era ? sizeof d->era : 0);
    wb_write_uint(&w, d->seen_desired);
    wb_write_uint(&w, d->wall_floor);
    wb_write_bytes(&w, d->reboot_id, sizeof d->reboot_id);
    int err = w.overflow ? WB_ENOSPC : write_pair(d, KEY_DEVICE, &d->device_pair, w.len);
    d->device_unsaved = err < 0;
    return err;
}

static int load_device(wb_device *d)
{
    int n = read_pair(d, KEY_DEVICE, &d->device_pair);
    wb_reader r;
    uint64_t version;
    wb_bytes era, reboot;
    if (n < 0)
        return n == WB_ENOENT ? 0 : n;
    wb_reader_init(&r, d->scratch + WB_ENVELOPE, (size_t)n);
    if (wb_read_uint(&r, &version) < 0 || version != RECORD_VERSION || wb_read_bytes(&r, &era) < 0)
        return 0; /* of a firmware that this one does not know: none of it is needed */
    if (era.len == sizeof d->era) {
        memcpy(d->era, era.data, era.len);
        d->has_era = true;
    }
    if (wb_read_uint(&r, &d->seen_desired) == 0 && wb_read_uint(&r, &d->wall_floor) == 0 &&
        wb_read_bytes(&r, &reboot) == 0 && reboot.len == sizeof d->reboot_id)
        memcpy(d->reboot_id, reboot.data, reboot.len);
    return 0;
}

/* ---- applications ---- */

static void write_slot(wb_writer *w, const wb_slot *s)
{
    wb_write_uint(w, s->stage);
    write_str(w, s->revision);
    wb_write_uint(w, s->attempt);
    wb_write_bytes(w, s->digest, sizeof s->digest);
    wb_write_uint(w, s->size);
    wb_write_uint(w, s->manifest_crc);
}

static void write_failure(wb_writer *w, const wb_failure *f)
{
    wb_write_uint(w, f->reason);
    write_str(w, f->revision);
    wb_write_uint(w, f->attempt);
}

/* The booleans of a record. */
#define FLAG_WANT_RUN 1u
#define FLAG_FORMER_RUN 2u
#define FLAG_LEAVE 4u
#define FLAG_FAILED_SHOWN 8u

int wb_store_app(wb_device *d, wb_app *a)
{
    wb_writer w;
    scratch_writer(d, &w);
    wb_write_uint(&w, RECORD_VERSION);
    write_str(&w, a->name);
    wb_write_uint(&w, (a->want_run ? FLAG_WANT_RUN : 0) | (a->former_run ? FLAG_FORMER_RUN : 0) |
                          (a->leave ? FLAG_LEAVE : 0) | (a->failed_shown ? FLAG_FAILED_SHOWN : 0));
    wb_write_bytes(&w, a->command, sizeof a->command);
    wb_write_uint(&w, (uint64_t)(a->active + 1));
    wb_write_uint(&w, (uint64_t)(a->candidate + 1));
    wb_write_uint(&w, a->trial_boots);
    wb_write_uint(&w, a->deadline);
    for (unsigned i = 0; i < WB_SLOTS; i++)
        write_slot(&w, &a->slot[i]);
    for (unsigned i = 0; i < WB_FAILURES_KEPT; i++)
        write_failure(&w, &a->failed[i]);
    write_str(&w, a->failed_text);
    if (w.overflow)
        return WB_ENOSPC;
    return write_pair(d, KEY_APP(a) + KEY_RECORD, &a->record, w.len);
}

static int small(wb_reader *r, uint64_t max, uint64_t *out)
{
    return wb_read_uint(r, out) < 0 || *out > max ? WB_ECORRUPT : 0;
}

static int read_str(wb_reader *r, char *out, size_t cap)
{
    wb_text t;
    if (wb_read_text(r, &t) < 0 || t.len >= cap)
        return WB_ECORRUPT;
    memcpy(out, t.data, t.len);
    out[t.len] = '\0';
    return 0;
}

static int read_exact(wb_reader *r, uint8_t *out, size_t len)
{
    wb_bytes b;
    if (wb_read_bytes(r, &b) < 0 || b.len != len)
        return WB_ECORRUPT;
    memcpy(out, b.data, b.len);
    return 0;
}

/* A name as it may travel; empty where there is none. */
static bool name_or_none(const char *s, bool needed)
{
    return s[0] == '\0' ? !needed : wb_name_valid(wb_cstr(s));
}

static int read_slot(wb_reader *r, wb_slot *s)
{
    uint64_t stage, size, crc;
    if (small(r, WB_STAGE_BAD, &stage) < 0 || read_str(r, s->revision, sizeof s->revision) < 0 ||
        wb_read_uint(r, &s->attempt) < 0 || read_exact(r, s->digest, sizeof s->digest) < 0 || small(r, UINT32_MAX, &size) < 0 ||
        small(r, UINT32_MAX, &crc) < 0)
        return WB_ECORRUPT;
    s->stage = (uint8_t)stage;
    s->size = (uint32_t)size;
    s->manifest_crc = (uint32_t)crc;
    return name_or_none(s->revision, stage != WB_STAGE_EMPTY) ? 0 : WB_ECORRUPT;
}

static int read_failure(wb_reader *r, wb_failure *f)
{
    uint64_t reason;
    if (small(r, 255, &reason) < 0 || read_str(r, f->revision, sizeof f->revision) < 0 ||
        wb_read_uint(r, &f->attempt) < 0)
        return WB_ECORRUPT;
    f->reason = (uint8_t)reason;
    return name_or_none(f->revision, false) ? 0 : WB_ECORRUPT;
}

static int read_record(wb_reader *r, wb_app *a)
{
    uint64_t version, flags, active, candidate, boots, deadline;
    if (wb_read_uint(r, &version) < 0 || version != RECORD_VERSION || read_str(r, a->name, sizeof a->name) < 0)
        return WB_ECORRUPT;
    if (a->name[0] == '\0')
        return WB_ENOENT; /* a tombstone */
    if (!name_or_none(a->name, true))
        return WB_ECORRUPT;
    if (small(r, 255, &flags) < 0 || read_exact(r, a->command, sizeof a->command) < 0 ||
        small(r, WB_SLOTS, &active) < 0 || small(r, WB_SLOTS, &candidate) < 0 || small(r, 255, &boots) < 0 ||
        small(r, UINT32_MAX, &deadline) < 0)
        return WB_ECORRUPT;
    a->want_run = flags & FLAG_WANT_RUN;
    a->former_run = flags & FLAG_FORMER_RUN;
    a->leave = flags & FLAG_LEAVE;
    a->failed_shown = flags & FLAG_FAILED_SHOWN;
    a->active = (int8_t)((int)active - 1);
    a->candidate = (int8_t)((int)candidate - 1);
    a->trial_boots = (uint8_t)boots;
    a->deadline = (uint32_t)deadline;
    for (unsigned i = 0; i < WB_SLOTS; i++)
        if (read_slot(r, &a->slot[i]) < 0)
            return WB_ECORRUPT;
    for (unsigned i = 0; i < WB_FAILURES_KEPT; i++)
        if (read_failure(r, &a->failed[i]) < 0)
            return WB_ECORRUPT;
    if (read_str(r, a->failed_text, sizeof a->failed_text) < 0)
        return WB_ECORRUPT;
    if (a->failed_shown && (a->failed[0].revision[0] == '\0' || a->failed[0].reason == 0))
        return WB_ECORRUPT;
    return a->active >= 0 && a->active == a->candidate ? WB_ECORRUPT : 0;
}

int wb_store_reload(wb_device *d, wb_app *a)
{
    wb_reader r;
    int n = read_pair(d, KEY_APP(a) + KEY_RECORD, &a->record);
    if (n < 0)
        return n;
    wb_reader_init(&r, d->scratch + WB_ENVELOPE, (size_t)n);
    return read_record(&r, a);
}

static int load_app(wb_device *d, wb_app *a)
{
    int err = wb_store_reload(d, a);
    if (err == WB_EIO)
        return err;
    if (err < 0) { /* none, removed, or of a version that this firmware does not know: the entry is free */
        wb_pair keep = a->record;
        wb_instance inst = a->inst;
        memset(a, 0, sizeof *a);
        a->inst = inst;
        a->record = keep;
        a->active = a->candidate = -1;
        if (err == WB_ENOENT && keep.seq != 0)
            (void)wb_store_clean(d, a);
        return 0;
    }
    a->used = true;
    err = read_pair(d, KEY_APP(a) + KEY_PROGRESS, &a->progress);
    if (err == WB_EIO)
        return err;
    err = read_pair(d, KEY_APP(a) + KEY_KV, &a->kv);
    return err == WB_EIO ? err : 0;
}

int wb_store_boot(wb_device *d)
{
    int err = load_device(d);
    for (unsigned i = 0; i < d->cfg.apps && err == 0; i++)
        err = load_app(d, &d->app[i]);
    return err;
}

/* Values of an application that is gone, its tombstone last. */
int wb_store_clean(wb_device *d, wb_app *a)
{
    uint16_t base = KEY_APP(a);
    int err = delete_pair(d, base + KEY_KV, &a->kv);
    if (err == 0)
        err = delete_pair(d, base + KEY_PROGRESS, &a->progress);
    for (unsigned i = 0; i < WB_SLOTS && err == 0; i++)
        err = d->port.blob_delete(d->port.ctx, (uint16_t)(base + KEY_MANIFEST + i));
    return err == 0 ? delete_pair(d, base + KEY_RECORD, &a->record) : err;
}

/* A record with an empty name says that the application is gone. What cannot be deleted now is deleted at the next boot or
 * before the entry is used again. */
int wb_store_remove(wb_device *d, wb_app *a)
{
    wb_writer w;
    scratch_writer(d, &w);
    wb_write_uint(&w, RECORD_VERSION);
    write_str(&w, "");
    int err = write_pair(d, KEY_APP(a) + KEY_RECORD, &a->record, w.len);
    if (err == 0)
        (void)wb_store_clean(d, a);
    return err;
}

int wb_store_manifest(wb_device *d, wb_app *a, uint8_t slot, wb_bytes raw)
{
    if (raw.len > d->cfg.scratch - WB_ENVELOPE)
        return WB_ENOSPC;
    memcpy(d->scratch + WB_ENVELOPE, raw.data, raw.len);
    return write_blob(d, (uint16_t)(KEY_APP(a) + KEY_MANIFEST + slot), 0, raw.len);
}

int wb_load_manifest(wb_device *d, const wb_app *a, uint8_t slot, wb_bytes *raw)
{
    uint32_t seq;
    int n = read_blob(d, (uint16_t)(KEY_APP(a) + KEY_MANIFEST + slot), &seq);
    if (n < 0)
        return n;
    raw->data = d->scratch + WB_ENVELOPE;
    raw->len = (size_t)n;
    return wb_crc32(0, raw->data, raw->len) == a->slot[slot].manifest_crc ? 0 : WB_ECORRUPT;
}

/* The digest's first bytes say what the offset is of. */
#define PROGRESS_SIZE 12u

int wb_store_progress(wb_device *d, wb_app *a)
{
    uint8_t *p = d->scratch + WB_ENVELOPE;
    memcpy(p, a->slot[a->candidate].digest, 8);
    put32(p + 8, a->offset);
    return write_pair(d, KEY_APP(a) + KEY_PROGRESS, &a->progress, PROGRESS_SIZE);
}

int wb_load_progress(wb_device *d, wb_app *a, uint32_t *offset)
{
    int n = read_pair(d, KEY_APP(a) + KEY_PROGRESS, &a->progress);
    const uint8_t *p = d->scratch + WB_ENVELOPE;
    *offset = 0;
    if (n < 0)
        return n;
    if (n == PROGRESS_SIZE && memcmp(p, a->slot[a->candidate].digest, 8) == 0)
        *offset = get32(p + 8);
    return 0;
}

int wb_load_kv(wb_device *d, wb_app *a)
{
    int n = read_pair(d, KEY_APP(a) + KEY_KV, &a->kv);
    return n == WB_ENOENT ? 0 : n;
}

int wb_store_kv(wb_device *d, wb_app *a, uint32_t len)
{
    return write_pair(d, KEY_APP(a) + KEY_KV, &a->kv, len);
}
