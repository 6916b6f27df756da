/*
 * Types that the core, its ports and its runtimes share: error codes, byte views, and the closed sets of
 * the device protocol (protocol/SPEC.md; the numbers are the wire's and are never reused).
 *
 * The core is C99, uses no header beyond stdint, stddef, stdbool and string, and never allocates. Everything runs
 * on one thread: whoever calls wb_device_poll() also runs every callback, and every wb_host_*() call comes
 * from inside a runtime's callback.
 */
#ifndef WASMBED_TYPES_H
#define WASMBED_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Errors are negative, success is 0 or a count. A port returns one of these, never an errno. */
enum wb_error {
    WB_OK = 0,
    WB_EINVAL = -1,       /* an argument or a configuration that cannot be */
    WB_ENOSPC = -2,       /* a buffer or the storage is too small */
    WB_ENOENT = -3,       /* no such blob, export, sensor */
    WB_EIO = -4,          /* the storage or the hardware failed */
    WB_EAGAIN = -5,       /* would block: ask again after the next poll */
    WB_ECLOSED = -6,      /* the peer or the network closed the link */
    WB_EDENIED = -7,      /* the manifest does not permit it */
    WB_ETRAP = -8,        /* the module faulted; see wb_trap */
    WB_EUNSUPPORTED = -9, /* this port or board does not have it */
    WB_EFORMAT = -10,     /* bytes that are not what they should be */
    WB_EAUTH = -11,       /* the peer's or our own certificate was refused */
    WB_ETIMEOUT = -12,
    WB_ECORRUPT = -13     /* stored data whose checksum does not fit */
};

/* A view of bytes that belong to somebody else. data may be NULL when len is 0. */
typedef struct wb_bytes {
    const uint8_t *data;
    size_t len;
} wb_bytes;

/* A view of UTF-8 text, not terminated by a zero. */
typedef struct wb_text {
    const char *data;
    size_t len;
} wb_text;

#define WB_DIGEST_SIZE 32  /* SHA-256 */
#define WB_COMMAND_SIZE 8  /* a command's id */
#define WB_BOOT_ID_SIZE 8
#define WB_ERA_SIZE 8
#define WB_STATE_DIGEST_SIZE 8
#define WB_NAME_MAX 63     /* application names, bytes */
#define WB_REVISION_MAX 80 /* revision names, bytes */
#define WB_TEXT_MAX 63     /* texts of traps and states that the device keeps, bytes; longer ones are cut */
#define WB_TIMERS_MAX 8    /* timers per application */
#define WB_PAGE_SIZE 65536u

/* Instance states (wire numbers). */
typedef enum wb_state {
    WB_STATE_NONE = 0, /* never on the wire: no such application */
    WB_STATE_FETCHING = 1,
    WB_STATE_STAGED = 2,
    WB_STATE_STARTING = 3,
    WB_STATE_RUNNING = 4,
    WB_STATE_STOPPING = 5,
    WB_STATE_STOPPED = 6,
    WB_STATE_FAILED = 7,     /* nothing executes */
    WB_STATE_ROLLED_BACK = 8 /* the revision was given up, another one executes */
} wb_state;

/* Causes (wire numbers). The words are protocol.Reason's. */
typedef enum wb_reason {
    WB_REASON_NONE = 0,
    WB_REASON_TRAP = 1,
    WB_REASON_OUT_OF_BOUNDS = 2,
    WB_REASON_STACK_OVERFLOW = 3,
    WB_REASON_TIMEOUT = 4,
    WB_REASON_INSTRUCTION_LIMIT = 5,
    WB_REASON_DIVIDE_BY_ZERO = 6,
    WB_REASON_TRAP_LOOP = 7,
    WB_REASON_DIGEST_MISMATCH = 8,
    WB_REASON_NOT_WASM = 9,
    WB_REASON_MISSING_IMPORT = 10,
    WB_REASON_PERMISSION_DENIED = 11,
    WB_REASON_INSUFFICIENT_MEMORY = 12,
    WB_REASON_MODULE_TOO_LARGE = 13,
    WB_REASON_STORAGE_FULL = 14,
    WB_REASON_STORAGE_ERROR = 15,
    WB_REASON_TRANSFER_TIMEOUT = 16,
    WB_REASON_NO_ENTRY_POINT = 17,
    WB_REASON_EXIT = 18,
    WB_REASON_TOO_MANY_APPS = 19,
    WB_REASON_UNSUPPORTED = 20,
    WB_REASON_UNKNOWN_APP = 21,
    WB_REASON_DEADLINE_EXCEEDED = 22,
    WB_REASON_UNREACHABLE_DEVICE = 23,
    WB_REASON_POWER_LOSS = 24,
    WB_REASON_NOT_PAIRED = 30,
    WB_REASON_CLAIM_INVALID = 31,
    WB_REASON_NAME_TAKEN = 32,
    WB_REASON_KEY_MISMATCH = 33,
    WB_REASON_ATTESTATION_FAILED = 34,
    WB_REASON_REJECTED = 35,
    WB_REASON_REVOKED = 36,
    WB_REASON_AWAITING_APPROVAL = 37,
    WB_REASON_BAD_REQUEST = 38
} wb_reason;

/* Log levels (wire numbers). */
typedef enum wb_level { WB_DEBUG = 1, WB_INFO = 2, WB_WARNING = 3, WB_ERROR = 4 } wb_level;

/* Permissions: groups of host functions. A bit set; the names are those of the manifest. */
enum wb_permission {
    WB_PERMIT_LOG = 1u << 0,       /* "log" */
    WB_PERMIT_CLOCK = 1u << 1,     /* "clock" */
    WB_PERMIT_TELEMETRY = 1u << 2, /* "telemetry" */
    WB_PERMIT_MESSAGE = 1u << 3,   /* "message" */
    WB_PERMIT_KV = 1u << 4,        /* "kv" */
    WB_PERMIT_GPIO = 1u << 5,      /* "gpio" */
    WB_PERMIT_SENSOR = 1u << 6,    /* "sensor" */
    WB_PERMIT_TIMER = 1u << 7,     /* "timer" */
    WB_PERMIT_RANDOM = 1u << 8     /* "random" */
};

/* The manifest word of one permission bit, or NULL; the bit of a word, or 0. */
const char *wb_permission_name(uint32_t bit);
uint32_t wb_permission_bit(const char *name, size_t len);

/* The word of a state or reason as the platform spells it ("RolledBack"), "Unknown" for other numbers. */
const char *wb_state_name(wb_state s);
const char *wb_reason_name(wb_reason r);
const char *wb_error_name(int error);

#ifdef __cplusplus
}
#endif
#endif
