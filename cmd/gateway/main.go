// Command gateway holds the devices' connections of one Gateway object. Several may run on one Redis.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/gateway"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/run"
)

func main() {
	os.Exit(run.Main("gateway", "holds the devices' connections", os.Args[1:], os.Stdout, new(gateway.Config), serve))
}

func serve(ctx context.Context, cfg *gateway.Config, log *slog.Logger) error {
	opts, err := redis.ParseURL(cfg.RedisURL)
	if err != nil {
		return errs.New(errs.Invalid, "WASMBED_REDIS_URL: %w", err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	if sink := os.Getenv("K_SINK"); sink != "" { // a SinkBinding of Knative's
		cfg.Sink = sink
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	g, err := gateway.New(*cfg, gateway.Deps{Redis: rdb, Log: log, Registry: reg})
	if err != nil {
		return err
	}
	if err := g.Listen(); err != nil {
		return err
	}
	return g.Serve(ctx)
}
