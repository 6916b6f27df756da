/*
 * Fuzzing with any compiler: runs the seeds, then as many mutants of them as are asked for, always the same ones.
 *
 *     replay MUTANTS PATH…      a PATH is a folder of vectors (*.txt with a line "hex: …"), or a file taken as it is
 *
 * A mutant that ends the program badly is left in the file crash-<name>.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

#define SEEDS_MOST 2000
#define INPUT_MOST 8192

typedef struct seed {
    uint8_t *bytes;
    size_t len;
} seed;

static seed seeds[SEEDS_MOST];
static int count;
static uint8_t input[INPUT_MOST];
static size_t input_len;
static uint32_t state = 12345;

static uint32_t rnd(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return n > 0 ? state % n : 0;
}

static void keep(const uint8_t *bytes, size_t len)
{
    if (count == SEEDS_MOST || len > INPUT_MOST)
        return;
    seeds[count].bytes = malloc(len > 0 ? len : 1);
    memcpy(seeds[count].bytes, bytes, len);
    seeds[count++].len = len;
}

static void load_vector(const char *path)
{
    static char line[40000];
    static uint8_t bytes[20000];
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return;
    while (fgets(line, sizeof line, f) != NULL) {
        size_t n = 0;
        if (strncmp(line, "hex: ", 5) != 0)
            continue;
        for (const char *p = line + 5; n < sizeof bytes && p[0] > ' ' && p[1] > ' '; p += 2) {
            unsigned v;
            if (sscanf(p, "%2x", &v) != 1)
                break;
            bytes[n++] = (uint8_t)v;
        }
        if (n > fuzz_skip)
            keep(bytes + fuzz_skip, n - fuzz_skip); /* the body */
    }
    fclose(f);
}

static void load_file(const char *path)
{
    static uint8_t bytes[INPUT_MOST];
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return;
    keep(bytes, fread(bytes, 1, sizeof bytes, f));
    fclose(f);
}

static void load(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        load_file(path);
        return;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        char name[1024];
        size_t n = strlen(e->d_name);
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (n > 4 && strcmp(e->d_name + n - 4, ".txt") == 0)
            load_vector(name);
        else if (e->d_name[0] != '.')
            load_file(name);
    }
    closedir(dir);
}

static void on_crash(int sig)
{
    char name[64];
    snprintf(name, sizeof name, "crash-%s", fuzz_name);
    FILE *f = fopen(name, "wb");
    if (f != NULL) {
        fwrite(input, 1, input_len, f);
        fclose(f);
    }
    signal(sig, SIG_DFL);
    raise(sig);
}

static void run(void)
{
    uint8_t *exact = malloc(input_len > 0 ? input_len : 1); /* reading beyond it is seen */
    memcpy(exact, input, input_len);
    LLVMFuzzerTestOneInput(exact, input_len);
    free(exact);
}

static void take(const seed *s)
{
    memcpy(input, s->bytes, s->len);
    input_len = s->len;
}

static void mutate(void)
{
    switch (rnd(6)) {
    case 0:
        if (input_len > 0)
            input[rnd((uint32_t)input_len)] ^= (uint8_t)(1u << rnd(8));
        break;
    case 1:
        if (input_len > 0)
            input[rnd((uint32_t)input_len)] = (uint8_t)rnd(256);
        break;
    case 2: /* shorter */
        input_len = rnd((uint32_t)input_len + 1);
        break;
    case 3: /* a byte more somewhere */
        if (input_len < INPUT_MOST) {
            uint32_t at = rnd((uint32_t)input_len + 1);
            memmove(input + at + 1, input + at, input_len - at);
            input[at] = (uint8_t)rnd(256);
            input_len++;
        }
        break;
    case 4: /* a part of another seed */
        if (count > 0) {
            const seed *s = &seeds[rnd((uint32_t)count)];
            uint32_t from = rnd((uint32_t)s->len + 1), n = rnd((uint32_t)(s->len - from) + 1);
            uint32_t at = rnd((uint32_t)input_len + 1);
            if (at + n <= INPUT_MOST) {
                memcpy(input + at, s->bytes + from, n);
                if (at + n > input_len)
                    input_len = at + n;
            }
        }
        break;
    default: /* noise at the end */
        for (uint32_t n = rnd(60); n > 0 && input_len < INPUT_MOST; n--)
            input[input_len++] = (uint8_t)rnd(256);
        break;
    }
}

int main(int argc, char **argv)
{
    long mutants = argc > 1 ? atol(argv[1]) : 0;
    signal(SIGABRT, on_crash);
    signal(SIGSEGV, on_crash);
    for (int i = 2; i < argc; i++)
        load(argv[i]);
    if (argc > 2 && count == 0) {
        fprintf(stderr, "replay %s: no seeds: nothing would be tested\n", fuzz_name);
        return 1;
    }
    for (int i = 0; i < count; i++) {
        take(&seeds[i]);
        run();
    }
    for (long i = 0; i < mutants; i++) {
        input_len = 0;
        if (count > 0)
            take(&seeds[rnd((uint32_t)count)]);
        for (uint32_t n = 1 + rnd(5); n > 0; n--)
            mutate();
        run();
    }
    printf("replay %s: %d seeds, %ld mutants\n", fuzz_name, count, mutants);
    return 0;
}
