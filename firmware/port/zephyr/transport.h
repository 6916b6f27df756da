/*
 * The board's way to its gateway: net_stream.c (TCP) or serial_stream.c (a UART to a bridge), one of them in an image.
 * Used from the main thread only.
 */
#ifndef WASMBED_TRANSPORT_H
#define WASMBED_TRANSPORT_H

#include "provision.h"
#include "stream.h"

/* Prepares it and says on the console what it is. The provision must stay. 0 or negative (WB_EUNSUPPORTED: no such
 * device; WB_EIO). nonce: a random byte. */
int wb_transport_init(const wb_provision *provision, uint8_t nonce);

const wb_stream *wb_transport_stream(void);

/* Sleeps until bytes came in, until some can be sent (when write), or until ms have passed. May return early. */
void wb_transport_wait(bool write, int64_t ms);

#endif
