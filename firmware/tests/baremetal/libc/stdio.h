/* What the tests ask of stdio.h: text to the console. */
#ifndef BAREMETAL_STDIO_H
#define BAREMETAL_STDIO_H

#include <stddef.h>

typedef struct bare_file FILE;
#define stdout ((FILE *)0)
#define stderr ((FILE *)0)

/* Conversions: %s %c %d %u %x with l, ll, z, a width, and a precision for %s. */
int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
int fprintf(FILE *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
int snprintf(char *out, size_t cap, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
