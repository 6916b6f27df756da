/* SPDX-License-Identifier: AGPL-3.0-only */
/*
 * What a Cortex-M reads at reset: the stack pointer and where to begin. Zephyr's own start then points VTOR at the
 * image's table.
 */
#include <stdint.h>

#include <zephyr/kernel.h>
#include <zephyr/kernel_structs.h>

extern void z_arm_reset(void);
K_KERNEL_STACK_DECLARE(z_main_stack, CONFIG_MAIN_STACK_SIZE);

struct reset_vector {
	const void *stack;
	void (*start)(void);
};

const struct reset_vector __attribute__((section(".wasmbed_reset_vector"), used)) wasmbed_reset_vector = {
	.stack = (const char *)z_main_stack + CONFIG_MAIN_STACK_SIZE,
	.start = z_arm_reset,
};
