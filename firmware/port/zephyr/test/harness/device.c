/*
 * The device's side for tls_test.go: commands on standard input, one line each, one line of answer. What it keeps lies in
 * files of a folder, so that a new process is a reboot.
 *
 *     device FOLDER ADDRESS PORT SERVER_NAME FLOOR_MS CHUNK ANCHOR.der …
 *
 * WASMBED_TLS_HEAP: bytes of mbedTLS's heap, at most what there is.
 * CHUNK: how many bytes the stream takes or brings at once, every second call none at all; 0: as many as it can.
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tls.h"

#define LINE 40000
#define PATIENCE 20000 /* ms */

/* ---- stream: a socket --------------------------------------------------------------------------- */

typedef struct socket_stream {
    struct sockaddr_in to;
    int fd;
    int chunk;
    unsigned turn;
} socket_stream;

static void stream_close(void *ctx)
{
    socket_stream *s = ctx;
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = -1;
}

static int stream_open(void *ctx)
{
    socket_stream *s = ctx;
    stream_close(s);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (s->fd < 0)
        return WB_EIO;
    (void)fcntl(s->fd, F_SETFL, O_NONBLOCK);
    if (connect(s->fd, (struct sockaddr *)&s->to, sizeof s->to) < 0 && errno != EINPROGRESS) {
        stream_close(s);
        return WB_ECLOSED;
    }
    return 0;
}

static int stream_state(void *ctx)
{
    socket_stream *s = ctx;
    if (s->fd < 0)
        return WB_ECLOSED;
    struct pollfd p = {s->fd, POLLOUT, 0};
    if (poll(&p, 1, 0) == 0)
        return WB_LINK_CONNECTING;
    int err = 0;
    socklen_t n = sizeof err;
    (void)getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &n);
    return err != 0 ? WB_ECLOSED : WB_LINK_CONNECTED;
}

static size_t limit(socket_stream *s, size_t n)
{
    if (s->chunk == 0)
        return n;
    if (s->turn++ % 2 == 0)
        return 0;
    return n < (size_t)s->chunk ? n : (size_t)s->chunk;
}

static int moved(ssize_t n)
{
    if (n > 0)
        return (int)n;
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? WB_EAGAIN : WB_ECLOSED;
}

static int stream_send(void *ctx, const uint8_t *data, size_t len)
{
    socket_stream *s = ctx;
    if (s->fd < 0)
        return WB_ECLOSED;
    len = limit(s, len);
    return len == 0 ? WB_EAGAIN : moved(send(s->fd, data, len, MSG_NOSIGNAL));
}

static int stream_recv(void *ctx, uint8_t *buf, size_t cap)
{
    socket_stream *s = ctx;
    if (s->fd < 0)
        return WB_ECLOSED;
    cap = limit(s, cap);
    return cap == 0 ? WB_EAGAIN : moved(recv(s->fd, buf, cap, 0));
}

/* ---- kv: files ---------------------------------------------------------------------------------- */

static void file_of(void *ctx, uint16_t key, char path[512])
{
    (void)snprintf(path, 512, "%s/%04x", (const char *)ctx, key);
}

static int kv_get(void *ctx, uint16_t key, uint8_t *buf, size_t cap)
{
    char path[512];
    file_of(ctx, key, path);
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return WB_ENOENT;
    size_t n = fread(buf, 1, cap, f);
    bool more = fgetc(f) != EOF;
    (void)fclose(f);
    return more ? WB_ENOSPC : (int)n;
}

static int kv_put(void *ctx, uint16_t key, const uint8_t *data, size_t len)
{
    char path[512];
    file_of(ctx, key, path);
    FILE *f = fopen(path, "wb");
    if (f == NULL)
        return WB_EIO;
    bool good = fwrite(data, 1, len, f) == len;
    return fclose(f) == 0 && good ? 0 : WB_EIO;
}

static int kv_del(void *ctx, uint16_t key)
{
    char path[512];
    file_of(ctx, key, path);
    (void)unlink(path);
    return 0;
}

/* ---- commands ----------------------------------------------------------------------------------- */

static uint64_t heap[2 * WB_TLS_HEAP / 8]; /* pointers are twice as large here */
static char line[LINE];
static uint8_t data[LINE / 2];

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void die(const char *what)
{
    fprintf(stderr, "device: %s\n", what);
    exit(1);
}

static int from_hex(const char *text, uint8_t *out, size_t cap)
{
    size_t n = 0;
    for (unsigned v; n < cap && sscanf(text, "%2x", &v) == 1; text += 2)
        out[n++] = (uint8_t)v;
    return (int)n;
}

static void answer_bytes(const uint8_t *p, int n)
{
    if (n < 0) {
        printf("error %d\n", n);
        return;
    }
    printf("ok ");
    for (int i = 0; i < n; i++)
        printf("%02x", p[i]);
    printf("\n");
}

static void answer_error(const wb_tls *t, int err)
{
    int code;
    const char *why = wb_tls_why(t, &code);
    printf("error %d %d %s\n", err, code, why);
}

/* Waits as an event loop would; false when it has been too long. */
static bool idle(const wb_tls *t, const socket_stream *s, int64_t until)
{
    unsigned w = wb_tls_wait(t);
    if (now_ms() >= until)
        return false;
    if (w & WB_TLS_NOT_AT_ALL)
        return true;
    struct pollfd p = {s->fd, (short)(POLLIN | (w & WB_TLS_WAIT_WRITE ? POLLOUT : 0)), 0};
    (void)poll(&p, s->fd < 0 ? 0 : 1, s->chunk > 0 ? 0 : 5);
    return true;
}

static void do_wait(wb_tls *t, const socket_stream *s)
{
    int64_t until = now_ms() + PATIENCE;
    int st;
    while ((st = wb_tls_state(t)) == WB_LINK_CONNECTING && idle(t, s, until)) {
    }
    if (st < 0)
        answer_error(t, st);
    else
        printf("ok %d\n", st);
}

static void do_send(wb_tls *t, const socket_stream *s, const uint8_t *p, size_t len)
{
    int64_t until = now_ms() + PATIENCE;
    while (len > 0) {
        int n = wb_tls_send(t, p, len);
        if (n == WB_EAGAIN && (wb_tls_wait(t) & WB_TLS_NOT_AT_ALL)) {
            printf("ok later\n"); /* recv says why */
            return;
        }
        if (n == WB_EAGAIN && idle(t, s, until))
            continue;
        if (n <= 0 || (size_t)n > len) {
            answer_error(t, n);
            return;
        }
        p += n;
        len -= (size_t)n;
    }
    while ((wb_tls_wait(t) & WB_TLS_WAIT_WRITE) && wb_tls_state(t) == WB_LINK_CONNECTED && idle(t, s, until)) {
    }
    printf("ok\n");
}

static void do_recv(wb_tls *t, const socket_stream *s, size_t want)
{
    int64_t until = now_ms() + PATIENCE;
    size_t got = 0;
    while (got < want) {
        size_t ask = want - got < 777 ? want - got : 777;
        int n = wb_tls_recv(t, data + got, ask);
        if (n == WB_EAGAIN && idle(t, s, until))
            continue;
        if (n <= 0 || (size_t)n > ask) {
            answer_error(t, n);
            return;
        }
        got += (size_t)n;
    }
    answer_bytes(data, (int)got);
}

static void do_store(wb_identity *id, char *text)
{
    wb_bytes chain[8];
    size_t count = 0, at = 0;
    for (char *p = strtok(text, ","); p != NULL && count < 8; p = strtok(NULL, ",")) {
        int n = from_hex(p, data + at, sizeof data - at);
        chain[count++] = (wb_bytes){data + at, (size_t)n};
        at += (size_t)n;
    }
    printf("ok %d\n", wb_identity_store(id, chain, count));
}

static void command(wb_tls *t, wb_identity *id, wb_entropy *e, socket_stream *s)
{
    char *argument = strchr(line, ' ');
    if (argument != NULL)
        *argument++ = 0;
    else
        argument = line + strlen(line);
    uint8_t out[1024];
    if (strcmp(line, "open") == 0) {
        int err = wb_tls_open(t, strcmp(argument, "operational") == 0 ? WB_LINK_OPERATIONAL : WB_LINK_FIRST_CONTACT);
        if (err < 0)
            answer_error(t, err);
        else
            printf("ok\n");
    } else if (strcmp(line, "wait") == 0) {
        do_wait(t, s);
    } else if (strcmp(line, "state") == 0) {
        printf("ok %d\n", wb_tls_state(t));
    } else if (strcmp(line, "send") == 0) {
        do_send(t, s, data, (size_t)from_hex(argument, data, sizeof data));
    } else if (strcmp(line, "recv") == 0) {
        do_recv(t, s, strtoul(argument, NULL, 10));
    } else if (strcmp(line, "close") == 0) {
        wb_tls_close(t);
        printf("ok\n");
    } else if (strcmp(line, "time") == 0 || strcmp(line, "floor") == 0) {
        wb_tls_set_time(t, strtoull(argument, NULL, 10), line[0] == 'f');
        printf("ok\n");
    } else if (strcmp(line, "trusted") == 0) {
        int err = wb_tls_trusted(t);
        if (err < 0)
            answer_error(t, err);
        else
            printf("ok\n");
    } else if (strcmp(line, "csr") == 0) {
        answer_bytes(out, wb_identity_csr(id, out, sizeof out));
    } else if (strcmp(line, "self") == 0) {
        answer_bytes(out, wb_identity_self_signed(id, out, sizeof out));
    } else if (strcmp(line, "key") == 0) {
        answer_bytes(out, wb_identity_key(id, out) < 0 ? WB_EIO : WB_DIGEST_SIZE);
    } else if (strcmp(line, "sign") == 0) {
        int n = from_hex(argument, data, sizeof data);
        answer_bytes(out, wb_identity_sign(id, data, (size_t)n, out, sizeof out));
    } else if (strcmp(line, "store") == 0) {
        do_store(id, argument);
    } else if (strcmp(line, "drop") == 0) {
        printf("ok %d\n", wb_identity_drop(id));
    } else if (strcmp(line, "enrolled") == 0) {
        printf("ok %d\n", wb_identity_enrolled(id));
    } else if (strcmp(line, "renew") == 0) {
        printf("ok %llu\n", (unsigned long long)wb_identity_renew_at(id));
    } else if (strcmp(line, "fresh") == 0) {
        printf("ok %d\n", wb_identity_fresh(id));
    } else if (strcmp(line, "random") == 0) {
        answer_bytes(out, wb_entropy_get(e, out, 32) < 0 ? WB_EIO : 32);
    } else if (strcmp(line, "heap") == 0) {
        size_t used, peak;
        wb_crypto_heap(&used, &peak);
        printf("ok %zu %zu\n", used, peak);
    } else {
        printf("unknown command\n");
    }
    (void)fflush(stdout);
}

static wb_bytes read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *p = malloc(8192);
    if (f == NULL || p == NULL)
        die("an anchor cannot be read");
    size_t n = fread(p, 1, 8192, f);
    (void)fclose(f);
    return (wb_bytes){p, n};
}

int main(int argc, char **argv)
{
    if (argc < 8)
        die("arguments");
    static const uint8_t seed[32] = "the seed of a blob, 32 bytes ..";
    wb_kv v = {argv[1], kv_get, kv_put, kv_del};
    wb_entropy entropy;
    wb_identity id;
    wb_tls tls;
    wb_entropy_config ec = {.seed = {seed, sizeof seed}, .kv = v};
    socket_stream s = {.fd = -1, .chunk = atoi(argv[6])};
    s.to.sin_family = AF_INET;
    s.to.sin_port = htons((uint16_t)atoi(argv[3]));
    (void)inet_pton(AF_INET, argv[2], &s.to.sin_addr);
    wb_tls_config c = {
        .stream = {&s, stream_open, stream_state, stream_send, stream_recv, stream_close},
        .server_name = argv[4],
        .identity = &id,
        .floor = strtoull(argv[5], NULL, 10),
    };
    for (int i = 7; i < argc && c.anchor_count < WB_TLS_ANCHORS; i++)
        c.anchors[c.anchor_count++] = read_file(argv[i]);
    const char *wish = getenv("WASMBED_TLS_HEAP");
    size_t size = wish == NULL ? sizeof heap : strtoul(wish, NULL, 10);
    if (size > sizeof heap || wb_entropy_init(&entropy, &ec) < 0 || wb_crypto_start(&entropy, (uint8_t *)heap, size) < 0)
        die("no crypto");
    if (wb_identity_init(&id, &v, "dev-1") < 0)
        die("no identity");
    int err = wb_tls_init(&tls, &c);
    if (err < 0)
        printf("error %d 0 init\n", err);
    else
        printf("ok\n");
    (void)fflush(stdout);
    while (err == 0 && fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        command(&tls, &id, &entropy, &s);
    }
    wb_tls_close(&tls);
    for (size_t i = 0; i < c.anchor_count; i++)
        free((void *)(uintptr_t)c.anchors[i].data);
    return 0;
}
