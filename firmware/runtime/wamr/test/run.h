/* Loads and calls, with short words. */
#ifndef RUN_H
#define RUN_H

#include "fake.h"
#include "wasm.h"

typedef struct runner {
    wb_runtime rt;
    fake_world world;
    wb_instance inst;
    wb_trap trap;
    wb_call call;
    uint8_t answer[16];
} runner;

extern const wb_limits usual; /* one page, 4 KiB of stack, 1 s */

runner *runner_new(wb_wamr *w);
void runner_free(runner *r); /* unloads */
int load_bytes(runner *r, const uint8_t *bytes, uint32_t size, const wb_limits *limits);
int load_spec(runner *r, const wasm_spec *s, const wb_limits *limits);
void load_sample(runner *r, const char *name); /* or fails */
int start(runner *r, uint32_t timeout);
int timer(runner *r, uint32_t id, uint32_t timeout);
int message(runner *r, const char *topic, const void *data, size_t len);
int invoke(runner *r, const char *function, const void *payload, size_t len, size_t answer_cap);
int stop(runner *r);
bool answer_is(const runner *r, const char *want);
/* err is WB_ETRAP of that reason, with one line of text. */
bool trapped(const runner *r, int err, wb_reason reason);
uint32_t used(wb_wamr *w);

#endif
