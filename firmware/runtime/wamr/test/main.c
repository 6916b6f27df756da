/* All tests, on this machine. */
#include <stdarg.h>
#include <sys/stat.h>

#include "fake.h"

static uint8_t pool[512 * 1024] __attribute__((aligned(8)));

void fake_say(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
}

void fake_fail(const char *file, int line, const char *what)
{
    printf("%s:%d: %s\n", file, line, what);
    exit(1);
}

const uint8_t *fake_module(const char *name, uint32_t *size)
{
    static uint8_t bytes[16384];
    char path[256];
    snprintf(path, sizeof path, "%s/%s.wasm", MODULES, name);
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL);
    *size = (uint32_t)fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    return bytes;
}

static void mutants(wb_wamr *w)
{
    const char *times = getenv("MUTANTS");
    test_mutants(w, times == NULL ? 20000 : (unsigned)atoi(times));
}

/* All, or those that are named. */
int main(int argc, char **argv)
{
    static wb_wamr w;
    static const struct {
        const char *name;
        void (*run)(wb_wamr *w);
    } tests[] = {
        {"samples", test_samples}, {"faults", test_faults}, {"refusals", test_refusals},
        {"limits", test_limits},   {"need", test_need},     {"mutants", mutants},
        {"memory", test_memory},
    };
    CHECK(wb_wamr_init(&w, pool, sizeof pool, NULL) == 0);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        bool wanted = argc < 2;
        for (int a = 1; a < argc; a++)
            wanted = wanted || strcmp(argv[a], tests[i].name) == 0;
        if (!wanted)
            continue;
        tests[i].run(&w);
        printf("ok   %s\n", tests[i].name);
    }
    printf("all good\n");
    return 0;
}
