/*
 * What the core looks at in a module before an engine sees it: header and section order, imports against the table of
 * host functions and the manifest's permissions, memory, the entry point. Reads through a small window, so the module
 * may be anywhere. It does not validate code: that is the engine's.
 */
#ifndef WB_WASM_H
#define WB_WASM_H

#include "wasmbed/runtime.h"

/* WB_REASON_NONE when the module may be loaded, else why not, and `text` (WB_TEXT_MAX + 1 bytes) what. */
wb_reason wb_wasm_check(const wb_module *m, const wb_limits *limits, char *text);

#endif
