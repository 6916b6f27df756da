/* One timer, for the end of a call. timer_zephyr.c, timer_posix.c. */
#ifndef WASMBED_WAMR_TIMER_H
#define WASMBED_WAMR_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __ZEPHYR__
#include <zephyr/kernel.h>
#else
#include <pthread.h>
#endif

typedef struct wb_wamr_timer {
    void (*fire)(void *); /* in an interrupt or another thread: one atomic store, no more */
    void *arg;
    bool fired;
#ifdef __ZEPHYR__
    struct k_timer timer;
#else
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t at; /* monotonic nanoseconds, 0: stopped */
    bool closing;
#endif
} wb_wamr_timer;

/* 0, or -1 when there is none. */
int wb_wamr_timer_open(wb_wamr_timer *t);
/* Calls fire(arg) once after ms (0: as soon as it can), unless stopped before. */
void wb_wamr_timer_start(wb_wamr_timer *t, uint32_t ms, void (*fire)(void *), void *arg);
/* When it has returned, fire is not running and will not. Whether it ran. */
bool wb_wamr_timer_stop(wb_wamr_timer *t);
void wb_wamr_timer_close(wb_wamr_timer *t);

#endif
