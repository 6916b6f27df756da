/*
 * The watchdog: the board restarts when the main loop has not turned for CONFIG_WASMBED_WATCHDOG_SECONDS. The
 * hardware's where devicetree has the alias watchdog0, else a timer's.
 */
#ifndef WASMBED_WATCHDOG_H
#define WASMBED_WATCHDOG_H

/* Starts it. Says on the console which one. */
void wb_watchdog_start(void);

/* Only the main loop calls this. */
void wb_watchdog_feed(void);

#endif
