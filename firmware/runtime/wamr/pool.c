/*
 * What of the pool is in use, by a walk through its blocks. WAMR 2.4.3 has a count of its own, but a block that grows in
 * place into the free one behind it (gc_realloc_vo) is not taken off it, so that it soon says nonsense.
 */
#include "internal.h"

#include "ems/ems_gc_internal.h"

void wb_wamr_memory(const wb_wamr *w, wb_wamr_usage *out)
{
    *out = (wb_wamr_usage){0};
    if (!w->ready)
        return;
    /* gc_init_with_pool puts the heap's own structure first. */
    const gc_heap_t *heap = w->pool;
    uint8_t *at = heap->base_addr, *end = at + heap->current_size;
    uint32_t free_bytes = 0;
    while (at < end) {
        hmu_t *block = (hmu_t *)at;
        uint32_t size = hmu_get_size(block);
        if (size == 0 || size > (uint32_t)(end - at))
            break; /* cannot be: a block of no size would be for ever */
        if (hmu_get_ut(block) == HMU_FC) {
            free_bytes += size;
            if (size > out->largest)
                out->largest = size;
        }
        at += size;
    }
    out->total = w->pool_size;
    out->used = w->pool_size - free_bytes;
}
