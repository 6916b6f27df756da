/* The timer on POSIX: a thread that waits. */
#define _POSIX_C_SOURCE 200809L
#include "wamr_timer.h"

#include <time.h>

#define SECOND 1000000000LL

static int64_t now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * SECOND + ts.tv_nsec;
}

static void *run(void *arg)
{
    wb_wamr_timer *t = arg;
    pthread_mutex_lock(&t->lock);
    while (!t->closing) {
        if (t->at == 0) {
            pthread_cond_wait(&t->changed, &t->lock);
        } else if (now() < t->at) {
            struct timespec until = {(time_t)(t->at / SECOND), (long)(t->at % SECOND)};
            pthread_cond_timedwait(&t->changed, &t->lock, &until);
        } else {
            t->at = 0;
            t->fired = true;
            t->fire(t->arg);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

int wb_wamr_timer_open(wb_wamr_timer *t)
{
    pthread_condattr_t attr;
    t->at = 0;
    t->fired = t->closing = false;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &attr);
    pthread_condattr_destroy(&attr);
    return pthread_create(&t->thread, NULL, run, t) == 0 ? 0 : -1;
}

void wb_wamr_timer_start(wb_wamr_timer *t, uint32_t ms, void (*fire)(void *), void *arg)
{
    pthread_mutex_lock(&t->lock);
    t->fire = fire;
    t->arg = arg;
    t->fired = false;
    t->at = now() + (int64_t)ms * 1000000;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

bool wb_wamr_timer_stop(wb_wamr_timer *t)
{
    pthread_mutex_lock(&t->lock);
    bool fired = t->fired;
    t->at = 0;
    pthread_mutex_unlock(&t->lock);
    return fired;
}

void wb_wamr_timer_close(wb_wamr_timer *t)
{
    pthread_mutex_lock(&t->lock);
    t->closing = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
}
