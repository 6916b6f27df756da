/* Everything of the port's TLS that an application uses, for `make size`. It is linked and never run. */
#include "tls.h"

extern const wb_tls_config config;
extern const wb_kv values;
extern const wb_entropy_config sources;
extern const wb_bytes chain[2];
static uint64_t heap[WB_TLS_HEAP / 8];
static wb_entropy entropy;
static wb_identity id;
static wb_tls tls;
static uint8_t buf[1024];
volatile int result;

int main(void)
{
    result = wb_entropy_init(&entropy, &sources);
    result = wb_crypto_start(&entropy, (uint8_t *)heap, sizeof heap);
    result = wb_identity_init(&id, &values, "name");
    result = wb_tls_init(&tls, &config);
    result = wb_tls_open(&tls, WB_LINK_OPERATIONAL) + wb_tls_state(&tls) + wb_tls_send(&tls, buf, sizeof buf);
    result = wb_tls_recv(&tls, buf, sizeof buf) + wb_tls_trusted(&tls) + (int)wb_tls_wait(&tls);
    wb_tls_set_time(&tls, 1, true);
    wb_tls_close(&tls);
    result = wb_identity_csr(&id, buf, sizeof buf) + wb_identity_enrolled(&id) + wb_identity_store(&id, chain, 2);
    result = wb_identity_sign(&id, buf, 1, buf, sizeof buf) + wb_identity_key(&id, buf) + (int)wb_identity_renew_at(&id);
    result = wb_entropy_get(&entropy, buf, sizeof buf) + (wb_tls_why(&tls, NULL) != NULL);
    return 0;
}
