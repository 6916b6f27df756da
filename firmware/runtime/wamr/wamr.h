/*
 * WAMR 2.4.3 as the core's engine: the classic interpreter on a static pool. The vtable's contract is
 * wasmbed/runtime.h; this is how to get one.
 *
 *   static uint8_t pool[80 * 1024];
 *   static wb_wamr engine;
 *   int err = wb_wamr_init(&engine, pool, sizeof pool, NULL);
 *   port.runtime = wb_wamr_runtime(&engine);
 *
 * One engine per program: WAMR's state is global. Not for several threads: everything is called by the thread that polls
 * the device. A call is ended at its timeout from a timer's interrupt (Zephyr) or thread (POSIX) by one atomic store.
 *
 * All memory is the pool's: modules, instances, linear memories, stacks. The interpreter rewrites a module's code where it
 * lies, so the bytes are copied there (without custom sections) even when the port maps its slots. What a module takes
 * is wb_wamr_need's sum; docs/spec/abi.md has the figures.
 */
#ifndef WASMBED_WAMR_H
#define WASMBED_WAMR_H

#include "wamr_limits.h"
#include "wamr_timer.h"
#include "wasmbed/runtime.h"

typedef struct wb_wamr_config {
    uint32_t stack_max; /* bytes of stack that one instance may have, 0: any. More is refused (Unsupported). */
} wb_wamr_config;

typedef struct wb_wamr {
    wb_wamr_config config;
    wb_wamr_timer timer;
    void *pool;
    uint32_t pool_size;
    uint32_t loaded; /* instances */
    bool ready;
} wb_wamr;

/* Bytes of the pool. */
typedef struct wb_wamr_usage {
    uint32_t total;
    uint32_t used;    /* with the engine's own: about 1 KiB */
    uint32_t largest; /* the largest piece that is free */
} wb_wamr_usage;

/* Starts the engine on a pool that must stay until wb_wamr_deinit. config may be NULL. 0; WB_EINVAL when it runs already
 * or the pool is smaller than WB_WAMR_POOL_MIN; WB_EUNSUPPORTED when the core's table has a function
 * that this engine does not know; WB_EIO when there is no timer. */
int wb_wamr_init(wb_wamr *w, void *pool, size_t pool_size, const wb_wamr_config *config);

/* Ends it. WB_EINVAL while instances are loaded. */
int wb_wamr_deinit(wb_wamr *w);

/* The vtable. Its ctx is w. */
wb_runtime wb_wamr_runtime(wb_wamr *w);

/* Walks through the pool: some hundred steps. */
void wb_wamr_memory(const wb_wamr *w, wb_wamr_usage *out);

#endif
