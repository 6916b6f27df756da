/*
 * A simulated world for one device: storage that loses power at a chosen step, a link that drops at a chosen byte, a
 * clock that moves only when told to, a runtime whose modules are scripts, and an identity.
 */
#ifndef SIM_H
#define SIM_H

#include <setjmp.h>

#include "codec.h"
#include "wasmbed/device.h"

#define SIM_APPS 4
#define SIM_SLOT 8192
#define SIM_BLOBS 128
#define SIM_BLOB 4096
#define SIM_PIPE 65536

/* What a cut of power does to the step that it hits. */
enum sim_cut { SIM_CUT_BEFORE, SIM_CUT_AFTER, SIM_CUT_TORN, SIM_CUT_KINDS };

typedef struct sim_blob {
    bool there;
    uint16_t key;
    size_t len;
    uint8_t data[SIM_BLOB];
} sim_blob;

typedef struct sim_slot {
    uint8_t bytes[SIM_SLOT];
    uint8_t state[SIM_SLOT]; /* of each byte: what may be done with it */
} sim_slot;

enum { BYTE_UNDEFINED, BYTE_ERASED, BYTE_WRITTEN, BYTE_SYNCED };

typedef struct sim_pipe {
    uint8_t bytes[SIM_PIPE];
    size_t head, len;
} sim_pipe;

/* What a module does: the payload of its custom section "script". */
typedef struct sim_script {
    uint8_t start_trap;   /* reason of a trap in start, 0 none */
    uint8_t start_result; /* of start */
    uint8_t timer_trap;   /* reason of the trap in a timer call, 0 none */
    uint8_t trap_after;   /* … at this call of the instance, from 1 */
    uint8_t telemetry;    /* records per timer call */
    uint8_t logs;         /* lines per timer call */
    uint8_t kv;           /* counts its starts in the key-value store */
    uint8_t messages;     /* messages per timer call */
    uint8_t sets_timer;   /* start sets a timer of its own, 100 ms */
    uint8_t hangs;        /* a timer call runs until its time is up */
    uint8_t stop_traps;
    uint8_t load_error;   /* what load returns, negated */
    uint8_t config;       /* the manifest's config must say "rev" = the revision */
} sim_script;

typedef struct sim_module {
    bool loaded;
    sim_script script;
    uint32_t calls;
    char revision[WB_REVISION_MAX + 1];
} sim_module;

typedef struct sim {
    /* Outlives the device's power. */
    sim_blob blob[SIM_BLOBS];
    sim_slot slot[SIM_APPS][2];
    bool enrolled;
    uint8_t leaf[64];
    size_t leaf_len;
    uint32_t erase_block, write_block;
    bool map_slots;
    int64_t now;
    uint32_t random;

    /* Power. */
    long steps, cut_at; /* storage steps so far; the one that is cut, 0 none */
    enum sim_cut cut_kind;
    jmp_buf power;
    bool powered; /* `power` is set */
    int fail_puts; /* blob_put fails with WB_EIO this many times */
    long fail_at;  /* the storage step that fails with WB_EIO, changing nothing, 0 none */

    /* Link. */
    bool up, connected, refuse, link_auth_fails, untrusted, store_fails;
    uint64_t renew_at;
    wb_link_kind kind;
    sim_pipe to_gateway, to_device;
    long bytes, link_cut_at; /* bytes that passed in both directions; the link ends at this one, 0 never */
    long link_cut_every;     /* and then after so many more, 0: not again */
    size_t send_most;        /* bytes that link_send takes at once, 0 any */
    unsigned opens;

    /* Modules. */
    sim_module module[SIM_APPS];
    unsigned starts, stops, timers, messages, invokes;
    long telemetry_made, logs_made, traps_made, messages_made;
    char last_topic[64], last_payload[64];
    int kv_seen; /* what the last counting module read */
    int64_t memory_need;
    bool start_fails; /* of any module */

    bool rebooted;
    uint64_t wall, wall_floor;
    bool own_sha; /* the core's own SHA-256, not the port's */
    char last_log[256];

    wb_device *d;
    wb_config cfg;
    void *memory;
} sim;

wb_runtime sim_runtime(sim *s);
void sim_init(sim *s);
void sim_free(sim *s);
/* Power on: a new device in fresh memory on the storage as it is. */
int sim_boot(sim *s);
/* Runs while there is power: false when the cut came, wherever in it that was. */
bool sim_powered(sim *s, void (*run)(void *), void *arg);
/* Power off without a word. */
void sim_drop(sim *s);
/* The script of a module that runs, NULL when none does. */
sim_module *sim_running(sim *s, const char *revision);

/* A valid module: exports wasmbed_start, imports what `imports` names ("log,kv_set"), carries the script, and is padded
 * to `size` bytes when that is more. Returns its length. */
size_t sim_make_module(uint8_t *out, size_t cap, const char *imports, const sim_script *script, size_t size);

void sim_pipe_put(sim_pipe *p, const uint8_t *data, size_t len);
size_t sim_pipe_get(sim_pipe *p, uint8_t *out, size_t cap);
/* Counts bytes that pass and ends the link at the chosen one; how many of them pass. */
size_t sim_pass(sim *s, size_t n);

#endif
