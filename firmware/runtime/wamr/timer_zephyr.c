/* The timer on Zephyr: a k_timer, whose function runs in the clock's interrupt. So it ends a module that spins whatever
 * the device's thread has for a priority. */
#include "wamr_timer.h"

static void expired(struct k_timer *timer)
{
    wb_wamr_timer *t = CONTAINER_OF(timer, wb_wamr_timer, timer);
    t->fire(t->arg);
    __atomic_store_n(&t->fired, true, __ATOMIC_RELEASE);
}

int wb_wamr_timer_open(wb_wamr_timer *t)
{
    t->fired = false;
    k_timer_init(&t->timer, expired, NULL);
    return 0;
}

void wb_wamr_timer_start(wb_wamr_timer *t, uint32_t ms, void (*fire)(void *), void *arg)
{
    t->fire = fire;
    t->arg = arg;
    __atomic_store_n(&t->fired, false, __ATOMIC_RELEASE);
    k_timer_start(&t->timer, K_MSEC(ms), K_NO_WAIT);
}

bool wb_wamr_timer_stop(wb_wamr_timer *t)
{
    k_timer_stop(&t->timer);
    return __atomic_load_n(&t->fired, __ATOMIC_ACQUIRE);
}

void wb_wamr_timer_close(wb_wamr_timer *t) { k_timer_stop(&t->timer); }
