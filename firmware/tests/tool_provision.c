/*
 * Reads blobs from stdin, each behind its length (4 bytes, little endian), and writes a line for each: the verdict, a
 * tab, and what was read. A test in Go gives the same blobs to its own reader and compares.
 */
#include <stdio.h>
#include <stdlib.h>

#include "provision_dump.h"

int main(void)
{
    static char line[3 * WB_PROVISION_MAX];
    uint8_t head[4];
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        size_t len = (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        uint8_t *p = malloc(len > 0 ? len : 1); /* exactly as much: reading beyond it is seen */
        wb_provision out;
        if (p == NULL || fread(p, 1, len, stdin) != len)
            return 1;
        int err = wb_provision_read(p, len, &out);
        line[0] = '\0';
        if (err == 0)
            provision_dump(&out, line, sizeof line);
        printf("%s\t%s\n", provision_verdict(err), line);
        free(p);
    }
    return 0;
}
