package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
)

// Run is the command: it connects to Redis and serves until ctx ends.
func Run(ctx context.Context, cfg *Config, log *slog.Logger) error {
	rdb, err := openRedis(cfg.RedisURL)
	if err != nil {
		return err
	}
	defer rdb.Close()
	redis.SetLogger(redisLog{log})
	if sink := os.Getenv("K_SINK"); sink != "" { // from a SinkBinding of Knative's
		cfg.Sink = sink
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	g, err := New(*cfg, Deps{Redis: rdb, Log: log, Registry: reg})
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

// openRedis makes a client of a URL: redis://host:port, or a Redis Cluster's redis://host:port?addr=host:port&….
// It does not connect.
func openRedis(url string) (redis.UniversalClient, error) {
	if strings.Contains(url, "addr=") {
		o, err := redis.ParseClusterURL(url)
		if err != nil {
			return nil, errs.New(errs.Invalid, "WASMBED_REDIS_URL: %w", err)
		}
		return redis.NewClusterClient(o), nil
	}
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, errs.New(errs.Invalid, "WASMBED_REDIS_URL: %w", err)
	}
	return redis.NewClient(o), nil
}
