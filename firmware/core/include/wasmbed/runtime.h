/*
 * The engine's side: what a WebAssembly runtime (wazero, WAMR, the tests' fake) gives to the core, and what the core
 * gives to a running module (wb_host_*).
 *
 * The life of an instance:  [core checks the module itself: magic, sections, imports against table and manifest,
 * memory, entry point]  →  memory_need  →  load  →  call(START)  →  call(TIMER|MESSAGE|INVOKE)…  →  call(STOP)
 * →  unload. After load fails, or any call returns WB_ETRAP, the core calls unload and nothing else (unload must
 * bear an instance that was loaded half or not at all). A restart is unload, load, call(START).
 *
 * At most one instance per application is loaded; old and new revision of one application never at once.
 */
#ifndef WASMBED_RUNTIME_H
#define WASMBED_RUNTIME_H

#include "wasmbed/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A running module as the core knows it. Opaque to the engine but for the two accessors. The pointer stays the same
 * from load to unload, and may be the same again for a later load. */
typedef struct wb_instance wb_instance;

/* The engine's own pointer for this instance: set in load, NULL before and after unload (unload resets it). */
void wb_instance_set_engine(wb_instance *inst, void *engine);
void *wb_instance_engine(const wb_instance *inst);
/* Small number of the application (0 … apps-1), for engines that keep a table. */
uint8_t wb_instance_index(const wb_instance *inst);
/* For logs: the names, valid during the call. */
wb_text wb_instance_app(const wb_instance *inst);
wb_text wb_instance_revision(const wb_instance *inst);

/* Limits of the manifest. */
typedef struct wb_limits {
    uint32_t memory_pages;  /* linear memory may not grow beyond; 64 KiB each */
    uint32_t stack;         /* bytes */
    uint32_t call_timeout;  /* ms per call; the engine MUST end a call that runs longer: WB_REASON_TIMEOUT */
    uint64_t instructions;  /* per call, 0: no limit; an engine that cannot count returns WB_EUNSUPPORTED from load */
    uint32_t permissions;   /* wb_permission bits, for information: the core has checked and checks again */
} wb_limits;

/* Where a module's bytes are. Digest-checked just before load. */
typedef struct wb_module {
    uint32_t size;
    uint8_t digest[WB_DIGEST_SIZE];
    const uint8_t *mapped; /* the bytes when the port maps slots, else NULL */
    /* Reads len bytes at offset into buf: 0 or negative. Valid during load and memory_need only. */
    int (*read)(const struct wb_module *m, uint32_t offset, uint8_t *buf, uint32_t len);
    const void *source;    /* the core's */
} wb_module;

/* Why a call ended badly. The engine fills it whenever it returns WB_ETRAP; strings are cut to what fits and end with
 * a zero. */
typedef struct wb_trap {
    wb_reason reason;            /* WB_REASON_TRAP … WB_REASON_DIVIDE_BY_ZERO; from load also NOT_WASM,
                                    MISSING_IMPORT, INSUFFICIENT_MEMORY, UNSUPPORTED */
    char where[WB_TEXT_MAX + 1]; /* function, when known */
    char text[WB_TEXT_MAX + 1];  /* the engine's own words */
} wb_trap;

/* Copies text into a trap, cut and terminated. */
void wb_trap_set(wb_trap *t, wb_reason reason, const char *where, const char *text);

typedef enum wb_entry {
    WB_ENTRY_START = 1,   /* wasmbed_start() -> i32, 0 is good */
    WB_ENTRY_TIMER = 2,   /* wasmbed_timer(id) -> i32 */
    WB_ENTRY_MESSAGE = 3, /* wasmbed_message(topic, topic_len, ptr, len) -> i32 */
    WB_ENTRY_INVOKE = 4,  /* <function>(ptr, len) -> i64, pointer << 32 | length of the answer */
    WB_ENTRY_STOP = 5     /* wasmbed_stop() */
} wb_entry;

typedef struct wb_call {
    wb_entry entry;
    uint32_t timer;    /* TIMER */
    wb_text topic;     /* MESSAGE */
    wb_text function;  /* INVOKE */
    wb_bytes payload;  /* MESSAGE, INVOKE: the engine copies it in through wasmbed_alloc */
    uint32_t timeout;  /* ms for this call, never 0: the manifest's, or less for an invoke with a nearer deadline */
    uint8_t *answer;   /* INVOKE: where the engine copies the answer */
    size_t answer_cap; /* a longer answer: WB_ENOSPC */
    size_t answer_len; /* set by the engine */
    int32_t result;    /* set by the engine: the i32 that the function returned (0 when it returns none) */
} wb_call;

typedef struct wb_runtime {
    void *ctx;
    const char *name; /* for logs, e.g. "wazero" */

    /* RAM in bytes that an instance of it would take (linear memory, stack, the engine's own), 0 when the engine
     * cannot say, negative on error. Optional. The core refuses what exceeds wb_config.module_memory. */
    int64_t (*memory_need)(void *ctx, const wb_module *m, const wb_limits *limits);

    /* Makes an instance; runs no code of it but the wasm start section (under call_timeout). 0; WB_ETRAP with *trap;
     * WB_ENOSPC (memory), WB_EFORMAT (not wasm), WB_EUNSUPPORTED, WB_EIO (could not read). */
    int (*load)(void *ctx, wb_instance *inst, const wb_module *m, const wb_limits *limits, wb_trap *trap);

    /* Calls an entry point and returns when it returned. 0 with c->result; WB_ETRAP with *trap; WB_ENOENT when the
     * module does not export it (never for START: the core has seen it) or not with that type; WB_ENOSPC when
     * wasmbed_alloc returned 0 or the answer is longer than answer_cap (the instance lives on). INVOKE whose
     * function returned an error number instead of an answer: 0 with that number in c->result and answer_len 0. Other negatives
     * are the engine's own failures and are treated as a trap with WB_REASON_TRAP. */
    int (*call)(void *ctx, wb_instance *inst, wb_call *c, wb_trap *trap);

    /* Frees everything of the instance. Also after failures. Never fails. */
    void (*unload)(void *ctx, wb_instance *inst);
} wb_runtime;

/* ---- what a module may import ------------------------------------------------------------------
 *
 * The one table of host functions: docs/spec/abi.md in C. Import module is "wasmbed" for all of them. Types are
 * written "params:results" with i = i32, I = i64, F = f64; pointers are i32. permission 0: always allowed.
 * The core refuses a module that imports anything else (MissingImport), with another type (MissingImport) or
 * without the manifest's permission (PermissionDenied), before an engine sees it.
 */
typedef struct wb_import {
    const char *name;
    const char *type;
    uint32_t permission;
} wb_import;

const wb_import *wb_imports(size_t *count);

/* ---- host functions ----------------------------------------------------------------------------
 *
 * The engine translates pointers (a range outside of linear memory is a trap OUT_OF_BOUNDS and never comes here) and
 * calls these from inside load or call. Each checks the permission again. A negative result goes to the module as
 * it is, as the i32; lengths over the limits give WB_EINVAL. None of them blocks.
 */

/* A line for the log queue and the console. Cut to 200 bytes. No result in the ABI. */
int wb_host_log(wb_instance *inst, uint32_t level, const char *text, size_t len);
/* Unix ms; 0 while no gateway has told the time. */
int64_t wb_host_clock_now(wb_instance *inst);
/* ms since boot. */
int64_t wb_host_clock_uptime(wb_instance *inst);
/* Queues one value; 0, WB_EDENIED, WB_EINVAL (name empty or longer than 63). NaN and infinities cannot travel: they are
 * taken, dropped and counted. */
int wb_host_telemetry(wb_instance *inst, const char *name, size_t name_len, double value);
/* Queues a message to the platform; 0, WB_EDENIED, WB_EINVAL, WB_ENOSPC (never fits). */
int wb_host_message_send(wb_instance *inst, const char *topic, size_t topic_len, const uint8_t *data, size_t len);
/* Reads a value of the application's store; its whole length (may exceed cap: then only cap bytes were written),
 * WB_ENOENT. */
int wb_host_kv_get(wb_instance *inst, const char *key, size_t key_len, uint8_t *buf, size_t cap);
/* Writes a value, durable when it returns 0; len 0 deletes. WB_ENOSPC when the application's store is full. */
int wb_host_kv_set(wb_instance *inst, const char *key, size_t key_len, const uint8_t *data, size_t len);
int wb_host_gpio_read(wb_instance *inst, uint32_t pin);                  /* 0, 1 or negative */
int wb_host_gpio_write(wb_instance *inst, uint32_t pin, uint32_t value); /* 0 or negative */
int wb_host_sensor_read(wb_instance *inst, uint32_t id, double *out);    /* 0 or negative */
/* Calls wasmbed_timer(id) every period ms from now; 0 ends the timer. WB_ENOSPC over WB_TIMERS_MAX. */
int wb_host_timer_set(wb_instance *inst, uint32_t id, uint32_t period_ms);
/* Fills buf. No result in the ABI; the engine traps when this is negative. */
int wb_host_random(wb_instance *inst, uint8_t *buf, size_t len);
/* Reads a value of the manifest's config; its whole length as kv_get, WB_ENOENT. */
int wb_host_config_get(wb_instance *inst, const char *key, size_t key_len, char *buf, size_t cap);

#ifdef __cplusplus
}
#endif
#endif
