/* The engine: wb_runtime on WAMR. */
#include "wamr.h"

#include <string.h>

#include "internal.h"
/* WAMR's own headers, of 2.4.3: for the flag that ends a call, and to keep functions from running while a module is
 * instantiated, when nothing could end them. */
#include "wasm_exec_env.h"
#include "wasm_runtime.h"

#define ERROR_TEXT 128 /* of WAMR's loader */

static int refused(wb_trap *trap, wb_reason reason, const char *text)
{
    wb_trap_set(trap, reason, NULL, text);
    return WB_ETRAP;
}

/* ---- the engine's own life ---- */

int wb_wamr_init(wb_wamr *w, void *pool, size_t pool_size, const wb_wamr_config *config)
{
    RuntimeInitArgs args;
    size_t odd = (uintptr_t)pool & 7;
    memset(w, 0, sizeof *w);
    if (config != NULL)
        w->config = *config;
    if (odd != 0) {
        pool = (uint8_t *)pool + (8 - odd);
        pool_size = pool_size > 8 - odd ? pool_size - (8 - odd) : 0;
    }
    pool_size &= ~(size_t)7;
    if (pool == NULL || pool_size < WB_WAMR_POOL_MIN || pool_size > UINT32_MAX / 2)
        return WB_EINVAL;
    memset(&args, 0, sizeof args);
    args.mem_alloc_type = Alloc_With_Pool;
    args.mem_alloc_option.pool.heap_buf = pool;
    args.mem_alloc_option.pool.heap_size = (uint32_t)pool_size;
    args.running_mode = Mode_Interp;
    if (!wasm_runtime_full_init(&args))
        return WB_EINVAL;
    int err = wb_wamr_register();
    if (err == 0 && wb_wamr_timer_open(&w->timer) < 0)
        err = WB_EIO;
    if (err < 0) {
        wasm_runtime_destroy();
        return err;
    }
    w->pool = pool;
    w->pool_size = (uint32_t)pool_size;
    w->ready = true;
    return 0;
}

int wb_wamr_deinit(wb_wamr *w)
{
    if (!w->ready || w->loaded > 0)
        return WB_EINVAL;
    wb_wamr_timer_close(&w->timer);
    wasm_runtime_destroy();
    w->ready = false;
    return 0;
}

/* ---- calls ---- */

/* In the timer's interrupt or thread. */
static void end_call(void *arg)
{
    struct WASMExecEnv *env = arg;
    (void)WASM_SUSPEND_FLAGS_FETCH_OR(env->suspend_flags, WASM_SUSPEND_FLAG_TERMINATE);
}

static char letter(wasm_valkind_t kind)
{
    switch (kind) {
    case WASM_I32:
        return 'i';
    case WASM_I64:
        return 'I';
    case WASM_F32:
        return 'f';
    case WASM_F64:
        return 'F';
    default:
        return '?';
    }
}

/* The exported function of exactly that type ("ii:I"), or NULL. */
static wasm_function_inst_t find(const wb_wamr_instance *x, const char *name, const char *type)
{
    wasm_valkind_t kinds[4];
    wasm_function_inst_t f = wasm_runtime_lookup_function(x->instance, name);
    const char *colon = strchr(type, ':');
    uint32_t params = (uint32_t)(colon - type), results = (uint32_t)strlen(colon + 1);
    if (f == NULL || wasm_func_get_param_count(f, x->instance) != params ||
        wasm_func_get_result_count(f, x->instance) != results)
        return NULL;
    wasm_func_get_param_types(f, x->instance, kinds);
    for (uint32_t i = 0; i < params; i++)
        if (letter(kinds[i]) != type[i])
            return NULL;
    wasm_func_get_result_types(f, x->instance, kinds);
    for (uint32_t i = 0; i < results; i++)
        if (letter(kinds[i]) != colon[1 + i])
            return NULL;
    return f;
}

/* Calls a function while the timer runs. argv has the arguments and takes the results. 0 or WB_ETRAP. */
static int run(wb_wamr_instance *x, wasm_function_inst_t f, const char *name, uint32_t argc, uint32_t *argv, wb_trap *trap)
{
    wasm_runtime_set_instruction_count_limit(x->env, x->instructions);
    bool good = wasm_runtime_call_wasm(x->env, f, argc, argv);
    if (WASM_SUSPEND_FLAGS_GET(x->env->suspend_flags) & WASM_SUSPEND_FLAG_TERMINATE && good) {
        wb_trap_set(trap, WB_REASON_TIMEOUT, name, "the call ran too long");
        return WB_ETRAP;
    }
    if (!good) {
        wb_wamr_trap(trap, name, wasm_runtime_get_exception(x->instance), WB_REASON_TRAP);
        return WB_ETRAP;
    }
    return 0;
}

/* Copies two parts, one behind the other, to where wasmbed_alloc says. */
static int pass(wb_wamr_instance *x, const void *a, size_t a_len, const void *b, size_t b_len, uint32_t *ptr, wb_trap *trap)
{
    static const char name[] = "wasmbed_alloc";
    uint32_t argv[2] = {0, 0};
    *ptr = 0;
    if (a_len + b_len == 0)
        return 0;
    if (a_len > INT32_MAX || b_len > INT32_MAX)
        return WB_ENOSPC;
    wasm_function_inst_t f = find(x, name, "i:i");
    if (f == NULL)
        return WB_ENOENT;
    argv[0] = (uint32_t)(a_len + b_len);
    int err = run(x, f, name, 1, argv, trap);
    if (err < 0)
        return err;
    if (argv[0] == 0)
        return WB_ENOSPC;
    if (!wasm_runtime_validate_app_addr(x->instance, argv[0], a_len + b_len)) {
        wb_trap_set(trap, WB_REASON_OUT_OF_BOUNDS, name, "it returned a place outside of the memory");
        return WB_ETRAP;
    }
    uint8_t *room = wasm_runtime_addr_app_to_native(x->instance, argv[0]);
    if (a_len > 0)
        memcpy(room, a, a_len);
    if (b_len > 0)
        memcpy(room + a_len, b, b_len);
    *ptr = argv[0];
    return 0;
}

static int call_message(wb_wamr_instance *x, wb_call *c, wb_trap *trap)
{
    static const char name[] = "wasmbed_message";
    uint32_t argv[4], ptr;
    wasm_function_inst_t f = find(x, name, "iiii:i");
    if (f == NULL)
        return WB_ENOENT;
    int err = pass(x, c->topic.data, c->topic.len, c->payload.data, c->payload.len, &ptr, trap);
    if (err < 0)
        return err;
    argv[0] = ptr;
    argv[1] = (uint32_t)c->topic.len;
    argv[2] = ptr + (uint32_t)c->topic.len;
    argv[3] = (uint32_t)c->payload.len;
    err = run(x, f, name, 4, argv, trap);
    if (err == 0)
        c->result = (int32_t)argv[0];
    return err;
}

static int call_invoke(wb_wamr_instance *x, wb_call *c, wb_trap *trap)
{
    char name[WB_WAMR_FUNCTION_MAX + 1];
    uint32_t argv[2], ptr;
    if (c->function.len == 0 || c->function.len > WB_WAMR_FUNCTION_MAX || c->function.data[0] == '_' ||
        memchr(c->function.data, '\0', c->function.len) != NULL)
        return WB_ENOENT;
    memcpy(name, c->function.data, c->function.len);
    name[c->function.len] = '\0';
    if (strncmp(name, "wasmbed_", 8) == 0)
        return WB_ENOENT;
    wasm_function_inst_t f = find(x, name, "ii:I");
    if (f == NULL)
        return WB_ENOENT;
    int err = pass(x, c->payload.data, c->payload.len, NULL, 0, &ptr, trap);
    if (err < 0)
        return err;
    argv[0] = ptr;
    argv[1] = (uint32_t)c->payload.len;
    err = run(x, f, name, 2, argv, trap);
    if (err < 0)
        return err;
    uint32_t len = argv[0], at = argv[1]; /* of an i64, the lower half first */
    if (at == 0 || len == 0) {
        c->result = at == 0 ? (int32_t)len : 0;
        return 0;
    }
    if (!wasm_runtime_validate_app_addr(x->instance, at, len)) {
        wb_trap_set(trap, WB_REASON_OUT_OF_BOUNDS, name, "its answer is outside of the memory");
        return WB_ETRAP;
    }
    if (len > c->answer_cap)
        return WB_ENOSPC;
    memcpy(c->answer, wasm_runtime_addr_app_to_native(x->instance, at), len);
    c->answer_len = len;
    return 0;
}

static int call_entry(wb_wamr_instance *x, wb_call *c, const char *name, const char *type, uint32_t arg, wb_trap *trap)
{
    uint32_t argv[2] = {arg, 0};
    wasm_function_inst_t f = find(x, name, type);
    if (f == NULL)
        return WB_ENOENT;
    int err = run(x, f, name, type[0] == 'i' ? 1 : 0, argv, trap);
    if (err == 0 && c->entry != WB_ENTRY_STOP)
        c->result = (int32_t)argv[0];
    return err;
}

static int call_any(wb_wamr_instance *x, wb_call *c, wb_trap *trap)
{
    switch (c->entry) {
    case WB_ENTRY_START:
        return call_entry(x, c, "wasmbed_start", ":i", 0, trap);
    case WB_ENTRY_TIMER:
        return call_entry(x, c, "wasmbed_timer", "i:i", c->timer, trap);
    case WB_ENTRY_STOP:
        return call_entry(x, c, "wasmbed_stop", ":", 0, trap);
    case WB_ENTRY_MESSAGE:
        return call_message(x, c, trap);
    case WB_ENTRY_INVOKE:
        return call_invoke(x, c, trap);
    default:
        return WB_EUNSUPPORTED;
    }
}

static int engine_call(void *ctx, wb_instance *inst, wb_call *c, wb_trap *trap)
{
    wb_wamr *w = ctx;
    wb_wamr_instance *x = wb_instance_engine(inst);
    c->result = 0;
    c->answer_len = 0;
    if (x == NULL)
        return WB_EINVAL;
    if (x->dead.reason != WB_REASON_NONE) {
        *trap = x->dead;
        return WB_ETRAP;
    }
    wb_wamr_timer_start(&w->timer, c->timeout, end_call, x->env);
    int err = call_any(x, c, trap);
    if (wb_wamr_timer_stop(&w->timer) && err != WB_ETRAP) {
        /* It came while the call was on its way out. The flag that it set cannot be taken back. */
        wb_trap_set(trap, WB_REASON_TIMEOUT, NULL, "the call ran too long");
        err = WB_ETRAP;
    }
    if (err == WB_ETRAP) {
        c->result = 0;
        c->answer_len = 0;
        x->dead = *trap;
    }
    return err;
}

/* ---- load and unload ---- */

static void release(wb_wamr *w, wb_wamr_instance *x)
{
    if (x->env != NULL)
        wasm_runtime_destroy_exec_env(x->env);
    if (x->instance != NULL)
        wasm_runtime_deinstantiate(x->instance);
    if (x->module != NULL)
        wasm_runtime_unload(x->module);
    if (x->code != NULL)
        wasm_runtime_free(x->code);
    wasm_runtime_free(x);
    w->loaded--;
}

static void engine_unload(void *ctx, wb_instance *inst)
{
    wb_wamr_instance *x = wb_instance_engine(inst);
    if (x != NULL)
        release(ctx, x);
    wb_instance_set_engine(inst, NULL);
}

/* WAMR takes "_log" for "log", and only warns of what it does not know. */
static int check_imports(const wb_wamr_instance *x, wb_trap *trap)
{
    size_t known;
    const wb_import *table = wb_imports(&known);
    int32_t n = wasm_runtime_get_import_count(x->module);
    for (int32_t i = 0; i < n; i++) {
        wasm_import_t import;
        bool found = false;
        wasm_runtime_get_import_type(x->module, i, &import);
        if (import.kind == WASM_IMPORT_EXPORT_KIND_FUNC && import.linked && strcmp(import.module_name, "wasmbed") == 0)
            for (size_t k = 0; k < known && !found; k++)
                found = strcmp(import.name, table[k].name) == 0;
        if (!found)
            return refused(trap, WB_REASON_MISSING_IMPORT, import.name);
    }
    return 0;
}

/* WAMR would run these while it instantiates, without a limit: the start section's function, which is ours to call, and
 * functions of certain names, which mean nothing in ABI 1. Returns the start function's index, UINT32_MAX for none. */
static uint32_t take_start(WASMModule *module)
{
    uint32_t start = module->start_function;
    module->start_function = UINT32_MAX;
    for (uint32_t i = 0; i < module->export_count; i++) {
        WASMExport *e = &module->exports[i];
        if (e->kind == EXPORT_KIND_FUNC &&
            (strcmp(e->name, "__post_instantiate") == 0 || strcmp(e->name, "__wasm_call_ctors") == 0))
            e->name[0] = '-';
    }
    return start;
}

static int check_shape(const wb_wamr *w, const wb_wamr_shape *s, const wb_limits *limits, wb_trap *trap)
{
    if (limits->instructions > INT32_MAX)
        return refused(trap, WB_REASON_UNSUPPORTED, "more than 2147483647 instructions per call cannot be counted");
    if (w->config.stack_max > 0 && limits->stack > w->config.stack_max)
        return refused(trap, WB_REASON_UNSUPPORTED, "a larger stack than this device gives");
    if (s->memories != 1 || !s->exports_memory)
        return refused(trap, WB_REASON_NOT_WASM, "no memory is exported");
    if (s->pages > limits->memory_pages)
        return refused(trap, WB_REASON_INSUFFICIENT_MEMORY, "its memory is over the limit");
    return 0;
}

static int no_room(wb_trap *trap)
{
    return refused(trap, WB_REASON_INSUFFICIENT_MEMORY, "the pool has no room for it");
}

static int run_start_section(wb_wamr *w, wb_wamr_instance *x, uint32_t start, uint32_t timeout, wb_trap *trap)
{
    uint32_t argv[2] = {0, 0};
    WASMModuleInstance *instance = (WASMModuleInstance *)x->instance;
    wb_wamr_timer_start(&w->timer, timeout, end_call, x->env);
    int err = run(x, &instance->e->functions[start], "start section", 0, argv, trap);
    if (wb_wamr_timer_stop(&w->timer) && err == 0) {
        wb_trap_set(trap, WB_REASON_TIMEOUT, "start section", "the call ran too long");
        err = WB_ETRAP;
    }
    return err;
}

static int make(wb_wamr *w, wb_wamr_instance *x, const wb_module *m, const wb_limits *limits, wb_trap *trap)
{
    wb_wamr_shape shape;
    InstantiationArgs args;
    char error[ERROR_TEXT] = "";
    int err = wb_wamr_scan(m, &shape, trap);
    if (err == 0)
        err = check_shape(w, &shape, limits, trap);
    if (err < 0)
        return err;
    x->code = wasm_runtime_malloc(shape.kept);
    if (x->code == NULL)
        return no_room(trap);
    err = wb_wamr_copy(m, x->code, shape.kept);
    if (err < 0)
        return err;
    x->module = wasm_runtime_load(x->code, shape.kept, error, sizeof error);
    if (x->module == NULL) {
        wb_wamr_trap(trap, NULL, error, WB_REASON_NOT_WASM);
        return WB_ETRAP;
    }
    err = check_imports(x, trap);
    if (err < 0)
        return err;
    uint32_t start = take_start((WASMModule *)x->module);
    memset(&args, 0, sizeof args);
    args.default_stack_size = limits->stack;
    args.max_memory_pages = limits->memory_pages;
    x->instance = wasm_runtime_instantiate_ex(x->module, &args, error, sizeof error);
    if (x->instance == NULL) {
        wb_wamr_trap(trap, NULL, error, WB_REASON_TRAP);
        return WB_ETRAP;
    }
    uint32_t stack = limits->stack < WB_WAMR_STACK_MIN ? WB_WAMR_STACK_MIN : limits->stack;
    x->env = wasm_runtime_create_exec_env(x->instance, (stack + 7) & ~7u);
    if (x->env == NULL)
        return no_room(trap);
    wasm_runtime_set_user_data(x->env, x->inst);
    x->instructions = limits->instructions == 0 ? -1 : (int)limits->instructions;
    return start == UINT32_MAX ? 0 : run_start_section(w, x, start, limits->call_timeout, trap);
}

static int engine_load(void *ctx, wb_instance *inst, const wb_module *m, const wb_limits *limits, wb_trap *trap)
{
    wb_wamr *w = ctx;
    wb_instance_set_engine(inst, NULL);
    wb_wamr_instance *x = wasm_runtime_malloc(sizeof *x);
    if (x == NULL)
        return no_room(trap);
    memset(x, 0, sizeof *x);
    x->inst = inst;
    w->loaded++;
    int err = make(w, x, m, limits, trap);
    if (err < 0)
        release(w, x);
    else
        wb_instance_set_engine(inst, x);
    return err;
}

static int64_t engine_memory_need(void *ctx, const wb_module *m, const wb_limits *limits)
{
    wb_wamr_shape shape;
    wb_trap trap;
    (void)ctx;
    int err = wb_wamr_scan(m, &shape, &trap);
    if (err == WB_EIO)
        return err;
    return err < 0 ? 0 : wb_wamr_need(&shape, limits); /* load says what is wrong with it */
}

wb_runtime wb_wamr_runtime(wb_wamr *w)
{
    wb_runtime rt = {w, "wamr", engine_memory_need, engine_load, engine_call, engine_unload};
    return rt;
}
