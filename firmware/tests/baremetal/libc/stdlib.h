/* What the tests ask of stdlib.h. */
#ifndef BAREMETAL_STDLIB_H
#define BAREMETAL_STDLIB_H

#include <stddef.h>

void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void free(void *p);
_Noreturn void abort(void);
char *getenv(const char *name); /* NULL */

#endif
