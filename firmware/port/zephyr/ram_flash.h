/* The driver of wasmbed,ram-flash beyond Zephyr's flash interface. */
#ifndef WASMBED_RAM_FLASH_H
#define WASMBED_RAM_FLASH_H

#include <stdint.h>

struct device;

/* Its bytes in the address space. */
const uint8_t *wb_ram_flash_memory(const struct device *dev);

#endif
