#include "queue.h"

#include <string.h>

#define PREFIX 2u /* length of the record, little endian */

void wb_queue_init(wb_queue *q, uint8_t *buf, uint32_t size)
{
    memset(q, 0, sizeof *q);
    q->buf = buf;
    q->size = size;
    q->first = 1;
}

static uint32_t record_len(const wb_queue *q, uint32_t at)
{
    return (uint32_t)q->buf[at] | (uint32_t)q->buf[at + 1] << 8;
}

static void pop(wb_queue *q)
{
    q->head += PREFIX + record_len(q, q->head);
    q->count--;
    q->first++;
    if (q->wrapped && q->head == q->end) {
        q->head = 0;
        q->wrapped = false;
    }
    if (q->count == 0) {
        q->head = q->tail = 0;
        q->wrapped = false;
    }
}

/* Makes the free bytes at the tail contiguous for `need`, wrapping if that helps. */
static bool fits(wb_queue *q, uint32_t need)
{
    if (q->wrapped)
        return q->head - q->tail >= need;
    if (q->size - q->tail >= need)
        return true;
    if (q->head < need)
        return false;
    q->end = q->tail;
    q->tail = 0;
    q->wrapped = true;
    return true;
}

uint8_t *wb_queue_push(wb_queue *q, uint32_t len)
{
    uint32_t need = PREFIX + len;
    if (len > 0xffff || need > q->size)
        return NULL;
    while (!fits(q, need)) {
        pop(q);
        q->dropped++;
    }
    uint8_t *at = q->buf + q->tail;
    at[0] = (uint8_t)len;
    at[1] = (uint8_t)(len >> 8);
    q->tail += need;
    q->count++;
    return at + PREFIX;
}

void wb_queue_start(const wb_queue *q, wb_queue_cursor *c)
{
    c->index = 0;
    c->at = q->head;
    c->data = NULL;
    c->len = 0;
}

bool wb_queue_next(const wb_queue *q, wb_queue_cursor *c)
{
    if (c->index == q->count)
        return false;
    if (q->wrapped && c->at == q->end)
        c->at = 0;
    c->len = record_len(q, c->at);
    c->data = q->buf + c->at + PREFIX;
    c->at += PREFIX + c->len;
    c->index++;
    return true;
}

void wb_queue_sent(wb_queue *q, uint64_t id, uint32_t n)
{
    q->flying = id;
    q->flying_last = q->first + n - 1;
}

static bool settle(wb_queue *q, uint64_t id, uint32_t *count)
{
    if (q->flying == 0 || q->flying != id)
        return false;
    while (q->count > 0 && q->first <= q->flying_last) {
        pop(q);
        (*count)++;
    }
    q->flying = 0;
    q->tries = 0;
    return true;
}

bool wb_queue_ack(wb_queue *q, uint64_t id)
{
    return settle(q, id, &q->acked);
}

bool wb_queue_give_up(wb_queue *q, uint64_t id)
{
    return settle(q, id, &q->dropped);
}

void wb_queue_lost(wb_queue *q)
{
    q->flying = 0;
}
