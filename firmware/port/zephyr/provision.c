#include "provision.h"

#include <string.h>

#include "cbor.h"

/* The keys of the body (docs/spec/provisioning.md). */
enum key {
    KEY_BOARD = 1,
    KEY_NAME = 2,
    KEY_HOST = 3,
    KEY_PORT = 4,
    KEY_SERVER_NAME = 5,
    KEY_TRUST = 6,
    KEY_CLAIM = 7,
    KEY_SEED = 8,
    KEY_NETWORK = 9,
    KEY_FLOOR = 10
};
enum network_key { NET_MODE = 1, NET_ADDRESS = 2, NET_PREFIX = 3, NET_ROUTER = 4, NET_DNS = 5 };

#define BIT(key) (1u << (key))
#define REQUIRED                                                                                                       \
    (BIT(KEY_BOARD) | BIT(KEY_HOST) | BIT(KEY_PORT) | BIT(KEY_SERVER_NAME) | BIT(KEY_TRUST) | BIT(KEY_SEED) |          \
     BIT(KEY_FLOOR))

static const uint8_t magic[4] = {'W', 'B', 'E', 'D'};

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* CRC-32 as of IEEE 802.3, without a table: a blob is read once per boot. */
static uint32_t crc32(const uint8_t *p, size_t len)
{
    uint32_t crc = 0xffffffffu;
    while (len-- > 0) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

static bool letter_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Text of 1…max letters, digits and what `also` lists: all of these go to logs, DNS and C strings. */
static int read_word(wb_reader *r, wb_text *out, size_t max, const char *also)
{
    if (wb_read_text(r, out) < 0)
        return WB_PROVISION_ETYPE;
    if (out->len == 0 || out->len > max)
        return WB_PROVISION_ERANGE;
    for (size_t i = 0; i < out->len; i++) {
        char c = out->data[i];
        if (!letter_digit(c) && (c == '\0' || strchr(also, c) == NULL))
            return WB_PROVISION_ERANGE;
    }
    return 0;
}

static int read_number(wb_reader *r, uint64_t *out, uint64_t least, uint64_t most)
{
    if (wb_read_uint(r, out) < 0)
        return WB_PROVISION_ETYPE;
    return *out < least || *out > most ? WB_PROVISION_ERANGE : 0;
}

static int read_octets(wb_reader *r, wb_bytes *out, size_t least, size_t most)
{
    if (wb_read_bytes(r, out) < 0)
        return WB_PROVISION_ETYPE;
    return out->len < least || out->len > most ? WB_PROVISION_ERANGE : 0;
}

static int read_trust(wb_reader *r, wb_provision *out)
{
    size_t n;
    if (wb_read_array(r, &n) < 0)
        return WB_PROVISION_ETYPE;
    if (n < 1 || n > WB_PROVISION_TRUST_MAX)
        return WB_PROVISION_ERANGE;
    for (size_t i = 0; i < n; i++) {
        int err = read_octets(r, &out->trust[i], 1, WB_PROVISION_BODY_MAX);
        if (err < 0)
            return err;
    }
    out->trust_count = n;
    return 0;
}

static int read_address(wb_reader *r, uint8_t out[4])
{
    wb_bytes b;
    int err = read_octets(r, &b, 4, 4);
    if (err == 0)
        memcpy(out, b.data, 4);
    return err;
}

static int read_network(wb_reader *r, wb_provision_network *out)
{
    size_t pairs;
    uint32_t seen = 0;
    if (wb_read_map(r, &pairs) < 0)
        return WB_PROVISION_ETYPE;
    for (; pairs > 0; pairs--) {
        uint64_t key, v;
        int err = 0;
        if (wb_read_uint(r, &key) < 0) {
            (void)wb_read_skip(r);
            key = 0;
        }
        switch (key) {
        case NET_MODE:
            err = read_number(r, &v, WB_NETWORK_DHCP, WB_NETWORK_STATIC);
            out->mode = err == 0 ? (wb_network_mode)v : WB_NETWORK_DHCP;
            break;
        case NET_ADDRESS:
            err = read_address(r, out->address);
            break;
        case NET_PREFIX:
            err = read_number(r, &v, 1, WB_PROVISION_PREFIX_MAX);
            out->prefix = err == 0 ? (uint8_t)v : 0;
            break;
        case NET_ROUTER:
            err = read_address(r, out->router);
            break;
        case NET_DNS:
            err = read_address(r, out->dns);
            break;
        default:
            key = 0;
            (void)wb_read_skip(r); /* cannot fail: wb_cbor_check has seen it */
        }
        if (err < 0)
            return err;
        seen |= BIT(key);
    }
    if (!(seen & BIT(NET_MODE)))
        return WB_PROVISION_EFIELD;
    if (out->mode == WB_NETWORK_STATIC && (!(seen & BIT(NET_ADDRESS)) || !(seen & BIT(NET_PREFIX))))
        return WB_PROVISION_EFIELD;
    return 0;
}

static int read_field(wb_reader *r, uint64_t key, wb_provision *out)
{
    uint64_t v = 0;
    int err;
    switch (key) {
    case KEY_BOARD:
        return read_word(r, &out->board, WB_PROVISION_BOARD_MAX, "-_");
    case KEY_NAME:
        return read_word(r, &out->name, WB_PROVISION_NAME_MAX, "-.");
    case KEY_HOST:
        return read_word(r, &out->host, WB_PROVISION_HOST_MAX, "-._");
    case KEY_PORT:
        err = read_number(r, &v, 1, 65535);
        out->port = (uint16_t)v;
        return err;
    case KEY_SERVER_NAME:
        return read_word(r, &out->server_name, WB_PROVISION_HOST_MAX, "-._");
    case KEY_TRUST:
        return read_trust(r, out);
    case KEY_CLAIM:
        return read_octets(r, &out->claim, 1, WB_PROVISION_CLAIM_MAX);
    case KEY_SEED:
        return read_octets(r, &out->seed, WB_PROVISION_SEED_MIN, WB_PROVISION_SEED_MAX);
    case KEY_NETWORK:
        out->has_network = true;
        return read_network(r, &out->network);
    case KEY_FLOOR:
        return read_number(r, &out->floor_ms, 0, INT64_MAX);
    default:
        return wb_read_skip(r) < 0 ? WB_PROVISION_ECBOR : 0;
    }
}

static int read_body(const uint8_t *p, size_t len, wb_provision *out)
{
    wb_reader r;
    size_t pairs;
    uint32_t seen = 0;
    if (wb_cbor_check(p, len) < 0)
        return WB_PROVISION_ECBOR;
    wb_reader_init(&r, p, len);
    if (wb_read_map(&r, &pairs) < 0)
        return WB_PROVISION_ECBOR;
    for (; pairs > 0; pairs--) {
        uint64_t key;
        if (wb_read_uint(&r, &key) < 0) {
            (void)wb_read_skip(&r); /* a key of another type: of a later version */
            key = 0;
        }
        int err = read_field(&r, key, out);
        if (err < 0)
            return err;
        if (key <= KEY_FLOOR)
            seen |= BIT(key);
    }
    return (seen & REQUIRED) == REQUIRED ? 0 : WB_PROVISION_EFIELD;
}

static bool only(const uint8_t *p, size_t len, uint8_t value)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != value)
            return false;
    return true;
}

static int read_all(const uint8_t *p, size_t cap, wb_provision *out)
{
    if (p == NULL || cap == 0)
        return WB_PROVISION_EMISSING;
    size_t head = cap < WB_PROVISION_HEADER ? cap : WB_PROVISION_HEADER;
    if (only(p, head, 0x00) || only(p, head, 0xff))
        return WB_PROVISION_EMISSING;
    if (memcmp(p, magic, head < sizeof magic ? head : sizeof magic) != 0)
        return WB_PROVISION_EMAGIC;
    if (cap < WB_PROVISION_HEADER)
        return WB_PROVISION_ETRUNCATED;
    if (p[4] == 0)
        return WB_PROVISION_EHEADER;
    if (p[4] > WB_PROVISION_VERSION || p[5] != 0)
        return WB_PROVISION_ELATER;
    if (p[6] != WB_PROVISION_HEADER || p[7] != 0)
        return WB_PROVISION_EHEADER;
    uint32_t len = le32(p + 8);
    if (len > WB_PROVISION_BODY_MAX)
        return WB_PROVISION_ETOOLARGE;
    if (len > cap - WB_PROVISION_HEADER)
        return WB_PROVISION_ETRUNCATED;
    if (crc32(p + WB_PROVISION_HEADER, len) != le32(p + 12))
        return WB_PROVISION_ECRC;
    out->size = WB_PROVISION_HEADER + len;
    return read_body(p + WB_PROVISION_HEADER, len, out);
}

int wb_provision_read(const uint8_t *p, size_t cap, wb_provision *out)
{
    memset(out, 0, sizeof *out);
    int err = read_all(p, cap, out);
    if (err < 0)
        memset(out, 0, sizeof *out);
    return err;
}

const char *wb_provision_error_text(int error)
{
    switch (error) {
    case 0:
        return "ok";
    case WB_PROVISION_EMISSING:
        return "provisioning blob: missing";
    case WB_PROVISION_EMAGIC:
        return "provisioning blob: something else lies there";
    case WB_PROVISION_ELATER:
        return "provisioning blob: later version";
    case WB_PROVISION_EHEADER:
        return "provisioning blob: bad header";
    case WB_PROVISION_ETOOLARGE:
        return "provisioning blob: too large";
    case WB_PROVISION_ETRUNCATED:
        return "provisioning blob: truncated";
    case WB_PROVISION_ECRC:
        return "provisioning blob: bad checksum";
    case WB_PROVISION_ECBOR:
        return "provisioning blob: malformed body";
    case WB_PROVISION_ETYPE:
        return "provisioning blob: a field of a wrong type";
    case WB_PROVISION_ERANGE:
        return "provisioning blob: a field out of range";
    case WB_PROVISION_EFIELD:
        return "provisioning blob: a field is missing";
    default:
        return "provisioning blob: unknown error";
    }
}
