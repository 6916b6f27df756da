/*
 * How much of the pool an instance takes, without making one. The figures are the sizes of WAMR 2.4.3's structures on a
 * 32-bit board with the allocator's 4 bytes and rounding in front of each; a 64-bit machine takes up to a third more
 * (beside code, stack and linear memory). docs/spec/abi.md has the formula, api/module the same one in Go, and tests on
 * both sides compare them with measurements.
 */
#include "internal.h"

#define FIXED 2640 /* module, instance, interpreter's cache of block addresses */
#define PER_TYPE 24 /* and a byte for each parameter and result */
#define PER_IMPORT 72
#define PER_FUNCTION 96
#define PER_LOCAL 3
#define PER_TABLE 64
#define PER_TABLE_ENTRY 4
#define PER_GLOBAL 64
#define PER_EXPORT 12
#define PER_FUNCTION_EXPORT 8
#define PER_ELEMENTS 56
#define PER_ELEMENT 24
#define PER_DATA 64

int64_t wb_wamr_need(const wb_wamr_shape *s, const wb_limits *limits)
{
    int64_t linear = (int64_t)s->pages * WB_PAGE_SIZE;
    int64_t stack = limits->stack < WB_WAMR_STACK_MIN ? WB_WAMR_STACK_MIN : limits->stack;
    if (s->heap_base > 0 && !s->grows && s->heap_base < linear)
        linear = s->heap_base;
    return FIXED + linear + stack + s->kept + /* */
           (int64_t)s->types * PER_TYPE + s->type_values + (int64_t)s->imports * PER_IMPORT +
           (int64_t)s->functions * PER_FUNCTION + (int64_t)s->locals * PER_LOCAL + (int64_t)s->tables * PER_TABLE +
           (int64_t)s->table_entries * PER_TABLE_ENTRY + (int64_t)s->globals * PER_GLOBAL +
           (int64_t)s->exports * PER_EXPORT + (int64_t)s->function_exports * PER_FUNCTION_EXPORT +
           (int64_t)s->elements * PER_ELEMENTS + (int64_t)s->element_entries * PER_ELEMENT + (int64_t)s->data * PER_DATA;
}
