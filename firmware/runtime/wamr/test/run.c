#include "run.h"

const wb_limits usual = {.memory_pages = 1, .stack = 4096, .call_timeout = 1000};

runner *runner_new(wb_wamr *w)
{
    runner *r = calloc(1, sizeof *r);
    CHECK(r != NULL);
    r->rt = wb_wamr_runtime(w);
    r->inst.world = &r->world;
    return r;
}

void runner_free(runner *r)
{
    r->rt.unload(r->rt.ctx, &r->inst);
    CHECK(r->inst.engine == NULL);
    free(r);
}

int load_bytes(runner *r, const uint8_t *bytes, uint32_t size, const wb_limits *limits)
{
    fake_source s;
    memset(&r->trap, 0, sizeof r->trap);
    fake_source_init(&s, bytes, size, false);
    int err = r->rt.load(r->rt.ctx, &r->inst, &s.m, limits, &r->trap);
    CHECK((err == 0) == (r->inst.engine != NULL));
    return err;
}

int load_spec(runner *r, const wasm_spec *s, const wb_limits *limits)
{
    static uint8_t bytes[32768];
    size_t n = wasm_make(s, bytes, sizeof bytes);
    CHECK(n > 0);
    return load_bytes(r, bytes, (uint32_t)n, limits);
}

void load_sample(runner *r, const char *name)
{
    uint32_t size;
    const uint8_t *bytes = fake_module(name, &size);
    int err = load_bytes(r, bytes, size, &usual);
    if (err < 0)
        fake_say("%s: %d, %s: %s\n", name, err, wb_reason_name(r->trap.reason), r->trap.text);
    CHECK(err == 0);
}

static int call(runner *r, wb_entry entry, uint32_t timeout)
{
    r->call.entry = entry;
    r->call.timeout = timeout;
    memset(&r->trap, 0, sizeof r->trap);
    return r->rt.call(r->rt.ctx, &r->inst, &r->call, &r->trap);
}

int start(runner *r, uint32_t timeout)
{
    memset(&r->call, 0, sizeof r->call);
    return call(r, WB_ENTRY_START, timeout);
}

int timer(runner *r, uint32_t id, uint32_t timeout)
{
    memset(&r->call, 0, sizeof r->call);
    r->call.timer = id;
    return call(r, WB_ENTRY_TIMER, timeout);
}

int message(runner *r, const char *topic, const void *data, size_t len)
{
    memset(&r->call, 0, sizeof r->call);
    r->call.topic = (wb_text){topic, strlen(topic)};
    r->call.payload = (wb_bytes){data, len};
    return call(r, WB_ENTRY_MESSAGE, 1000);
}

int invoke(runner *r, const char *function, const void *payload, size_t len, size_t answer_cap)
{
    memset(&r->call, 0, sizeof r->call);
    r->call.function = (wb_text){function, strlen(function)};
    r->call.payload = (wb_bytes){payload, len};
    r->call.answer = r->answer;
    r->call.answer_cap = answer_cap;
    return call(r, WB_ENTRY_INVOKE, 1000);
}

int stop(runner *r)
{
    memset(&r->call, 0, sizeof r->call);
    return call(r, WB_ENTRY_STOP, 1000);
}

bool answer_is(const runner *r, const char *want)
{
    return r->call.answer_len == strlen(want) && memcmp(r->answer, want, strlen(want)) == 0;
}

bool trapped(const runner *r, int err, wb_reason reason)
{
    if (err != WB_ETRAP || r->trap.reason != reason || r->trap.text[0] == '\0' || strchr(r->trap.text, '\n') != NULL ||
        strstr(r->trap.text, "Exception") != NULL) {
        fake_say("got %d, %s in \"%s\": %s; wanted %s\n", err, wb_reason_name(r->trap.reason), r->trap.where, r->trap.text,
                 wb_reason_name(reason));
        return false;
    }
    return true;
}

uint32_t used(wb_wamr *w)
{
    wb_wamr_usage u;
    wb_wamr_memory(w, &u);
    return u.used;
}
