#include "console.h"

#include <stdarg.h>

#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

#define PREFIX 24 /* bytes that a line costs besides its text */

#define SAY_LEFT_OUT 10000 /* ms between two words about lines left out */

/* A bucket of bytes that fills at a constant rate. Warnings and errors have one of their own, so that chatter does not
 * drown them. Only the main thread writes lines. */
struct bucket {
    int64_t at;    /* when it was filled last */
    uint32_t room; /* bytes */
    bool begun;
};

static struct bucket chatter, trouble;
static uint32_t left_out; /* lines */
static int64_t said_at;

static void prefix(wb_level level)
{
    static const char mark[] = "?DIWE";
    int64_t now = k_uptime_get();
    uint32_t s = (uint32_t)(now / 1000), ms = (uint32_t)(now % 1000);
    printk("[%5u.%03u] %c ", s, ms, mark[level >= WB_DEBUG && level <= WB_ERROR ? level : 0]);
}

static void fill(struct bucket *b)
{
    int64_t now = k_uptime_get();
    int64_t more = (now - b->at) * CONFIG_WASMBED_CONSOLE_RATE / 1000;
    if (!b->begun) {
        b->begun = true;
        more = CONFIG_WASMBED_CONSOLE_BURST;
    }
    if (more <= 0)
        return;
    b->at = now;
    b->room = (uint32_t)MIN(b->room + more, CONFIG_WASMBED_CONSOLE_BURST);
}

void wb_say(wb_level level, const char *format, ...)
{
    va_list args;
    prefix(level);
    printk("wasmbed: ");
    va_start(args, format);
    vprintk(format, args);
    va_end(args);
    printk("\n");
}

void wb_console_step(void)
{
    int64_t now = k_uptime_get();
    if (left_out == 0 || now - said_at < SAY_LEFT_OUT)
        return;
    wb_say(WB_WARNING, "console: %u lines left out", left_out);
    left_out = 0;
    said_at = now;
}

void wb_console_log(void *ctx, wb_level level, const char *text, size_t len)
{
    ARG_UNUSED(ctx);
    struct bucket *b = level >= WB_WARNING ? &trouble : &chatter;
    fill(b);
    if (len + PREFIX > b->room) {
        left_out++;
        return;
    }
    b->room -= (uint32_t)(len + PREFIX);
    prefix(level);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        printk("%c", c < 0x20 || c == 0x7f ? '.' : c);
    }
    printk("\n");
}
