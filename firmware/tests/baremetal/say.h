/* The console, with the firmware's line format: `[    0.012] I wasmbed: what`. */
#ifndef SAY_H
#define SAY_H

#include <stdint.h>

/* %s text, %u uint32_t, %x uint32_t in hex (8 digits), %t const wb_text *. */
void say(char level, const char *format, ...);
/* The same without prefix and end of line. */
void print(const char *format, ...);

#endif
