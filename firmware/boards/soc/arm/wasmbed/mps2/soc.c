/* SPDX-License-Identifier: AGPL-3.0-only */
/* The LEDs and buttons of the FPGA's I/O block as GPIO controllers, and the NMI that the watchdog raises. */

#include <zephyr/arch/cpu.h>
#include <zephyr/init.h>
#include <soc.h>

#ifdef CONFIG_GPIO_MMIO32
#include <zephyr/drivers/gpio/gpio_mmio32.h>

#define FPGAIO(n) \
	GPIO_MMIO32_INIT(DT_INST(n, arm_mps2_fpgaio_gpio), DT_REG_ADDR(DT_INST(n, arm_mps2_fpgaio_gpio)), \
			 BIT_MASK(DT_PROP(DT_INST(n, arm_mps2_fpgaio_gpio), ngpios)))
FPGAIO(0);
FPGAIO(1);
#endif

static int mps2_init(void)
{
	NMI_INIT();
	return 0;
}

SYS_INIT(mps2_init, PRE_KERNEL_1, CONFIG_KERNEL_INIT_PRIORITY_DEFAULT);
