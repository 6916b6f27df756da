#include "watchdog.h"

#include <errno.h>

#include <zephyr/drivers/watchdog.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/reboot.h>

#include "console.h"
#include "fault.h"

#define SECONDS CONFIG_WASMBED_WATCHDOG_SECONDS

BUILD_ASSERT(CONFIG_WASMBED_CALL_TIMEOUT_MAX < SECONDS * 1000, "a module's call must end before the watchdog does");

static void starved(void)
{
    wb_fault_note(WB_FAULT_WATCHDOG, 0, 0);
    sys_reboot(SYS_REBOOT_COLD);
}

static void on_timer(struct k_timer *timer)
{
    ARG_UNUSED(timer);
    starved();
}

/* Has no bite when interrupts are off for good: second to a real one. */
static K_TIMER_DEFINE(soft, on_timer, NULL);

#if defined(CONFIG_WATCHDOG) && DT_NODE_HAS_STATUS(DT_ALIAS(watchdog0), okay)
#define WATCHDOG DT_ALIAS(watchdog0)

static const struct device *const wdt = DEVICE_DT_GET(WATCHDOG);
static int channel = -1;

static void on_watchdog(const struct device *dev, int id)
{
    ARG_UNUSED(dev);
    ARG_UNUSED(id);
    starved();
}

static int start_hard(void)
{
    struct wdt_timeout_cfg cfg = {
        .flags = WDT_FLAG_RESET_SOC,
        .window = {.min = 0, .max = SECONDS * MSEC_PER_SEC},
        .callback = on_watchdog,
    };
    if (!device_is_ready(wdt))
        return -ENODEV;
    if (DT_NODE_HAS_COMPAT(WATCHDOG, arm_cmsdk_watchdog))
        cfg.window.max = SECONDS; /* that driver counts seconds */
    int id = wdt_install_timeout(wdt, &cfg);
    if (id == -ENOTSUP) { /* cannot warn before it bites */
        cfg.callback = NULL;
        id = wdt_install_timeout(wdt, &cfg);
    }
    if (id < 0)
        return id;
    int err = wdt_setup(wdt, WDT_OPT_PAUSE_HALTED_BY_DBG);
    if (err == -ENOTSUP)
        err = wdt_setup(wdt, 0);
    if (err == 0)
        channel = id;
    return err;
}

static bool feed_hard(void)
{
    return channel >= 0 && wdt_feed(wdt, channel) == 0;
}
#else
static int start_hard(void)
{
    return -ENODEV;
}

static bool feed_hard(void)
{
    return false;
}
#endif

void wb_watchdog_start(void)
{
    bool hard = start_hard() == 0;
    wb_say(WB_INFO, "watchdog: %s, " STRINGIFY(SECONDS) " s", hard ? "hardware" : "timer");
    wb_watchdog_feed();
}

void wb_watchdog_feed(void)
{
    if (!feed_hard())
        k_timer_start(&soft, K_SECONDS(SECONDS), K_NO_WAIT);
}
