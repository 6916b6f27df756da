/* The machine: QEMU's mps2-an385, an Arm MPS2 with the AN385 image (Arm Application Note AN385). */
#ifndef MPS2_H
#define MPS2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MPS2_CLOCK 25000000u /* Hz */
#define MPS2_PSRAM 0x21000000u
#define MPS2_BLOB 0x21100000u
#define MPS2_BLOB_SIZE 4096u

enum mps2_uart { MPS2_CONSOLE = 0, MPS2_LINK = 1 };

void mps2_init(void);
uint32_t mps2_ms(void); /* since reset */
/* Sleeps until an interrupt: the next tick (1 ms) or a byte. */
void mps2_wait(void);

/* Bytes that came; a full ring stops the UART from being read, so nothing is lost that the other side can keep. */
size_t mps2_read(enum mps2_uart u, uint8_t *buf, size_t cap);
/* Waits while the UART is full. */
void mps2_write(enum mps2_uart u, const uint8_t *data, size_t len);

_Noreturn void mps2_reset(void); /* of the whole machine, through AIRCR */
_Noreturn void mps2_hang(bool watchdog); /* interrupts off, for ever; with the watchdog: until it bites */
_Noreturn void mps2_crash(void); /* reads where nothing is */
/* Called by the hard fault's handler with the address that faulted. */
_Noreturn void on_fault(uint32_t pc);

/* Semihosting, when QEMU was started with it: ends QEMU with that code. */
_Noreturn void mps2_exit(int code);

/* Instructions executed when QEMU counts them one a tick of a virtual nanosecond (-icount shift=0): a free running 32-bit
 * counter of the 25 MHz clock, so 40 instructions a step. */
uint32_t mps2_cycles(void);
#define MPS2_INSTRUCTIONS_PER_CYCLE 40u

#endif
