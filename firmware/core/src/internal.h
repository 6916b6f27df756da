/*
 * The device's insides. Who writes what: store.c what is kept, fetch.c the transfer into a slot, lifecycle.c what runs,
 * command.c what is wanted, session.c and frames.c the link, host.c the modules' calls.
 */
#ifndef WB_INTERNAL_H
#define WB_INTERNAL_H

#include "codec.h"
#include "queue.h"
#include "sha256.h"
#include "wasmbed/device.h"

#define WB_SLOTS 2
#define WB_TRIAL_BOOTS 3     /* boots at which a trial begins again before the revision is given up */
#define WB_TRAPS_KEPT 16     /* trap times kept per application: a manifest's larger MaxTraps counts as this */
#define WB_FAILURES_KEPT 2   /* failed attempts remembered per application */
#define WB_RESULTS 8         /* command results that wait for their acknowledgement */
#define WB_CALLS_KEPT 8      /* invokes remembered with their results */
#define WB_REPORTS_FLYING 4  /* reports sent and not acknowledged */
#define WB_ERRORS_MAX 16     /* error frames sent in one session before goodbye */
#define WB_LOG_LINE_MAX 200
#define WB_TELEMETRY_NAME_MAX 63
#define WB_ENVELOPE 8        /* checksum and sequence in front of a stored value */
#define WB_NEVER INT64_MAX

/* What the bytes of a slot are. */
enum wb_stage {
    WB_STAGE_EMPTY = 0,    /* nothing that can be used */
    WB_STAGE_FETCHING = 1, /* being filled */
    WB_STAGE_STAGED = 2,   /* complete, digest seen right, not started yet */
    WB_STAGE_TRIAL = 3,    /* started, not confirmed */
    WB_STAGE_GOOD = 4,     /* was confirmed */
    WB_STAGE_BAD = 5       /* complete, but given up; of use only when the same bytes are wanted once more */
};

typedef struct wb_slot {
    char revision[WB_REVISION_MAX + 1];
    uint8_t stage;
    uint64_t attempt;
    uint8_t digest[WB_DIGEST_SIZE];
    uint32_t size;
    uint32_t manifest_crc; /* of the manifest stored for this slot: another one is not this revision's */
} wb_slot;

typedef struct wb_failure {
    char revision[WB_REVISION_MAX + 1]; /* "" : none */
    uint8_t reason;
    uint64_t attempt;
} wb_failure;

/* Two blobs written in turn. */
typedef struct wb_pair {
    uint32_t seq; /* of the newest */
    uint8_t next; /* which one is written next, 0 or 1 */
} wb_pair;

struct wb_instance {
    wb_device *d;
    void *engine;
    uint8_t index;
    uint8_t slot; /* that is loaded */
};

/* What a manifest says, without its texts. */
typedef struct wb_plan {
    wb_limits limits;
    uint32_t health_window, max_traps, trap_period;
    uint8_t timers;
    wb_timer_item timer[WB_TIMERS_MAX];
} wb_plan;

enum wb_run {
    WB_RUN_OFF = 0,
    WB_RUN_WAIT = 1, /* starts at run_at */
    WB_RUN_ON = 2
};

typedef struct wb_app_timer {
    uint32_t id, period; /* period 0: free */
    int64_t due;
} wb_app_timer;

typedef struct wb_app {
    wb_instance inst; /* first: an instance pointer is its application's */
    bool used;
    char name[WB_NAME_MAX + 1];

    /* Kept in storage (store.c). */
    bool want_run;
    bool former_run;   /* the confirmed revision is to run when the candidate fails */
    bool leave;        /* the candidate came by Rollback: once it starts, the active revision is given up */
    bool failed_shown; /* failed[0] is what the platform has to know */
    int8_t active;     /* slot of the confirmed revision, -1 none */
    int8_t candidate;  /* slot of the revision that shall replace it, -1 none. Its stage says how far it is; GOOD: it was
                          confirmed before and needs no trial */
    uint8_t trial_boots;
    uint8_t command[WB_COMMAND_SIZE]; /* last one carried out */
    uint32_t deadline; /* ms for the candidate to be confirmed, 0 none; counted anew after a reboot */
    wb_slot slot[WB_SLOTS];
    wb_failure failed[WB_FAILURES_KEPT]; /* given up, newest first */
    char failed_text[WB_TEXT_MAX + 1];

    wb_pair record, progress, kv;
    bool unsaved; /* storage refused the last change: tried again */
    int64_t save_at;

    /* What runs. */
    uint8_t run; /* enum wb_run */
    bool verified[WB_SLOTS]; /* digest seen right since boot, or since the slot was written */
    bool checked;            /* the candidate's imports, memory and manifest were found right */
    bool first_start;        /* nothing but a good start of the active revision will do (Rollback) */
    bool owes;               /* a second result for `command` */
    int64_t run_at, on_since, deadline_at;
    uint32_t restarts, traps;
    uint8_t trap_count;
    int64_t trap_at[WB_TRAPS_KEPT]; /* the newest trap_count of them, oldest first */
    uint8_t row;                    /* faults in a row, for the wait before a restart */
    wb_plan plan;
    wb_app_timer timer[WB_TIMERS_MAX];

    /* The transfer. */
    uint32_t offset, erased; /* bytes stored; bytes from the start that may be written */
    uint64_t request;        /* frame id of the open chunk request, 0 none */
    uint32_t retry;          /* ms of the last wait after NotFound */
    uint8_t mismatches;
    int64_t request_at, moved_at; /* next request or its time-out; last new byte or begin of the session */

    /* What the platform was told: checksums of the state and of its counters as they are, and as they were in the last
     * report that was sent. */
    uint32_t now_state, now_counters, told_state, told_counters;
    bool told;
    int64_t told_at;
} wb_app;

/* A command's result that waits for its acknowledgement. */
typedef struct wb_result {
    bool used;
    uint8_t id[WB_COMMAND_SIZE];
    uint64_t refers; /* 0 after a reconnect */
    uint64_t flying; /* frame id, 0: to be sent */
    uint8_t status, reason;
    const char *text; /* static or NULL */
    int64_t hold;
    uint8_t tries;
} wb_result;

/* An invoke that was carried out in this boot. */
typedef struct wb_call_kept {
    uint8_t status; /* 0: free */
    uint8_t reason;
    uint8_t id[WB_COMMAND_SIZE];
    uint64_t refers;
    bool due;        /* to be sent */
    uint64_t flying; /* sent, not acknowledged */
    uint32_t at, len; /* payload in the answers' memory */
    bool lost;        /* the payload was overwritten */
    int64_t hold;
    uint8_t tries;
} wb_call_kept;

typedef struct wb_session {
    uint8_t state;    /* wb_session_state */
    bool enrolled;    /* welcome said so */
    bool operational; /* the link shows the stored certificate */
    bool closing;     /* goodbye sent or received: waits for the peer to close */
    bool full_wanted; /* a full report */
    bool full_sent;   /* the first one of this session: other frames may follow */
    bool hello_due, enroll_due, renew_due;
    bool expired;     /* said goodbye (Expired): first contact next */
    uint8_t auth_failures, errors, tries;
    int64_t at;       /* WAITING: when to connect; CONNECTING, HELLO, closing: until when it may take */
    int64_t since;    /* welcome */
    int64_t heard;    /* last frame */
    int64_t blocked;  /* since when the peer has taken no bytes, 0: it does */
    int64_t beat_at;  /* next heartbeat */
    int64_t enroll_at, enroll_until, renew_at;
    int64_t leave_at; /* accepted: goodbye is waited for until then, 0 no */
    uint32_t heartbeat;
    uint64_t next_id, features, epoch;
    uint64_t hello_id, enroll_id, renew_id;
    uint64_t report_version, reports[WB_REPORTS_FLYING];
    int64_t report_hold;
    uint8_t report_tries, enroll_tries;
    uint64_t renew_before;
    uint32_t frame_cap; /* what the gateway takes */
    uint8_t nonce[WB_NONCE_SIZE];
    bool has_nonce;
    uint8_t error_code; /* an error frame to be sent, 0 none */
    uint64_t error_refers;
    uint8_t goodbye; /* a goodbye to be sent, 0 none */
    uint32_t retry_after; /* ms, for the next connection, 0: back-off */
    bool at_once;
    uint32_t rx_len, tx_len, tx_sent;
} wb_session;

struct wb_device {
    wb_config cfg;
    wb_port port;
    bool ended;   /* wb_device_deinit was called */
    int64_t boot_clock;
    int64_t now;  /* of this poll */
    int64_t next; /* when the next poll is wanted */

    wb_app *app; /* cfg.apps of them */
    uint8_t *rx, *tx, *scratch, *answer; /* frame_in + 4, frame_out + 4, scratch, answer */
    wb_queue telemetry, logs, messages, traps;

    uint8_t boot_id[WB_BOOT_ID_SIZE];
    int64_t wall_offset; /* wall time = clock + offset */
    bool wall_known;
    uint64_t wall_floor; /* kept */

    uint8_t era[WB_ERA_SIZE];
    bool has_era;
    uint64_t seen_desired;
    bool device_unsaved;
    wb_pair device_pair;
    uint8_t reboot_id[WB_COMMAND_SIZE]; /* last reboot carried out */
    int64_t reboot_at;                  /* one is wanted: at the latest then; 0 none */

    wb_result result[WB_RESULTS];
    wb_call_kept call[WB_CALLS_KEPT];
    uint8_t call_next;
    uint32_t answer_at;

    uint8_t digest[WB_STATE_DIGEST_SIZE];
    uint8_t digest_apps; /* how many applications it is of; 0xff: it was never made */
    char (*removed)[WB_NAME_MAX + 1]; /* gone, and not reported yet; room for cfg.apps */
    uint8_t removed_count;

    /* The one digest being computed. */
    struct {
        wb_app *app; /* NULL: none */
        uint8_t slot;
        uint32_t offset;
        wb_sha256 own;
    } verify;

    wb_session s;
    wb_stats stats;
};

/* ---- device.c */
void wb_wake(wb_device *d, int64_t at);
void wb_clock(wb_device *d); /* d->now */
uint32_t wb_random32(wb_device *d);
wb_text wb_cstr(const char *s);
bool wb_text_is(wb_text t, const char *s);
void wb_copy(char *out, size_t cap, wb_text t); /* cut at a character, terminated */
void wb_note(wb_device *d, wb_level level, const wb_app *a, const char *what, const char *more);
void wb_wall_set(wb_device *d, uint64_t unix_ms);
uint64_t wb_wall(const wb_device *d); /* 0: not known */
uint32_t wb_back_off(wb_device *d, unsigned tries); /* ms */

/* ---- store.c: 0 or negative */
uint32_t wb_crc32(uint32_t crc, const uint8_t *p, size_t n);
int wb_store_boot(wb_device *d);
int wb_store_app(wb_device *d, wb_app *a);
int wb_store_reload(wb_device *d, wb_app *a); /* what is kept, as the storage has it; WB_ENOENT: no such application */
int wb_store_clean(wb_device *d, wb_app *a);  /* a free entry: nothing of a former application may be left */
int wb_store_remove(wb_device *d, wb_app *a);
int wb_store_device(wb_device *d);
int wb_store_manifest(wb_device *d, wb_app *a, uint8_t slot, wb_bytes raw);
/* Reads it into scratch, checked against the slot's manifest_crc. */
int wb_load_manifest(wb_device *d, const wb_app *a, uint8_t slot, wb_bytes *raw);
int wb_store_progress(wb_device *d, wb_app *a);
int wb_load_progress(wb_device *d, wb_app *a, uint32_t *offset);
/* The key-value store, in scratch behind WB_ENVELOPE bytes; its length or negative. */
int wb_load_kv(wb_device *d, wb_app *a);
int wb_store_kv(wb_device *d, wb_app *a, uint32_t len);

/* ---- fetch.c */
void wb_fetch_begin(wb_device *d, wb_app *a, uint32_t offset);
bool wb_fetch_wants(wb_device *d, wb_app *a); /* a chunk request now? */
void wb_fetch_request(const wb_device *d, const wb_app *a, wb_chunk_request *out);
void wb_fetch_sent(wb_device *d, wb_app *a, uint64_t id);
void wb_fetch_chunk(wb_device *d, const wb_chunk *c);
bool wb_fetch_refused(wb_device *d, uint64_t refers, uint8_t code);
void wb_fetch_step(wb_device *d, wb_app *a);
void wb_fetch_online(wb_device *d);
bool wb_verify(wb_device *d, wb_app *a, uint8_t slot); /* begins it when nothing else is verified */
void wb_verify_step(wb_device *d);
void wb_verify_cancel(wb_device *d, const wb_app *a);

/* ---- lifecycle.c, trial.c */
void wb_app_boot(wb_device *d, wb_app *a);
void wb_app_step(wb_device *d, wb_app *a);
void wb_app_save(wb_device *d, wb_app *a);
void wb_app_halt(wb_device *d, wb_app *a, bool graceful); /* ends the instance */
void wb_app_fault(wb_device *d, wb_app *a, const wb_trap *t, const char *entry);
void wb_start_active(wb_device *d, wb_app *a, int64_t delay);
void wb_drop_candidate(wb_device *d, wb_app *a); /* without a verdict; not saved */
void wb_candidate_failed(wb_device *d, wb_app *a, wb_reason reason, const char *text);
void wb_revision_failed(wb_device *d, wb_app *a, wb_text revision, uint64_t attempt, wb_reason reason, const char *text);
void wb_active_failed(wb_device *d, wb_app *a, wb_reason reason, const char *text);
void wb_slot_unreadable(wb_device *d, wb_app *a, uint8_t slot, wb_reason reason);
void wb_finish(wb_device *d, wb_app *a, uint8_t status, wb_reason reason); /* the second result, when owed */
bool wb_given_up(const wb_app *a, wb_text revision, uint64_t attempt, wb_reason *reason);
/* Calls into a running instance; a fault is dealt with before it returns. The call's own result or negative. */
int wb_app_call(wb_device *d, wb_app *a, wb_call *c, wb_trap *trap);
/* The instance of a slot from nothing: WB_REASON_NONE, or why not. `checked` only looks at it. */
wb_reason wb_slot_check(wb_device *d, wb_app *a, uint8_t slot, wb_plan *plan, char *text);
wb_reason wb_slot_start(wb_device *d, wb_app *a, uint8_t slot, const wb_plan *plan, wb_trap *trap);

/* ---- state.c */
void wb_app_state_of(const wb_device *d, const wb_app *a, wb_app_state *out);
wb_app *wb_app_by_name(wb_device *d, wb_text name);
unsigned wb_app_order(const wb_device *d, uint8_t order[WB_APPS_MAX]); /* in the order of the wire; how many */
void wb_state_refresh(wb_device *d); /* checksums and digest */

/* ---- command.c, invoke.c */
void wb_on_command(wb_device *d, uint64_t id, const wb_command *c);
bool wb_result_add(wb_device *d, const uint8_t *id, uint64_t refers, uint8_t status, wb_reason reason, const char *text);
void wb_on_invoke(wb_device *d, uint64_t id, const wb_invoke *i);
void wb_on_message(wb_device *d, uint64_t id, const wb_message *m);
int wb_answers_send(wb_device *d);
bool wb_answer_settled(wb_device *d, uint64_t id, uint8_t code); /* code 0: acknowledged */
void wb_answers_lost(wb_device *d);

/* ---- report.c: *_send return bytes written, 0 for nothing to do now, or negative */
int wb_report_send(wb_device *d);
bool wb_report_settled(wb_device *d, uint64_t id, uint8_t code);
int wb_results_send(wb_device *d);
bool wb_results_settled(wb_device *d, uint64_t id, uint8_t code);

/* ---- uplink.c, likewise */
int wb_queues_send(wb_device *d);
bool wb_queues_settled(wb_device *d, uint64_t id, uint8_t code);
void wb_queues_lost(wb_device *d);
int wb_queue_telemetry(wb_device *d, const wb_app *a, wb_text name, double value); /* 0 or WB_ENOSPC: can never fit */
int wb_queue_log(wb_device *d, const wb_app *a, uint8_t level, wb_text line);      /* a NULL: the firmware itself */
int wb_queue_message(wb_device *d, const wb_app *a, wb_text topic, wb_bytes payload);
void wb_queue_trap(wb_device *d, const wb_app *a, const wb_trap *t, const char *entry);

/* ---- session.c, frames.c */
void wb_session_step(wb_device *d);
void wb_session_end(wb_device *d, int error);
void wb_session_goodbye(wb_device *d, uint8_t reason); /* queues it; nothing else is sent after */
void wb_on_frame(wb_device *d, const uint8_t *body, size_t len);
void wb_on_bad_length(wb_device *d);
void wb_send_step(wb_device *d);
int wb_send(wb_device *d, wb_msg *m); /* encodes into the free tx buffer, giving it an id: its length or negative */
void wb_refuse(wb_device *d, uint64_t refers, uint8_t code);
bool wb_retriable(uint8_t code); /* of an error that refers to an acknowledged frame */

#endif
