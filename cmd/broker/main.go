// Command broker is Wasmbed's embedded event broker as a process of its own.
package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"

	"wasmbed.io/wasmbed/internal/run"
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // little lives long here; a small heap would be swept many times a second
	}
	os.Exit(run.Main("broker", "stores CloudEvents in Redis and delivers them to the subscribers of Triggers", os.Args[1:], os.Stdout, &Config{},
		func(ctx context.Context, cfg *Config, log *slog.Logger) error { return serve(ctx, cfg, log) }))
}
