/*
 * The messages of protocol/SPEC.md, one struct each, and their codec. Decoding is strict (CBOR layer first, then the
 * schema) and copies nothing: texts, bytes and lists point into the body.
 *
 * Both directions are in the tables, so that tests and fuzzers can play the gateway.
 */
#ifndef WB_CODEC_H
#define WB_CODEC_H

#include "cbor.h"
#include "wasmbed/types.h"

#define WB_HEADER_SIZE 4      /* big-endian length of the body */
#define WB_FRAME_PREAUTH 4096 /* what a gateway takes until its welcome with enrolled = true */
#define WB_FRAME_MIN 2048     /* least cap that either side may announce */
#define WB_FRAME_MAX 65536
#define WB_PROTOCOL_VERSION 1
#define WB_ABI_VERSION 1

/* Limits of fields, bytes (protocol/limits.go has the same numbers). */
#define WB_BOARD_MAX 32
#define WB_FIRMWARE_MAX 64
#define WB_WIRE_TEXT_MAX 256
#define WB_WHERE_MAX 128
#define WB_PERMISSIONS_MAX 16
#define WB_PERMISSION_MAX 32
#define WB_APPS_MAX 16
#define WB_CONFIG_MAX 32
#define WB_CONFIG_KEY_MAX 64
#define WB_CONFIG_VALUE_MAX 256
#define WB_RECORDS_MAX 256
#define WB_METRIC_MAX 64
#define WB_TOPIC_MAX 128
#define WB_FUNCTION_MAX 64
#define WB_PAYLOAD_MAX 16384
#define WB_CHUNK_MIN 64
#define WB_CHUNK_MAX 32768
#define WB_MODULE_MAX (1u << 24)
#define WB_CSR_MAX 2048
#define WB_CHAIN_MAX 4
#define WB_CERTIFICATE_MAX 4096
#define WB_CLAIM_MAX 64
#define WB_SIGNATURE_MAX 512
#define WB_MEMORY_PAGES_MAX 1024
#define WB_NONCE_SIZE 32

enum wb_type {
    WB_HELLO = 1,
    WB_WELCOME = 2,
    WB_ERROR_FRAME = 3,
    WB_GOODBYE = 4,
    WB_ENROLL = 5,
    WB_ENROLL_RESULT = 6,
    WB_RENEW = 7,
    WB_HEARTBEAT = 10,
    WB_HEARTBEAT_ACK = 11,
    WB_ACK = 12,
    WB_COMMAND = 20,
    WB_COMMAND_RESULT = 21,
    WB_CHUNK_REQUEST = 22,
    WB_CHUNK = 23,
    WB_REPORT = 30,
    WB_REPORT_REQUEST = 31,
    WB_TRAP_FRAME = 32,
    WB_TELEMETRY = 40,
    WB_LOGS = 41,
    WB_INVOKE = 50,
    WB_INVOKE_RESULT = 51,
    WB_MESSAGE_DOWN = 52,
    WB_MESSAGE_UP = 53
};

enum wb_feature {
    WB_FEATURE_INVOKE = 1u << 0,
    WB_FEATURE_MESSAGES = 1u << 1,
    WB_FEATURE_TELEMETRY = 1u << 2,
    WB_FEATURE_LOGS = 1u << 3,
    WB_FEATURE_RENEW = 1u << 4,
    WB_FEATURE_ATTEST = 1u << 5
};

enum wb_code {
    WB_CODE_FRAME = 1,
    WB_CODE_CBOR = 2,
    WB_CODE_SCHEMA = 3,
    WB_CODE_UNKNOWN_TYPE = 4,
    WB_CODE_STATE = 5,
    WB_CODE_AUTH = 6,
    WB_CODE_VERSION = 7,
    WB_CODE_NOT_FOUND = 8,
    WB_CODE_BUSY = 9,
    WB_CODE_INTERNAL = 10
};

enum wb_goodbye_reason {
    WB_GOODBYE_SHUTDOWN = 1,
    WB_GOODBYE_DRAIN = 2,
    WB_GOODBYE_SUPERSEDED = 3,
    WB_GOODBYE_REVOKED = 4,
    WB_GOODBYE_EXPIRED = 5,
    WB_GOODBYE_PROTOCOL = 6,
    WB_GOODBYE_IDLE = 7,
    WB_GOODBYE_ENROLLED = 8,
    WB_GOODBYE_BUSY = 9
};

enum wb_enroll_status { WB_ENROLL_ACCEPTED = 1, WB_ENROLL_PENDING = 2, WB_ENROLL_REJECTED = 3 };

enum wb_verb {
    WB_VERB_DEPLOY = 1,
    WB_VERB_UPDATE = 2,
    WB_VERB_START = 3,
    WB_VERB_STOP = 4,
    WB_VERB_REMOVE = 5,
    WB_VERB_ROLLBACK = 6,
    WB_VERB_REBOOT = 7
};

enum wb_command_status {
    WB_COMMAND_ACCEPTED = 1,
    WB_COMMAND_DONE = 2,
    WB_COMMAND_REFUSED = 3,
    WB_COMMAND_FAILED = 4
};

/* The elements of an array, or the pairs of a map. Decoded: `data` is their encoding, one after the other. To encode,
 * either that, or `emit`, which writes exactly `count` of them. */
typedef struct wb_items {
    size_t count;
    wb_bytes data;
    void (*emit)(wb_writer *w, const void *ctx);
    const void *ctx;
} wb_items;

typedef struct wb_capabilities {
    uint32_t module_memory, module_size, chunk, frame;
    uint8_t apps, abi;
    wb_items permissions; /* text */
} wb_capabilities;

typedef struct wb_hello {
    wb_bytes versions;
    uint64_t features;
    wb_bytes boot_id;
    wb_text board, firmware;
    wb_capabilities capabilities;
    wb_bytes era;
    uint64_t seen_desired;
    wb_bytes state_digest;
} wb_hello;

typedef struct wb_welcome {
    uint64_t refers;
    uint8_t version;
    uint64_t features, time;
    uint32_t heartbeat;
    uint64_t epoch;
    wb_bytes era;
    uint32_t frame;
    wb_bytes nonce;
    bool enrolled;
    uint64_t renew_before;
} wb_welcome;

typedef struct wb_error_frame {
    uint64_t refers;
    uint8_t code;
    wb_text text;
} wb_error_frame;

typedef struct wb_goodbye {
    uint8_t reason;
    uint32_t retry_after;
    wb_text text;
} wb_goodbye;

typedef struct wb_evidence {
    bool present;
    uint8_t format;
    wb_bytes nonce, measurement, signature;
} wb_evidence;

typedef struct wb_enroll {
    wb_bytes csr;
    wb_text name;
    wb_bytes claim;
    wb_evidence evidence;
} wb_enroll;

typedef struct wb_enroll_result {
    uint64_t refers;
    uint8_t status;
    wb_items chain; /* bytes */
    uint8_t reason;
    uint32_t retry_after;
    wb_text text;
} wb_enroll_result;

typedef struct wb_renew {
    wb_bytes csr;
} wb_renew;

typedef struct wb_heartbeat {
    uint64_t uptime;
    uint32_t free_memory;
    wb_bytes state_digest;
    uint32_t queued, dropped;
} wb_heartbeat;

typedef struct wb_heartbeat_ack {
    uint64_t refers, time;
} wb_heartbeat_ack;

typedef struct wb_ack {
    uint64_t refers;
} wb_ack;

typedef struct wb_manifest {
    bool present;
    uint32_t memory_pages, stack, call_timeout;
    uint64_t instructions;
    wb_items permissions; /* text */
    wb_items config;      /* text, text */
    wb_items timers;      /* wb_timer_item */
    uint32_t health_window, max_traps, trap_period;
    wb_bytes signature;
    uint64_t sequence;
    wb_bytes raw; /* set by decoding: its whole encoding */
} wb_manifest;

typedef struct wb_timer_item {
    uint32_t id, period;
} wb_timer_item;

typedef struct wb_command {
    wb_bytes command;
    uint8_t verb;
    wb_text app, revision;
    uint64_t attempt;
    wb_bytes digest;
    uint32_t size;
    wb_manifest manifest;
    wb_bytes era;
    uint64_t desired;
    uint32_t deadline;
} wb_command;

typedef struct wb_command_result {
    uint64_t refers;
    wb_bytes command;
    uint8_t status, reason;
    wb_text text;
} wb_command_result;

typedef struct wb_chunk_request {
    wb_bytes digest;
    uint32_t offset, length;
} wb_chunk_request;

typedef struct wb_chunk {
    uint64_t refers;
    wb_bytes digest;
    uint32_t offset;
    wb_bytes data;
    uint32_t total;
} wb_chunk;

typedef struct wb_report {
    uint64_t version;
    bool full;
    wb_bytes era;
    uint64_t seen_desired;
    wb_items apps;    /* text, wb_app_state */
    wb_items removed; /* text */
    wb_bytes state_digest;
} wb_report;

typedef struct wb_app_state {
    uint8_t state;
    wb_text revision;
    uint64_t attempt;
    wb_text running;
    bool confirmed;
    uint8_t reason;
    wb_text text;
    uint32_t restarts, progress, traps;
} wb_app_state;

typedef struct wb_trap_frame {
    uint64_t seq;
    wb_text app, revision;
    uint8_t reason;
    wb_text where, text;
} wb_trap_frame;

/* Telemetry and logs. */
typedef struct wb_records {
    uint64_t seq;
    wb_items records;
} wb_records;

typedef struct wb_telemetry_record {
    uint64_t time;
    wb_text app, name;
    double value;
} wb_telemetry_record;

typedef struct wb_log_record {
    uint64_t time;
    wb_text app;
    uint8_t level;
    wb_text text;
} wb_log_record;

typedef struct wb_invoke {
    wb_bytes command;
    wb_text app, function;
    wb_bytes payload;
    uint32_t deadline;
} wb_invoke;

typedef struct wb_invoke_result {
    uint64_t refers;
    wb_bytes command;
    uint8_t status, reason;
    wb_bytes payload;
    wb_text text;
} wb_invoke_result;

typedef struct wb_message {
    wb_text app, topic;
    wb_bytes payload;
    uint64_t seq; /* up only */
} wb_message;

typedef struct wb_msg {
    uint8_t type; /* enum wb_type */
    uint64_t id;
    union {
        wb_hello hello;
        wb_welcome welcome;
        wb_error_frame error;
        wb_goodbye goodbye;
        wb_enroll enroll;
        wb_enroll_result enroll_result;
        wb_renew renew;
        wb_heartbeat heartbeat;
        wb_heartbeat_ack heartbeat_ack;
        wb_ack ack;
        wb_command command;
        wb_command_result command_result;
        wb_chunk_request chunk_request;
        wb_chunk chunk;
        wb_report report;
        wb_trap_frame trap;
        wb_records records;
        wb_invoke invoke;
        wb_invoke_result invoke_result;
        wb_message message;
    } u;
} wb_msg;

/* Reads one body. 0, or an error code of the wire (enum wb_code, positive): CBOR, SCHEMA or UNKNOWN_TYPE; m->type and m->id
 * are then what could be read of them, else 0. */
int wb_decode(const uint8_t *body, size_t len, wb_msg *m);

/* Writes one whole frame, header included, into buf; returns its length, WB_ENOSPC when it does not fit, WB_EINVAL when
 * the message breaks a rule of the SPEC. */
int wb_encode(const wb_msg *m, uint8_t *buf, size_t cap);

/* Elements of lists, one at a time from a reader over items.data. 0 or WB_EFORMAT. */
int wb_item_timer(wb_reader *r, wb_timer_item *out);
int wb_item_app_state(wb_reader *r, wb_text *name, wb_app_state *out);
int wb_item_telemetry(wb_reader *r, wb_telemetry_record *out);
int wb_item_log(wb_reader *r, wb_log_record *out);
/* Writers of elements: the caller has checked the fields. */
void wb_put_app_state(wb_writer *w, wb_text name, const wb_app_state *s);
void wb_put_telemetry(wb_writer *w, const wb_telemetry_record *t);
void wb_put_log(wb_writer *w, const wb_log_record *l);

/* A manifest alone, as it is kept in storage. 0 or WB_EFORMAT. */
int wb_decode_manifest(wb_bytes raw, wb_manifest *out);

/* Whether text is a name: a-z, 0-9, '-' and '.', a letter or digit at both ends. */
bool wb_name_valid(wb_text t);

#endif
