/*
 * The port: everything that the core knows of the world, one struct of callbacks. The core copies the
 * struct at wb_device_init(); `ctx` is handed back to every callback. A callback that is marked optional
 * may be NULL. No callback may block for longer than the hardware needs (flash erase, one signature); the
 * network callbacks never block.
 *
 * No callback may call wb_device_*() of the same device.
 */
#ifndef WASMBED_PORT_H
#define WASMBED_PORT_H

#include "wasmbed/runtime.h"
#include "wasmbed/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- transport ---------------------------------------------------------------------------------- */

/* Which certificate the TLS session shows. TLS 1.3, ALPN "wasmbed/1", the gateway's certificate checked against
 * the provisioned trust anchor and the gateway's name: all the port's. */
typedef enum wb_link_kind {
    WB_LINK_FIRST_CONTACT = 1, /* self-signed (or the maker's) certificate of the session key */
    WB_LINK_OPERATIONAL = 2    /* the stored chain */
} wb_link_kind;

typedef enum wb_link_state {
    WB_LINK_CONNECTING = 0,
    WB_LINK_CONNECTED = 1
} wb_link_state;

/* ---- storage ------------------------------------------------------------------------------------
 *
 * Two kinds, and what the core assumes of each when power goes. Power may go between any two calls and inside of
 * each.
 *
 * Blobs: small values under a 16-bit key (Zephyr: NVS ids; host: files). blob_put replaces the whole value and is
 * durable when it returns 0. A put or delete that power interrupts may leave the old value, the new one, none, or
 * garbage UNDER THAT KEY; it never harms another key. (The core keeps what matters twice, in turn, with
 * sequence and checksum, so it does not need an atomic put. A port that has one loses nothing.)
 *
 * Slots: `2 * apps` areas of `module_size` bytes each (wb_config), named by (app index, slot 0 or 1), with the
 * manners of NOR flash:
 *   - slot_erase(offset, length): both are multiples of `erase_block` (the last block may reach past module_size; the
 *     port rounds its areas up). Interrupted: the content of that range is undefined until it is erased again.
 *   - slot_write(offset, bytes): only into bytes erased since their last write, ascending, offset a multiple of
 *     `write_block`, length too except for the module's last write (the port pads). Interrupted: the range is
 *     undefined and the core erases the erase_blocks that it touches before it writes there again. A write never
 *     harms bytes outside of its erase_block.
 *   - slot_sync(): everything written to that slot is durable when it returns 0.
 * The core trusts nothing that it did not sync, and hashes the whole slot before it runs it.
 */

/* ---- the struct --------------------------------------------------------------------------------- */

typedef struct wb_port {
    void *ctx;

    /* Transport. One link at a time. */

    /* Begins a connection; returns 0 at once, or negative when it cannot even begin. 
     * Whatever link was there before is closed and forgotten. */
    int (*link_open)(void *ctx, wb_link_kind kind);
    /* How the connection stands: WB_LINK_CONNECTING, WB_LINK_CONNECTED, or negative when it failed or ended:
     * WB_ECLOSED (refused, unreachable, reset), WB_EAUTH (a certificate was refused: the core falls back to first
     * contact when ours was shown), WB_ETIMEOUT, WB_EIO. Note for TLS 1.3: a client learns only after its handshake
     * that its certificate was refused; report the alert as WB_EAUTH here or from link_recv. */
    int (*link_state)(void *ctx);
    /* Optional: asked once after clock_wall has told the time of welcome, before anything but hello is sent: 0, or WB_EAUTH
     * when the gateway's certificate is not valid at that time (for ports that could not judge it in the handshake). */
    int (*link_trusted)(void *ctx);
    /* Takes up to len bytes for sending; returns how many (0 < n <= len), WB_EAGAIN, or negative as above. */
    int (*link_send)(void *ctx, const uint8_t *data, size_t len);
    /* Brings up to cap bytes; returns how many (> 0), WB_EAGAIN when none are there, WB_ECLOSED at the end, or
     * negative as above. */
    int (*link_recv)(void *ctx, uint8_t *buf, size_t cap);
    /* Closes and forgets the link, sending what link_send took if that needs no waiting. Also called when no link
     * is open. */
    void (*link_close)(void *ctx);

    /* Identity. The private key never passes the core. */

    /* Writes the PKCS #10 request (DER) for the session key; returns its length, WB_ENOSPC or WB_EIO. Its
     * key MUST be the key that the TLS session shows in both kinds of links. */
    int (*identity_csr)(void *ctx, uint8_t *buf, size_t cap);
    /* 1 when an operational certificate is stored that has not expired by the time last told to clock_wall (one whose
     * expiry cannot be judged counts as not expired), 0 when not. */
    int (*identity_enrolled)(void *ctx);
    /* Stores the chain, leaf first, DER; atomic (old or new after a power cut), durable when it returns 0. The next
     * WB_LINK_OPERATIONAL shows it. Must check that the leaf's public key is the session key: WB_EFORMAT. */
    int (*identity_store)(void *ctx, const wb_bytes *chain, size_t count);
    /* Optional, not called by the core today: forgets the stored chain; the key stays. */
    int (*identity_drop)(void *ctx);
    /* Optional, needed with identity_sign: SHA-256 over the DER SubjectPublicKeyInfo of the session key. */
    int (*identity_key)(void *ctx, uint8_t out[WB_DIGEST_SIZE]);
    /* Optional: when the stored certificate should be renewed, Unix ms, 0 when unknown. The core renews at the
     * earlier of this and what the gateway says. */
    uint64_t (*identity_renew_at)(void *ctx);
    /* Optional: ECDSA P-256 with SHA-256 over tbs, ASN.1 DER, made with the session key; returns the signature's
     * length (<= 72). Without it the device sends no attestation evidence. */
    int (*identity_sign)(void *ctx, const uint8_t *tbs, size_t len, uint8_t *sig, size_t cap);

    /* Storage: see above for what may happen when power goes. */

    /* Returns the value's length (<= cap), WB_ENOENT, WB_ENOSPC when cap is too small, WB_EIO. */
    int (*blob_get)(void *ctx, uint16_t key, uint8_t *buf, size_t cap);
    int (*blob_put)(void *ctx, uint16_t key, const uint8_t *data, size_t len); /* WB_ENOSPC, WB_EIO */
    int (*blob_delete)(void *ctx, uint16_t key);                               /* 0 also when it was not there */

    uint32_t erase_block; /* bytes; 1 when bytes can be overwritten at will (files, RAM): then slot_erase may be
                             empty but for making old content unreadable */
    uint32_t write_block; /* bytes, power of two; 1 when any offset can be written */
    int (*slot_erase)(void *ctx, uint8_t app, uint8_t slot, uint32_t offset, uint32_t len);
    int (*slot_write)(void *ctx, uint8_t app, uint8_t slot, uint32_t offset, const uint8_t *data, uint32_t len);
    int (*slot_read)(void *ctx, uint8_t app, uint8_t slot, uint32_t offset, uint8_t *buf, uint32_t len);
    int (*slot_sync)(void *ctx, uint8_t app, uint8_t slot);
    /* Optional: the slot's bytes in the address space (memory-mapped flash), or NULL. Valid until the slot is
     * erased. */
    const uint8_t *(*slot_map)(void *ctx, uint8_t app, uint8_t slot, uint32_t len);

    /* Clock. */

    /* Milliseconds since boot (or any start); never goes back. */
    int64_t (*clock_ms)(void *ctx);
    /* Optional: tells the port the wall time, Unix ms, for its certificate checks. `floor`: this is only a time
     * that has certainly passed (kept from an earlier session, told once at init). Otherwise the gateway
     * said it in an authenticated session. The core keeps wall time itself; module and frames get it from there. */
    void (*clock_wall)(void *ctx, uint64_t unix_ms, bool floor);

    /* Entropy for boot id and jitter, and for modules: cryptographic quality. Returns 0 or WB_EIO. */
    int (*entropy)(void *ctx, uint8_t *buf, size_t len);

    /* Optional SHA-256, when the port has hardware or its TLS library's. All three or none; one digest at a time.
     * Without them the core uses its own. */
    int (*sha256_start)(void *ctx);
    int (*sha256_update)(void *ctx, const uint8_t *data, size_t len);
    int (*sha256_finish)(void *ctx, uint8_t out[WB_DIGEST_SIZE]);

    /* Optional: free RAM in bytes, for heartbeats. */
    uint32_t (*memory_free)(void *ctx);

    /* Optional: the console. Text is not terminated and has no newline. */
    void (*log)(void *ctx, wb_level level, const char *text, size_t len);

    /* Optional: restarts the board; it should not return (host: end and run again with the same storage). Without it
     * the verb reboot is refused as Unsupported. */
    void (*reboot)(void *ctx);

    /* Optional: pins and sensors. gpio_read: 0 or 1; gpio_write: 0; sensor_read fills a value. Negative:
     * WB_ENOENT (no such pin), WB_EIO. */
    int (*gpio_read)(void *ctx, uint32_t pin);
    int (*gpio_write)(void *ctx, uint32_t pin, uint32_t value);
    int (*sensor_read)(void *ctx, uint32_t id, double *out);

    /* What executes modules. Copied. */
    wb_runtime runtime;
} wb_port;

#ifdef __cplusplus
}
#endif
#endif
