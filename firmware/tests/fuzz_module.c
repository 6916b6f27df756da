/* Any bytes as a module. */
#include "fuzz.h"
#include "wasm.h"

const char *const fuzz_name = "module";
const size_t fuzz_skip = 0;

static int read_module(const wb_module *m, uint32_t offset, uint8_t *buf, uint32_t len)
{
    if (offset > m->size || len > m->size - offset)
        return WB_EINVAL;
    memcpy(buf, (const uint8_t *)m->source + offset, len);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[WB_TEXT_MAX + 1];
    wb_limits l = {.memory_pages = 2, .permissions = 0xff};
    wb_module m = {.size = (uint32_t)size, .read = read_module, .source = data};
    (void)wb_wasm_check(&m, &l, text);
    (void)strlen(text);
    return 0;
}
