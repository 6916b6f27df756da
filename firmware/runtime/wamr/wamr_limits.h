/* Limits of the engine, in one place. */
#ifndef WASMBED_WAMR_LIMITS_H
#define WASMBED_WAMR_LIMITS_H

#define WB_WAMR_POOL_MIN 4096     /* bytes; WAMR writes past the end of a pool that is smaller than its own structures */
#define WB_WAMR_OWN 1024          /* bytes of the pool that the engine itself takes, at most, on a 32-bit board */
#define WB_WAMR_IMPORTS_MAX 32    /* functions in the core's table; more refuse to start */
#define WB_WAMR_LOCALS_MAX 1024   /* of one function (docs/spec/abi.md) */
#define WB_WAMR_TABLE_MAX 4096    /* entries of a table at the start (docs/spec/abi.md) */
#define WB_WAMR_FUNCTION_MAX 127  /* bytes of the name of an invoked function */
#define WB_WAMR_SECTIONS_MAX 128  /* with custom ones */
#define WB_WAMR_STACK_MIN 256     /* bytes of operand stack; a manifest's smaller number is raised to this */

#endif
