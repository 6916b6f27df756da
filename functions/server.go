package functions

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/functions/deploy"
	"wasmbed.io/wasmbed/functions/deploy/oci"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/ports"
)

// Config is the command's environment, prefix WASMBED_, and its manual.
type Config struct {
	Function    string        `envconfig:"FUNCTION" desc:"The function to serve, at /: enroll, deploy, rollback, report, board, command or webhook. Empty: all of them, each at /<name>."`
	Listen      string        `envconfig:"LISTEN" desc:"Address to serve on. Default: the port in PORT, as Knative sets it; else :8083."`
	Port        string        `envconfig:"PORT" desc:"Port to serve on when LISTEN is empty."`
	RedisURL    string        `envconfig:"REDIS_URL" default:"redis://127.0.0.1:6379" desc:"Redis of the ledger, or several addresses of a Redis Cluster separated by commas."`
	Sink        string        `envconfig:"SINK" desc:"URL of the broker's ingress, for what functions say on their own. K_SINK wins when it is set."`
	Kubeconfig  string        `envconfig:"KUBECONFIG" desc:"kubeconfig of the API; empty: the Pod's own service account."`
	TrustDomain string        `envconfig:"TRUST_DOMAIN" default:"wasmbed.local" desc:"SPIFFE trust domain of the devices' certificates."`
	OCIHosts    []string      `envconfig:"OCI_HOSTS" desc:"Registries that modules may be pulled from, host or host:port, separated by commas; empty: any."`
	Private     bool          `envconfig:"WEBHOOK_PRIVATE" desc:"Webhooks may go to loopback and private addresses when they say allowPrivate. Whoever may make a Webhook can then post to what this process can reach."`
	Timeout     time.Duration `envconfig:"TIMEOUT" default:"25s" desc:"How long a function may take for one event; less than the broker waits."`
	Grace       time.Duration `envconfig:"GRACE" default:"5s" desc:"How long events under way may take when the process is told to stop."`
}

// ServerDeps are what a Server uses of others; for a server in another process all may be left out.
type ServerDeps struct {
	Redis    redis.UniversalClient // nil: Config.RedisURL
	Client   *client.Set           // nil: Kube
	Kube     *rest.Config          // nil: Config.Kubeconfig
	Sink     deploy.Poster         // nil: Config.Sink
	Registry deploy.Registry       // nil: OCI registries
	Metrics  *prometheus.Registry  // nil: one of its own
	Log      *slog.Logger
	Now      func() time.Time
}

// Server serves functions. New, Listen, Serve, Close.
type Server struct {
	cfg   Config
	log   *slog.Logger
	rdb   redis.UniversalClient
	owned bool // rdb is closed by Close
	ln    net.Listener
	srv   *http.Server
}

// New makes a server. It connects to nothing: the functions do when the first event comes, so that a process
// that was scaled to zero is there in milliseconds.
func New(cfg Config, d ServerDeps) (*Server, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Metrics == nil {
		d.Metrics = prometheus.NewRegistry()
	}
	if cfg.Function != "" && !slices.Contains(Names(), cfg.Function) {
		return nil, errs.New(errs.Invalid, "WASMBED_FUNCTION: there is no function %q; there are %s", cfg.Function, strings.Join(Names(), ", "))
	}
	if d.Sink == nil && cfg.Sink == "" && (cfg.Function == "" || cfg.Function == deploy.Name) {
		return nil, errs.New(errs.Invalid, "WASMBED_SINK is not set").WithMend("set it to the URL of the broker's ingress")
	}
	s := &Server{cfg: cfg, log: d.Log, rdb: d.Redis}
	if s.rdb == nil {
		o, err := redisOptions(cfg.RedisURL)
		if err != nil {
			return nil, errs.New(errs.Invalid, "WASMBED_REDIS_URL: %w", err)
		}
		s.rdb, s.owned = redis.NewUniversalClient(o), true
	}
	set, err := kube(cfg, d)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if d.Sink == nil {
		d.Sink = event.NewSink(cfg.Sink, nil)
	}
	if d.Registry == nil {
		d.Registry = oci.New(oci.Options{MaxSize: module.MaxSize, Hosts: cfg.OCIHosts})
	}
	l := ledger.New(s.rdb, ledger.Options{Now: d.Now})
	table := Table(Deps{
		Client: set, Ledger: l, Instances: affinity.New(s.rdb, l.Keys(), affinity.Options{Now: d.Now}),
		Registry: d.Registry, Sink: d.Sink, TrustDomain: cfg.TrustDomain, Private: cfg.Private, Now: d.Now, Log: d.Log,
	})
	s.srv = &http.Server{
		Handler:           s.routes(table, d.Metrics),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      cfg.Timeout + 30*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    event.MaxAttributes + 16<<10,
		ErrorLog:          slog.NewLogLogger(d.Log.Handler(), slog.LevelWarn),
	}
	return s, nil
}

func (s *Server) routes(table map[string]Entry, reg *prometheus.Registry) http.Handler {
	o := HandlerOptions{Timeout: s.cfg.Timeout, Log: s.log, Metrics: NewMetrics(reg)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	if s.cfg.Function != "" {
		mux.Handle("/{$}", Handler(table[s.cfg.Function], o))
		mux.Handle("/", index([]string{"/"}))
		return mux
	}
	var paths []string
	for _, name := range Names() {
		mux.Handle("/"+name, Handler(table[name], o))
		paths = append(paths, "/"+name)
	}
	mux.Handle("/", index(paths))
	return mux
}

// ready: Redis answers. Kubernetes may be away: what devices report is still recorded then.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if err := s.rdb.Ping(ctx).Err(); err != nil {
		http.Error(w, "redis: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// Listen opens the port.
func (s *Server) Listen() error {
	addr := s.cfg.Listen
	switch {
	case addr != "":
	case s.cfg.Port != "":
		addr = ":" + s.cfg.Port
	default:
		addr = ":8083"
	}
	ln, err := ports.Listen(addr, "")
	if err != nil {
		return errs.New(errs.Unavailable, "functions: %w", err).WithMend("set WASMBED_LISTEN to a free address")
	}
	s.ln = ln
	return nil
}

// Addr is the address that is listened on, host:port.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Serve serves until ctx ends, and then until the events under way are done, at most Config.Grace long.
// Those that are not done come again.
func (s *Server) Serve(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- s.srv.Serve(s.ln) }()
	select {
	case err := <-failed:
		return errs.New(errs.Unavailable, "functions: %w", err)
	case <-ctx.Done():
	}
	s.log.Info("stops", "cause", context.Cause(ctx))
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Grace)
	defer cancel()
	if err := s.srv.Shutdown(end); err != nil {
		s.log.Info("events under way are cut off; they come again", "err", err)
		return s.srv.Close()
	}
	return nil
}

// Close lets go of what New and Listen opened.
func (s *Server) Close() error {
	var all []error
	if s.srv != nil {
		all = append(all, s.srv.Close())
	} else if s.ln != nil {
		all = append(all, s.ln.Close())
	}
	if s.owned {
		all = append(all, s.rdb.Close())
	}
	return errors.Join(all...)
}

func kube(cfg Config, d ServerDeps) (*client.Set, error) {
	if d.Client != nil {
		return d.Client, nil
	}
	k := d.Kube
	if k == nil {
		var err error
		if cfg.Kubeconfig != "" {
			k, err = clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig)
		} else {
			k, err = rest.InClusterConfig()
		}
		if err != nil {
			return nil, errs.New(errs.Invalid, "kubernetes: %w", err).WithMend("set KUBECONFIG, or run in a Pod")
		}
	}
	return client.New(k)
}

// redisOptions reads redis://…, or addresses of a cluster separated by commas.
func redisOptions(url string) (*redis.UniversalOptions, error) {
	first, rest, _ := strings.Cut(url, ",")
	o, err := redis.ParseURL(first)
	if err != nil {
		return nil, err
	}
	u := &redis.UniversalOptions{Addrs: []string{o.Addr}, DB: o.DB, Username: o.Username, Password: o.Password, TLSConfig: o.TLSConfig}
	for _, a := range strings.Split(rest, ",") {
		if a = strings.TrimSpace(a); a != "" {
			u.Addrs = append(u.Addrs, strings.TrimPrefix(a, "redis://"))
		}
	}
	return u, nil
}

// Run is the command: it serves until ctx ends.
func Run(ctx context.Context, cfg *Config, log *slog.Logger) error {
	if sink := os.Getenv("K_SINK"); sink != "" { // a SinkBinding of Knative's
		cfg.Sink = sink
	}
	s, err := New(*cfg, ServerDeps{Log: log})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Listen(); err != nil {
		return err
	}
	log.Info("serves", "address", s.Addr(), "function", cfg.Function)
	return s.Serve(ctx)
}
