/* protocol/vectors: the same files that the Go codec reads. */
#include <dirent.h>

#include "again.h"
#include "harness.h"
#include "sim.h"

#ifndef VECTORS
#define VECTORS "../../protocol/vectors"
#endif
#define LINE_MOST 40000
#define STEPS_MOST 64

typedef struct frame {
    bool from_device;
    uint8_t *bytes;
    size_t len;
} frame;

typedef struct vector {
    char name[128], expect[16], direction[8], receiver[16];
    long code, type, cap;
    frame hex, reencode;
    bool has_hex, same;
    frame step[STEPS_MOST];
    int steps;
} vector;

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

static bool parse_hex(const char *s, frame *f)
{
    size_t n = strlen(s);
    f->len = n / 2;
    f->bytes = malloc(f->len > 0 ? f->len : 1); /* exactly as much: reading beyond it is seen */
    for (size_t i = 0; i < f->len; i++) {
        int hi = digit(s[2 * i]), lo = digit(s[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        f->bytes[i] = (uint8_t)(hi << 4 | lo);
    }
    return n % 2 == 0;
}

static void keep(char *out, size_t cap, const char *value)
{
    CHECK(strlen(value) < cap);
    snprintf(out, cap, "%s", value);
}

static bool set(vector *v, const char *key, const char *value)
{
    if (strcmp(key, "name") == 0) {
        keep(v->name, sizeof v->name, value);
    } else if (strcmp(key, "expect") == 0) {
        keep(v->expect, sizeof v->expect, value);
    } else if (strcmp(key, "direction") == 0) {
        keep(v->direction, sizeof v->direction, value);
    } else if (strcmp(key, "receiver") == 0) {
        keep(v->receiver, sizeof v->receiver, value);
    } else if (strcmp(key, "code") == 0) {
        v->code = atol(value);
    } else if (strcmp(key, "type") == 0) {
        v->type = atol(value);
    } else if (strcmp(key, "cap") == 0) {
        v->cap = atol(value);
    } else if (strcmp(key, "hex") == 0) {
        v->has_hex = true;
        return parse_hex(value, &v->hex);
    } else if (strcmp(key, "reencode") == 0) {
        v->same = strcmp(value, "same") == 0;
        return v->same || parse_hex(value, &v->reencode);
    } else if (strcmp(key, "step") == 0) {
        frame *f = &v->step[v->steps++];
        f->from_device = strncmp(value, "d2g ", 4) == 0;
        return v->steps <= STEPS_MOST && parse_hex(value + 4, f);
    } else {
        /* The fields themselves are compared by encoding them again. */
        return strcmp(key, "comment") == 0 || strcmp(key, "json") == 0;
    }
    return true;
}

static bool load(const char *path, vector *v)
{
    static char line[LINE_MOST];
    FILE *f = fopen(path, "r");
    bool ok = f != NULL;
    memset(v, 0, sizeof *v);
    v->cap = WB_FRAME_MAX;
    while (ok && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '\0' || line[0] == '#')
            continue;
        char *colon = strstr(line, ": ");
        ok = colon != NULL;
        if (ok) {
            *colon = '\0';
            ok = set(v, line, colon + 2);
        }
    }
    if (f != NULL)
        fclose(f);
    return ok;
}

static void unload(vector *v)
{
    free(v->hex.bytes);
    free(v->reencode.bytes);
    for (int i = 0; i < v->steps; i++)
        free(v->step[i].bytes);
}

/* One frame as a receiver with that cap sees it: 0 or the wire's error code. */
static int read_one(const frame *f, long cap, wb_msg *m)
{
    if (f->len < 4)
        return WB_CODE_FRAME;
    size_t n = (size_t)f->bytes[0] << 24 | (size_t)f->bytes[1] << 16 | (size_t)f->bytes[2] << 8 | f->bytes[3];
    if (n == 0 || n > (size_t)cap || n > f->len - 4)
        return WB_CODE_FRAME;
    return wb_decode(f->bytes + 4, n, m);
}

static const char *layer_of(int code)
{
    switch (code) {
    case 0:
        return "ok";
    case WB_CODE_FRAME:
        return "frame";
    case WB_CODE_CBOR:
        return "cbor";
    case WB_CODE_STATE:
        return "state";
    case WB_CODE_AUTH:
        return "auth";
    default:
        return "schema";
    }
}

static void check_reencode(const vector *v, wb_msg *m)
{
    again_items(m);
    const frame *want = v->same ? &v->hex : &v->reencode;
    uint8_t *out = malloc(WB_FRAME_MAX + 4);
    int n = wb_encode(m, out, WB_FRAME_MAX + 4);
    CHECK_EQ(n, want->len);
    if (n == (int)want->len) {
        CHECK(memcmp(out, want->bytes, want->len) == 0);
        /* Into a buffer that is a byte too small it must not be written. */
        CHECK_EQ(wb_encode(m, out, want->len - 1), WB_ENOSPC);
    }
    free(out);
}

/* A real device is fed with what the gateway says. */
static void run_device(const vector *v)
{
    sim *s = calloc(1, sizeof *s);
    wb_stats st;
    wb_msg hello;
    sim_init(s);
    CHECK_EQ(read_one(&v->step[0], WB_FRAME_MAX, &hello), 0);
    s->cfg.frame_in = hello.u.hello.capabilities.frame;
    s->cfg.chunk = 0;
    s->enrolled = true;
    CHECK_EQ(sim_boot(s), 0);
    s->now += 500;
    for (int k = 0; k < 4; k++)
        wb_device_poll(s->d);
    CHECK(s->connected);
    bool goodbye = false;
    for (int i = 1; i < v->steps; i++) {
        const frame *f = &v->step[i];
        bool last = i == v->steps - 1;
        if (f->from_device)
            continue;
        wb_device_stats(s->d, &st);
        if (!last || strcmp(v->expect, "ok") == 0)
            CHECK_EQ(st.last_code, 0);
        CHECK(s->connected != goodbye);
        if (s->connected)
            sim_pipe_put(&s->to_device, f->bytes, f->len);
        for (int k = 0; k < 4; k++)
            wb_device_poll(s->d);
        wb_msg m;
        goodbye = goodbye || (read_one(f, WB_FRAME_MAX, &m) == 0 && m.type == WB_GOODBYE);
    }
    wb_device_stats(s->d, &st);
    /* After goodbye nothing is taken, silently: the link is closed already. */
    CHECK_EQ(st.last_code, goodbye ? 0 : v->code);
    sim_free(s);
    free(s);
}

static void run(const vector *v)
{
    wb_msg m;
    for (int i = 0; i < v->steps; i++) { /* all but a refused last one are good frames */
        bool last = i == v->steps - 1;
        if (!last || strcmp(v->expect, "ok") == 0)
            CHECK_EQ(read_one(&v->step[i], WB_FRAME_MAX, &m), 0);
    }
    if (strcmp(v->receiver, "device") == 0)
        run_device(v);
    if (!v->has_hex)
        return;
    int code = read_one(&v->hex, v->cap, &m);
    CHECK_STR(layer_of(code), v->expect);
    CHECK_EQ(code, v->code);
    if (code != 0)
        return;
    CHECK_EQ(m.type, v->type);
    check_reencode(v, &m);
}

static void all_vectors(void)
{
    static char what[400];
    DIR *dir = opendir(VECTORS);
    int count = 0, devices = 0;
    CHECK(dir != NULL);
    if (dir == NULL)
        return;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        char path[512];
        vector v;
        size_t n = strlen(e->d_name);
        if (n < 4 || strcmp(e->d_name + n - 4, ".txt") != 0)
            continue;
        snprintf(what, sizeof what, "vector %s", e->d_name);
        context_of_check = what;
        snprintf(path, sizeof path, "%s/%s", VECTORS, e->d_name);
        bool ok = load(path, &v);
        CHECK(ok);
        if (ok) {
            CHECK(strlen(v.name) + 4 == n && memcmp(v.name, e->d_name, n - 4) == 0);
            CHECK(v.has_hex || v.steps > 0);
            run(&v);
            devices += strcmp(v.receiver, "device") == 0;
        }
        unload(&v);
        count++;
    }
    closedir(dir);
    context_of_check = "vectors";
    CHECK(count >= 80); /* nothing may pass by testing nothing */
    CHECK(devices >= 5);
}

const test vector_tests[] = {{"vectors: all", all_vectors}, {NULL, NULL}};
