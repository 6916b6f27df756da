/* WAMR's words for what went wrong, and the core's numbers. */
#include <string.h>

#include "internal.h"

typedef struct word {
    const char *text;
    wb_reason reason;
} word;

/* Those of core/iwasm/common/wasm_runtime_common.c and interpreter/wasm_interp_classic.c that are not a plain Trap; the
 * test makes each of them. Texts that begin so. */
static const word words[] = {
    {"out of bounds memory access", WB_REASON_OUT_OF_BOUNDS},
    {"out of bounds table access", WB_REASON_OUT_OF_BOUNDS},
    {"data segment does not fit", WB_REASON_OUT_OF_BOUNDS},
    {"type mismatch: elements segment does not fit", WB_REASON_OUT_OF_BOUNDS},
    {"wasm operand stack overflow", WB_REASON_STACK_OVERFLOW},
    {"wasm auxiliary stack overflow", WB_REASON_STACK_OVERFLOW},
    {"wasm auxiliary stack underflow", WB_REASON_STACK_OVERFLOW},
    {"native stack overflow", WB_REASON_STACK_OVERFLOW},
    {"integer divide by zero", WB_REASON_DIVIDE_BY_ZERO},
    {"integer overflow", WB_REASON_DIVIDE_BY_ZERO},
    {"instruction limit exceeded", WB_REASON_INSTRUCTION_LIMIT},
    {"failed to call unlinked import function", WB_REASON_MISSING_IMPORT},
};

static const char *const prefixes[] = {"Exception: ", "WASM module load failed: ", "WASM module instantiate failed: "};

static const char *bare(const char *text)
{
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(text, prefixes[i], strlen(prefixes[i])) == 0)
            text += strlen(prefixes[i]);
    return text;
}

static wb_reason reason_of(const char *text, wb_reason otherwise)
{
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strncmp(text, words[i].text, strlen(words[i].text)) == 0)
            return words[i].reason;
    if (strstr(text, "allocate") != NULL && strstr(text, "failed") != NULL)
        return WB_REASON_INSUFFICIENT_MEMORY;
    return otherwise;
}

void wb_wamr_trap(wb_trap *t, const char *where, const char *text, wb_reason otherwise)
{
    if (text == NULL)
        text = "";
    text = bare(text);
    wb_trap_set(t, reason_of(text, otherwise), where, text);
}
