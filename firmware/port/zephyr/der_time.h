#ifndef WASMBED_PORT_DER_TIME_H
#define WASMBED_PORT_DER_TIME_H

#include <stdint.h>

#include "mbedtls/x509.h"

/* The Unix time of a certificate's date, ms; 0 before 1970. */
static inline uint64_t wb_der_time(const mbedtls_x509_time *t)
{
    if (t->year < 1970)
        return 0;
    /* Years that begin in March put the leap day last. */
    uint32_t year = (uint32_t)t->year - (t->mon <= 2), month = ((uint32_t)t->mon + 9) % 12;
    uint32_t days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + (uint32_t)t->day - 1 - 719468;
    return (((uint64_t)days * 24 + (uint32_t)t->hour) * 60 + (uint32_t)t->min) * 60000 + (uint64_t)t->sec * 1000;
}

#endif
