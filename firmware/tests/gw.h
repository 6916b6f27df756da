/*
 * The other end: a gateway and the platform behind it, as far as protocol/SPEC.md says what they do. It speaks through
 * the core's own codec; that the codec is right is shown by the vectors.
 */
#ifndef GW_H
#define GW_H

#include "sim.h"

#define GW_APPS 4
#define GW_REVISIONS 8
#define GW_RECORDS 4096

typedef struct gw_revision {
    char name[24];
    uint8_t bytes[SIM_SLOT];
    size_t size;
    uint8_t digest[WB_DIGEST_SIZE];
    /* manifest */
    uint32_t health_window, max_traps, trap_period, call_timeout, timer;
    uint64_t instructions;
    const char *permissions; /* "log,telemetry" in the order of the wire */
    const char *config_key, *config_value;
    int config_times; /* so many entries more of the same value */
} gw_revision;

typedef struct gw_want {
    char app[24];
    const gw_revision *revision; /* NULL: the application is not wanted */
    uint64_t attempt;
    bool stopped, rollback;
    uint64_t command;    /* id of the command that was sent for it, 0 none */
    uint32_t deadline;
} gw_want;

typedef struct gw_app {
    bool there;
    char name[64];
    wb_state state;
    char revision[96], running[96];
    uint64_t attempt;
    bool confirmed;
    uint8_t reason;
    uint32_t restarts, traps, progress;
} gw_app;

/* A record as the platform recognises it. */
typedef struct gw_record {
    uint8_t kind; /* type of the frame */
    uint8_t boot[8];
    uint64_t seq;
    uint32_t crc; /* of its content */
} gw_record;

typedef struct gw {
    sim *s;
    /* Outlives a connection. */
    gw_revision revision[GW_REVISIONS];
    int revisions;
    gw_want want[GW_APPS];
    bool enrolled, away; /* the device is known; nobody accepts what comes (acks are held back) */
    bool pending, rejected;
    uint32_t retry_after;
    uint64_t epoch, next_command, desired;
    uint32_t heartbeat;
    uint64_t features;
    gw_app app[GW_APPS]; /* reported */
    gw_record record[GW_RECORDS];
    int records;
    long telemetry, logs, traps, messages; /* distinct records accepted */
    long repeats;                         /* records that came again, recognised */
    uint8_t trap_reason;                  /* of the last trap */
    int fulls, deltas, enrolls, renews, commands, chunks, heartbeats, bad;
    int results[5];                       /* by status */
    uint8_t last_reason;
    uint64_t last_result;                 /* command id of the last result */
    uint8_t last_error;
    int errors, goodbyes;
    uint8_t invoke_status, invoke_reason;
    uint8_t invoke_payload[256];
    size_t invoke_len;
    int not_found, busy; /* answer so many chunk requests / acknowledged frames with an error */
    bool corrupt;        /* serve wrong bytes */
    uint64_t renew_before;
    uint64_t time;

    /* One connection. */
    bool open;
    uint8_t phase; /* 0 nothing, 1 first contact, 2 enrolled, 3 closing */
    uint8_t boot[8];
    uint64_t next_id, report_version, enroll_id;
    uint8_t rx[70000];
    size_t rx_len;
    bool reported; /* since welcome */
    bool features_attest, evidence_seen;
    int64_t retry_command_at;
} gw;

void gw_init(gw *g, sim *s);
gw_revision *gw_add(gw *g, const char *name, const char *imports, const char *permissions, const sim_script *script,
                    size_t size);
/* What is wanted of an application; a new wish whenever it is called. */
gw_want *gw_set(gw *g, const char *app, const gw_revision *r, uint64_t attempt);
gw_app *gw_reported(gw *g, const char *app);

/* Everything that can be done now, both ends; no time passes. */
void gw_settle(gw *g);
/* Runs for so many milliseconds of simulated time, or until done() is true; false when it never was. */
bool gw_run(gw *g, int64_t ms, bool (*done)(gw *g));
/* Frames of the test's own making: sent as they are; the id is set. Returns it. */
uint64_t gw_send(gw *g, wb_msg *m);
void gw_raw(gw *g, const uint8_t *frame, size_t len);
void gw_close(gw *g);
/* Says that a frame is durable, unless the platform is away. */
void gw_ack(gw *g, uint64_t id);
/* Whether the frame is refused with Busy, and nothing of it taken. */
bool gw_busy(gw *g, uint64_t id);
wb_msg gw_command(gw *g, const gw_want *w, uint8_t verb);

#endif
