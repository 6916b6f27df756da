#include "schema.h"

#include <string.h>

#define REQ 1
#define OPT 0
#define F(type, member) ((uint16_t)offsetof(type, member))

static const wb_field hello[] = {
    {2, WB_K_BYTES, REQ, 0, F(wb_hello, versions), 1, 8},
    {3, WB_K_U64, OPT, 0, F(wb_hello, features), 0, WB_ANY},
    {4, WB_K_BYTES, REQ, 0, F(wb_hello, boot_id), 8, 8},
    {5, WB_K_TEXT, REQ, 0, F(wb_hello, board), 1, WB_BOARD_MAX},
    {6, WB_K_TEXT, REQ, 0, F(wb_hello, firmware), 1, WB_FIRMWARE_MAX},
    {7, WB_K_STRUCT, REQ, WB_SUB_CAPABILITIES, F(wb_hello, capabilities), 0, 0},
    {8, WB_K_BYTES, OPT, 0, F(wb_hello, era), WB_ERA_SIZE, WB_ERA_SIZE},
    {9, WB_K_U64, OPT, 0, F(wb_hello, seen_desired), 0, WB_ANY},
    {10, WB_K_BYTES, OPT, 0, F(wb_hello, state_digest), 8, 8},
};

static const wb_field capabilities[] = {
    {1, WB_K_U32, REQ, 0, F(wb_capabilities, module_memory), 0, WB_ANY},
    {2, WB_K_U32, REQ, 0, F(wb_capabilities, module_size), 0, WB_ANY},
    {3, WB_K_U32, REQ, 0, F(wb_capabilities, chunk), WB_CHUNK_MIN, WB_CHUNK_MAX},
    {4, WB_K_U32, REQ, 0, F(wb_capabilities, frame), WB_FRAME_MIN, WB_FRAME_MAX},
    {5, WB_K_U8, REQ, 0, F(wb_capabilities, apps), 1, WB_APPS_MAX},
    {6, WB_K_U8, REQ, 0, F(wb_capabilities, abi), 1, 255},
    {7, WB_K_LIST, OPT, WB_EL_PERMISSION, F(wb_capabilities, permissions), 0, WB_PERMISSIONS_MAX},
};

static const wb_field welcome[] = {
    {2, WB_K_U64, REQ, 0, F(wb_welcome, refers), 1, WB_ANY},
    {3, WB_K_U8, REQ, 0, F(wb_welcome, version), 1, 255},
    {4, WB_K_U64, OPT, 0, F(wb_welcome, features), 0, WB_ANY},
    {5, WB_K_U64, REQ, 0, F(wb_welcome, time), 1, WB_ANY},
    {6, WB_K_U32, REQ, 0, F(wb_welcome, heartbeat), 100, 3600000},
    {7, WB_K_U64, OPT, 0, F(wb_welcome, epoch), 0, WB_ANY},
    {8, WB_K_BYTES, OPT, 0, F(wb_welcome, era), WB_ERA_SIZE, WB_ERA_SIZE},
    {9, WB_K_U32, REQ, 0, F(wb_welcome, frame), WB_FRAME_MIN, WB_FRAME_MAX},
    {10, WB_K_BYTES, OPT, 0, F(wb_welcome, nonce), WB_NONCE_SIZE, WB_NONCE_SIZE},
    {11, WB_K_BOOL, REQ, 0, F(wb_welcome, enrolled), 0, 0},
    {12, WB_K_U64, OPT, 0, F(wb_welcome, renew_before), 0, WB_ANY},
};

static const wb_field error_frame[] = {
    {2, WB_K_U64, OPT, 0, F(wb_error_frame, refers), 1, WB_ANY},
    {3, WB_K_U8, REQ, 0, F(wb_error_frame, code), 1, 255},
    {4, WB_K_TEXT, OPT, 0, F(wb_error_frame, text), 0, WB_WIRE_TEXT_MAX},
};

static const wb_field goodbye[] = {
    {2, WB_K_U8, REQ, 0, F(wb_goodbye, reason), 1, 255},
    {3, WB_K_U32, OPT, 0, F(wb_goodbye, retry_after), 0, WB_ANY},
    {4, WB_K_TEXT, OPT, 0, F(wb_goodbye, text), 0, WB_WIRE_TEXT_MAX},
};

static const wb_field enroll[] = {
    {2, WB_K_BYTES, REQ, 0, F(wb_enroll, csr), 1, WB_CSR_MAX},
    {3, WB_K_NAME, OPT, 0, F(wb_enroll, name), 1, WB_NAME_MAX},
    {4, WB_K_BYTES, OPT, 0, F(wb_enroll, claim), 1, WB_CLAIM_MAX},
    {5, WB_K_STRUCT, OPT, WB_SUB_EVIDENCE, F(wb_enroll, evidence), 0, 0},
};

static const wb_field evidence[] = {
    {1, WB_K_U8, REQ, 0, F(wb_evidence, format), 1, 255},
    {2, WB_K_BYTES, REQ, 0, F(wb_evidence, nonce), WB_NONCE_SIZE, WB_NONCE_SIZE},
    {3, WB_K_BYTES, REQ, 0, F(wb_evidence, measurement), WB_DIGEST_SIZE, WB_DIGEST_SIZE},
    {4, WB_K_BYTES, REQ, 0, F(wb_evidence, signature), 1, WB_SIGNATURE_MAX},
};

static const wb_field enroll_result[] = {
    {2, WB_K_U64, REQ, 0, F(wb_enroll_result, refers), 1, WB_ANY},
    {3, WB_K_U8, REQ, 0, F(wb_enroll_result, status), WB_ENROLL_ACCEPTED, WB_ENROLL_REJECTED},
    {4, WB_K_LIST, OPT, WB_EL_CERTIFICATE, F(wb_enroll_result, chain), 0, WB_CHAIN_MAX},
    {5, WB_K_U8, OPT, 0, F(wb_enroll_result, reason), 0, 255},
    {6, WB_K_U32, OPT, 0, F(wb_enroll_result, retry_after), 0, WB_ANY},
    {7, WB_K_TEXT, OPT, 0, F(wb_enroll_result, text), 0, WB_WIRE_TEXT_MAX},
};

static const wb_field renew[] = {
    {2, WB_K_BYTES, REQ, 0, F(wb_renew, csr), 1, WB_CSR_MAX},
};

static const wb_field heartbeat[] = {
    {2, WB_K_U64, REQ, 0, F(wb_heartbeat, uptime), 0, WB_ANY},
    {3, WB_K_U32, REQ, 0, F(wb_heartbeat, free_memory), 0, WB_ANY},
    {4, WB_K_BYTES, REQ, 0, F(wb_heartbeat, state_digest), 8, 8},
    {5, WB_K_U32, OPT, 0, F(wb_heartbeat, queued), 0, WB_ANY},
    {6, WB_K_U32, OPT, 0, F(wb_heartbeat, dropped), 0, WB_ANY},
};

static const wb_field heartbeat_ack[] = {
    {2, WB_K_U64, REQ, 0, F(wb_heartbeat_ack, refers), 1, WB_ANY},
    {3, WB_K_U64, REQ, 0, F(wb_heartbeat_ack, time), 1, WB_ANY},
};

static const wb_field ack[] = {
    {2, WB_K_U64, REQ, 0, F(wb_ack, refers), 1, WB_ANY},
};

static const wb_field command[] = {
    {2, WB_K_BYTES, REQ, 0, F(wb_command, command), WB_COMMAND_SIZE, WB_COMMAND_SIZE},
    {3, WB_K_U8, REQ, 0, F(wb_command, verb), 1, 255},
    {4, WB_K_NAME, OPT, 0, F(wb_command, app), 1, WB_NAME_MAX},
    {5, WB_K_NAME, OPT, 0, F(wb_command, revision), 1, WB_REVISION_MAX},
    {6, WB_K_U64, OPT, 0, F(wb_command, attempt), 0, WB_ANY},
    {7, WB_K_BYTES, OPT, 0, F(wb_command, digest), WB_DIGEST_SIZE, WB_DIGEST_SIZE},
    {8, WB_K_U32, OPT, 0, F(wb_command, size), 1, WB_MODULE_MAX},
    {9, WB_K_STRUCT, OPT, WB_SUB_MANIFEST, F(wb_command, manifest), 0, 0},
    {10, WB_K_BYTES, OPT, 0, F(wb_command, era), WB_ERA_SIZE, WB_ERA_SIZE},
    {11, WB_K_U64, OPT, 0, F(wb_command, desired), 0, WB_ANY},
    {12, WB_K_U32, OPT, 0, F(wb_command, deadline), 0, WB_ANY},
};

static const wb_field manifest[] = {
    {1, WB_K_U32, REQ, 0, F(wb_manifest, memory_pages), 0, WB_MEMORY_PAGES_MAX},
    {2, WB_K_U32, REQ, 0, F(wb_manifest, stack), 0, WB_ANY},
    {3, WB_K_U32, REQ, 0, F(wb_manifest, call_timeout), 1, WB_ANY},
    {4, WB_K_U64, OPT, 0, F(wb_manifest, instructions), 0, WB_ANY},
    {5, WB_K_LIST, OPT, WB_EL_PERMISSION, F(wb_manifest, permissions), 0, WB_PERMISSIONS_MAX},
    {6, WB_K_MAP, OPT, WB_EL_CONFIG, F(wb_manifest, config), 0, WB_CONFIG_MAX},
    {7, WB_K_LIST, OPT, WB_EL_TIMER, F(wb_manifest, timers), 0, WB_TIMERS_MAX},
    {8, WB_K_U32, REQ, 0, F(wb_manifest, health_window), 0, WB_ANY},
    {9, WB_K_U32, REQ, 0, F(wb_manifest, max_traps), 1, WB_ANY},
    {10, WB_K_U32, REQ, 0, F(wb_manifest, trap_period), 1, WB_ANY},
    {11, WB_K_BYTES, OPT, 0, F(wb_manifest, signature), 1, WB_SIGNATURE_MAX},
    {12, WB_K_U64, OPT, 0, F(wb_manifest, sequence), 0, WB_ANY},
};

static const wb_field timer[] = {
    {1, WB_K_U32, REQ, 0, F(wb_timer_item, id), 0, WB_ANY},
    {2, WB_K_U32, REQ, 0, F(wb_timer_item, period), 1, WB_ANY},
};

static const wb_field command_result[] = {
    {2, WB_K_U64, OPT, 0, F(wb_command_result, refers), 1, WB_ANY},
    {3, WB_K_BYTES, REQ, 0, F(wb_command_result, command), WB_COMMAND_SIZE, WB_COMMAND_SIZE},
    {4, WB_K_U8, REQ, 0, F(wb_command_result, status), WB_COMMAND_ACCEPTED, WB_COMMAND_FAILED},
    {5, WB_K_U8, OPT, 0, F(wb_command_result, reason), 0, 255},
    {6, WB_K_TEXT, OPT, 0, F(wb_command_result, text), 0, WB_WIRE_TEXT_MAX},
};

static const wb_field chunk_request[] = {
    {2, WB_K_BYTES, REQ, 0, F(wb_chunk_request, digest), WB_DIGEST_SIZE, WB_DIGEST_SIZE},
    {3, WB_K_U32, REQ, 0, F(wb_chunk_request, offset), 0, WB_MODULE_MAX},
    {4, WB_K_U32, REQ, 0, F(wb_chunk_request, length), 1, WB_CHUNK_MAX},
};

static const wb_field chunk[] = {
    {2, WB_K_U64, REQ, 0, F(wb_chunk, refers), 1, WB_ANY},
    {3, WB_K_BYTES, REQ, 0, F(wb_chunk, digest), WB_DIGEST_SIZE, WB_DIGEST_SIZE},
    {4, WB_K_U32, REQ, 0, F(wb_chunk, offset), 0, WB_MODULE_MAX},
    {5, WB_K_BYTES, REQ, 0, F(wb_chunk, data), 1, WB_CHUNK_MAX},
    {6, WB_K_U32, REQ, 0, F(wb_chunk, total), 1, WB_MODULE_MAX},
};

static const wb_field report[] = {
    {2, WB_K_U64, REQ, 0, F(wb_report, version), 1, WB_ANY},
    {3, WB_K_BOOL, REQ, 0, F(wb_report, full), 0, 0},
    {4, WB_K_BYTES, OPT, 0, F(wb_report, era), WB_ERA_SIZE, WB_ERA_SIZE},
    {5, WB_K_U64, OPT, 0, F(wb_report, seen_desired), 0, WB_ANY},
    {6, WB_K_MAP, OPT, WB_EL_APP, F(wb_report, apps), 0, WB_APPS_MAX},
    {7, WB_K_LIST, OPT, WB_EL_REMOVED, F(wb_report, removed), 0, WB_APPS_MAX},
    {8, WB_K_BYTES, REQ, 0, F(wb_report, state_digest), 8, 8},
};

static const wb_field app_state[] = {
    {1, WB_K_U8, REQ, 0, F(wb_app_state, state), WB_STATE_FETCHING, WB_STATE_ROLLED_BACK},
    {2, WB_K_NAME, REQ, 0, F(wb_app_state, revision), 1, WB_REVISION_MAX},
    {3, WB_K_U64, OPT, 0, F(wb_app_state, attempt), 0, WB_ANY},
    {4, WB_K_NAME, OPT, 0, F(wb_app_state, running), 1, WB_REVISION_MAX},
    {5, WB_K_BOOL, OPT, 0, F(wb_app_state, confirmed), 0, 0},
    {6, WB_K_U8, OPT, 0, F(wb_app_state, reason), 0, 255},
    {7, WB_K_TEXT, OPT, 0, F(wb_app_state, text), 0, WB_WIRE_TEXT_MAX},
    {8, WB_K_U32, OPT, 0, F(wb_app_state, restarts), 0, WB_ANY},
    {9, WB_K_U32, OPT, 0, F(wb_app_state, progress), 0, WB_ANY},
    {10, WB_K_U32, OPT, 0, F(wb_app_state, traps), 0, WB_ANY},
};

static const wb_field trap[] = {
    {2, WB_K_U64, REQ, 0, F(wb_trap_frame, seq), 1, WB_ANY},
    {3, WB_K_NAME, REQ, 0, F(wb_trap_frame, app), 1, WB_NAME_MAX},
    {4, WB_K_NAME, REQ, 0, F(wb_trap_frame, revision), 1, WB_REVISION_MAX},
    {5, WB_K_U8, REQ, 0, F(wb_trap_frame, reason), 1, 255},
    {6, WB_K_TEXT, OPT, 0, F(wb_trap_frame, where), 0, WB_WHERE_MAX},
    {7, WB_K_TEXT, OPT, 0, F(wb_trap_frame, text), 0, WB_WIRE_TEXT_MAX},
};

static const wb_field telemetry[] = {
    {2, WB_K_U64, REQ, 0, F(wb_records, seq), 1, WB_ANY},
    {3, WB_K_LIST, REQ, WB_EL_TELEMETRY, F(wb_records, records), 1, WB_RECORDS_MAX},
};

static const wb_field logs[] = {
    {2, WB_K_U64, REQ, 0, F(wb_records, seq), 1, WB_ANY},
    {3, WB_K_LIST, REQ, WB_EL_LOG, F(wb_records, records), 1, WB_RECORDS_MAX},
};

static const wb_field invoke[] = {
    {2, WB_K_BYTES, REQ, 0, F(wb_invoke, command), WB_COMMAND_SIZE, WB_COMMAND_SIZE},
    {3, WB_K_NAME, REQ, 0, F(wb_invoke, app), 1, WB_NAME_MAX},
    {4, WB_K_TEXT, REQ, 0, F(wb_invoke, function), 1, WB_FUNCTION_MAX},
    {5, WB_K_BYTES, OPT, 0, F(wb_invoke, payload), 1, WB_PAYLOAD_MAX},
    {6, WB_K_U32, REQ, 0, F(wb_invoke, deadline), 1, WB_ANY},
};

static const wb_field invoke_result[] = {
    {2, WB_K_U64, REQ, 0, F(wb_invoke_result, refers), 1, WB_ANY},
    {3, WB_K_BYTES, REQ, 0, F(wb_invoke_result, command), WB_COMMAND_SIZE, WB_COMMAND_SIZE},
    {4, WB_K_U8, REQ, 0, F(wb_invoke_result, status), WB_COMMAND_DONE, WB_COMMAND_FAILED},
    {5, WB_K_U8, OPT, 0, F(wb_invoke_result, reason), 0, 255},
    {6, WB_K_BYTES, OPT, 0, F(wb_invoke_result, payload), 1, WB_PAYLOAD_MAX},
    {7, WB_K_TEXT, OPT, 0, F(wb_invoke_result, text), 0, WB_WIRE_TEXT_MAX},
};

/* Up has one field more than down. */
static const wb_field message[] = {
    {2, WB_K_NAME, REQ, 0, F(wb_message, app), 1, WB_NAME_MAX},
    {3, WB_K_TEXT, REQ, 0, F(wb_message, topic), 1, WB_TOPIC_MAX},
    {4, WB_K_BYTES, OPT, 0, F(wb_message, payload), 1, WB_PAYLOAD_MAX},
    {5, WB_K_U64, REQ, 0, F(wb_message, seq), 1, WB_ANY},
};

const wb_field *wb_schema(unsigned which, size_t *count)
{
    static const wb_field none[1] = {{0, 0, 0, 0, 0, 0, 0}};
    static const struct {
        uint8_t which, count;
        const wb_field *fields;
    } all[] = {
#define ROW(w, t) {w, sizeof t / sizeof t[0], t}
        ROW(WB_HELLO, hello),
        ROW(WB_WELCOME, welcome),
        ROW(WB_ERROR_FRAME, error_frame),
        ROW(WB_GOODBYE, goodbye),
        ROW(WB_ENROLL, enroll),
        ROW(WB_ENROLL_RESULT, enroll_result),
        ROW(WB_RENEW, renew),
        ROW(WB_HEARTBEAT, heartbeat),
        ROW(WB_HEARTBEAT_ACK, heartbeat_ack),
        ROW(WB_ACK, ack),
        ROW(WB_COMMAND, command),
        ROW(WB_COMMAND_RESULT, command_result),
        ROW(WB_CHUNK_REQUEST, chunk_request),
        ROW(WB_CHUNK, chunk),
        ROW(WB_REPORT, report),
        {WB_REPORT_REQUEST, 0, none},
        ROW(WB_TRAP_FRAME, trap),
        ROW(WB_TELEMETRY, telemetry),
        ROW(WB_LOGS, logs),
        ROW(WB_INVOKE, invoke),
        ROW(WB_INVOKE_RESULT, invoke_result),
        {WB_MESSAGE_DOWN, 3, message},
        {WB_MESSAGE_UP, 4, message},
        ROW(WB_SUB_CAPABILITIES, capabilities),
        ROW(WB_SUB_EVIDENCE, evidence),
        ROW(WB_SUB_MANIFEST, manifest),
        ROW(WB_SUB_TIMER, timer),
        ROW(WB_SUB_APP_STATE, app_state),
#undef ROW
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].which == which) {
            *count = all[i].count;
            return all[i].fields;
        }
    return NULL;
}

static bool ascending(wb_bytes b)
{
    for (size_t i = 1; i < b.len; i++)
        if (b.data[i - 1] >= b.data[i])
            return false;
    return true;
}

static bool check_command(const wb_command *c)
{
    bool whole = c->revision.len > 0 && c->attempt > 0 && c->digest.len > 0 && c->size > 0 && c->manifest.present;
    bool module = c->digest.len > 0 || c->size > 0 || c->manifest.present;
    switch (c->verb) {
    case WB_VERB_DEPLOY:
    case WB_VERB_UPDATE:
    case WB_VERB_ROLLBACK:
        return c->app.len > 0 && whole;
    case WB_VERB_START:
    case WB_VERB_STOP:
    case WB_VERB_REMOVE:
        return c->app.len > 0 && (!module || whole);
    default:
        return true;
    }
}

static bool check_app_state(const wb_app_state *s)
{
    bool same = s->running.len == s->revision.len && memcmp(s->running.data, s->revision.data, s->running.len) == 0;
    if (s->state == WB_STATE_RUNNING ? !same : s->confirmed)
        return false;
    switch (s->state) {
    case WB_STATE_FAILED:
        return s->reason != 0 && s->running.len == 0;
    case WB_STATE_ROLLED_BACK:
        return s->reason != 0 && s->running.len > 0;
    case WB_STATE_STOPPED:
        return s->running.len == 0;
    default:
        return true;
    }
}

bool wb_check_rules(unsigned which, const void *object)
{
    switch (which) {
    case WB_HELLO:
        return ascending(((const wb_hello *)object)->versions);
    case WB_WELCOME: {
        const wb_welcome *w = object;
        return w->enrolled ? w->epoch > 0 && w->era.len > 0 : w->nonce.len > 0;
    }
    case WB_ENROLL_RESULT: {
        const wb_enroll_result *e = object;
        return (e->status == WB_ENROLL_ACCEPTED) == (e->chain.count > 0) &&
               (e->status != WB_ENROLL_REJECTED || e->reason != 0);
    }
    case WB_COMMAND:
        return check_command(object);
    case WB_COMMAND_RESULT: {
        const wb_command_result *c = object;
        return c->status < WB_COMMAND_REFUSED || c->reason != 0;
    }
    case WB_CHUNK: {
        const wb_chunk *c = object;
        return (uint64_t)c->offset + c->data.len <= c->total;
    }
    case WB_REPORT: {
        const wb_report *r = object;
        return !r->full || r->removed.count == 0;
    }
    case WB_INVOKE_RESULT: {
        const wb_invoke_result *r = object;
        return r->status < WB_COMMAND_REFUSED || r->reason != 0;
    }
    case WB_SUB_APP_STATE:
        return check_app_state(object);
    default:
        return true;
    }
}
