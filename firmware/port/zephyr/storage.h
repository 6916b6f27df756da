/*
 * What a board keeps: modules in slots of the flash partition `wasmbed_slots`, small values as entries of an NVS in the
 * partition `wasmbed_store`. Both promise what wasmbed/port.h asks of storage when power goes: an NVS entry is written behind
 * the one that counts and counts only when its index entry is complete; a slot is bare flash.
 */
#ifndef WASMBED_STORAGE_H
#define WASMBED_STORAGE_H

#include "stream.h"

typedef enum wb_storage_found {
    WB_STORAGE_KEPT = 0,  /* an earlier boot's values are there */
    WB_STORAGE_BLANK = 1, /* never written: made ready */
    WB_STORAGE_MADE = 2   /* something else was there: erased and made ready */
} wb_storage_found;

/* Mounts. One storage per firmware. 0 with *found; WB_EINVAL: the partitions do not fit the configuration; WB_EIO. */
int wb_storage_init(wb_storage_found *found);

/* The values, as the parts of the port use them. */
const wb_kv *wb_storage_kv(void);

/* Sets storage callbacks and block sizes of a port. */
void wb_storage_port(wb_port *port);

/* Bytes of the values' partition that are free, 0 on error. */
uint32_t wb_storage_free(void);

#endif
