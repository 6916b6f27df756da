/* TCP over Zephyr's sockets. */
#include "transport.h"

#include <errno.h>
#include <string.h>

#include <zephyr/kernel.h>
#include <zephyr/net/dns_resolve.h>
#include <zephyr/net/net_if.h>
#include <zephyr/net/phy.h>
#include <zephyr/net/socket.h>
#include "version_zephyr.h"
#if defined(CONFIG_POSIX_API) || WB_ZEPHYR_NOW >= WB_ZEPHYR(3, 7)
#include <fcntl.h>
#else
#include <zephyr/posix/fcntl.h>
#endif
#if defined(CONFIG_NET_DHCPV4)
#include <zephyr/net/dhcpv4.h>
#endif

#include "console.h"

#define RESOLVE_TIME 5000 /* ms */
#define WAIT_MOST 60000   /* ms */

enum phase { CLOSED, NO_ADDRESS, RESOLVING, CONNECTING, CONNECTED };

static struct {
    enum phase phase;
    int error; /* of CLOSED */
    int fd;
    bool dhcp, named; /* the gateway is a name; or its address is below */
    bool said;        /* the address */
    struct sockaddr_in gateway;
    char host[WB_PROVISION_HOST_MAX + 1];
    const wb_provision_network *network; /* the blob's, NULL: none */
    struct k_sem wake;
    /* Set by the resolver's thread. */
    volatile bool resolved;
    volatile int resolve_status;
    struct in_addr resolved_address;
    uint16_t query;
} net = {.fd = -1};

static int from_errno(int err)
{
    switch (err) {
    case EAGAIN:
    case EINPROGRESS:
    case EALREADY:
    case ENOBUFS: /* all of the stack's buffers are in flight */
    case ENOMEM:
        return WB_EAGAIN;
    case ETIMEDOUT:
        return WB_ETIMEOUT;
    default:
        return WB_ECLOSED;
    }
}

static int fail(int error)
{
    if (net.fd >= 0)
        (void)zsock_close(net.fd);
    net.fd = -1;
    net.phase = CLOSED;
    net.error = error;
    return error;
}

/* The blob's resolver counts before one that DHCP brought. */
static void set_resolver(const wb_provision_network *n)
{
#if defined(CONFIG_DNS_RESOLVER)
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(53)};
    const struct sockaddr *servers[] = {(struct sockaddr *)&server, NULL};
    memcpy(&server.sin_addr.s_addr, n->dns, sizeof n->dns);
    if (server.sin_addr.s_addr != 0)
        (void)dns_resolve_reconfigure(dns_resolve_get_default(), NULL, servers);
#else
    ARG_UNUSED(n);
#endif
}

static bool has_address(void)
{
    struct net_if *iface = net_if_get_default();
    struct in_addr *a = net_if_ipv4_get_global_addr(iface, NET_ADDR_PREFERRED);
    if (a == NULL)
        return false;
    if (!net.said) {
        const uint8_t *b = (const uint8_t *)&a->s_addr;
        wb_say(WB_INFO, "address %u.%u.%u.%u%s", b[0], b[1], b[2], b[3], net.dhcp ? " by DHCP" : "");
        net.said = true;
        if (net.network != NULL)
            set_resolver(net.network);
    }
    return true;
}

static int start_connect(void)
{
    int one = 1;
    net.fd = zsock_socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    if (net.fd < 0)
        return fail(WB_EIO);
    (void)zsock_setsockopt(net.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int flags = zsock_fcntl(net.fd, F_GETFL, 0);
    if (flags < 0 || zsock_fcntl(net.fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return fail(WB_EIO);
    net.phase = CONNECTING;
    if (zsock_connect(net.fd, (struct sockaddr *)&net.gateway, sizeof net.gateway) < 0) {
        int err = from_errno(errno);
        if (err != WB_EAGAIN)
            return fail(err);
    }
    return 0;
}

#if defined(CONFIG_DNS_RESOLVER)
static void on_resolved(enum dns_resolve_status status, struct dns_addrinfo *info, void *ctx)
{
    ARG_UNUSED(ctx);
    if (status == DNS_EAI_INPROGRESS && info != NULL) {
        net.resolved_address = net_sin(&info->ai_addr)->sin_addr;
        net.resolve_status = 0;
        return;
    }
    net.resolved = true; /* DNS_EAI_ALLDONE, or an error */
    k_sem_give(&net.wake);
}

static int start_resolve(void)
{
    net.resolved = false;
    net.resolve_status = -1;
    net.phase = RESOLVING;
    int err = dns_get_addr_info(net.host, DNS_QUERY_TYPE_A, &net.query, on_resolved, NULL, RESOLVE_TIME);
    return err < 0 ? fail(WB_ECLOSED) : 0;
}

static int end_resolve(void)
{
    if (!net.resolved)
        return 0;
    if (net.resolve_status != 0) {
        wb_say(WB_WARNING, "gateway: %s has no address", net.host);
        return fail(WB_ECLOSED);
    }
    net.gateway.sin_addr = net.resolved_address;
    return start_connect();
}

static void stop_resolve(void)
{
    if (net.phase == RESOLVING && !net.resolved)
        (void)dns_cancel_addr_info(net.query);
}
#else
static int start_resolve(void)
{
    return fail(WB_EUNSUPPORTED);
}

static int end_resolve(void)
{
    return 0;
}

static void stop_resolve(void)
{
}
#endif

/* One step of what precedes the connection. */
static int advance(void)
{
    if (net.phase == NO_ADDRESS && has_address())
        return net.named ? start_resolve() : start_connect();
    return net.phase == RESOLVING ? end_resolve() : 0;
}

static void stream_close(void *ctx)
{
    ARG_UNUSED(ctx);
    stop_resolve();
    (void)fail(WB_ECLOSED);
}

/*
 * Zephyr's SAM GMAC driver says "no carrier" after its PHY has said that there is one, when the PHY was up before the
 * interface (after a reset, in an emulator), and never says more. chosen wasmbed,ethernet-phy names the PHY to ask.
 */
static void look_at_cable(void)
{
#if DT_HAS_CHOSEN(wasmbed_ethernet_phy)
    struct net_if *iface = net_if_get_default();
    struct phy_link_state link;
    if (phy_get_link_state(DEVICE_DT_GET(DT_CHOSEN(wasmbed_ethernet_phy)), &link) == 0 && link.is_up &&
        !net_if_is_carrier_ok(iface))
        net_if_carrier_on(iface);
#endif
}

static int stream_open(void *ctx)
{
    stream_close(ctx);
    look_at_cable();
    net.phase = NO_ADDRESS;
    return advance();
}

static int stream_state(void *ctx)
{
    ARG_UNUSED(ctx);
    int err = advance();
    if (err < 0)
        return err;
    if (net.phase == CONNECTED)
        return WB_LINK_CONNECTED;
    if (net.phase == CLOSED)
        return net.error;
    if (net.phase != CONNECTING)
        return WB_LINK_CONNECTING;
    struct zsock_pollfd p = {.fd = net.fd, .events = ZSOCK_POLLOUT};
    if (zsock_poll(&p, 1, 0) < 0)
        return fail(WB_EIO);
    if (p.revents & (ZSOCK_POLLERR | ZSOCK_POLLHUP | ZSOCK_POLLNVAL))
        return fail(WB_ECLOSED);
    if (!(p.revents & ZSOCK_POLLOUT))
        return WB_LINK_CONNECTING;
    net.phase = CONNECTED;
    return WB_LINK_CONNECTED;
}

static int stream_send(void *ctx, const uint8_t *data, size_t len)
{
    ARG_UNUSED(ctx);
    if (net.phase != CONNECTED)
        return net.phase == CLOSED ? net.error : WB_EAGAIN;
    ssize_t n = zsock_send(net.fd, data, len, 0);
    if (n > 0)
        return (int)n;
    int err = n == 0 ? WB_EAGAIN : from_errno(errno);
    return err == WB_EAGAIN ? err : fail(err);
}

static int stream_recv(void *ctx, uint8_t *buf, size_t cap)
{
    ARG_UNUSED(ctx);
    if (net.phase != CONNECTED)
        return net.phase == CLOSED ? net.error : WB_EAGAIN;
    ssize_t n = zsock_recv(net.fd, buf, cap, 0);
    if (n > 0)
        return (int)n;
    int err = n == 0 ? WB_ECLOSED : from_errno(errno);
    return err == WB_EAGAIN ? err : fail(err);
}

static const wb_stream stream = {
    .open = stream_open, .state = stream_state, .send = stream_send, .recv = stream_recv, .close = stream_close};

const wb_stream *wb_transport_stream(void)
{
    return &stream;
}

void wb_transport_wait(bool write, int64_t ms)
{
    int timeout = (int)MIN(ms, WAIT_MOST);
    if (net.phase == CONNECTING || net.phase == CONNECTED) {
        struct zsock_pollfd p = {.fd = net.fd, .events = ZSOCK_POLLIN};
        if (write || net.phase == CONNECTING)
            p.events |= ZSOCK_POLLOUT;
        if (net.phase == CONNECTING)
            p.events &= ~ZSOCK_POLLIN;
        if (zsock_poll(&p, 1, timeout) >= 0)
            return;
        timeout = MIN(timeout, 100);
    }
    if (net.phase == NO_ADDRESS)
        timeout = MIN(timeout, 100); /* nothing wakes us when an address comes */
    (void)k_sem_take(&net.wake, K_MSEC(timeout));
}

/* a.b.c.d, or not. */
static bool literal(const char *s, struct in_addr *out)
{
    return zsock_inet_pton(AF_INET, s, out) == 1;
}

static void to_in_addr(const uint8_t b[4], struct in_addr *out)
{
    memcpy(&out->s_addr, b, 4);
}

static int set_static(struct net_if *iface, const wb_provision_network *n)
{
    struct in_addr address, mask, router;
    to_in_addr(n->address, &address);
    to_in_addr(n->router, &router);
    mask.s_addr = htonl(n->prefix == 0 ? 0 : UINT32_MAX << (32 - n->prefix));
    if (net_if_ipv4_addr_add(iface, &address, NET_ADDR_MANUAL, 0) == NULL)
        return WB_EIO;
#if WB_ZEPHYR_NOW >= WB_ZEPHYR(3, 7)
    (void)net_if_ipv4_set_netmask_by_addr(iface, &address, &mask);
#else
    net_if_ipv4_set_netmask(iface, &mask);
#endif
    if (router.s_addr != 0)
        net_if_ipv4_set_gw(iface, &router);
    return 0;
}

int wb_transport_init(const wb_provision *p, uint8_t nonce)
{
    ARG_UNUSED(nonce);
    struct net_if *iface = net_if_get_default();
    if (iface == NULL)
        return WB_EUNSUPPORTED;
    (void)k_sem_init(&net.wake, 0, 1);
    memcpy(net.host, p->host.data, MIN(p->host.len, sizeof net.host - 1));
    net.gateway.sin_family = AF_INET;
    net.gateway.sin_port = htons(p->port);
    net.named = !literal(net.host, &net.gateway.sin_addr);
    net.dhcp = !p->has_network || p->network.mode == WB_NETWORK_DHCP;
    wb_say(WB_INFO, "gateway %s port %u over TCP", net.host, p->port);
    if (net.named && !IS_ENABLED(CONFIG_DNS_RESOLVER))
        wb_say(WB_ERROR, "gateway: this image takes IPv4 addresses only");
    net.network = p->has_network ? &p->network : NULL;
    if (!net.dhcp)
        return set_static(iface, &p->network);
#if defined(CONFIG_NET_DHCPV4)
    net_dhcpv4_start(iface);
    return 0;
#else
    wb_say(WB_ERROR, "network: this image has no DHCP");
    return WB_EUNSUPPORTED;
#endif
}
