// Command webui serves the dashboard.
package main

import (
	"context"
	"log/slog"
	"os"

	"wasmbed.io/wasmbed/internal/run"
)

func main() {
	os.Exit(run.Main("webui", "serves the dashboard", os.Args[1:], os.Stdout, &Config{},
		func(ctx context.Context, cfg *Config, log *slog.Logger) error { return serve(ctx, cfg, log) }))
}
