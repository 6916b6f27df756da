/*
 * A ring of records in the caller's memory: what waits for the gateway's acknowledgement. Records have consecutive
 * sequence numbers per boot; one batch is in flight at a time; when the ring is full the oldest go and are counted.
 */
#ifndef WB_QUEUE_H
#define WB_QUEUE_H

#include "wasmbed/types.h"

typedef struct wb_queue {
    uint8_t *buf;
    uint32_t size;
    uint32_t head, tail; /* first byte of the oldest record, first free byte */
    uint32_t end;        /* while wrapped: where the upper part's records end */
    bool wrapped;        /* the records are head…end, then 0…tail */
    uint32_t count;
    uint64_t first;      /* sequence number of the oldest record; with none, of the next one */
    uint64_t flying;     /* frame id of the batch in flight, 0: none */
    uint64_t flying_last; /* its last sequence number */
    uint32_t dropped, acked; /* records since boot */
    int64_t since;       /* the device's: clock when the ring became non-empty or was last acknowledged, ms */
    int64_t hold;        /* the device's: nothing is sent before this clock */
    uint8_t tries;       /* the device's: refusals in a row */
} wb_queue;

void wb_queue_init(wb_queue *q, uint8_t *buf, uint32_t size);

/* Room for a record of len bytes, or NULL when it can never fit. Fill all of it before any other call. */
uint8_t *wb_queue_push(wb_queue *q, uint32_t len);

/* Walk from the oldest record: at = 0 gives the first; false at the end. */
typedef struct wb_queue_cursor {
    uint32_t index; /* records passed */
    uint32_t at;    /* next record */
    const uint8_t *data;
    uint32_t len;
} wb_queue_cursor;

void wb_queue_start(const wb_queue *q, wb_queue_cursor *c);
bool wb_queue_next(const wb_queue *q, wb_queue_cursor *c);

/* The first n records were sent as frame id. */
void wb_queue_sent(wb_queue *q, uint64_t id, uint32_t n);
/* A frame was acknowledged; false when it was not this queue's. */
bool wb_queue_ack(wb_queue *q, uint64_t id);
/* A frame was refused for good: its records are dropped and counted; false when it was not this queue's. */
bool wb_queue_give_up(wb_queue *q, uint64_t id);
/* The session ended: what was in flight will be sent again. */
void wb_queue_lost(wb_queue *q);

#endif
