/* What the engine's files share. */
#ifndef WASMBED_WAMR_INTERNAL_H
#define WASMBED_WAMR_INTERNAL_H

#include "wamr.h"
#include "wasm_export.h"

/* A loaded module. In the pool. */
typedef struct wb_wamr_instance {
    wb_instance *inst;
    uint8_t *code; /* the module's bytes, as WAMR uses and changes them */
    wasm_module_t module;
    wasm_module_inst_t instance;
    wasm_exec_env_t env;
    int instructions; /* per call, -1: any number */
    wb_trap dead;     /* reason NONE: alive */
} wb_wamr_instance;

/* ---- host.c: what modules import ---- */

/* Tells WAMR about the functions of wb_imports(). 0 or negative. */
int wb_wamr_register(void);

/* ---- module.c: a module before WAMR sees it ---- */

/* What a module is made of, as far as its memory goes. Counts of what it defines itself, unless said otherwise. */
typedef struct wb_wamr_shape {
    uint32_t kept; /* bytes without custom sections */
    uint32_t types, type_values;
    uint32_t imports;
    uint32_t functions, locals; /* locals: without parameters */
    uint32_t tables, table_entries;
    uint32_t memories, pages; /* pages: at the start */
    uint32_t globals;
    uint32_t exports, function_exports;
    uint32_t elements, element_entries;
    uint32_t data;
    bool grows;        /* asks for its memory's size or grows it */
    bool exports_memory;
    uint32_t heap_base; /* what WAMR may shrink the memory to, 0: no */
} wb_wamr_shape;

/* Walks through a module. 0; WB_EIO; WB_ETRAP with *trap. */
int wb_wamr_scan(const wb_module *m, wb_wamr_shape *out, wb_trap *trap);
/* Copies it without custom sections; buf has shape.kept bytes. 0 or WB_EIO. */
int wb_wamr_copy(const wb_module *m, uint8_t *buf, uint32_t len);
/* Bytes of pool that an instance takes. */
int64_t wb_wamr_need(const wb_wamr_shape *s, const wb_limits *limits);

/* ---- trap.c ---- */

/* Fills a trap with WAMR's words, less its prefix, and the reason that they stand for. */
void wb_wamr_trap(wb_trap *t, const char *where, const char *text, wb_reason otherwise);

#endif
