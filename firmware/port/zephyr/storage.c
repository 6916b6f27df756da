#include "storage.h"

#include <errno.h>
#include <string.h>

#include <zephyr/drivers/flash.h>
#include <zephyr/fs/nvs.h>
#include <zephyr/kernel.h>
#include <zephyr/storage/flash_map.h>

#if defined(CONFIG_WASMBED_RAM_FLASH)
#include "ram_flash.h"
#endif

#define STORE wasmbed_store
#define SLOTS wasmbed_slots
#define SLOT_COUNT (2u * CONFIG_WASMBED_APPS)
#define WRITE_MOST 32u /* bytes of the largest write block */

BUILD_ASSERT(FIXED_PARTITION_EXISTS(STORE), "devicetree: no partition wasmbed_store");
BUILD_ASSERT(FIXED_PARTITION_EXISTS(SLOTS), "devicetree: no partition wasmbed_slots");

static struct {
    struct nvs_fs nvs;
    const struct flash_area *slots;
    const uint8_t *mapped; /* the slots' partition in the address space, or NULL */
    uint32_t page, write, pitch;
} store;

static int from_errno(int err)
{
    switch (err) {
    case -ENOSPC:
        return WB_ENOSPC;
    case -ENOENT:
        return WB_ENOENT;
    default:
        return WB_EIO;
    }
}

/* ---- values ---- */

static int blob_get(void *ctx, uint16_t key, uint8_t *buf, size_t cap)
{
    ARG_UNUSED(ctx);
    ssize_t n = nvs_read(&store.nvs, key, buf, cap);
    if (n < 0)
        return from_errno((int)n);
    return (size_t)n > cap ? WB_ENOSPC : (int)n;
}

static int blob_put(void *ctx, uint16_t key, const uint8_t *data, size_t len)
{
    ARG_UNUSED(ctx);
    if (len == 0 || len > INT16_MAX)
        return WB_EINVAL; /* NVS takes an empty value for a delete */
    ssize_t n = nvs_write(&store.nvs, key, data, len);
    if (n == -EINVAL)
        return WB_ENOSPC; /* larger than a sector */
    return n < 0 ? from_errno((int)n) : 0;
}

static int blob_delete(void *ctx, uint16_t key)
{
    ARG_UNUSED(ctx);
    int err = nvs_delete(&store.nvs, key);
    return err == 0 || err == -ENOENT ? 0 : from_errno(err);
}

static const wb_kv kv = {.get = blob_get, .put = blob_put, .del = blob_delete};

const wb_kv *wb_storage_kv(void)
{
    return &kv;
}

uint32_t wb_storage_free(void)
{
    ssize_t n = nvs_calc_free_space(&store.nvs);
    return n > 0 ? (uint32_t)n : 0;
}

/* An emulator's new memory is all zero, a new flash all erased: neither is an NVS that needs repair. */
static int find_store(const struct flash_area *area, wb_storage_found *found)
{
    uint8_t buf[64], ones = 0xff, zeros = 0;
    for (uint32_t at = 0; at < area->fa_size; at += sizeof buf) {
        int err = flash_area_read(area, at, buf, sizeof buf);
        if (err != 0)
            return err;
        for (size_t i = 0; i < sizeof buf; i++) {
            ones &= buf[i];
            zeros |= buf[i];
        }
    }
    *found = ones == 0xff || zeros == 0 ? WB_STORAGE_BLANK : WB_STORAGE_KEPT;
    return zeros == 0 ? flash_area_erase(area, 0, area->fa_size) : 0;
}

static int mount(const struct flash_area *area, wb_storage_found *found)
{
    struct flash_pages_info info;
    int err = flash_get_page_info_by_offs(area->fa_dev, area->fa_off, &info);
    if (err == 0)
        err = find_store(area, found);
    if (err != 0)
        return WB_EIO;
    /* Two sectors' worth of pages at least, and room for the largest value in each. */
    uint32_t sector = info.size;
    while (sector < 2 * CONFIG_WASMBED_SCRATCH || sector < 4096)
        sector += info.size;
    if (sector > INT16_MAX + 1u || area->fa_size / sector < 2)
        return WB_EINVAL;
    store.nvs.flash_device = area->fa_dev;
    store.nvs.offset = area->fa_off;
    store.nvs.sector_size = (uint16_t)sector;
    store.nvs.sector_count = (uint16_t)(area->fa_size / sector);
    err = nvs_mount(&store.nvs);
    if (err == -EDEADLK || err == -ESPIPE) { /* bytes that no NVS has written */
        *found = WB_STORAGE_MADE;
        err = flash_area_erase(area, 0, area->fa_size);
        if (err == 0)
            err = nvs_mount(&store.nvs);
    }
    return err != 0 ? WB_EIO : 0;
}

/* ---- slots ---- */

static uint32_t slot_at(uint8_t app, uint8_t slot)
{
    return (2u * app + slot) * store.pitch;
}

static bool in_slot(uint8_t app, uint8_t slot, uint32_t offset, uint32_t len)
{
    return app < CONFIG_WASMBED_APPS && slot < 2 && offset <= store.pitch && len <= store.pitch - offset;
}

static int slot_erase(void *ctx, uint8_t app, uint8_t slot, uint32_t offset, uint32_t len)
{
    ARG_UNUSED(ctx);
    if (!in_slot(app, slot, offset, len))
        return WB_EINVAL;
    return flash_area_erase(store.slots, slot_at(app, slot) + offset, len) != 0 ? WB_EIO : 0;
}

static int slot_write(void *ctx, uint8_t app, uint8_t slot, uint32_t offset, const uint8_t *data, uint32_t len)
{
    ARG_UNUSED(ctx);
    uint8_t tail[WRITE_MOST];
    uint32_t whole = len - len % store.write, rest = len - whole;
    uint32_t at = slot_at(app, slot) + offset;
    if (!in_slot(app, slot, offset, rest != 0 ? whole + store.write : whole) || offset % store.write != 0)
        return WB_EINVAL;
    if (whole != 0 && flash_area_write(store.slots, at, data, whole) != 0)
        return WB_EIO;
    if (rest != 0) {
        memset(tail, 0xff, sizeof tail);
        memcpy(tail, data + whole, rest);
        if (flash_area_write(store.slots, at + whole, tail, store.write) != 0)
            return WB_EIO;
    }
    return 0;
}

static int slot_read(void *ctx, uint8_t app, uint8_t slot, uint32_t offset, uint8_t *buf, uint32_t len)
{
    ARG_UNUSED(ctx);
    if (!in_slot(app, slot, offset, len))
        return WB_EINVAL;
    return flash_area_read(store.slots, slot_at(app, slot) + offset, buf, len) != 0 ? WB_EIO : 0;
}

static int slot_sync(void *ctx, uint8_t app, uint8_t slot)
{
    ARG_UNUSED(ctx);
    ARG_UNUSED(app);
    ARG_UNUSED(slot);
    return 0; /* a flash driver's write is done when it returns */
}

static const uint8_t *slot_map(void *ctx, uint8_t app, uint8_t slot, uint32_t len)
{
    ARG_UNUSED(ctx);
    if (store.mapped == NULL || !in_slot(app, slot, 0, len))
        return NULL;
    return store.mapped + slot_at(app, slot);
}

/* Where the partition's bytes can be read directly: in our own RAM flash, and in a flash that the CPU runs from. */
static const uint8_t *map_of(const struct flash_area *area)
{
#if defined(CONFIG_WASMBED_RAM_FLASH)
    if (area->fa_dev == DEVICE_DT_GET(DT_COMPAT_GET_ANY_STATUS_OKAY(wasmbed_ram_flash)))
        return wb_ram_flash_memory(area->fa_dev) + area->fa_off;
#endif
#if DT_HAS_CHOSEN(zephyr_flash) && DT_HAS_CHOSEN(zephyr_flash_controller)
    if (area->fa_dev == DEVICE_DT_GET_OR_NULL(DT_CHOSEN(zephyr_flash_controller)))
        return (const uint8_t *)DT_REG_ADDR(DT_CHOSEN(zephyr_flash)) + area->fa_off;
#endif
    ARG_UNUSED(area);
    return NULL;
}

static int open_slots(void)
{
    const struct flash_area *area;
    struct flash_pages_info first, last;
    if (flash_area_open(FIXED_PARTITION_ID(SLOTS), &area) != 0 ||
        flash_get_page_info_by_offs(area->fa_dev, area->fa_off, &first) != 0 ||
        flash_get_page_info_by_offs(area->fa_dev, area->fa_off + (off_t)area->fa_size - 1, &last) != 0)
        return WB_EIO;
    store.slots = area;
    store.page = first.size;
    store.write = flash_area_align(area);
    store.pitch = ROUND_UP(CONFIG_WASMBED_MODULE_SIZE, store.page);
    store.mapped = map_of(area);
    return first.size != last.size || store.write > WRITE_MOST || store.pitch > area->fa_size / SLOT_COUNT ? WB_EINVAL
                                                                                                           : 0;
}

int wb_storage_init(wb_storage_found *found)
{
    const struct flash_area *area;
    if (flash_area_open(FIXED_PARTITION_ID(STORE), &area) != 0)
        return WB_EIO;
    if (!device_is_ready(area->fa_dev))
        return WB_EIO;
    int err = mount(area, found);
    return err < 0 ? err : open_slots();
}

void wb_storage_port(wb_port *port)
{
    port->blob_get = blob_get;
    port->blob_put = blob_put;
    port->blob_delete = blob_delete;
    port->erase_block = store.page;
    port->write_block = store.write;
    port->slot_erase = slot_erase;
    port->slot_write = slot_write;
    port->slot_read = slot_read;
    port->slot_sync = slot_sync;
    port->slot_map = store.mapped != NULL ? slot_map : NULL;
}
