/* A device, a gateway and a few usual modules: what most tests begin with. */
#ifndef WORLD_H
#define WORLD_H

#include "gw.h"

typedef struct world {
    sim s;
    gw g;
    gw_revision *v1, *v2, *v3; /* good ones, telemetry at each timer call */
} world;

world *world_new(void);
void world_free(world *w);
/* Boots and runs until the device is enrolled and has reported. */
void world_enroll(world *w);
/* Sets the wish and runs until it is confirmed. */
void world_confirm(world *w, const char *app, const gw_revision *r, uint64_t attempt);
/* Power off and on, and the link with it. */
void world_reboot(world *w);

bool is_enrolled(gw *g);
bool app_is(gw *g, const char *app, wb_state state, const char *revision);
/* Runs until the platform was told that the application is so. */
bool run_until(world *w, const char *app, wb_state state, const char *revision);
#endif
