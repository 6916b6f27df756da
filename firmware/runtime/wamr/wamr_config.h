/*
 * WAMR as it is built here: the classic interpreter and what ABI 1 (docs/spec/abi.md) allows modules. Read before any
 * other file of WAMR (-include); everything that is not named has WAMR's own default, which is off for features.
 * What they cost is in README.md.
 */
#ifndef WASMBED_WAMR_CONFIG_H
#define WASMBED_WAMR_CONFIG_H

#define WASM_ENABLE_INTERP 1
#define WASM_ENABLE_FAST_INTERP 0
#define WASM_ENABLE_BULK_MEMORY 1
#define WASM_ENABLE_BULK_MEMORY_OPT 1
/* clang from 19 on writes the table index of call_indirect as five bytes. */
#define WASM_ENABLE_CALL_INDIRECT_OVERLONG 1
/* manifest.limits.instructions */
#define WASM_ENABLE_INSTRUCTION_METERING 1
/* Only with it does the interpreter look for the flag that ends a call. */
#define WASM_ENABLE_THREAD_MGR 1
/* Else the thread manager keeps 4/5 of a module's stack for threads that it will never have. */
#define WASM_ENABLE_HEAP_AUX_STACK_ALLOCATION 1
#define WASM_DISABLE_HW_BOUND_CHECK 1
#define WASM_DISABLE_STACK_HW_BOUND_CHECK 1
#define WASM_DISABLE_WAKEUP_BLOCKING_OP 1
#define WASM_ENABLE_SHRUNK_MEMORY 1
#define WASM_ENABLE_LOG 0
#define WASM_ENABLE_QUICK_AOT_ENTRY 0
#define WASM_ENABLE_AOT_INTRINSICS 0
#define WASM_DISABLE_WRITE_GS_BASE 1

#define BH_MALLOC wasm_runtime_malloc
#define BH_FREE wasm_runtime_free

#endif
