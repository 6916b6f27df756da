#include "board.h"

#include <string.h>

#include <mbedtls/sha256.h>
#include <zephyr/kernel.h>
#include <zephyr/linker/linker-defs.h>
#include <zephyr/sys/byteorder.h>
#include <zephyr/sys/reboot.h>
#if defined(CONFIG_ENTROPY_HAS_DRIVER)
#include <zephyr/drivers/entropy.h>
#endif

#include "console.h"
#include "entropy.h"
#include "identity.h"
#include "random.h"
#include "storage.h"
#include "tls.h"
#include "transport.h"
#include "wamr.h"

#define QUEUES                                                                                                         \
    (CONFIG_WASMBED_TELEMETRY_QUEUE + CONFIG_WASMBED_LOG_QUEUE + CONFIG_WASMBED_MESSAGE_QUEUE +                        \
     CONFIG_WASMBED_TRAP_QUEUE)
#define CORE_MEMORY                                                                                                    \
    WB_MEMORY(CONFIG_WASMBED_APPS, CONFIG_WASMBED_FRAME_IN, CONFIG_WASMBED_FRAME_OUT, CONFIG_WASMBED_SCRATCH, QUEUES,   \
              CONFIG_WASMBED_ANSWER)

static uint8_t core_memory[CORE_MEMORY] __aligned(8);
static uint8_t tls_heap[CONFIG_WASMBED_TLS_HEAP] __aligned(8);
static uint8_t pool[CONFIG_WASMBED_POOL] __aligned(8);

static struct {
    const wb_provision *provision;
    wb_entropy entropy;
    wb_identity identity;
    wb_tls tls;
    wb_wamr engine;
    unsigned begun;    /* steps of what a connection needs that are done */
    bool starting;     /* the core is being made */
    uint64_t floor;    /* told before TLS was there, Unix ms */
    char name[WB_PROVISION_NAME_MAX + 1];
    char server_name[WB_PROVISION_HOST_MAX + 1];
    uint8_t measurement[WB_DIGEST_SIZE];
} board;

/* What the boot could not begin is tried again with each connection, at the core's pace: modules run meanwhile. */
static int begin(void);
static bool connectable(void);

/* ---- callbacks: ctx is not needed, there is one board ---- */

static int link_open(void *ctx, wb_link_kind kind)
{
    ARG_UNUSED(ctx);
    int err = begin();
    return err < 0 ? err : wb_tls_open(&board.tls, kind);
}

static int link_state(void *ctx)
{
    ARG_UNUSED(ctx);
    return wb_tls_state(&board.tls);
}

static int link_trusted(void *ctx)
{
    ARG_UNUSED(ctx);
    return wb_tls_trusted(&board.tls);
}

static int link_send(void *ctx, const uint8_t *data, size_t len)
{
    ARG_UNUSED(ctx);
    return wb_tls_send(&board.tls, data, len);
}

static int link_recv(void *ctx, uint8_t *buf, size_t cap)
{
    ARG_UNUSED(ctx);
    return wb_tls_recv(&board.tls, buf, cap);
}

static void link_close(void *ctx)
{
    ARG_UNUSED(ctx);
    if (connectable())
        wb_tls_close(&board.tls);
}

static int identity_csr(void *ctx, uint8_t *buf, size_t cap)
{
    ARG_UNUSED(ctx);
    return wb_identity_csr(&board.identity, buf, cap);
}

static int identity_enrolled(void *ctx)
{
    ARG_UNUSED(ctx);
    return begin() == 0 ? wb_identity_enrolled(&board.identity) : 0;
}

static int identity_store(void *ctx, const wb_bytes *chain, size_t count)
{
    ARG_UNUSED(ctx);
    return wb_identity_store(&board.identity, chain, count);
}

static int identity_drop(void *ctx)
{
    ARG_UNUSED(ctx);
    return wb_identity_drop(&board.identity);
}

static int identity_key(void *ctx, uint8_t out[WB_DIGEST_SIZE])
{
    ARG_UNUSED(ctx);
    return wb_identity_key(&board.identity, out);
}

static uint64_t identity_renew_at(void *ctx)
{
    ARG_UNUSED(ctx);
    return wb_identity_renew_at(&board.identity);
}

static int identity_sign(void *ctx, const uint8_t *tbs, size_t len, uint8_t *sig, size_t cap)
{
    ARG_UNUSED(ctx);
    return wb_identity_sign(&board.identity, tbs, len, sig, cap);
}

static int64_t clock_ms(void *ctx)
{
    ARG_UNUSED(ctx);
    return k_uptime_get();
}

static void clock_wall(void *ctx, uint64_t unix_ms, bool floor)
{
    ARG_UNUSED(ctx);
    if (connectable())
        wb_tls_set_time(&board.tls, unix_ms, floor);
    else if (unix_ms > board.floor)
        board.floor = unix_ms;
}

static int entropy(void *ctx, uint8_t *buf, size_t len)
{
    ARG_UNUSED(ctx);
    int err = wb_entropy_get(&board.entropy, buf, len);
    if (err < 0 && board.starting) { /* the boot's id, no secret: modules run without a connection too */
        sys_rand_get(buf, len);
        return 0;
    }
    return err;
}

static uint32_t memory_free(void *ctx)
{
    ARG_UNUSED(ctx);
    wb_wamr_usage u;
    wb_wamr_memory(&board.engine, &u);
    return u.total - u.used;
}

static void reboot(void *ctx)
{
    ARG_UNUSED(ctx);
    wb_say(WB_INFO, "restarting");
    sys_reboot(SYS_REBOOT_COLD);
}

/* ---- parts ---- */

#if defined(CONFIG_ENTROPY_HAS_DRIVER) && DT_HAS_CHOSEN(zephyr_entropy)
static int hardware_random(void *ctx, uint8_t *buf, size_t len)
{
    ARG_UNUSED(ctx);
    const struct device *dev = DEVICE_DT_GET(DT_CHOSEN(zephyr_entropy));
    if (!device_is_ready(dev))
        return WB_EIO;
    return entropy_get_entropy(dev, buf, (uint16_t)len) == 0 ? 0 : WB_EIO;
}
#define HARDWARE_RANDOM hardware_random
#else
#define HARDWARE_RANDOM NULL
#endif

static uint32_t jitter(void *ctx)
{
    ARG_UNUSED(ctx);
    return k_cycle_get_32();
}

static int failed(const char *what, int err)
{
    wb_say(WB_ERROR, "%s: %s", what, wb_error_name(err));
    return err;
}

static int start_storage(void)
{
    static const char *const word[] = {"kept", "blank, made ready", "not ours, erased"};
    wb_storage_found found = WB_STORAGE_KEPT;
    int err = wb_storage_init(&found);
    if (err < 0)
        return failed("storage", err);
    wb_say(found == WB_STORAGE_MADE ? WB_WARNING : WB_INFO, "storage: %s", word[found]);
    return 0;
}

static int start_entropy(void)
{
    wb_entropy_config c = {.hardware = HARDWARE_RANDOM, .jitter = jitter, .seed = board.provision->seed};
    c.kv = *wb_storage_kv();
    int err = wb_entropy_init(&board.entropy, &c);
    if (err < 0)
        return failed("entropy", err);
    uint8_t key[32];
    if (wb_entropy_get(&board.entropy, key, sizeof key) == 0)
        wb_random_key(key, sizeof key);
    wb_say(WB_INFO, "entropy: %s, boot %u", board.entropy.hardware ? "hardware" : "seed and pool",
           wb_entropy_boots(&board.entropy));
    return 0;
}

static int start_crypto(void)
{
    int err = wb_crypto_start(&board.entropy, tls_heap, sizeof tls_heap);
    return err < 0 ? failed("crypto", err) : 0;
}

static int start_identity(void)
{
    int err = wb_identity_init(&board.identity, wb_storage_kv(), board.name);
    if (err < 0)
        return failed("identity", err);
    uint8_t key[WB_DIGEST_SIZE];
    if (wb_identity_key(&board.identity, key) == 0)
        wb_say(WB_INFO, "identity: key %08x%s, %s", sys_get_be32(key),
               wb_identity_fresh(&board.identity) ? " new" : "",
               wb_identity_enrolled(&board.identity) ? "enrolled" : "not enrolled");
    return 0;
}

static int start_transport(void)
{
    uint8_t nonce = 0;
    (void)wb_entropy_get(&board.entropy, &nonce, sizeof nonce);
    int err = wb_transport_init(board.provision, nonce);
    return err < 0 ? failed("transport", err) : 0;
}

static int start_tls(void)
{
    const wb_provision *p = board.provision;
    wb_tls_config c = {.stream = *wb_transport_stream(), .server_name = board.server_name,
                       .identity = &board.identity, .anchor_count = p->trust_count, .floor = p->floor_ms};
    for (size_t i = 0; i < p->trust_count; i++)
        c.anchors[i] = p->trust[i];
    int err = wb_tls_init(&board.tls, &c);
    if (err < 0)
        return failed("trust anchors", err);
    if (board.floor != 0)
        wb_tls_set_time(&board.tls, board.floor, true);
    return 0;
}

/* What a connection needs, in this order. A step that failed is tried again with the next connection. */
static int (*const step[])(void) = {start_entropy, start_crypto, start_identity, start_transport, start_tls};

static bool connectable(void)
{
    return board.begun == ARRAY_SIZE(step);
}

static int begin(void)
{
    while (!connectable()) {
        int err = step[board.begun]();
        if (err < 0)
            return err;
        board.begun++;
    }
    return 0;
}

static int start_engine(void)
{
    int err = wb_wamr_init(&board.engine, pool, sizeof pool, NULL);
    return err < 0 ? failed("engine", err) : 0;
}

/* The image as it lies in flash: firmware/manifest computes the same from the ELF file. */
static void measure(void)
{
    (void)mbedtls_sha256((const uint8_t *)__rom_region_start, (size_t)(uintptr_t)&_flash_used, board.measurement, 0);
}

static void copy_text(char *out, size_t cap, wb_text t)
{
    size_t n = MIN(t.len, cap - 1);
    if (n > 0)
        memcpy(out, t.data, n);
    out[n] = '\0';
}

int wb_board_init(const wb_provision *p)
{
    board.provision = p;
    board.starting = true;
    copy_text(board.name, sizeof board.name, p->name);
    copy_text(board.server_name, sizeof board.server_name, p->server_name);
    int err = start_storage();
    if (err == 0)
        err = start_engine();
    if (err < 0)
        return err;
    if (begin() < 0)
        wb_say(WB_ERROR, "not connected, modules run");
    measure();
    return 0;
}

void wb_board_started(void)
{
    board.starting = false;
}

void wb_board_config(wb_config *c)
{
    *c = (wb_config){
        .memory = core_memory,
        .memory_size = sizeof core_memory,
        .board = CONFIG_WASMBED_BOARD_NAME,
        .firmware = WASMBED_VERSION,
        .name = board.name[0] != '\0' ? board.name : NULL,
        .claim = board.provision->claim,
        .measurement = board.measurement,
        .apps = CONFIG_WASMBED_APPS,
        .module_size = CONFIG_WASMBED_MODULE_SIZE,
        .module_memory = CONFIG_WASMBED_MODULE_MEMORY,
        .frame_in = CONFIG_WASMBED_FRAME_IN,
        .frame_out = CONFIG_WASMBED_FRAME_OUT,
        .scratch = CONFIG_WASMBED_SCRATCH,
        .telemetry_queue = CONFIG_WASMBED_TELEMETRY_QUEUE,
        .log_queue = CONFIG_WASMBED_LOG_QUEUE,
        .message_queue = CONFIG_WASMBED_MESSAGE_QUEUE,
        .trap_queue = CONFIG_WASMBED_TRAP_QUEUE,
        .answer = CONFIG_WASMBED_ANSWER,
        .backoff_min = CONFIG_WASMBED_BACKOFF_MIN,
        .backoff_max = CONFIG_WASMBED_BACKOFF_MAX,
        .max_call_timeout = CONFIG_WASMBED_CALL_TIMEOUT_MAX,
    };
}

void wb_board_port(wb_port *p)
{
    *p = (wb_port){
        .link_open = link_open,
        .link_state = link_state,
        .link_trusted = link_trusted,
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
        .clock_ms = clock_ms,
        .clock_wall = clock_wall,
        .entropy = entropy,
        .memory_free = memory_free,
        .log = wb_console_log,
        .reboot = reboot,
        .runtime = wb_wamr_runtime(&board.engine),
    };
    wb_storage_port(p);
}

void wb_board_wait(bool write, int64_t ms)
{
    unsigned tls = connectable() ? wb_tls_wait(&board.tls) : 0;
    if (ms > 0 && !connectable())
        k_msleep((int32_t)ms);
    else if (ms > 0 && !(tls & WB_TLS_NOT_AT_ALL))
        wb_transport_wait(write || (tls & WB_TLS_WAIT_WRITE), ms);
}

const char *wb_board_why(int *code)
{
    return connectable() ? wb_tls_why(&board.tls, code) : "";
}

void wb_board_say_memory(void)
{
#if defined(CONFIG_WASMBED_SAY_MEMORY)
    size_t heap = 0, stack = 0;
    wb_wamr_usage u;
    wb_crypto_heap(NULL, &heap);
    for (size_t i = sizeof tls_heap; heap == 0 && i > 0; i--)
        heap = tls_heap[i - 1] != 0 ? i : 0; /* how far it was ever written */
    wb_wamr_memory(&board.engine, &u);
    (void)k_thread_stack_space_get(k_current_get(), &stack);
    wb_say(WB_INFO, "memory: tls heap %u of %u, modules %u of %u, stack %u of %u, values %u free", (unsigned)heap,
           (unsigned)sizeof tls_heap, u.used, u.total, (unsigned)(CONFIG_MAIN_STACK_SIZE - stack),
           CONFIG_MAIN_STACK_SIZE, wb_storage_free());
#endif
}
