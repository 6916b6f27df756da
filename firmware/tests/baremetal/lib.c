#include <stdint.h>
#include <string.h>

typedef uint32_t word32 __attribute__((may_alias));

void *memcpy(void *to, const void *from, size_t n)
{
    unsigned char *t = to;
    const unsigned char *f = from;
    if ((((uintptr_t)t | (uintptr_t)f) & 3u) == 0)
        for (; n >= 4; n -= 4, t += 4, f += 4)
            *(word32 *)(void *)t = *(const word32 *)(const void *)f;
    while (n-- > 0)
        *t++ = *f++;
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    unsigned char *t = to;
    const unsigned char *f = from;
    if (t < f)
        return memcpy(to, from, n);
    while (n-- > 0)
        t[n] = f[n];
    return to;
}

void *memset(void *p, int value, size_t n)
{
    unsigned char *t = p;
    word32 four = (unsigned char)value * 0x01010101u;
    for (; n > 0 && ((uintptr_t)t & 3u) != 0; n--)
        *t++ = (unsigned char)value;
    for (; n >= 4; n -= 4, t += 4)
        *(word32 *)(void *)t = four;
    while (n-- > 0)
        *t++ = (unsigned char)value;
    return p;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *x = a, *y = b;
    for (; n > 0; n--, x++, y++)
        if (*x != *y)
            return *x < *y ? -1 : 1;
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;
    while (s[n] != '\0')
        n++;
    return n;
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (; n > 0; n--, a++, b++) {
        if (*a != *b)
            return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
        if (*a == '\0')
            return 0;
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

char *strchr(const char *s, int c)
{
    for (;; s++) {
        if (*s == (char)c)
            return (char *)(uintptr_t)s;
        if (*s == '\0')
            return NULL;
    }
}

char *strstr(const char *s, const char *word)
{
    size_t n = strlen(word);
    for (; *s != '\0'; s++)
        if (strncmp(s, word, n) == 0)
            return (char *)(uintptr_t)s;
    return NULL;
}

size_t strcspn(const char *s, const char *any)
{
    size_t n = 0;
    while (s[n] != '\0' && strchr(any, s[n]) == NULL)
        n++;
    return n;
}
