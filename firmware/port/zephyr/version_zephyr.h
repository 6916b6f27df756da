/* Zephyr's version, wherever this Zephyr has it. */
#ifndef WASMBED_VERSION_ZEPHYR_H
#define WASMBED_VERSION_ZEPHYR_H

#if __has_include(<zephyr/version.h>)
#include <zephyr/version.h>
#else
#include <version.h>
#endif

#define WB_ZEPHYR(major, minor) (((major) << 16) | ((minor) << 8))
#define WB_ZEPHYR_NOW WB_ZEPHYR(KERNEL_VERSION_MAJOR, KERNEL_VERSION_MINOR)

#endif
