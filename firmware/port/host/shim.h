/* shim.h: the C side of the host port. Go has no C function pointers, so the port struct is filled here with functions
 * that call Go's exported ones; `ctx` is a runtime/cgo handle, never a Go pointer. */
#ifndef WB_HOST_SHIM_H
#define WB_HOST_SHIM_H

#include <stdint.h>

#include "wasmbed/device.h"

/* Fills port with the host's callbacks for the device that handle names. */
void wb_shim_port(wb_port *port, uintptr_t handle);

/* Calls m->read. */
int wb_shim_module_read(const wb_module *m, uint32_t offset, void *buf, uint32_t len);

#endif
