/* A UART to a bridge that opens connections for us (docs/spec/serial.md). Interrupts move bytes, the main thread frames. */
#include "transport.h"

#include <string.h>

#include <zephyr/drivers/uart.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/ring_buffer.h>

#include "console.h"
#include "serial_line.h"

BUILD_ASSERT(DT_HAS_CHOSEN(wasmbed_link_uart), "devicetree: no chosen wasmbed,link-uart");

#define TX_SIZE 512
#define TX_BURST 64 /* drivers count what they take in 8 bits: STM32's never ends where an emulated UART takes more */
#define TX_KEPT (2 * WB_LINE_CONTROL_MAX) /* payload leaves this much for control frames */
#define WAIT_MOST 60000                   /* ms */

static struct {
    const struct device *uart;
    wb_line line;
    struct k_sem wake;
    struct ring_buf rx, tx;
    uint8_t rx_bytes[CONFIG_WASMBED_SERIAL_RX], tx_bytes[TX_SIZE];
    volatile bool sending;
    volatile uint32_t lost; /* bytes that had no room */
    uint32_t lost_said;
} serial;

static void receive_some(const struct device *dev)
{
    uint8_t buf[16];
    int n;
    while (uart_irq_rx_ready(dev) && (n = uart_fifo_read(dev, buf, sizeof buf)) > 0) {
        uint32_t kept = ring_buf_put(&serial.rx, buf, (uint32_t)n);
        serial.lost += (uint32_t)n - kept;
    }
}

static void send_some(const struct device *dev)
{
    while (serial.sending && uart_irq_tx_ready(dev)) {
        uint8_t *p;
        uint32_t n = ring_buf_get_claim(&serial.tx, &p, TX_BURST);
        int taken = n > 0 ? uart_fifo_fill(dev, p, (int)n) : 0;
        (void)ring_buf_get_finish(&serial.tx, taken > 0 ? (uint32_t)taken : 0);
        if (n == 0) {
            serial.sending = false;
            uart_irq_tx_disable(dev);
            return;
        }
        if (taken <= 0)
            return;
    }
}

static void on_uart(const struct device *dev, void *ctx)
{
    ARG_UNUSED(ctx);
    if (!uart_irq_update(dev))
        return;
    receive_some(dev);
    send_some(dev);
    k_sem_give(&serial.wake);
}

static void start_sending(void)
{
    unsigned int key = irq_lock();
    bool start = !serial.sending && !ring_buf_is_empty(&serial.tx);
    if (start)
        serial.sending = true;
    irq_unlock(key);
    if (start)
        uart_irq_tx_enable(serial.uart);
}

static void control(void)
{
    uint8_t out[WB_LINE_CONTROL_MAX];
    size_t room = MIN(sizeof out, ring_buf_space_get(&serial.tx));
    size_t n = wb_line_control(&serial.line, k_uptime_get(), out, room);
    (void)ring_buf_put(&serial.tx, out, n);
    start_sending();
    uint32_t lost = serial.lost;
    if (lost != serial.lost_said) {
        wb_say(WB_WARNING, "serial: %u bytes lost", lost - serial.lost_said);
        serial.lost_said = lost;
    }
}

/* Payload into buf; with cap 0 only what precedes the first byte of it. */
static size_t take(uint8_t *buf, size_t cap)
{
    size_t got = 0;
    for (;;) {
        uint8_t *p;
        size_t used = 0;
        uint32_t n = ring_buf_get_claim(&serial.rx, &p, CONFIG_WASMBED_SERIAL_RX);
        if (n > 0)
            got += wb_line_decode(&serial.line, k_uptime_get(), p, n, &used, buf + got, cap - got);
        (void)ring_buf_get_finish(&serial.rx, used);
        if (used == 0)
            break;
    }
    control();
    return got;
}

static int stream_open(void *ctx)
{
    ARG_UNUSED(ctx);
    (void)take(NULL, 0);
    wb_line_open(&serial.line, k_uptime_get());
    control();
    return 0;
}

static int stream_state(void *ctx)
{
    ARG_UNUSED(ctx);
    (void)take(NULL, 0);
    return wb_line_state(&serial.line);
}

static int stream_send(void *ctx, const uint8_t *data, size_t len)
{
    ARG_UNUSED(ctx);
    int state = wb_line_state(&serial.line);
    size_t sent = 0;
    if (state != WB_LINK_CONNECTED)
        return state < 0 ? state : WB_EAGAIN;
    while (sent < len) {
        uint8_t out[64];
        size_t used = 0, room = ring_buf_space_get(&serial.tx);
        room = room > TX_KEPT ? MIN(room - TX_KEPT, sizeof out) : 0;
        size_t n = wb_line_encode(&serial.line, data + sent, len - sent, &used, out, room);
        if (used == 0)
            break;
        (void)ring_buf_put(&serial.tx, out, n);
        sent += used;
    }
    control();
    return sent > 0 ? (int)sent : WB_EAGAIN;
}

static int stream_recv(void *ctx, uint8_t *buf, size_t cap)
{
    ARG_UNUSED(ctx);
    size_t n = take(buf, cap);
    if (n > 0)
        return (int)n;
    int state = wb_line_state(&serial.line);
    return state < 0 ? state : WB_EAGAIN;
}

static void stream_close(void *ctx)
{
    ARG_UNUSED(ctx);
    wb_line_close(&serial.line);
    (void)take(NULL, 0);
}

static const wb_stream stream = {
    .open = stream_open, .state = stream_state, .send = stream_send, .recv = stream_recv, .close = stream_close};

const wb_stream *wb_transport_stream(void)
{
    return &stream;
}

void wb_transport_wait(bool write, int64_t ms)
{
    control();
    if (write && ring_buf_space_get(&serial.tx) > TX_SIZE / 2)
        return;
    int64_t line = wb_line_wait(&serial.line, k_uptime_get());
    if (line >= 0 && line < ms)
        ms = line;
    (void)k_sem_take(&serial.wake, K_MSEC(MIN(ms, WAIT_MOST)));
}

int wb_transport_init(const wb_provision *p, uint8_t nonce)
{
    serial.uart = DEVICE_DT_GET(DT_CHOSEN(wasmbed_link_uart));
    if (!device_is_ready(serial.uart))
        return WB_EUNSUPPORTED;
    (void)k_sem_init(&serial.wake, 0, 1);
    ring_buf_init(&serial.rx, sizeof serial.rx_bytes, serial.rx_bytes);
    ring_buf_init(&serial.tx, sizeof serial.tx_bytes, serial.tx_bytes);
    wb_line_init(&serial.line, nonce, (sizeof serial.rx_bytes - WB_LINE_CONTROL_MAX) / 2);
    int err = uart_irq_callback_user_data_set(serial.uart, on_uart, NULL);
    if (err < 0)
        return WB_EIO;
    uart_irq_rx_enable(serial.uart);
    wb_say(WB_INFO, "gateway %.*s port %u over a UART", (int)p->host.len, p->host.data, p->port);
    return 0;
}
