/*
 * What a boot leaves for the next one to tell: a fault of the firmware itself. Kept in RAM that start-up does not
 * clear, so power takes it away.
 */
#ifndef WASMBED_FAULT_H
#define WASMBED_FAULT_H

#include <stdint.h>

enum wb_fault_kind { WB_FAULT_NONE = 0, WB_FAULT_CPU = 1, WB_FAULT_WATCHDOG = 2, WB_FAULT_START = 3 };

/* Keeps one, to be told after the reboot. From any context. reason: Zephyr's or a wb_error; where: an address. */
void wb_fault_note(enum wb_fault_kind kind, int32_t reason, uint32_t where);

/* Says what the boot before left, and forgets it. How many boots in a row ended so. */
uint32_t wb_fault_tell(void);

/* The firmware has come so far that the row is over. */
void wb_fault_clear(void);

#endif
