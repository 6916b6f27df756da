/* Lists in a decoded message are views of the body. After this, wb_encode reads and writes their elements one by one, so
 * that these are tested too. The message must stay where it is. */
#ifndef AGAIN_H
#define AGAIN_H

#include "codec.h"

void again_items(wb_msg *m);

#endif
