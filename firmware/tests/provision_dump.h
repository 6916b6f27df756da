/* What a blob says in one line, as provisioner/blob's tests write it. */
#ifndef PROVISION_DUMP_H
#define PROVISION_DUMP_H

#include "provision.h"

/* Writes a zero-terminated text. */
void provision_dump(const wb_provision *p, char *out, size_t cap);
/* The reason alone, without the words before it; "ok" for 0. */
const char *provision_verdict(int error);

#endif
