/*
 * A board for tests of what stands around boards (provisioner, bridge, console), where the RTOS and its firmware cannot be
 * built: it boots, reads its provisioning blob with the firmware's own reader, remembers its boots across power cuts,
 * opens the serial line with the firmware's own framing and echoes what comes, and misbehaves on demand. README.md says
 * which letters do what.
 */
#include <string.h>

#include "mps2.h"
#include "provision.h"
#include "say.h"
#include "serial_line.h"

#ifndef VERSION
#define VERSION "test"
#endif

#define BOARD "Mps2An385"
#define BACK_OFF 500 /* ms between two connections */
#define FLOOD 2000   /* lines */
#define WINDOW 4096

/* What outlives a power cut, at the start of the PSRAM. */
typedef struct memory {
    uint32_t magic, boots, ended, check;
} memory;

enum { MEMORY_MAGIC = 0x57424d45u };
enum ended { ENDED_POWER = 0, ENDED_RESET = 1, ENDED_FAULT = 2, ENDED_WATCHDOG = 3 };

static memory *const kept = (memory *)(uintptr_t)MPS2_PSRAM;
static bool quiet;

static uint32_t check_of(const memory *m)
{
    return ~(m->magic ^ m->boots * 2654435761u ^ m->ended << 24);
}

static void keep(enum ended ended)
{
    kept->ended = ended;
    kept->check = check_of(kept);
}

/* Counts the boot; returns how the one before ended. */
static enum ended count_boot(void)
{
    if (kept->magic != MEMORY_MAGIC || kept->check != check_of(kept)) {
        say('W', "storage: made anew");
        kept->magic = MEMORY_MAGIC;
        kept->boots = 0;
        kept->ended = ENDED_POWER;
    }
    enum ended before = (enum ended)kept->ended;
    kept->boots++;
    keep(ENDED_POWER);
    return before;
}

void on_fault(uint32_t pc)
{
    print("wasmbed: fault cpu reason 0 at 0x%x, restarting\n", pc);
    keep(ENDED_FAULT);
    mps2_reset();
}

static void restart(void)
{
    say('I', "restarting");
    keep(ENDED_RESET);
    mps2_reset();
}

static void flood(void)
{
    for (uint32_t i = 0; i < FLOOD; i++)
        print("[flood] line %u of a module that says too much, and says it for longer than anybody wants to read\n", i);
    say('I', "flood: %u lines said", (uint32_t)FLOOD);
}

static void obey(uint8_t letter)
{
    switch (letter) {
    case 'c':
        mps2_crash();
    case 'h':
        say('I', "hanging");
        mps2_hang(false);
    case 'w':
        say('I', "hanging until the watchdog bites");
        keep(ENDED_WATCHDOG);
        mps2_hang(true);
    case 'f':
        flood();
        break;
    case 'r':
        restart();
        break;
    case 'q':
        quiet = true;
        break;
    case 's':
        quiet = false;
        say('I', "up %u ms, boot %u", mps2_ms(), kept->boots);
        break;
    default:
        break;
    }
}

static void console(void)
{
    uint8_t letter;
    while (mps2_read(MPS2_CONSOLE, &letter, 1) == 1)
        obey(letter);
}

/* ---- the serial line ------------------------------------------------------------------------------------- */

static wb_line line;
static uint8_t held[WINDOW]; /* bytes of the line, not yet framed */
static size_t held_len;
static int last_state = WB_ECLOSED;
static uint32_t again_at, echoed;

static void line_control(void)
{
    uint8_t out[WB_LINE_CONTROL_MAX];
    mps2_write(MPS2_LINK, out, wb_line_control(&line, mps2_ms(), out, sizeof out));
}

static void line_send(const uint8_t *p, size_t len)
{
    while (len > 0) {
        uint8_t out[64];
        size_t used, n = wb_line_encode(&line, p, len, &used, out, sizeof out);
        if (used == 0)
            return;
        mps2_write(MPS2_LINK, out, n);
        p += used;
        len -= used;
    }
}

static void line_hello(const wb_provision *p)
{
    char text[64] = "hello ";
    size_t n = strlen(text);
    uint32_t boots = kept->boots;
    memcpy(text + n, p->name.data, p->name.len < 40 ? p->name.len : 40);
    n += p->name.len < 40 ? p->name.len : 40;
    text[n++] = ' ';
    for (uint32_t unit = 1000000000u, started = 0; unit > 0; unit /= 10) {
        started |= boots / unit % 10 > 0 || unit == 1;
        if (started)
            text[n++] = (char)('0' + boots / unit % 10);
    }
    text[n++] = '\n';
    line_send((const uint8_t *)text, n);
}

static void line_receive(void)
{
    uint8_t payload[256];
    held_len += mps2_read(MPS2_LINK, held + held_len, sizeof held - held_len);
    for (size_t used = 1; held_len > 0 && used > 0;) {
        size_t n = wb_line_decode(&line, mps2_ms(), held, held_len, &used, payload, sizeof payload);
        held_len -= used;
        memmove(held, held + used, held_len);
        line_send(payload, n);
        echoed += (uint32_t)n;
        line_control();
    }
}

static void line_step(const wb_provision *p)
{
    line_receive();
    int state = wb_line_state(&line);
    if (state != last_state && !quiet) {
        if (state == 1)
            say('I', "serial line: open");
        else if (state < 0)
            say(last_state == 1 ? 'W' : 'I', "serial line: %s after %u bytes", wb_error_name(state), echoed);
    }
    if (state == 1 && last_state != 1) {
        line_hello(p);
        echoed = 0;
    }
    if (state < 0 && last_state >= 0)
        again_at = mps2_ms() + BACK_OFF;
    last_state = state;
    if (state < 0 && (int32_t)(mps2_ms() - again_at) >= 0) {
        wb_line_open(&line, mps2_ms());
        last_state = 0;
    }
    line_control();
}

/* ---- boot ------------------------------------------------------------------------------------------------ */

static void read_blob(wb_provision *p)
{
    int said = 0;
    for (;;) {
        int err = wb_provision_read((const uint8_t *)(uintptr_t)MPS2_BLOB, MPS2_BLOB_SIZE, p);
        if (err == 0)
            break;
        if (err != said)
            say('E', "%s (at 0x%x), waiting for a good one", wb_provision_error_text(err), (uint32_t)MPS2_BLOB);
        said = err;
        mps2_wait();
        console();
    }
    say('I', "blob: %u bytes, device '%t'", (uint32_t)p->size, &p->name);
    if (p->board.len != strlen(BOARD) || memcmp(p->board.data, BOARD, p->board.len) != 0)
        say('W', "blob: made for board %t", &p->board);
}

int main(void)
{
    static const char *const ended[] = {"power", "reset", "fault", "watchdog"};
    wb_provision blob;
    mps2_init();
    say('I', "boot " BOARD " " VERSION " baremetal");
    enum ended before = count_boot();
    say('I', "boot %u, the one before ended by %s", kept->boots, before <= ENDED_WATCHDOG ? ended[before] : "?");
    read_blob(&blob);
    wb_line_init(&line, (uint8_t)(kept->boots * 16u), WINDOW / 2);
    say('I', "gateway %t port %u over a serial line", &blob.host, (uint32_t)blob.port);
    say('I', "ready");
    for (;;) {
        console();
        line_step(&blob);
        mps2_wait();
    }
}
