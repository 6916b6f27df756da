#ifndef WB_SHA256_H
#define WB_SHA256_H

#include "wasmbed/types.h"

typedef struct wb_sha256 {
    uint32_t h[8];
    uint64_t len; /* bytes so far */
    uint8_t buf[64];
} wb_sha256;

void wb_sha256_start(wb_sha256 *s);
void wb_sha256_update(wb_sha256 *s, const uint8_t *p, size_t n);
void wb_sha256_finish(wb_sha256 *s, uint8_t out[WB_DIGEST_SIZE]);

#endif
