/*
 * The console: one event a line, `[  12.345] I wasmbed: what`. The levels are D, I, W and E. Lines that begin with
 * `wasmbed:` are the firmware's own and always come out; what modules and the core say is bounded, so that a module that
 * floods the console neither stalls the session nor drowns the rest. What was left out is counted and said.
 */
#ifndef WASMBED_CONSOLE_H
#define WASMBED_CONSOLE_H

#include "wasmbed/types.h"

/* A line of the firmware, printf's integers and strings. */
void wb_say(wb_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* wb_port.log. Bytes that a terminal might obey come out as dots. */
void wb_console_log(void *ctx, wb_level level, const char *text, size_t len);

/* Says what was left out, when there is room again; called by the main loop. */
void wb_console_step(void);

#endif
