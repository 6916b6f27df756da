/* Any bytes as a blob, and as the body of one whose header is right: nothing is read outside of it, and what is taken
 * keeps to the limits. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "provision.h"

const char *const fuzz_name = "provision";
const size_t fuzz_skip = WB_PROVISION_HEADER;

static void require(int ok)
{
    if (!ok)
        abort();
}

static int inside(const void *p, size_t n, const uint8_t *data, size_t len)
{
    const uint8_t *q = p;
    return n == 0 || (q >= data && q + n <= data + len);
}

static void look(const uint8_t *p, size_t len)
{
    wb_provision out;
    int err = wb_provision_read(p, len, &out);
    if (err < 0) {
        require(err <= WB_PROVISION_EMISSING && err >= WB_PROVISION_EFIELD && out.port == 0);
        return;
    }
    require(out.size <= len && out.port != 0 && out.trust_count >= 1 && out.trust_count <= WB_PROVISION_TRUST_MAX);
    require(out.board.len >= 1 && out.board.len <= WB_PROVISION_BOARD_MAX && inside(out.board.data, out.board.len, p, len));
    require(out.name.len <= WB_PROVISION_NAME_MAX && inside(out.name.data, out.name.len, p, len));
    require(out.seed.len >= WB_PROVISION_SEED_MIN && inside(out.seed.data, out.seed.len, p, len));
    require(inside(out.claim.data, out.claim.len, p, len));
    for (size_t i = 0; i < out.trust_count; i++)
        require(out.trust[i].len > 0 && inside(out.trust[i].data, out.trust[i].len, p, len));
}

static uint32_t crc32(const uint8_t *p, size_t len)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t head[WB_PROVISION_HEADER] = {'W', 'B', 'E', 'D', 1, 0, WB_PROVISION_HEADER, 0};
    look(data, size);
    if (size > WB_PROVISION_BODY_MAX)
        return 0;
    uint32_t crc = crc32(data, size);
    for (unsigned i = 0; i < 4; i++) {
        head[8 + i] = (uint8_t)(size >> (8 * i));
        head[12 + i] = (uint8_t)(crc >> (8 * i));
    }
    uint8_t *p = malloc(sizeof head + size);
    if (p == NULL)
        return 0;
    memcpy(p, head, sizeof head);
    if (size > 0)
        memcpy(p + sizeof head, data, size);
    look(p, sizeof head + size);
    free(p);
    return 0;
}
