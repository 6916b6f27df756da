// Command functions serves Wasmbed's functions as CloudEvents subscribers: one of them, as a Knative Service
// does, or all in one process; or the REST API.
package main

import (
	"context"
	"log/slog"
	"os"

	"wasmbed.io/wasmbed/functions"
	"wasmbed.io/wasmbed/internal/run"
)

func main() {
	os.Exit(run.Main("functions", "serves Wasmbed's functions, or its REST API", os.Args[1:], os.Stdout, &functions.Config{},
		func(ctx context.Context, cfg *functions.Config, log *slog.Logger) error {
			switch cfg.Function {
			case sourceName:
				return watch(ctx, cfg, log)
			case authorityName:
				return makeAuthority(ctx, cfg, log)
			}
			return functions.Run(ctx, cfg, log, forAPI)
		}))
}
