#include "shim.h"

#include "_cgo_export.h"

#define HANDLE(ctx) ((uintptr_t)(ctx))

static int link_open(void *ctx, wb_link_kind kind) { return wasmbedLinkOpen(HANDLE(ctx), (int)kind); }
static int link_state(void *ctx) { return wasmbedLinkState(HANDLE(ctx)); }
static int link_send(void *ctx, const uint8_t *data, size_t len) { return wasmbedLinkSend(HANDLE(ctx), (void *)data, len); }
static int link_recv(void *ctx, uint8_t *buf, size_t cap) { return wasmbedLinkRecv(HANDLE(ctx), buf, cap); }
static void link_close(void *ctx) { wasmbedLinkClose(HANDLE(ctx)); }

static int identity_csr(void *ctx, uint8_t *buf, size_t cap) { return wasmbedIdentityCSR(HANDLE(ctx), buf, cap); }
static int identity_enrolled(void *ctx) { return wasmbedIdentityEnrolled(HANDLE(ctx)); }
static int identity_store(void *ctx, const wb_bytes *chain, size_t count) {
    return wasmbedIdentityStore(HANDLE(ctx), (wb_bytes *)chain, count);
}
static int identity_drop(void *ctx) { return wasmbedIdentityDrop(HANDLE(ctx)); }
static int identity_key(void *ctx, uint8_t out[WB_DIGEST_SIZE]) { return wasmbedIdentityKey(HANDLE(ctx), out); }
static uint64_t identity_renew_at(void *ctx) { return wasmbedIdentityRenewAt(HANDLE(ctx)); }
static int identity_sign(void *ctx, const uint8_t *tbs, size_t len, uint8_t *sig, size_t cap) {
    return wasmbedIdentitySign(HANDLE(ctx), (void *)tbs, len, sig, cap);
}

static int blob_get(void *ctx, uint16_t key, uint8_t *buf, size_t cap) { return wasmbedBlobGet(HANDLE(ctx), key, buf, cap); }
static int blob_put(void *ctx, uint16_t key, const uint8_t *data, size_t len) {
    return wasmbedBlobPut(HANDLE(ctx), key, (void *)data, len);
}
static int blob_delete(void *ctx, uint16_t key) { return wasmbedBlobDelete(HANDLE(ctx), key); }

static int slot_erase(void *ctx, uint8_t app, uint8_t slot, uint32_t offset, uint32_t len) {
    return wasmbedSlotErase(HANDLE(ctx), app, slot, offset, len);
}
static int slot_write(void *ctx, uint8_t app, uint8_t slot, uint32_t offset, const uint8_t *data, uint32_t len) {
    return wasmbedSlotWrite(HANDLE(ctx), app, slot, offset, (void *)data, len);
}
static int slot_read(void *ctx, uint8_t app, uint8_t slot, uint32_t offset, uint8_t *buf, uint32_t len) {
    return wasmbedSlotRead(HANDLE(ctx), app, slot, offset, buf, len);
}
static int slot_sync(void *ctx, uint8_t app, uint8_t slot) { return wasmbedSlotSync(HANDLE(ctx), app, slot); }

static int64_t clock_ms(void *ctx) { return wasmbedClockMS(HANDLE(ctx)); }
static int entropy(void *ctx, uint8_t *buf, size_t len) { return wasmbedEntropy(HANDLE(ctx), buf, len); }
static int sha256_start(void *ctx) { return wasmbedSHA256Start(HANDLE(ctx)); }
static int sha256_update(void *ctx, const uint8_t *data, size_t len) {
    return wasmbedSHA256Update(HANDLE(ctx), (void *)data, len);
}
static int sha256_finish(void *ctx, uint8_t out[WB_DIGEST_SIZE]) { return wasmbedSHA256Finish(HANDLE(ctx), out); }
static uint32_t memory_free(void *ctx) { return wasmbedMemoryFree(HANDLE(ctx)); }
static void log_line(void *ctx, wb_level level, const char *text, size_t len) {
    wasmbedLog(HANDLE(ctx), (int)level, (char *)text, len);
}
static void reboot(void *ctx) { wasmbedReboot(HANDLE(ctx)); }
static int gpio_read(void *ctx, uint32_t pin) { return wasmbedGPIORead(HANDLE(ctx), pin); }
static int gpio_write(void *ctx, uint32_t pin, uint32_t value) { return wasmbedGPIOWrite(HANDLE(ctx), pin, value); }
static int sensor_read(void *ctx, uint32_t id, double *out) { return wasmbedSensorRead(HANDLE(ctx), id, out); }

/* What an instance takes of a board's RAM besides its linear memory, which load holds to what is left: the engine's own
 * bookkeeping is the host's, not the device's. */
static int64_t runtime_memory_need(void *ctx, const wb_module *m, const wb_limits *limits) {
    (void)ctx;
    (void)m;
    return limits->stack;
}
static int runtime_load(void *ctx, wb_instance *inst, const wb_module *m, const wb_limits *limits, wb_trap *trap) {
    return wasmbedRuntimeLoad(HANDLE(ctx), inst, (wb_module *)m, (wb_limits *)limits, trap);
}
static int runtime_call(void *ctx, wb_instance *inst, wb_call *c, wb_trap *trap) {
    return wasmbedRuntimeCall(HANDLE(ctx), inst, c, trap);
}
static void runtime_unload(void *ctx, wb_instance *inst) { wasmbedRuntimeUnload(HANDLE(ctx), inst); }

void wb_shim_port(wb_port *port, uintptr_t handle) {
    *port = (wb_port){
        .ctx = (void *)handle,
        .link_open = link_open,
        .link_state = link_state,
        .link_send = link_send,
        .link_recv = link_recv,
        .link_close = link_close,
        .identity_csr = identity_csr,
        .identity_enrolled = identity_enrolled,
        .identity_store = identity_store,
        .identity_drop = identity_drop,
        .identity_key = identity_key,
        .identity_renew_at = identity_renew_at,
        .identity_sign = identity_sign,
        .blob_get = blob_get,
        .blob_put = blob_put,
        .blob_delete = blob_delete,
        .erase_block = 1,
        .write_block = 1,
        .slot_erase = slot_erase,
        .slot_write = slot_write,
        .slot_read = slot_read,
        .slot_sync = slot_sync,
        .clock_ms = clock_ms,
        .entropy = entropy,
        .sha256_start = sha256_start,
        .sha256_update = sha256_update,
        .sha256_finish = sha256_finish,
        .memory_free = memory_free,
        .log = log_line,
        .reboot = reboot,
        .gpio_read = gpio_read,
        .gpio_write = gpio_write,
        .sensor_read = sensor_read,
        .runtime =
            {
                .ctx = (void *)handle,
                .name = "wazero",
                .memory_need = runtime_memory_need,
                .load = runtime_load,
                .call = runtime_call,
                .unload = runtime_unload,
            },
    };
}

int wb_shim_module_read(const wb_module *m, uint32_t offset, void *buf, uint32_t len) {
    return m->read(m, offset, buf, len);
}
