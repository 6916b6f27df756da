/*
 * A board: everything that the core needs, made of the parts beside this file. Static memory only; one of it.
 */
#ifndef WASMBED_BOARD_H
#define WASMBED_BOARD_H

#include "provision.h"
#include "wasmbed/device.h"

/* Makes the parts in their order and says on the console what there is and what failed. provision must stay. 0, also
 * when what a connection needs is not there (that is tried again with each connection: modules run meanwhile), or
 * negative: no storage, no engine. */
int wb_board_init(const wb_provision *provision);

/* The core is made: from now on there are only good random numbers or none. */
void wb_board_started(void);

/* The core's configuration and port. */
void wb_board_config(wb_config *config);
void wb_board_port(wb_port *port);

/* Sleeps until there is something to do, at most ms. write: the core has bytes to send. */
void wb_board_wait(bool write, int64_t ms);

/* Why the link ended, for the console; "" when there is nothing to say. *code: TLS's number. */
const char *wb_board_why(int *code);

/* A line about memory: what has been used of heap, pool and stack at most. */
void wb_board_say_memory(void);

#endif
