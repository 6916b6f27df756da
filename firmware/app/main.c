/* A Wasmbed device on Zephyr: reads its provisioning blob, makes the board, and turns the core's loop. */
#include <stdint.h>
#include <string.h>

#include <zephyr/kernel.h>
#include <zephyr/sys/reboot.h>
#include "version_zephyr.h"

#include "board.h"
#include "console.h"
#include "fault.h"
#include "watchdog.h"

#define TURN_MOST (CONFIG_WASMBED_WATCHDOG_SECONDS * 1000 / 4) /* ms that the loop may sleep at most */
#define BLOB_AGAIN 2000                                        /* ms */
#define RESTART_FIRST 5000                                     /* ms until a board that cannot start tries again */
#define RESTART_DOUBLES 6                                      /* times that this doubles, boot after boot */

static wb_provision provision;

static void sleep_fed(uint32_t ms)
{
    while (ms > 0) {
        uint32_t part = MIN(ms, TURN_MOST);
        wb_watchdog_feed();
        k_msleep((int32_t)part);
        ms -= part;
    }
    wb_watchdog_feed();
}

static _Noreturn void start_again(int err, uint32_t in_a_row)
{
    uint32_t wait = RESTART_FIRST << MIN(in_a_row, RESTART_DOUBLES);
    wb_say(WB_ERROR, "cannot start: %s, again in %u s", wb_error_name(err), wait / 1000);
    sleep_fed(wait);
    wb_fault_note(WB_FAULT_START, err, 0);
    sys_reboot(SYS_REBOOT_COLD);
    CODE_UNREACHABLE;
}

/* Waits for a blob that can be read: somebody may load it later. */
static void read_blob(void)
{
    const uint8_t *place = (const uint8_t *)CONFIG_WASMBED_BLOB_ADDRESS;
    int said = 0;
    for (;;) {
        int err = wb_provision_read(place, CONFIG_WASMBED_BLOB_SIZE, &provision);
        if (err == 0)
            break;
        if (err != said)
            wb_say(WB_ERROR, "%s (at 0x%08x), waiting for another", wb_provision_error_text(err),
                   (unsigned)CONFIG_WASMBED_BLOB_ADDRESS);
        said = err;
        sleep_fed(BLOB_AGAIN);
    }
    wb_say(WB_INFO, "blob: %u bytes, device '%.*s'", (unsigned)provision.size, (int)provision.name.len,
           provision.name.len > 0 ? provision.name.data : "");
    if (provision.board.len != strlen(CONFIG_WASMBED_BOARD_NAME) ||
        memcmp(provision.board.data, CONFIG_WASMBED_BOARD_NAME, provision.board.len) != 0)
        wb_say(WB_WARNING, "blob is for board %.*s", (int)provision.board.len, provision.board.data);
}

/* What the console says about the session, and only when it changes. */
static void tell(const wb_device *d)
{
    static wb_session_state last = WB_SESSION_WAITING;
    static bool online;
    static wb_reason told;
    wb_stats s;
    wb_device_stats(d, &s);
    bool now = s.session == WB_SESSION_ACTIVE && s.enrolled;
    if (now && !online) {
        wb_say(WB_INFO, "online, epoch %u", (unsigned)s.epoch);
        wb_board_say_memory();
        wb_fault_clear();
    }
    if (s.session == WB_SESSION_WAITING && last != WB_SESSION_WAITING) {
        int code = 0;
        const char *why = wb_board_why(&code);
        wb_say(online ? WB_WARNING : WB_INFO, "offline: %s%s%s (%d)", wb_error_name(s.last_error),
               why[0] != '\0' ? ", " : "", why, code);
    }
    if (s.session == WB_SESSION_CONNECTING && last != WB_SESSION_CONNECTING)
        wb_say(WB_INFO, "connecting");
    if (s.session == WB_SESSION_ENROLLING && last != WB_SESSION_ENROLLING)
        wb_say(WB_INFO, "enrolling");
    if (s.enroll_reason != told && s.enroll_reason != WB_REASON_NONE)
        wb_say(WB_WARNING, "enrollment: %s", wb_reason_name(s.enroll_reason));
    told = s.enroll_reason;
    last = s.session;
    online = now;
}

int main(void)
{
    wb_config config;
    wb_port port;
    wb_device *d;
    wb_say(WB_INFO, "boot " CONFIG_WASMBED_BOARD_NAME " " WASMBED_VERSION " zephyr " KERNEL_VERSION_STRING);
    uint32_t in_a_row = wb_fault_tell();
    wb_watchdog_start();
    read_blob();
    int err = wb_board_init(&provision);
    if (err == 0) {
        wb_board_config(&config);
        wb_board_port(&port);
        err = wb_device_init(&d, &config, &port);
        wb_board_started();
    }
    if (err < 0)
        start_again(err, in_a_row);
    wb_say(WB_INFO, "ready");
    for (;;) {
        wb_watchdog_feed();
        int64_t ms = wb_device_poll(d);
        tell(d);
        wb_console_step();
        wb_board_wait(wb_device_wait(d) & WB_WAIT_WRITE, MIN(ms, TURN_MOST));
    }
}
