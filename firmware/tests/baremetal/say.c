#include "say.h"

#include <stdarg.h>
#include <string.h>

#include "mps2.h"
#include "wasmbed/types.h"

static void out(const char *s, size_t n)
{
    mps2_write(MPS2_CONSOLE, (const uint8_t *)s, n);
}

static void number(uint32_t v, unsigned base, size_t width, char pad)
{
    char digits[10];
    size_t n = 0;
    do {
        digits[sizeof digits - ++n] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v > 0);
    for (; width > n; width--)
        out(&pad, 1);
    out(digits + sizeof digits - n, n);
}

static void vprint(const char *f, va_list args)
{
    for (; *f != '\0'; f++) {
        const char *end = strchr(f, '%');
        size_t n = end != NULL ? (size_t)(end - f) : strlen(f);
        out(f, n);
        if (end == NULL)
            return;
        f = end + 1;
        if (*f == 's') {
            const char *s = va_arg(args, const char *);
            out(s, strlen(s));
        } else if (*f == 't') {
            const wb_text *t = va_arg(args, const wb_text *);
            out(t->data, t->len);
        } else if (*f == 'u') {
            number(va_arg(args, uint32_t), 10, 0, ' ');
        } else if (*f == 'x') {
            number(va_arg(args, uint32_t), 16, 8, '0');
        }
    }
}

void print(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprint(format, args);
    va_end(args);
}

void say(char level, const char *format, ...)
{
    va_list args;
    uint32_t now = mps2_ms();
    out("[", 1);
    number(now / 1000, 10, 5, ' ');
    out(".", 1);
    number(now % 1000, 10, 3, '0');
    out("] ", 2);
    out(&level, 1);
    print(" wasmbed: ");
    va_start(args, format);
    vprint(format, args);
    va_end(args);
    print("\n");
}
