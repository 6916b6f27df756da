#include "provision_dump.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct text {
    char *p;
    size_t left;
} text;

static void add(text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->p, t->left, format, args);
    va_end(args);
    size_t used = n < 0 ? 0 : (size_t)n < t->left ? (size_t)n : t->left - 1;
    t->p += used;
    t->left -= used;
}

static void hex(text *t, wb_bytes b)
{
    for (size_t i = 0; i < b.len; i++)
        add(t, "%02x", b.data[i]);
}

static void address(text *t, const uint8_t a[4])
{
    add(t, "%u.%u.%u.%u", a[0], a[1], a[2], a[3]);
}

#define WORD(v) (int)(v).len, (v).data

void provision_dump(const wb_provision *p, char *out, size_t cap)
{
    text t = {out, cap};
    add(&t, "board=%.*s name=%.*s gateway=%.*s:%u", WORD(p->board), WORD(p->name), WORD(p->host), p->port);
    add(&t, " server=%.*s trust=", WORD(p->server_name));
    for (size_t i = 0; i < p->trust_count; i++) {
        add(&t, "%s", i > 0 ? "," : "");
        hex(&t, p->trust[i]);
    }
    add(&t, " claim=");
    hex(&t, p->claim);
    add(&t, " seed=");
    hex(&t, p->seed);
    if (p->has_network) {
        const wb_provision_network *n = &p->network;
        add(&t, " network=%s,", n->mode == WB_NETWORK_STATIC ? "static" : "dhcp");
        address(&t, n->address);
        add(&t, "/%u,", n->prefix);
        address(&t, n->router);
        add(&t, ",");
        address(&t, n->dns);
    } else {
        add(&t, " network=-");
    }
    add(&t, " floor=%" PRIu64 " size=%lu", p->floor_ms, (unsigned long)p->size);
}

const char *provision_verdict(int error)
{
    const char *s = wb_provision_error_text(error), *colon = strstr(s, ": ");
    return colon != NULL ? colon + 2 : s;
}
