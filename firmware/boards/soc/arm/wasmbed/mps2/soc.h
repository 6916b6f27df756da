/* SPDX-License-Identifier: AGPL-3.0-only */
/* What CMSIS wants to know of the core of an MPS2 FPGA image. */
#ifndef WASMBED_MPS2_SOC_H
#define WASMBED_MPS2_SOC_H

#define __MPU_PRESENT 1
#define __FPU_PRESENT CONFIG_CPU_HAS_FPU

#if defined(CONFIG_SOC_WASMBED_MPS2_AN505)
#define __SAUREGION_PRESENT CONFIG_CPU_HAS_ARM_SAU
#define __DSP_PRESENT CONFIG_ARMV8_M_DSP
#elif defined(CONFIG_SOC_WASMBED_MPS2_AN500)
/* Caches and tightly coupled memory stay unused: QEMU has none of them. */
#define __ICACHE_PRESENT 0
#define __DCACHE_PRESENT 0
#define __DTCM_PRESENT 0
#endif

#endif
