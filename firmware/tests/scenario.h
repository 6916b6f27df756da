/*
 * One life of a device, from the box to an empty one: enroll, deploy v1, confirm, update to a v2 that is confirmed and then
 * traps in a loop, fall back to v1, remove. The cut tests live it through once for every place at which something can be
 * cut, and look whether it ends the same.
 */
#ifndef SCENARIO_H
#define SCENARIO_H

#include "world.h"

enum scenario_phase { PHASE_ENROLL, PHASE_V1, PHASE_V2, PHASE_REMOVE, PHASE_END };

typedef struct scenario {
    world *w;
    const gw_revision *bad;
    enum scenario_phase phase;
    uint64_t attempt;
    bool had_v1; /* v1 was confirmed in storage: from now on something runs after every boot */
} scenario;

void scenario_begin(scenario *c);
void scenario_end(scenario *c);
/* Goes on from where the platform knows it is; true when it came to its end in time. */
bool scenario_go(scenario *c);
/* What has to be so at the end, however it came to it. */
void scenario_check_end(scenario *c);
#endif
