/* Any body: decoding it breaks nothing, and what it takes can be written again and means the same. */
#include <stdlib.h>

#include "codec.h"
#include "fuzz.h"

const char *const fuzz_name = "decode";
const size_t fuzz_skip = 4;

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wb_msg m, again;
    wb_manifest f;
    uint8_t *out;
    int code = wb_decode(data, size, &m);
    must(code == 0 || code == WB_CODE_CBOR || code == WB_CODE_SCHEMA || code == WB_CODE_UNKNOWN_TYPE);
    must((code == WB_CODE_CBOR) == (wb_cbor_check(data, size) < 0));
    (void)wb_decode_manifest((wb_bytes){data, size}, &f);
    if (code != 0)
        return 0;
    out = malloc(size + WB_HEADER_SIZE);
    int n = wb_encode(&m, out, size + WB_HEADER_SIZE); /* never longer: unknown keys are gone */
    must(n > WB_HEADER_SIZE && (size_t)n <= size + WB_HEADER_SIZE);
    must(wb_decode(out + WB_HEADER_SIZE, (size_t)n - WB_HEADER_SIZE, &again) == 0);
    must(again.type == m.type && again.id == m.id);
    uint8_t *third = malloc((size_t)n);
    must(wb_encode(&again, third, (size_t)n) == n && memcmp(out, third, (size_t)n) == 0);
    free(third);
    free(out);
    return 0;
}
