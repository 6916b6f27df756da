/* A test is a function without arguments; a check that fails says where and ends the program at its end with 1. */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern int checks_failed;
extern const char *context_of_check; /* printed with a failure, e.g. which cut */

#define CHECK(cond)                                                                                                    \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            if (checks_failed++ < 20)                                                                                  \
                fprintf(stderr, "%s:%d: %s: failed: %s\n", __FILE__, __LINE__, context_of_check, #cond);               \
        }                                                                                                              \
    } while (0)

#define CHECK_EQ(got, want)                                                                                            \
    do {                                                                                                               \
        long long got_ = (long long)(got), want_ = (long long)(want);                                                  \
        if (got_ != want_) {                                                                                           \
            if (checks_failed++ < 20)                                                                                  \
                fprintf(stderr, "%s:%d: %s: %s is %lld, want %lld\n", __FILE__, __LINE__, context_of_check, #got,      \
                        got_, want_);                                                                                  \
        }                                                                                                              \
    } while (0)

#define CHECK_STR(got, want)                                                                                           \
    do {                                                                                                               \
        const char *got_ = (got), *want_ = (want);                                                                     \
        if (strcmp(got_, want_) != 0) {                                                                                \
            if (checks_failed++ < 20)                                                                                  \
                fprintf(stderr, "%s:%d: %s: %s is \"%s\", want \"%s\"\n", __FILE__, __LINE__, context_of_check, #got,  \
                        got_, want_);                                                                                  \
        }                                                                                                              \
    } while (0)

typedef struct test {
    const char *name;
    void (*run)(void);
} test;

extern const test codec_tests[], vector_tests[], queue_tests[], wasm_tests[], store_tests[],
    session_tests[], life_tests[], command_tests[], host_tests[], power_tests[], link_tests[], provision_tests[], serial_tests[];

#endif
