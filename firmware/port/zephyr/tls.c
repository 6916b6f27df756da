#include <string.h>

#define MBEDTLS_ALLOW_PRIVATE_ACCESS /* the number of an alert, and what waits to be written: no public way to either */
#include "mbedtls/memory_buffer_alloc.h"
#include "mbedtls/oid.h"
#include "mbedtls/platform.h"
#include "mbedtls/ssl.h"
#include "mbedtls/x509_crt.h"
#include "psa/crypto.h"

#include "der_time.h"
#include "tls.h"

#define SELF_SIGNED_SIZE 448

/* What mbedTLS needs. The link's part is made by open and given back by drop. */
struct wb_tls_parts {
    mbedtls_ssl_config config;
    mbedtls_x509_crt anchors;
    /* of a link */
    mbedtls_ssl_context ssl;
    mbedtls_x509_crt *own; /* certificates that point into chain; like the next two until the handshake is over */
    uint8_t *chain;
    mbedtls_pk_context key;
    int io; /* what the stream said last, when it was an error */
};

/* The one global: mbedTLS asks for random bytes by name. */
static wb_entropy *random_source;

psa_status_t mbedtls_psa_external_get_random(mbedtls_psa_external_random_context_t *context, uint8_t *output,
                                             size_t output_size, size_t *output_length)
{
    (void)context;
    if (random_source == NULL || wb_entropy_get(random_source, output, output_size) < 0)
        return PSA_ERROR_INSUFFICIENT_ENTROPY;
    *output_length = output_size;
    return PSA_SUCCESS;
}

static int random_bytes(void *ctx, unsigned char *buf, size_t len)
{
    (void)ctx;
    return psa_generate_random(buf, len) == PSA_SUCCESS ? 0 : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
}

int wb_crypto_start(wb_entropy *entropy, uint8_t *heap, size_t heap_size)
{
    if (entropy == NULL || heap == NULL || heap_size < WB_TLS_IN + WB_TLS_OUT)
        return WB_EINVAL;
    random_source = entropy;
    mbedtls_memory_buffer_alloc_init(heap, heap_size);
    return psa_crypto_init() == PSA_SUCCESS ? 0 : WB_EIO;
}

void wb_crypto_heap(size_t *used, size_t *peak)
{
    size_t n = 0, blocks;
#if defined(MBEDTLS_MEMORY_DEBUG)
    mbedtls_memory_buffer_alloc_cur_get(&n, &blocks);
    if (used != NULL)
        *used = n;
    mbedtls_memory_buffer_alloc_max_get(&n, &blocks);
    if (peak != NULL)
        *peak = n;
#else
    (void)blocks;
    if (used != NULL)
        *used = n;
    if (peak != NULL)
        *peak = n;
#endif
}

/* ---- below mbedTLS ------------------------------------------------------------------------------ */

static int stream_send(void *ctx, const unsigned char *data, size_t len)
{
    wb_tls *t = ctx;
    int n = t->config.stream.send(t->config.stream.ctx, data, len);
    if (n == WB_EAGAIN || n == 0)
        return MBEDTLS_ERR_SSL_WANT_WRITE;
    if (n < 0) {
        t->parts->io = n;
        return MBEDTLS_ERR_SSL_CONN_EOF;
    }
    return n;
}

static int stream_recv(void *ctx, unsigned char *buf, size_t cap)
{
    wb_tls *t = ctx;
    struct wb_tls_parts *p = t->parts;
    int n = t->config.stream.recv(t->config.stream.ctx, buf, cap);
    if (n == WB_EAGAIN || n == 0)
        return MBEDTLS_ERR_SSL_WANT_READ;
    if (n < 0) {
        p->io = n;
        return MBEDTLS_ERR_SSL_CONN_EOF;
    }
    /* The gateway's random, before we sign anything with it. */
    if (p->ssl.state == MBEDTLS_SSL_SERVER_HELLO && random_source != NULL)
        wb_entropy_mix(random_source, buf, (size_t)n);
    return n;
}

/* ---- judging the gateway's certificate ---------------------------------------------------------- */

/* Called for every certificate of the chain that was found, the anchor included. */
static int verify(void *ctx, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
    wb_tls *t = ctx;
    uint64_t from = wb_der_time(&crt->valid_from), to = wb_der_time(&crt->valid_to);
    if (from > t->not_before)
        t->not_before = from;
    if (to < t->not_after)
        t->not_after = to;
    /* Whether it is valid already can only be said when the time is known: wb_tls_trusted. */
    if (to < t->floor)
        *flags |= MBEDTLS_X509_BADCERT_EXPIRED;
    /* mbedTLS would look at the common name then, and without a name at nothing. */
    if (depth == 0 && (!mbedtls_x509_crt_has_ext_type(crt, MBEDTLS_X509_EXT_SUBJECT_ALT_NAME) || t->parts->ssl.hostname == NULL))
        *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    return 0;
}

static const mbedtls_x509_crt_profile profile = {
    MBEDTLS_X509_ID_FLAG(MBEDTLS_MD_SHA256),
    MBEDTLS_X509_ID_FLAG(MBEDTLS_PK_ECKEY) | MBEDTLS_X509_ID_FLAG(MBEDTLS_PK_ECDSA),
    MBEDTLS_X509_ID_FLAG(MBEDTLS_ECP_DP_SECP256R1),
    0,
};

/* Whether a name is an IPv4 address, which has no place in the server name extension (RFC 6066, 3). */
static bool is_address(const char *name)
{
    return name[strspn(name, "0123456789.")] == 0;
}

/* ---- the ends of links -------------------------------------------------------------------------- */

/* Gives back what only a handshake needs. */
static void drop_certificate(struct wb_tls_parts *p)
{
    (void)mbedtls_ssl_conf_own_cert(&p->config, NULL, NULL);
    mbedtls_pk_free(&p->key);
    mbedtls_free(p->own);
    mbedtls_free(p->chain);
    p->own = NULL;
    p->chain = NULL;
}

/* The gateway's certificate was judged and its dates are kept. */
static void drop_peer(struct wb_tls_parts *p)
{
    mbedtls_ssl_session *session = p->ssl.session;
    if (session == NULL || session->peer_cert == NULL)
        return;
    mbedtls_x509_crt_free(session->peer_cert);
    mbedtls_free(session->peer_cert);
    session->peer_cert = NULL;
}

static void drop(wb_tls *t)
{
    struct wb_tls_parts *p = t->parts;
    mbedtls_ssl_free(&p->ssl);
    mbedtls_ssl_init(&p->ssl);
    drop_certificate(p);
    t->config.stream.close(t->config.stream.ctx);
}

static int end(wb_tls *t, int status, int cause, const char *why)
{
    t->status = status;
    t->cause = cause;
    t->why = why;
    drop(t);
    return status;
}

/* Alerts about our certificate (RFC 8446, 6.2). */
static bool refuses_certificate(int alert)
{
    switch (alert) {
    case MBEDTLS_SSL_ALERT_MSG_BAD_CERT:
    case MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_CERT:
    case MBEDTLS_SSL_ALERT_MSG_CERT_REVOKED:
    case MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED:
    case MBEDTLS_SSL_ALERT_MSG_CERT_UNKNOWN:
    case MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA:
    case MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED:
    case 116: /* certificate_required */
        return true;
    }
    return false;
}

static const char *refusal(uint32_t flags)
{
    if (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED)
        return "the gateway's certificate leads to no trust anchor";
    if (flags & MBEDTLS_X509_BADCERT_CN_MISMATCH)
        return "the gateway's certificate is for another name";
    if (flags & MBEDTLS_X509_BADCERT_EXPIRED)
        return "the gateway's certificate has expired";
    return "the gateway's certificate is not for this use";
}

/* Ends the link after mbedTLS failed. */
static int fail(wb_tls *t, int ret)
{
    struct wb_tls_parts *p = t->parts;
    switch (ret) {
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE: {
        int alert = p->ssl.in_msg[1];
        bool ours = refuses_certificate(alert);
        return end(t, ours ? WB_EAUTH : WB_ECLOSED, alert, ours ? "the gateway refused our certificate" : "the gateway sent an alert");
    }
    case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED:
    case MBEDTLS_ERR_SSL_BAD_CERTIFICATE:
        return end(t, WB_EIO, ret, refusal(mbedtls_ssl_get_verify_result(&p->ssl)));
    case 0:
    case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
        return end(t, WB_ECLOSED, 0, "the gateway closed");
    case MBEDTLS_ERR_SSL_CONN_EOF:
        return end(t, p->io < 0 ? p->io : WB_ECLOSED, 0, "the connection ended");
    }
    if (ret <= MBEDTLS_ERR_X509_FEATURE_UNAVAILABLE && ret > MBEDTLS_ERR_X509_FATAL_ERROR && ret != MBEDTLS_ERR_X509_ALLOC_FAILED)
        return end(t, WB_EIO, ret, "the gateway's certificate cannot be read");
    return end(t, WB_ECLOSED, ret, "TLS failed");
}

/* ---- links -------------------------------------------------------------------------------------- */

int wb_tls_init(wb_tls *t, const wb_tls_config *config)
{
    static const char *protocols[] = {"wasmbed/1", NULL};
    static const uint16_t signatures[] = {MBEDTLS_TLS1_3_SIG_ECDSA_SECP256R1_SHA256, MBEDTLS_TLS1_3_SIG_NONE};
    static const uint16_t groups[] = {MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE};
    static const int suites[] = {MBEDTLS_TLS1_3_AES_128_GCM_SHA256, 0};

    memset(t, 0, sizeof *t);
    t->config = *config;
    t->status = WB_ECLOSED;
    t->why = "";
    t->floor = config->floor;
    size_t name = config->server_name == NULL ? 0 : strlen(config->server_name);
    if (name == 0 || name > WB_TLS_NAME || config->identity == NULL || config->anchor_count == 0 || config->anchor_count > WB_TLS_ANCHORS)
        return WB_EINVAL;
    struct wb_tls_parts *p = mbedtls_calloc(1, sizeof *p);
    if (p == NULL)
        return WB_ENOSPC;
    t->parts = p;
    mbedtls_ssl_config_init(&p->config);
    mbedtls_x509_crt_init(&p->anchors);
    mbedtls_ssl_init(&p->ssl);
    mbedtls_pk_init(&p->key);
    int ret = 0;
    for (size_t i = 0; i < config->anchor_count && ret == 0; i++)
        ret = mbedtls_x509_crt_parse_der_nocopy(&p->anchors, config->anchors[i].data, config->anchors[i].len);
    if (ret == 0)
        ret = mbedtls_ssl_config_defaults(&p->config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (ret == 0)
        ret = mbedtls_ssl_conf_alpn_protocols(&p->config, protocols);
    if (ret != 0) {
        mbedtls_x509_crt_free(&p->anchors);
        mbedtls_ssl_config_free(&p->config);
        mbedtls_free(p);
        t->parts = NULL;
        return ret == MBEDTLS_ERR_X509_ALLOC_FAILED || ret == MBEDTLS_ERR_SSL_ALLOC_FAILED ? WB_ENOSPC : WB_EFORMAT;
    }
    mbedtls_ssl_conf_rng(&p->config, random_bytes, NULL);
    mbedtls_ssl_conf_authmode(&p->config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&p->config, &p->anchors, NULL);
    mbedtls_ssl_conf_cert_profile(&p->config, &profile);
    mbedtls_ssl_conf_sig_algs(&p->config, signatures);
    mbedtls_ssl_conf_groups(&p->config, groups);
    mbedtls_ssl_conf_ciphersuites(&p->config, suites);
    mbedtls_ssl_conf_verify(&p->config, verify, t);
    if (t->floor != 0)
        wb_tls_set_time(t, t->floor, true);
    return 0;
}

/* Makes the certificate that this kind of link shows. WB_ENOENT when there is none. mbedTLS only sends it: it needs
 * the bytes and nothing of what parsing would find in them. */
static int load_certificate(wb_tls *t, wb_link_kind kind)
{
    struct wb_tls_parts *p = t->parts;
    wb_identity *id = t->config.identity;
    wb_bytes chain[WB_CHAIN_CERTIFICATES];
    size_t size = kind == WB_LINK_OPERATIONAL ? wb_identity_chain_size(id) : SELF_SIGNED_SIZE;
    if (size == 0)
        return WB_ENOENT;
    p->chain = mbedtls_calloc(1, size);
    if (p->chain == NULL)
        return WB_ENOSPC;
    int count;
    if (kind == WB_LINK_OPERATIONAL) {
        count = wb_identity_chain(id, p->chain, size, chain);
    } else {
        int n = wb_identity_self_signed(id, p->chain, size);
        chain[0] = (wb_bytes){p->chain, n < 0 ? 0 : (size_t)n};
        count = n < 0 ? n : 1;
    }
    if (count < 0)
        return count;
    p->own = mbedtls_calloc((size_t)count, sizeof *p->own);
    if (p->own == NULL)
        return WB_ENOSPC;
    for (int i = 0; i < count; i++) {
        p->own[i].raw.p = (unsigned char *)(uintptr_t)chain[i].data;
        p->own[i].raw.len = chain[i].len;
        p->own[i].next = i + 1 < count ? &p->own[i + 1] : NULL;
    }
    int ret = mbedtls_pk_setup_opaque(&p->key, id->key);
    if (ret == 0)
        ret = mbedtls_ssl_conf_own_cert(&p->config, p->own, &p->key);
    return ret == 0 ? 0 : WB_EIO;
}

int wb_tls_open(wb_tls *t, wb_link_kind kind)
{
    if (t->parts == NULL)
        return WB_EINVAL;
    struct wb_tls_parts *p = t->parts;
    drop(t);
    t->status = WB_LINK_CONNECTING;
    t->cause = 0;
    t->why = "";
    t->broken = 0;
    t->trusted = false;
    t->told = 0;
    t->not_before = 0;
    t->not_after = UINT64_MAX;
    p->io = 0;
    int err = load_certificate(t, kind);
    if (err < 0)
        return end(t, err, 0, "our certificate cannot be read");
    int ret = mbedtls_ssl_setup(&p->ssl, &p->config);
    if (ret == 0 && !is_address(t->config.server_name))
        ret = mbedtls_ssl_set_hostname(&p->ssl, t->config.server_name);
    if (ret != 0)
        return end(t, WB_ENOSPC, ret, "no memory for TLS");
    mbedtls_ssl_set_bio(&p->ssl, t, stream_send, stream_recv, NULL);
    err = t->config.stream.open(t->config.stream.ctx);
    return err < 0 ? end(t, err, 0, "the connection cannot begin") : 0;
}

static int handshake(wb_tls *t)
{
    struct wb_tls_parts *p = t->parts;
    int ret = 0;
    while (ret == 0 && p->ssl.state != MBEDTLS_SSL_HANDSHAKE_OVER) {
        /* An address is not sent, but it is what the certificate is compared with. */
        if (p->ssl.state == MBEDTLS_SSL_SERVER_HELLO && p->ssl.hostname == NULL)
            ret = mbedtls_ssl_set_hostname(&p->ssl, t->config.server_name);
        if (ret == 0)
            ret = mbedtls_ssl_handshake_step(&p->ssl);
    }
    if (ret == MBEDTLS_ERR_SSL_WANT_READ || ret == MBEDTLS_ERR_SSL_WANT_WRITE)
        return WB_LINK_CONNECTING;
    if (ret != 0)
        return fail(t, ret);
    if (mbedtls_ssl_get_alpn_protocol(&p->ssl) == NULL)
        return end(t, WB_ECLOSED, 0, "the gateway does not speak wasmbed/1");
    drop_certificate(p);
    drop_peer(p);
    t->status = WB_LINK_CONNECTED;
    return t->status;
}

/* Writes what is encrypted already: 0, WB_EAGAIN when some of it stays. */
static int flush(wb_tls *t)
{
    struct wb_tls_parts *p = t->parts;
    if (t->broken < 0)
        return WB_EAGAIN;
    if (p->ssl.out_left == 0)
        return 0;
    int ret = mbedtls_ssl_write(&p->ssl, NULL, 0); /* with something left this writes that and nothing else */
    if (ret < 0 && ret != MBEDTLS_ERR_SSL_WANT_WRITE)
        t->broken = p->io < 0 ? p->io : WB_ECLOSED;
    return ret < 0 ? WB_EAGAIN : 0;
}

int wb_tls_state(wb_tls *t)
{
    if (t->status == WB_LINK_CONNECTED)
        (void)flush(t);
    if (t->status != WB_LINK_CONNECTING)
        return t->status;
    int s = t->config.stream.state(t->config.stream.ctx);
    if (s == WB_LINK_CONNECTING)
        return s;
    /* A stream that has ended may still hold the alert that says why. */
    if (s < 0 && t->parts->ssl.state <= MBEDTLS_SSL_CLIENT_HELLO)
        return end(t, s, 0, "no connection");
    return handshake(t);
}

int wb_tls_send(wb_tls *t, const uint8_t *data, size_t len)
{
    if (t->status != WB_LINK_CONNECTED)
        return t->status < 0 ? t->status : WB_EAGAIN;
    if (len == 0)
        return WB_EINVAL;
    if (flush(t) < 0)
        return WB_EAGAIN;
    struct wb_tls_parts *p = t->parts;
    int most = mbedtls_ssl_get_max_out_record_payload(&p->ssl);
    if (most <= 0)
        return fail(t, MBEDTLS_ERR_SSL_INTERNAL_ERROR);
    if (len > (size_t)most)
        len = (size_t)most;
    int ret = mbedtls_ssl_write(&p->ssl, data, len);
    if (ret == MBEDTLS_ERR_SSL_WANT_WRITE)
        return p->ssl.out_left > 0 ? (int)len : WB_EAGAIN; /* encrypted: flush brings it out */
    if (ret < 0) {
        /* The gateway may have said why before it closed: recv finds it, or that there is nothing. */
        t->broken = p->io < 0 ? p->io : WB_ECLOSED;
        return WB_EAGAIN;
    }
    return ret;
}

int wb_tls_recv(wb_tls *t, uint8_t *buf, size_t cap)
{
    if (t->status != WB_LINK_CONNECTED)
        return t->status < 0 ? t->status : WB_EAGAIN;
    if (cap == 0)
        return WB_EINVAL;
    (void)flush(t);
    int ret = mbedtls_ssl_read(&t->parts->ssl, buf, cap);
    if (ret > 0)
        return ret;
    if (ret != MBEDTLS_ERR_SSL_WANT_READ && ret != MBEDTLS_ERR_SSL_WANT_WRITE)
        return fail(t, ret);
    return t->broken < 0 ? end(t, t->broken, 0, "the connection ended") : WB_EAGAIN;
}

void wb_tls_close(wb_tls *t)
{
    if (t->parts == NULL)
        return;
    if (t->status == WB_LINK_CONNECTED && flush(t) == 0)
        (void)mbedtls_ssl_close_notify(&t->parts->ssl);
    if (t->status >= 0)
        t->status = WB_ECLOSED;
    drop(t);
}

/* ---- time --------------------------------------------------------------------------------------- */

int wb_tls_trusted(wb_tls *t)
{
    if (t->status != WB_LINK_CONNECTED)
        return WB_EAUTH;
    uint64_t now = t->told > t->floor ? t->told : t->floor;
    if (now > t->not_after)
        return end(t, WB_EAUTH, 0, "the gateway's certificate has expired");
    if (t->told != 0 && now < t->not_before)
        return end(t, WB_EAUTH, 0, "the gateway's certificate is not valid yet");
    t->trusted = true;
    t->floor = now;
    if (t->told != 0)
        wb_identity_set_time(t->config.identity, t->told);
    return 0;
}

void wb_tls_set_time(wb_tls *t, uint64_t unix_ms, bool floor)
{
    if (floor) {
        if (unix_ms > t->floor)
            t->floor = unix_ms;
        if (unix_ms > t->config.identity->now)
            wb_identity_set_time(t->config.identity, unix_ms);
        return;
    }
    t->told = unix_ms;
    if (t->trusted && unix_ms <= t->not_after) {
        if (unix_ms > t->floor)
            t->floor = unix_ms;
        wb_identity_set_time(t->config.identity, unix_ms);
    }
}

/* ---- for the event loop and the console --------------------------------------------------------- */

unsigned wb_tls_wait(const wb_tls *t)
{
    if (t->status < 0)
        return 0;
    const mbedtls_ssl_context *ssl = &t->parts->ssl;
    unsigned w = ssl->out_left > 0 ? WB_TLS_WAIT_WRITE : 0;
    if (t->broken < 0 || (t->status == WB_LINK_CONNECTED && mbedtls_ssl_check_pending(ssl) != 0))
        w |= WB_TLS_NOT_AT_ALL;
    return w;
}

const char *wb_tls_why(const wb_tls *t, int *code)
{
    if (code != NULL)
        *code = t->cause;
    return t->why;
}
