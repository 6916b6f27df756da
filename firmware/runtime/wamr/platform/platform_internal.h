/*
 * The platform that WAMR is built on: none. All of WAMR runs in the thread that polls the device, on a pool that it is
 * given, so it needs no memory, threads, locks or output of an operating system. What WAMR's headers want named
 * besides, and nothing here uses, is named here. The one thing that comes from another thread or an interrupt is the
 * end of a call, which is one atomic store (wamr_timer.h).
 */
#ifndef _PLATFORM_INTERNAL_H
#define _PLATFORM_INTERNAL_H

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uintptr_t korp_tid;
typedef uintptr_t korp_thread;
typedef char korp_mutex;
typedef char korp_cond;
typedef char korp_rwlock;
typedef char korp_sem;

typedef int os_file_handle;
typedef int os_raw_file_handle;
typedef void *os_dir_stream;
typedef struct os_poll_file_handle {
    int fd;
} os_poll_file_handle;
typedef unsigned os_nfds_t;
typedef struct os_timespec {
    int64_t seconds;
    int32_t nanoseconds;
} os_timespec;

#define BH_PLATFORM_WASMBED
#define BH_APPLET_PRESERVED_STACK_SIZE 2048
#define BH_THREAD_DEFAULT_PRIORITY 0

/* Linear memory is rounded up to this. It comes from the pool, whose unit is 8 bytes. */
static inline int os_getpagesize(void) { return 8; }
static inline os_file_handle os_get_invalid_handle(void) { return -1; }

#ifdef WASMBED_MINIMAL_LIBC
/* Zephyr's minimal C library has next to no mathematics; WAMR brings its own in platform/common/math. */
double sqrt(double x);
double floor(double x);
double ceil(double x);
double fmin(double x, double y);
double fmax(double x, double y);
double rint(double x);
double fabs(double x);
double trunc(double x);
float sqrtf(float x);
float floorf(float x);
float ceilf(float x);
float fminf(float x, float y);
float fmaxf(float x, float y);
float rintf(float x);
float fabsf(float x);
float truncf(float x);
double atan(double x);
double atan2(double y, double x);
double pow(double x, double y);
double scalbn(double x, int n);
#define isnan(x) __builtin_isnan(x)
#define signbit(x) __builtin_signbit(x)
#define isinf(x) __builtin_isinf(x)
#define BH_HAS_SQRT
#define BH_HAS_SQRTF
#else
#include <math.h>
#endif

#endif
