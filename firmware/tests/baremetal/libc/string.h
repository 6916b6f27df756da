/* What the core asks of string.h, so that no C library need be installed; lib.c has it. */
#ifndef BAREMETAL_STRING_H
#define BAREMETAL_STRING_H

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *p, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
size_t strcspn(const char *s, const char *any);
char *strstr(const char *s, const char *word);

#endif
