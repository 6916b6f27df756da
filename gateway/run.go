package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/redisurl"
	"wasmbed.io/wasmbed/internal/trace"
)

// Run is the command: it connects to Redis and serves until ctx ends.
func Run(ctx context.Context, cfg *Config, log *slog.Logger) error {
	rdb, err := redisurl.Open(cfg.RedisURL)
	if err != nil {
		return errs.New(errs.CodeOf(err), "WASMBED_REDIS_URL: %w", err)
	}
	defer rdb.Close()
	redis.SetLogger(redisLog{log})
	if sink := os.Getenv("K_SINK"); sink != "" { // from a SinkBinding of Knative's
		cfg.Sink = sink
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	t, err := trace.New(trace.Options{Component: "gateway", Instance: cfg.Instance, Redis: rdb, Registry: reg, Log: log})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := t.Close(ctx); err != nil {
			log.Info("spans were lost", "err", err)
		}
	}()
	g, err := New(*cfg, Deps{Redis: rdb, Log: log, Registry: reg, Trace: t})
	if err != nil {
		return err
	}
	if err := g.Listen(); err != nil {
		return err
	}
	return g.Serve(ctx)
}

// redisLog takes the client library's words, which are many while Redis is away; ours are enough.
type redisLog struct{ log *slog.Logger }

func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, "redis client", "msg", fmt.Sprintf(format, args...))
}
