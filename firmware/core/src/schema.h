/* The tables that describe messages; used by codec_decode.c and codec_encode.c alone. */
#ifndef WB_SCHEMA_H
#define WB_SCHEMA_H

#include "codec.h"

enum wb_kind {
    WB_K_U8,
    WB_K_U32,
    WB_K_U64, /* min and max are 32 bits wide: max WB_ANY means any */
    WB_K_BOOL,
    WB_K_BYTES,
    WB_K_TEXT,
    WB_K_NAME,
    WB_K_FLOAT, /* finite */
    WB_K_STRUCT, /* a map; `sub` is its schema; the struct stands at the offset */
    WB_K_LIST,  /* an array; `sub` is its element (enum wb_element) */
    WB_K_MAP    /* a map with text keys; `sub` is its element */
};

#define WB_ANY 0xffffffffu

typedef struct wb_field {
    uint8_t key;
    uint8_t kind;
    uint8_t required;
    uint8_t sub;
    uint16_t offset;
    uint32_t min, max; /* of the number, or of the length or count */
} wb_field;

/* Schemas that are not messages. */
enum wb_sub {
    WB_SUB_CAPABILITIES = 128,
    WB_SUB_EVIDENCE,
    WB_SUB_MANIFEST,
    WB_SUB_TIMER,
    WB_SUB_APP_STATE
};

enum wb_element {
    WB_EL_PERMISSION,
    WB_EL_CERTIFICATE,
    WB_EL_CONFIG,
    WB_EL_TIMER,
    WB_EL_APP,
    WB_EL_REMOVED,
    WB_EL_TELEMETRY,
    WB_EL_LOG
};

/* The fields of a message type or wb_sub, in ascending order of keys, or NULL. Offsets are into wb_msg.u's member, or
 * the sub's struct. */
const wb_field *wb_schema(unsigned which, size_t *count);

/* Rules between fields: whether the decoded (or to be encoded) struct keeps them. */
bool wb_check_rules(unsigned which, const void *object);

bool wb_text_fits(wb_text t, uint32_t min, uint32_t max);

#endif
