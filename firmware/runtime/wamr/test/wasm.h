/* Assembles small modules: one page of memory unless said otherwise, wasmbed_start () -> i32 with the given body. */
#ifndef WASM_H
#define WASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct wasm_spec {
    const char *import_module, *import; /* one import of type (i32, i32) -> i32, or none */
    uint8_t pages;
    uint8_t max_pages;    /* 0: none given */
    const uint8_t *body;  /* of wasmbed_start, without end */
    size_t body_len;
    const uint8_t *start; /* body of a start section's function, NULL: no start section */
    size_t start_len;
    const char *also;     /* a second export of that function */
    bool no_memory;
    uint32_t functions;   /* more of them, that are never called */
    uint32_t locals;      /* i32 locals in each of those */
    uint32_t table;       /* entries of the table, 0: one; */
    uint32_t elements;    /* and how many of them are filled with wasmbed_start */
    uint32_t data;        /* bytes of one data segment at 0 */
    uint32_t custom;      /* bytes of a custom section in front */
    uint32_t heap_base;   /* exports __heap_base and __data_end of that value, and a stack pointer there */
} wasm_spec;

/* Its length; 0 when it does not fit. */
size_t wasm_make(const wasm_spec *s, uint8_t *out, size_t cap);

#endif
