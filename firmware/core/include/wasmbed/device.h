/*
 * A Wasmbed device: session with the gateway, module store with two slots per application, lifecycle, queues.
 *
 *     wb_device *d;
 *     if (wb_device_init(&d, &config, &port) < 0) …
 *     for (;;) {
 *         int64_t ms = wb_device_poll(d);
 *         wait until the link is readable, or (wb_device_wait(d) & WB_WAIT_WRITE) it is writable, or ms have passed
 *     }
 *
 * Calling wb_device_poll() too often is harmless, too late costs time only.
 */
#ifndef WASMBED_DEVICE_H
#define WASMBED_DEVICE_H

#include "wasmbed/port.h"
#include "wasmbed/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wb_device wb_device;

/* What the device is and how much it may use. A zero in a field that has a default means that default. Strings and
 * claim are not copied: they must live as long as the device. */
typedef struct wb_config {
    /* All of the core's memory: one block, aligned for uint64_t, of at least wb_device_memory() bytes. */
    void *memory;
    size_t memory_size;

    const char *board;      /* e.g. "Mps2An385"; required */
    const char *firmware;   /* version; required */
    const char *name;       /* the wished device name, or NULL: the platform gives one */
    wb_bytes claim;         /* enrollment claim, or empty */
    const uint8_t *measurement; /* SHA-256 of the firmware image for evidence, WB_DIGEST_SIZE bytes, or NULL: none */

    uint8_t apps;           /* applications at once, 1 … 16; default 2 */
    uint32_t module_size;   /* bytes of a slot; required */
    uint32_t module_memory; /* RAM for one instance, bytes; required */
    uint32_t permissions;   /* wb_permission bits that this board has; 0: all but gpio and sensor */
    uint64_t features;      /* protocol feature bits to offer; 0: all that the core knows */

    uint32_t frame_in;      /* largest body taken, bytes, 2048 … 65536; default 2048. Rx buffer. A command must fit with its
                               manifest, a certificate chain must fit. */
    uint32_t frame_out;     /* largest body sent, bytes, 512 … 65536; default 1024. Tx buffer. A full report must fit: at least
                               160 + 288 * apps */
    uint32_t chunk;         /* module bytes asked for at once; default and maximum frame_in - 96 */
    uint32_t scratch;       /* bytes, 1024 … ; default 1024. Holds a CSR, one app's record, manifest or key-value store; 8
                               bytes are the core's; a manifest or store that is larger is refused. */
    uint32_t telemetry_queue; /* ring of telemetry records, bytes; default 2048 */
    uint32_t log_queue;       /* ring of log lines, bytes; default 1024 */
    uint32_t message_queue;   /* ring of messages from applications, bytes; default 1024 */
    uint32_t trap_queue;      /* ring of traps, bytes; default 512 */
    uint32_t answer;          /* memory for answers of invokes, bytes; default 1024. One answer is at most this and at most
                                 frame_out - 160; the last 8 are kept as long as they fit. */

    uint32_t backoff_min;      /* ms, reconnect; default 1000 */
    uint32_t backoff_max;      /* ms; default 60000 */
    uint32_t connect_timeout;  /* ms for TCP and TLS together; default 20000 */
    uint32_t answer_timeout;   /* ms for the gateway's welcome; default 10000 */
    uint32_t batch_delay;      /* ms that records wait for company; default 1000 */
    uint32_t transfer_timeout; /* ms without a new chunk while connected before a transfer is given up; default 60000 */
    uint32_t max_call_timeout; /* ms; a manifest that asks for more is refused; default 30000 */
    uint32_t restart_delay;    /* ms before a trapped module is started again, doubled each time; default 500 */
} wb_config;

/* Bytes of memory that this configuration needs. `memory` and `memory_size` are not looked at. 0: the configuration
 * cannot be. */
size_t wb_device_memory(const wb_config *config);

/* The same for a static buffer: an upper bound that is a constant expression. */
#define WB_MEMORY_FIXED 2816u
#define WB_MEMORY_APP 1280u
#define WB_MEMORY(apps, frame_in, frame_out, scratch, queues, answer)                                                \
    (WB_MEMORY_FIXED + (apps) * WB_MEMORY_APP + (frame_in) + (frame_out) + (scratch) + (queues) + (answer))

/* Starts a device in config->memory from what the storage holds. Touches no network yet. WB_EINVAL, WB_ENOSPC
 * (memory_size), WB_EIO (entropy, storage). */
int wb_device_init(wb_device **out, const wb_config *config, const wb_port *port);

/* Does all that can be done without waiting, and says in how many ms it wants to be called again (>= 0). Runs modules:
 * a call takes as long as the module runs, at most its call timeout. */
int64_t wb_device_poll(wb_device *d);

/* Says goodbye if that needs no waiting, stops every module and closes the link. Storage stays as it is: the next
 * init goes on. */
void wb_device_deinit(wb_device *d);

/* What to wait for besides time. */
#define WB_WAIT_READ 1u
#define WB_WAIT_WRITE 2u
uint32_t wb_device_wait(const wb_device *d);

/* ---- looking at it: tests, consoles, a host's status line ------------------------------------------------ */

typedef enum wb_session_state {
    WB_SESSION_WAITING = 0,    /* for the back-off to pass */
    WB_SESSION_CONNECTING = 1,
    WB_SESSION_HELLO = 2,      /* hello sent */
    WB_SESSION_ENROLLING = 3,  /* enroll sent, or pending and waiting to ask again */
    WB_SESSION_ACTIVE = 4
} wb_session_state;

typedef struct wb_app_info {
    char name[WB_NAME_MAX + 1];
    wb_state state;
    char revision[WB_REVISION_MAX + 1]; /* that state speaks of */
    uint64_t attempt;
    char running[WB_REVISION_MAX + 1];  /* that executes, or "" */
    bool confirmed;
    wb_reason reason;
    char text[WB_TEXT_MAX + 1];
    uint32_t restarts;
    uint32_t progress;
    uint32_t traps;
} wb_app_info;

typedef struct wb_stats {
    wb_session_state session;
    bool enrolled;           /* the live session is one of an enrolled device */
    uint64_t epoch;          /* of the live session */
    wb_reason enroll_reason; /* why the last enrollment was pending or rejected */
    uint32_t connects;       /* links that were opened */
    uint32_t sessions;       /* welcomes received */
    uint32_t frames_in, frames_out;
    uint32_t bad_frames;     /* refused by us */
    uint32_t chunks;         /* chunks written */
    uint32_t traps;          /* since boot */
    uint32_t dropped;        /* records dropped since boot because a ring was full */
    uint32_t queued;         /* records in the rings now */
    uint32_t telemetry_acked, logs_acked, traps_acked; /* records, since boot */
    uint64_t seen_desired;
    int last_error;          /* why the last link ended, wb_error */
    uint8_t last_code;       /* wire error code of the last frame that we refused */
} wb_stats;

void wb_device_stats(const wb_device *d, wb_stats *out);
/* The index-th application slot: 0 … apps-1; WB_ENOENT when it is free. */
int wb_device_app(const wb_device *d, uint8_t index, wb_app_info *out);
/* By name. */
int wb_device_app_find(const wb_device *d, const char *name, wb_app_info *out);
void wb_device_boot_id(const wb_device *d, uint8_t out[WB_BOOT_ID_SIZE]);
void wb_device_state_digest(wb_device *d, uint8_t out[WB_STATE_DIGEST_SIZE]);
/* Unix ms as the device knows it, 0 when it does not. */
uint64_t wb_device_wall(const wb_device *d);

#ifdef __cplusplus
}
#endif
#endif
