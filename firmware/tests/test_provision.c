/* Provisioning blobs: the vectors that provisioner/blob wrote, and what damage does to one. */
#include "harness.h"
#include "provision_dump.h"

#define LINE_MAX_ (4 * WB_PROVISION_MAX)

typedef struct blob_vector {
    char name[64], expect[64];
    char *says;
    uint8_t *blob;
    size_t len;
} blob_vector;

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void check(const blob_vector *v)
{
    static char got[LINE_MAX_];
    wb_provision out;
    context_of_check = v->name;
    int err = wb_provision_read(v->blob, v->len, &out);
    CHECK_STR(provision_verdict(err), v->expect);
    if (err == 0) {
        provision_dump(&out, got, sizeof got);
        CHECK_STR(got, v->says);
    } else {
        wb_provision zero;
        memset(&zero, 0, sizeof zero);
        CHECK(memcmp(&zero, &out, sizeof out) == 0);
    }
}

static const char *after(const char *line, const char *key)
{
    size_t n = strlen(key);
    return strncmp(line, key, n) == 0 ? line + n : NULL;
}

/* Calls each for every vector of the file. */
static void vectors(void (*each)(const blob_vector *))
{
    static char line[LINE_MAX_], says[LINE_MAX_];
    blob_vector v;
    int n = 0;
    FILE *f = fopen(PROVISION_VECTORS, "r");
    CHECK(f != NULL);
    if (f == NULL)
        return;
    memset(&v, 0, sizeof v);
    v.says = says;
    while (fgets(line, sizeof line, f) != NULL) {
        const char *p;
        line[strcspn(line, "\n")] = '\0';
        if ((p = after(line, "name: ")) != NULL) {
            snprintf(v.name, sizeof v.name, "%s", p);
            says[0] = '\0';
        } else if ((p = after(line, "expect: ")) != NULL) {
            snprintf(v.expect, sizeof v.expect, "%s", p);
        } else if ((p = after(line, "says: ")) != NULL) {
            memcpy(says, p, strlen(p) + 1);
        } else if ((p = after(line, "hex: ")) != NULL || (p = after(line, "hex:")) != NULL) {
            v.len = strlen(p) / 2;
            v.blob = malloc(v.len > 0 ? v.len : 1);
            for (size_t i = 0; i < v.len; i++)
                v.blob[i] = (uint8_t)(digit(p[2 * i]) << 4 | digit(p[2 * i + 1]));
            each(&v);
            free(v.blob);
            n++;
        }
    }
    fclose(f);
    context_of_check = PROVISION_VECTORS;
    CHECK(n >= 60);
}

static void test_vectors(void) { vectors(check); }

/* A copy of exactly n bytes, so that reading beyond them is seen. */
static int read_copy(const uint8_t *p, size_t n, wb_provision *out)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    memcpy(copy, p, n);
    int err = wb_provision_read(copy, n, out);
    free(copy);
    return err;
}

static void cut(const blob_vector *v)
{
    wb_provision out;
    if (strcmp(v->name, "full") != 0)
        return;
    for (size_t n = 0; n < v->len; n++)
        CHECK_EQ(read_copy(v->blob, n, &out), n == 0 ? WB_PROVISION_EMISSING : WB_PROVISION_ETRUNCATED);
    CHECK_EQ(read_copy(v->blob, v->len, &out), 0);
}

static void test_cut(void) { vectors(cut); }

static void flip(const blob_vector *v)
{
    wb_provision out;
    if (strcmp(v->name, "full") != 0)
        return;
    for (size_t bit = 0; bit < 8 * v->len; bit++) {
        v->blob[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(wb_provision_read(v->blob, v->len, &out) < 0);
        v->blob[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void test_flip(void) { vectors(flip); }

static void test_texts(void)
{
    for (int e = WB_PROVISION_EFIELD; e <= WB_PROVISION_EMISSING; e++)
        for (int f = WB_PROVISION_EFIELD; f < e; f++)
            CHECK(strcmp(wb_provision_error_text(e), wb_provision_error_text(f)) != 0);
    CHECK_STR(wb_provision_error_text(WB_PROVISION_ELATER), "provisioning blob: later version");
    CHECK_STR(wb_provision_error_text(-1), "provisioning blob: unknown error");
    wb_provision out;
    CHECK_EQ(wb_provision_read(NULL, 4096, &out), WB_PROVISION_EMISSING);
}

const test provision_tests[] = {{"provision: vectors", test_vectors},
                                {"provision: cut at every byte", test_cut},
                                {"provision: every bit flipped", test_flip},
                                {"provision: every error has its words", test_texts},
                                {NULL, NULL}};
