/*
 * Deterministic CBOR (RFC 8949 section 4.2.1), as small as the device protocol needs: unsigned and negative
 * integers, byte and text strings, arrays, maps, floats, false, true. No null, no tags, no indefinite lengths.
 */
#ifndef WB_CBOR_H
#define WB_CBOR_H

#include "wasmbed/types.h"

#define WB_CBOR_DEPTH 8    /* nesting: the body's map is level 1 */
#define WB_CBOR_ARRAY 1024 /* elements */
#define WB_CBOR_MAP 64     /* pairs */

enum wb_cbor_major {
    WB_CBOR_UINT = 0,
    WB_CBOR_NINT = 1,
    WB_CBOR_BYTES = 2,
    WB_CBOR_TEXT = 3,
    WB_CBOR_ARR = 4,
    WB_CBOR_MAPM = 5,
    WB_CBOR_TAG = 6,
    WB_CBOR_SIMPLE = 7
};

/* ---- writing. An overflow is remembered: check w.overflow once at the end. ------------------------------ */

typedef struct wb_writer {
    uint8_t *buf;
    size_t cap;
    size_t len; /* bytes written; never exceeds cap */
    bool overflow;
} wb_writer;

void wb_writer_init(wb_writer *w, uint8_t *buf, size_t cap);
void wb_write_head(wb_writer *w, unsigned major, uint64_t value);
void wb_write_uint(wb_writer *w, uint64_t value);
void wb_write_bytes(wb_writer *w, const void *data, size_t len);
void wb_write_text(wb_writer *w, const char *text, size_t len);
void wb_write_bool(wb_writer *w, bool v);
void wb_write_float(wb_writer *w, double v); /* the shortest of half, single, double that keeps the value */
void wb_write_array(wb_writer *w, size_t count);
void wb_write_map(wb_writer *w, size_t count);
void wb_write_raw(wb_writer *w, const void *data, size_t len); /* an item that is encoded already */
size_t wb_head_size(uint64_t value);

/* ---- reading. Every function returns 0 or WB_EFORMAT and moves only on success. ----------------------- */

typedef struct wb_reader {
    const uint8_t *p;
    const uint8_t *end;
} wb_reader;

void wb_reader_init(wb_reader *r, const uint8_t *data, size_t len);
/* The major type of the next item, or negative at the end. */
int wb_read_major(const wb_reader *r);
int wb_read_uint(wb_reader *r, uint64_t *out);
int wb_read_bytes(wb_reader *r, wb_bytes *out);
int wb_read_text(wb_reader *r, wb_text *out);
int wb_read_bool(wb_reader *r, bool *out);
int wb_read_float(wb_reader *r, double *out);
int wb_read_array(wb_reader *r, size_t *count);
int wb_read_map(wb_reader *r, size_t *count);
int wb_read_skip(wb_reader *r); /* one whole item, of any depth that wb_cbor_check lets pass */

/* Whether data is exactly one well-formed, deterministic item inside the limits: 0 or WB_EFORMAT. */
int wb_cbor_check(const uint8_t *data, size_t len);

/* Whether text is UTF-8 (no surrogates, no overlong forms). */
bool wb_utf8_valid(const uint8_t *p, size_t len);

/* A float as its bits and back, without a union's or a cast's undefined corners. */
uint64_t wb_double_bits(double v);
double wb_bits_double(uint64_t bits);

#endif
