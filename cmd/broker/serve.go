package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/source"
	"wasmbed.io/wasmbed/broker/stream"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/redisurl"
	"wasmbed.io/wasmbed/internal/trace"
)

// Config is the command's environment, prefix WASMBED_.
type Config struct {
	RedisURL         string        `envconfig:"REDIS_URL" default:"redis://127.0.0.1:6379" desc:"Redis that keeps the events, one server, a Redis Cluster or behind Sentinels (see gateway --help); appendonly yes and appendfsync always make an accepted event survive a power cut"`
	Listen           string        `envconfig:"LISTEN" default:":8082" desc:"host:port of the ingress; also /healthz, /readyz and /metrics"`
	Triggers         string        `envconfig:"TRIGGERS" default:"config/knative/triggers" desc:"folder with the Triggers, YAML of eventing.knative.dev/v1"`
	Broker           string        `envconfig:"BROKER" default:"default" desc:"spec.broker of the Triggers that are meant"`
	FunctionsURL     string        `envconfig:"FUNCTIONS_URL" default:"http://127.0.0.1:8083" desc:"address of the functions; a Trigger's Service NAME is at /NAME of it"`
	SourceKubeconfig string        `envconfig:"SOURCE_KUBECONFIG" desc:"kubeconfig of the API whose changes become events, or in-cluster; empty: somebody else announces them"`
	Concurrency      int           `envconfig:"CONCURRENCY" default:"32" desc:"deliveries under way at once, per Trigger"`
	Backlog          int64         `envconfig:"BACKLOG" default:"100000" desc:"events that may wait for one Trigger before posts are answered 429"`
	MaxMemory        int64         `envconfig:"MAX_MEMORY" desc:"bytes that Redis may use before posts are answered 503; 0: 95 % of its own maxmemory"`
	Timeout          time.Duration `envconfig:"TIMEOUT" default:"30s" desc:"how long one delivery may take when its Trigger does not say"`
	Grace            time.Duration `envconfig:"GRACE" default:"5s" desc:"how long deliveries under way may take at the end"`
}

// serve runs the broker, and the source if there is one, until ctx ends. The order of the end: the source
// stops first (it posts to the ingress), then the ingress, then the deliveries, then Redis is let go.
func serve(ctx context.Context, cfg *Config, log *slog.Logger) error {
	// A post shall be refused at once while Redis is away, not after go-redis' ten attempts to dial.
	rdb, err := redisurl.Open(cfg.RedisURL, redisurl.Retries(1))
	if err != nil {
		return errs.New(errs.CodeOf(err), "WASMBED_REDIS_URL: %w", err)
	}
	defer rdb.Close()
	triggers, err := stream.LoadTriggers(os.DirFS(cfg.Triggers))
	if err != nil {
		return errs.New(errs.CodeOf(err), "WASMBED_TRIGGERS %s: %w", cfg.Triggers, err)
	}
	redis.SetLogger(quiet{log})
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	t, err := trace.New(trace.Options{Component: "broker", Redis: rdb, Registry: registry, Log: log})
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := t.Close(end); err != nil {
			log.Info("spans were lost", "err", err)
		}
	}()
	b, err := stream.New(rdb, triggers, stream.Options{
		Broker: cfg.Broker, Resolve: stream.FunctionsAt(cfg.FunctionsURL), Concurrency: cfg.Concurrency, Backlog: cfg.Backlog,
		MaxMemory: cfg.MaxMemory, Trace: t, Timeout: cfg.Timeout, Grace: cfg.Grace, Registry: registry, Log: log,
	})
	if err != nil {
		return err
	}
	srv := stream.NewServer(b, cfg.Listen, registry)
	if err := srv.Listen(); err != nil {
		return err
	}
	log.Info("broker listens", "url", srv.URL(), "triggers", len(triggers))

	g, ctx := errgroup.WithContext(ctx)
	ingress, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	g.Go(func() error { return srv.Serve(ingress) })
	g.Go(func() error {
		defer func() { end(context.Cause(ctx)) }()
		if cfg.SourceKubeconfig == "" {
			<-ctx.Done()
			return nil
		}
		api, err := kubernetes(cfg.SourceKubeconfig)
		if err != nil {
			return err
		}
		src, err := source.New(api, event.NewSink(srv.URL(), nil), source.Options{Log: log})
		if err != nil {
			return err
		}
		log.Info("source watches", "api", api.Host)
		return src.Run(ctx)
	})
	return g.Wait()
}

// quiet takes what go-redis says about its connections; the broker says itself when Redis is away.
type quiet struct{ log *slog.Logger }

func (q quiet) Printf(ctx context.Context, format string, args ...any) {
	q.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

func kubernetes(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "in-cluster" {
		c, err := rest.InClusterConfig()
		if err != nil {
			return nil, errs.New(errs.Invalid, "in-cluster: %w", err)
		}
		return c, nil
	}
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, errs.New(errs.Invalid, "WASMBED_SOURCE_KUBECONFIG: %w", err)
	}
	return c, nil
}
