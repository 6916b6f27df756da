// Command webui serves the status page.
package main

import (
	"context"
	"log/slog"
	"os"

	"wasmbed.io/wasmbed/internal/run"
)

func main() {
	os.Exit(run.Main("webui", "serves the status page", os.Args[1:], os.Stdout, &Config{},
		func(ctx context.Context, cfg *Config, log *slog.Logger) error { return serve(ctx, cfg, log) }))
}
