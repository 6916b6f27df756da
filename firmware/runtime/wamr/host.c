/*
 * What modules import, for WAMR. The functions and their types are the core's one table (wb_imports); here is how each
 * takes its arguments. WAMR hands them over as one 64-bit cell each ("raw"), and takes the result in the first one.
 */
#include <string.h>

#include "internal.h"
#include "lib_export.h"

typedef void (*raw)(wasm_exec_env_t env, uint64_t *a);

typedef struct host_function {
    const char *name;
    raw call;
} host_function;

static wb_instance *caller(wasm_exec_env_t env) { return wasm_runtime_get_user_data(env); }

/* An i32 argument. Only the lower half of its cell is defined. */
static uint32_t word(const uint64_t *a, unsigned i)
{
    uint32_t v;
    memcpy(&v, &a[i], sizeof v);
    return v;
}

static void result(uint64_t *a, int32_t v) { memcpy(a, &v, sizeof v); }

/* The range of memory that arguments i and i + 1 name. False after a trap; WAMR's check makes it. */
static bool range(wasm_exec_env_t env, const uint64_t *a, unsigned i, void *out, size_t *len)
{
    static const char nothing[1] = "";
    wasm_module_inst_t inst = wasm_runtime_get_module_inst(env);
    uint32_t n = word(a, i + 1);
    const void *p = nothing;
    if (n > 0) {
        if (!wasm_runtime_validate_app_addr(inst, word(a, i), n))
            return false;
        p = wasm_runtime_addr_app_to_native(inst, word(a, i));
    }
    memcpy(out, &p, sizeof p);
    *len = n;
    return true;
}

static void log_(wasm_exec_env_t env, uint64_t *a)
{
    const char *text;
    size_t len;
    if (range(env, a, 1, &text, &len))
        (void)wb_host_log(caller(env), word(a, 0), text, len);
}

static void clock_now(wasm_exec_env_t env, uint64_t *a)
{
    int64_t v = wb_host_clock_now(caller(env));
    memcpy(a, &v, sizeof v);
}

static void clock_uptime(wasm_exec_env_t env, uint64_t *a)
{
    int64_t v = wb_host_clock_uptime(caller(env));
    memcpy(a, &v, sizeof v);
}

static void telemetry(wasm_exec_env_t env, uint64_t *a)
{
    const char *name;
    size_t len;
    double value;
    if (!range(env, a, 0, &name, &len))
        return;
    memcpy(&value, &a[2], sizeof value);
    result(a, wb_host_telemetry(caller(env), name, len, value));
}

static void message_send(wasm_exec_env_t env, uint64_t *a)
{
    const char *topic;
    const uint8_t *data;
    size_t topic_len, len;
    if (range(env, a, 0, &topic, &topic_len) && range(env, a, 2, &data, &len))
        result(a, wb_host_message_send(caller(env), topic, topic_len, data, len));
}

static void kv_get(wasm_exec_env_t env, uint64_t *a)
{
    const char *key;
    uint8_t *buf;
    size_t key_len, cap;
    if (range(env, a, 0, &key, &key_len) && range(env, a, 2, &buf, &cap))
        result(a, wb_host_kv_get(caller(env), key, key_len, buf, cap));
}

static void kv_set(wasm_exec_env_t env, uint64_t *a)
{
    const char *key;
    const uint8_t *data;
    size_t key_len, len;
    if (range(env, a, 0, &key, &key_len) && range(env, a, 2, &data, &len))
        result(a, wb_host_kv_set(caller(env), key, key_len, data, len));
}

static void gpio_read(wasm_exec_env_t env, uint64_t *a) { result(a, wb_host_gpio_read(caller(env), word(a, 0))); }

static void gpio_write(wasm_exec_env_t env, uint64_t *a)
{
    result(a, wb_host_gpio_write(caller(env), word(a, 0), word(a, 1)));
}

static void sensor_read(wasm_exec_env_t env, uint64_t *a)
{
    wasm_module_inst_t inst = wasm_runtime_get_module_inst(env);
    double value = 0;
    if (!wasm_runtime_validate_app_addr(inst, word(a, 1), sizeof value))
        return;
    int err = wb_host_sensor_read(caller(env), word(a, 0), &value);
    if (err >= 0)
        memcpy(wasm_runtime_addr_app_to_native(inst, word(a, 1)), &value, sizeof value);
    result(a, err);
}

static void timer_set(wasm_exec_env_t env, uint64_t *a)
{
    result(a, wb_host_timer_set(caller(env), word(a, 0), word(a, 1)));
}

static void random_(wasm_exec_env_t env, uint64_t *a)
{
    uint8_t *buf;
    size_t len;
    if (range(env, a, 0, &buf, &len) && wb_host_random(caller(env), buf, len) < 0)
        wasm_runtime_set_exception(wasm_runtime_get_module_inst(env), "no entropy");
}

static void config_get(wasm_exec_env_t env, uint64_t *a)
{
    const char *key;
    char *buf;
    size_t key_len, cap;
    if (range(env, a, 0, &key, &key_len) && range(env, a, 2, &buf, &cap))
        result(a, wb_host_config_get(caller(env), key, key_len, buf, cap));
}

static const host_function functions[] = {
    {"log", log_},
    {"clock_now", clock_now},
    {"clock_uptime", clock_uptime},
    {"telemetry", telemetry},
    {"message_send", message_send},
    {"kv_get", kv_get},
    {"kv_set", kv_set},
    {"gpio_read", gpio_read},
    {"gpio_write", gpio_write},
    {"sensor_read", sensor_read},
    {"timer_set", timer_set},
    {"random", random_},
    {"config_get", config_get},
};

static raw function_named(const char *name)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (strcmp(functions[i].name, name) == 0)
            return functions[i].call;
    return NULL;
}

#define SIGNATURE 16 /* "(iiii)i" and room */

/* "iiF:i" as WAMR writes it: "(iiF)i". */
static bool signature_of(const char *type, char *out)
{
    const char *colon = strchr(type, ':');
    size_t params = colon == NULL ? 0 : (size_t)(colon - type);
    if (colon == NULL || strlen(type) + 2 > SIGNATURE)
        return false;
    out[0] = '(';
    memcpy(out + 1, type, params);
    out[params + 1] = ')';
    strcpy(out + params + 2, colon + 1);
    return true;
}

int wb_wamr_register(void)
{
    size_t n;
    const wb_import *table = wb_imports(&n);
    if (n > WB_WAMR_IMPORTS_MAX)
        return WB_EUNSUPPORTED;
    /* In the pool, which the engine's end gives back: WAMR keeps the pointers. */
    NativeSymbol *symbols = wasm_runtime_malloc((uint32_t)(n * (sizeof *symbols + SIGNATURE)));
    if (symbols == NULL)
        return WB_EINVAL;
    char *signature = (char *)(symbols + n);
    memset(symbols, 0, n * (sizeof *symbols + SIGNATURE));
    for (size_t i = 0; i < n; i++, signature += SIGNATURE) {
        raw f = function_named(table[i].name);
        if (f == NULL || !signature_of(table[i].type, signature))
            return WB_EUNSUPPORTED;
        symbols[i].symbol = table[i].name;
        symbols[i].signature = signature;
        memcpy(&symbols[i].func_ptr, &f, sizeof f);
    }
    return wasm_runtime_register_natives_raw("wasmbed", symbols, (uint32_t)n) ? 0 : WB_EINVAL;
}
