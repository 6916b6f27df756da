/* Never linked: its symbols' sizes are the RAM that the core takes, for `make size`. */
#include "internal.h"

char ram_device[sizeof(struct wb_device)];
char ram_per_app[sizeof(wb_app) + WB_NAME_MAX + 1];
/* Two applications, frames of 2048 and 1024, the usual queues: all of wb_config.memory. */
char ram_default_config[sizeof(struct wb_device) + 2 * (sizeof(wb_app) + WB_NAME_MAX + 1) + 2048 + 4 + 1024 + 4 + 1024 + 1024 +
                        2048 + 1024 + 1024 + 512];
