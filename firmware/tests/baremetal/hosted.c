/* The parts of a hosted C library that the tests want: formatted text, a heap, setjmp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mps2.h"
#include "say.h"

/* ---- text: into a buffer, or to the console when there is none ------------------------------------------ */

typedef struct text {
    char *out;
    size_t cap, len;
} text;

static void put(text *t, const char *s, size_t n)
{
    if (t->out == NULL)
        mps2_write(MPS2_CONSOLE, (const uint8_t *)s, n);
    for (size_t i = 0; t->out != NULL && i < n && t->len + i + 1 < t->cap; i++)
        t->out[t->len + i] = s[i];
    t->len += n;
}

static void number(text *t, uint64_t v, unsigned base, bool minus, size_t width, char pad)
{
    char digits[24];
    size_t n = 0;
    do {
        digits[sizeof digits - ++n] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v > 0);
    if (minus)
        digits[sizeof digits - ++n] = '-';
    for (; width > n; width--)
        put(t, &pad, 1);
    put(t, digits + sizeof digits - n, n);
}

static void format(text *t, const char *f, va_list args)
{
    for (; *f != '\0'; f++) {
        if (*f != '%') {
            put(t, f, 1);
            continue;
        }
        size_t width = 0, precision = SIZE_MAX;
        int longs = 0;
        char pad = f[1] == '0' ? '0' : ' ', c;
        for (f++; *f >= '0' && *f <= '9'; f++)
            width = width * 10 + (size_t)(*f - '0');
        if (*f == '.') {
            precision = 0;
            if (*++f == '*') {
                precision = (size_t)va_arg(args, int);
                f++;
            }
            for (; *f >= '0' && *f <= '9'; f++)
                precision = precision * 10 + (size_t)(*f - '0');
        }
        for (; *f == 'l' || *f == 'z'; f++)
            longs += *f == 'l';
        switch (*f) {
        case 's': {
            const char *s = va_arg(args, const char *);
            size_t n = 0;
            while (n < precision && s[n] != '\0')
                n++;
            put(t, s, n);
            break;
        }
        case 'c':
            c = (char)va_arg(args, int);
            put(t, &c, 1);
            break;
        case 'd': {
            int64_t v = longs > 1 ? va_arg(args, long long) : va_arg(args, int);
            number(t, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10, v < 0, width, pad);
            break;
        }
        case 'u':
        case 'x':
            number(t, longs > 1 ? va_arg(args, unsigned long long) : va_arg(args, unsigned), *f == 'x' ? 16 : 10, false, width, pad);
            break;
        default:
            put(t, f, 1);
        }
    }
    if (t->out != NULL && t->cap > 0)
        t->out[t->len < t->cap ? t->len : t->cap - 1] = '\0';
}

int printf(const char *f, ...)
{
    text t = {NULL, 0, 0};
    va_list args;
    va_start(args, f);
    format(&t, f, args);
    va_end(args);
    return (int)t.len;
}

int fprintf(FILE *file, const char *f, ...)
{
    text t = {NULL, 0, 0};
    va_list args;
    (void)file;
    va_start(args, f);
    format(&t, f, args);
    va_end(args);
    return (int)t.len;
}

int snprintf(char *out, size_t cap, const char *f, ...)
{
    static char nowhere[1];
    text t = {out != NULL ? out : nowhere, out != NULL ? cap : 1, 0};
    va_list args;
    va_start(args, f);
    format(&t, f, args);
    va_end(args);
    return (int)t.len;
}

/* ---- heap: grows, and is empty again when everything was freed, as at the end of every test --------------- */

static uint8_t heap[3u << 20] __attribute__((aligned(8)));
static size_t heap_used, heap_live;

void *malloc(size_t n)
{
    n = (n + 7) & ~(size_t)7;
    if (n > sizeof heap - heap_used) {
        print("FAIL the heap is full\n");
        abort();
    }
    void *p = heap + heap_used;
    heap_used += n;
    heap_live++;
    return p;
}

void *calloc(size_t n, size_t size)
{
    void *p = malloc(n * size);
    return memset(p, 0, n * size);
}

void free(void *p)
{
    if (p != NULL && --heap_live == 0)
        heap_used = 0;
}

void abort(void)
{
    print("FAIL abort\n");
    mps2_exit(1);
}

char *getenv(const char *name)
{
    (void)name;
    return NULL;
}

/* ---- setjmp (AAPCS: r4-r11, sp and lr are the callee's to keep) ------------------------------------------- */

__attribute__((naked)) int setjmp(jmp_buf env)
{
    (void)env;
    __asm__ volatile("mov r1, sp\n"
                     "stmia r0!, {r4-r11}\n"
                     "stmia r0!, {r1, lr}\n"
                     "movs r0, #0\n"
                     "bx lr");
}

__attribute__((naked, noreturn)) void longjmp(jmp_buf env, int value)
{
    (void)env;
    (void)value;
    __asm__ volatile("ldmia r0!, {r4-r11}\n"
                     "ldmia r0!, {r2, lr}\n"
                     "mov sp, r2\n"
                     "movs r0, r1\n"
                     "bx lr");
}
