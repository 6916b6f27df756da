/* The words of the closed sets, and the one table of host functions. */
#include "wasmbed/runtime.h"

#include <string.h>

static const wb_import imports[] = {
    {"log", "iii:", WB_PERMIT_LOG},
    {"clock_now", ":I", WB_PERMIT_CLOCK},
    {"clock_uptime", ":I", WB_PERMIT_CLOCK},
    {"telemetry", "iiF:i", WB_PERMIT_TELEMETRY},
    {"message_send", "iiii:i", WB_PERMIT_MESSAGE},
    {"kv_get", "iiii:i", WB_PERMIT_KV},
    {"kv_set", "iiii:i", WB_PERMIT_KV},
    {"gpio_read", "i:i", WB_PERMIT_GPIO},
    {"gpio_write", "ii:i", WB_PERMIT_GPIO},
    {"sensor_read", "ii:i", WB_PERMIT_SENSOR},
    {"timer_set", "ii:i", WB_PERMIT_TIMER},
    {"random", "ii:", WB_PERMIT_RANDOM},
    {"config_get", "iiii:i", 0},
};

const wb_import *wb_imports(size_t *count)
{
    *count = sizeof imports / sizeof imports[0];
    return imports;
}

static const char *const permissions[] = {"log",  "clock",  "telemetry", "message", "kv",
                                          "gpio", "sensor", "timer",     "random"};

#define PERMISSIONS (sizeof permissions / sizeof permissions[0])

const char *wb_permission_name(uint32_t bit)
{
    for (size_t i = 0; i < PERMISSIONS; i++)
        if (bit == 1u << i)
            return permissions[i];
    return NULL;
}

uint32_t wb_permission_bit(const char *name, size_t len)
{
    for (size_t i = 0; i < PERMISSIONS; i++)
        if (strlen(permissions[i]) == len && memcmp(permissions[i], name, len) == 0)
            return 1u << i;
    return 0;
}

const char *wb_state_name(wb_state s)
{
    static const char *const names[] = {"None",     "Fetching", "Staged", "Starting",  "Running",
                                        "Stopping", "Stopped",  "Failed", "RolledBack"};
    return (size_t)s < sizeof names / sizeof names[0] ? names[s] : "Unknown";
}

const char *wb_reason_name(wb_reason r)
{
    static const char *const names[] = {
        "",
        "Trap",
        "OutOfBounds",
        "StackOverflow",
        "Timeout",
        "InstructionLimit",
        "DivideByZero",
        "TrapLoop",
        "DigestMismatch",
        "NotWasm",
        "MissingImport",
        "PermissionDenied",
        "InsufficientMemory",
        "ModuleTooLarge",
        "StorageFull",
        "StorageError",
        "TransferTimeout",
        "NoEntryPoint",
        "Exit",
        "TooManyApps",
        "Unsupported",
        "UnknownApp",
        "DeadlineExceeded",
        "UnreachableDevice",
        "PowerLoss",
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        "NotPaired",
        "ClaimInvalid",
        "NameTaken",
        "KeyMismatch",
        "AttestationFailed",
        "Rejected",
        "Revoked",
        "AwaitingApproval",
        "BadRequest",
    };
    if ((size_t)r >= sizeof names / sizeof names[0] || names[r] == NULL)
        return "Unknown";
    return names[r];
}

const char *wb_error_name(int error)
{
    static const char *const names[] = {"ok",         "invalid",   "no space",    "not found",        "input/output",
                                        "would block", "closed",    "denied",      "trap",             "unsupported",
                                        "bad format", "not authenticated", "timeout", "corrupt"};
    int i = -error;
    return i >= 0 && (size_t)i < sizeof names / sizeof names[0] ? names[i] : "unknown";
}

static void copy_text(char *out, size_t cap, const char *in)
{
    size_t n = 0;
    if (in != NULL)
        while (n + 1 < cap && in[n] != '\0') {
            out[n] = in[n];
            n++;
        }
    /* A cut inside of a UTF-8 sequence would make the text unsendable. */
    if (in != NULL && in[n] != '\0')
        while (n > 0 && ((unsigned char)in[n] & 0xc0) == 0x80)
            n--;
    out[n] = '\0';
}

void wb_trap_set(wb_trap *t, wb_reason reason, const char *where, const char *text)
{
    t->reason = reason;
    copy_text(t->where, sizeof t->where, where);
    copy_text(t->text, sizeof t->text, text);
}
