#include "mps2.h"

#include <string.h>

#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* CMSDK APB UART (Arm DDI 0479). */
#define UART(u) (0x40004000u + 0x1000u * (uint32_t)(u))
#define UART_DATA(u) REG(UART(u) + 0x00)
#define UART_STATE(u) REG(UART(u) + 0x04)
#define UART_CTRL(u) REG(UART(u) + 0x08)
#define UART_INT(u) REG(UART(u) + 0x0c)
#define UART_DIV(u) REG(UART(u) + 0x10)
enum { STATE_TX_FULL = 1, STATE_RX_FULL = 2, CTRL_TX = 1, CTRL_RX = 2, CTRL_RX_INT = 8, INT_RX = 2 };

/* CMSDK timer 0 counts down at the system's clock. */
#define TIMER_CTRL REG(0x40000000u)
#define TIMER_VALUE REG(0x40000004u)
#define TIMER_RELOAD REG(0x40000008u)

#define WATCHDOG_LOAD REG(0x40008000u)
#define WATCHDOG_CTRL REG(0x40008008u)
#define WATCHDOG_LOCK REG(0x40008c00u)

#define SYSTICK_CTRL REG(0xe000e010u)
#define SYSTICK_RELOAD REG(0xe000e014u)
#define SYSTICK_VALUE REG(0xe000e018u)
#define NVIC_ENABLE REG(0xe000e100u)
#define AIRCR REG(0xe000ed0cu)

#define RING 16384u /* a power of two */

static struct {
    uint8_t bytes[RING];
    volatile uint32_t in, out;
} ring[2];
static volatile uint32_t ticks;

static void uart_init(int u)
{
    UART_DIV(u) = MPS2_CLOCK / 115200u;
    UART_CTRL(u) = CTRL_TX | CTRL_RX | CTRL_RX_INT;
}

void mps2_init(void)
{
    uart_init(MPS2_CONSOLE);
    uart_init(MPS2_LINK);
    SYSTICK_RELOAD = MPS2_CLOCK / 1000u - 1u;
    SYSTICK_VALUE = 0;
    SYSTICK_CTRL = 7; /* on, with interrupt, processor's clock */
    TIMER_RELOAD = 0xffffffffu;
    TIMER_VALUE = 0xffffffffu;
    TIMER_CTRL = 1;
    NVIC_ENABLE = 1u << 0 | 1u << 2; /* UART 0 and 1 have received */
    __asm__ volatile("cpsie i");
}

void on_tick(void);
void on_tick(void)
{
    ticks++;
}

static void receive(int u)
{
    UART_INT(u) = INT_RX;
    while (UART_STATE(u) & STATE_RX_FULL) {
        if (ring[u].in - ring[u].out == RING) {
            UART_CTRL(u) = CTRL_TX | CTRL_RX; /* mps2_read goes on */
            return;
        }
        ring[u].bytes[ring[u].in++ % RING] = (uint8_t)UART_DATA(u);
    }
}

void on_uart0(void);
void on_uart0(void)
{
    receive(MPS2_CONSOLE);
}

void on_uart1(void);
void on_uart1(void)
{
    receive(MPS2_LINK);
}

uint32_t mps2_ms(void)
{
    return ticks;
}

uint32_t mps2_cycles(void)
{
    return ~TIMER_VALUE;
}

void mps2_wait(void)
{
    /* Interrupts stay pending while they are off, and end wfi all the same: none is slept through. */
    __asm__ volatile("cpsid i");
    if (ring[0].in == ring[0].out && ring[1].in == ring[1].out)
        __asm__ volatile("wfi");
    __asm__ volatile("cpsie i");
}

size_t mps2_read(enum mps2_uart u, uint8_t *buf, size_t cap)
{
    size_t n = 0;
    while (n < cap && ring[u].out != ring[u].in)
        buf[n++] = ring[u].bytes[ring[u].out++ % RING];
    if (n > 0 && !(UART_CTRL(u) & CTRL_RX_INT)) {
        __asm__ volatile("cpsid i");
        UART_CTRL(u) = CTRL_TX | CTRL_RX | CTRL_RX_INT;
        receive((int)u);
        __asm__ volatile("cpsie i");
    }
    return n;
}

void mps2_write(enum mps2_uart u, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        while (UART_STATE(u) & STATE_TX_FULL)
            ;
        UART_DATA(u) = data[i];
    }
}

void mps2_reset(void)
{
    while (UART_STATE(MPS2_CONSOLE) & STATE_TX_FULL)
        ;
    __asm__ volatile("dsb");
    AIRCR = 0x05fa0004u;
    for (;;)
        ;
}

void mps2_hang(bool watchdog)
{
    if (watchdog) {
        WATCHDOG_LOCK = 0x1acce551u;
        WATCHDOG_LOAD = MPS2_CLOCK;
        WATCHDOG_CTRL = 3; /* the first time out would be an interrupt, the second resets */
    }
    __asm__ volatile("cpsid i");
    for (;;)
        ;
}

void mps2_crash(void)
{
    (void)REG(0xdffffffcu);
    __asm__ volatile("udf #0");
    for (;;)
        ;
}

void mps2_exit(int code)
{
    /* SYS_EXIT_EXTENDED with ADP_Stopped_ApplicationExit (Arm semihosting specification). */
    uint32_t block[2] = {0x20026u, (uint32_t)code};
    register uint32_t r0 __asm__("r0") = 0x20;
    register uint32_t *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : : "r"(r0), "r"(r1) : "memory");
    for (;;)
        ;
}

/* ---- boot ----------------------------------------------------------------------------------------------- */

extern uint32_t data_start[], data_end[], data_load[], bss_start[], bss_end[], stack_top[];
int main(void);

_Noreturn void reset(void);
_Noreturn void reset(void)
{
    const uint32_t *from = data_load;
    for (uint32_t *p = data_start; p < data_end; p++)
        *p = *from++;
    for (uint32_t *p = bss_start; p < bss_end; p++)
        *p = 0;
    (void)main();
    for (;;)
        ;
}

void on_hard_fault(const uint32_t *frame);
void on_hard_fault(const uint32_t *frame)
{
    on_fault(frame[6]); /* the exception's frame: r0-r3, r12, lr, pc, xpsr */
}

void hard_fault(void);
__attribute__((naked)) void hard_fault(void)
{
    __asm__ volatile("mrs r0, msp\n b on_hard_fault");
}

static void ignore(void)
{
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const handler vectors[16 + 32] = {
    [0] = (handler)(uintptr_t)stack_top,
    [1] = (handler)(uintptr_t)reset,
    [2] = ignore, /* NMI: the watchdog's first word */
    [3] = hard_fault,
    [4] = hard_fault,
    [5] = hard_fault,
    [6] = hard_fault,
    [15] = on_tick,
    [16 + 0] = on_uart0,
    [16 + 2] = on_uart1,
};
