/*
 * NOR flash in a range of RAM (devicetree: wasmbed,ram-flash). Keeps what is there at boot. Bytes can be written
 * once between two erases, as real flash has it, so that what works here works there.
 */
#define DT_DRV_COMPAT wasmbed_ram_flash

#include <errno.h>
#include <string.h>

#include <zephyr/device.h>
#include <zephyr/drivers/flash.h>
#include <zephyr/kernel.h>

#include "ram_flash.h"

#define ERASED 0xff

struct ram_flash_config {
    uint8_t *base;
    size_t size, page;
    struct flash_parameters parameters;
    struct flash_pages_layout layout;
};

static bool in_range(const struct ram_flash_config *c, off_t offset, size_t len)
{
    return offset >= 0 && (size_t)offset <= c->size && len <= c->size - (size_t)offset;
}

#if defined(CONFIG_WASMBED_FLASH_FAULTS)
/*
 * An order for a test lies in the last 16 bytes of the blob's place, in little endian: magic "FLT1", the number of the
 * change (1: the next one), what then happens (1: half of it is done and the board stands still, as if power went;
 * 2: it fails, and all after it; 3: it fails this once), and how many changes were seen so far.
 */
struct ram_flash_fault {
    uint32_t magic, at, what, seen;
};
#define FAULT ((volatile struct ram_flash_fault *)(CONFIG_WASMBED_BLOB_ADDRESS + CONFIG_WASMBED_BLOB_SIZE - 16))
#define FAULT_MAGIC 0x31544c46u

/* How much of len is to be done; -1: fail. Does not come back when the board is to stand still. */
static size_t fault(size_t len, bool *stop)
{
    *stop = false;
    if (FAULT->magic != FAULT_MAGIC)
        return len;
    uint32_t seen = FAULT->seen + 1;
    FAULT->seen = seen;
    if (FAULT->what == 1 && seen == FAULT->at)
        *stop = true;
    if ((FAULT->what == 2 && seen >= FAULT->at) || (FAULT->what == 3 && seen == FAULT->at))
        return SIZE_MAX;
    return *stop ? len / 2 : len;
}

static void stand_still(void)
{
    printk("wasmbed: test: power is gone\n");
    (void)irq_lock();
    for (;;)
        ;
}
#else
static size_t fault(size_t len, bool *stop)
{
    *stop = false;
    return len;
}

static void stand_still(void)
{
}
#endif

static int ram_flash_read(const struct device *dev, off_t offset, void *data, size_t len)
{
    const struct ram_flash_config *c = dev->config;
    if (!in_range(c, offset, len))
        return -EINVAL;
    memcpy(data, c->base + offset, len);
    return 0;
}

static int ram_flash_write(const struct device *dev, off_t offset, const void *data, size_t len)
{
    const struct ram_flash_config *c = dev->config;
    size_t unit = c->parameters.write_block_size;
    bool stop;
    if (!in_range(c, offset, len) || (size_t)offset % unit != 0 || len % unit != 0)
        return -EINVAL;
    for (size_t i = 0; i < len; i++)
        if (c->base[(size_t)offset + i] != ERASED)
            return -EIO; /* NOR would give a mixture of both */
    size_t n = fault(len, &stop);
    if (n == SIZE_MAX)
        return -EIO;
    memcpy(c->base + offset, data, n);
    if (stop)
        stand_still();
    return 0;
}

static int ram_flash_erase(const struct device *dev, off_t offset, size_t len)
{
    const struct ram_flash_config *c = dev->config;
    bool stop;
    if (!in_range(c, offset, len) || (size_t)offset % c->page != 0 || len % c->page != 0)
        return -EINVAL;
    size_t n = fault(len, &stop);
    if (n == SIZE_MAX)
        return -EIO;
    memset(c->base + offset, ERASED, n);
    if (stop)
        stand_still();
    return 0;
}

static const struct flash_parameters *ram_flash_parameters(const struct device *dev)
{
    const struct ram_flash_config *c = dev->config;
    return &c->parameters;
}

static void ram_flash_layout(const struct device *dev, const struct flash_pages_layout **layout, size_t *count)
{
    const struct ram_flash_config *c = dev->config;
    *layout = &c->layout;
    *count = 1;
}

const uint8_t *wb_ram_flash_memory(const struct device *dev)
{
    const struct ram_flash_config *c = dev->config;
    return c->base;
}

static const struct flash_driver_api ram_flash_api = {
    .read = ram_flash_read,
    .write = ram_flash_write,
    .erase = ram_flash_erase,
    .get_parameters = ram_flash_parameters,
    .page_layout = ram_flash_layout,
};

#define RAM_FLASH(n)                                                                                                   \
    static const struct ram_flash_config ram_flash_config_##n = {                                                      \
        .base = (uint8_t *)DT_INST_REG_ADDR(n),                                                                        \
        .size = DT_INST_REG_SIZE(n),                                                                                   \
        .page = DT_INST_PROP(n, erase_block_size),                                                                     \
        .parameters = {.write_block_size = DT_INST_PROP(n, write_block_size), .erase_value = ERASED},                  \
        .layout = {.pages_count = DT_INST_REG_SIZE(n) / DT_INST_PROP(n, erase_block_size),                             \
                   .pages_size = DT_INST_PROP(n, erase_block_size)},                                                   \
    };                                                                                                                 \
    DEVICE_DT_INST_DEFINE(n, NULL, NULL, NULL, &ram_flash_config_##n, POST_KERNEL, CONFIG_FLASH_INIT_PRIORITY,         \
                          &ram_flash_api);
DT_INST_FOREACH_STATUS_OKAY(RAM_FLASH)
