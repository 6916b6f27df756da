package functions

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/source"
	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/functions/compile"
	"wasmbed.io/wasmbed/functions/deadletter"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/ports"
	"wasmbed.io/wasmbed/internal/tlsfile"
	"wasmbed.io/wasmbed/internal/trace"
)

// APIName is WASMBED_FUNCTION for the REST API. It is no function - nobody sends it events - but serves HTTP as a
// process of its own, from the same binary.
const APIName = "api"

const (
	apiListen = ":3001"
	// healthTime bounds one question of how a part is.
	healthTime = 2 * time.Second
)

// errStops ends the streams of a server that is told to stop.
var errStops = errs.New(errs.Unavailable, "the server stops")

// APIServer serves the REST API. NewAPI, Listen, Serve, Close.
type APIServer struct {
	cfg     Config
	log     *slog.Logger
	rdb     redis.UniversalClient
	owned   bool
	trace   *trace.Tracer
	handler http.Handler
	api     *api.API
	tls     *tls.Config
	ln      net.Listener
	metrics net.Listener // nil: not served
	reg     *prometheus.Registry
	open    sync.WaitGroup // requests under way, those that became WebSockets too
}

// APIDeps are what an APIServer uses of others, beside those of a Server.
type APIDeps struct {
	ServerDeps
	Boards   []api.Board     // the table of boards
	Compiler source.Compiler // nil: none
}

// NewAPI makes the server. It connects to nothing.
func NewAPI(cfg Config, d APIDeps) (*APIServer, error) {
	d.ServerDeps = d.ServerDeps.complete()
	if d.Sink == nil && cfg.Sink == "" {
		return nil, noSink()
	}
	s := &APIServer{cfg: cfg, log: d.Log, reg: d.Metrics}
	if (cfg.TLSCert == "") != (cfg.TLSKey == "") {
		return nil, errs.New(errs.Invalid, "WASMBED_TLS_CERT and WASMBED_TLS_KEY go together")
	}
	if cfg.TLSCert != "" {
		files, err := tlsfile.New(cfg.TLSCert, cfg.TLSKey, d.Log, d.Now)
		if err != nil {
			return nil, errs.New(errs.CodeOf(err), "WASMBED_TLS_CERT: %w", err)
		}
		s.tls = &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: files.Get, NextProtos: []string{"h2", "http/1.1"}}
	}
	k, err := kubeConfig(cfg, d.ServerDeps)
	if err != nil {
		return nil, err
	}
	set := d.Client
	if set == nil {
		if set, err = client.New(k); err != nil {
			return nil, err
		}
	}
	if s.rdb, s.owned, err = openRedis(cfg, d.ServerDeps); err != nil {
		return nil, err
	}
	sink := d.Sink
	if sink == nil {
		sink = event.NewSink(cfg.Sink, nil)
	}
	deps, err := apiDeps(cfg, d, s.rdb, set, k, sink)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if s.trace, err = trace.New(trace.Options{Component: APIName, Redis: s.rdb, Registry: d.Metrics, Log: d.Log, Now: d.Now}); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	deps.Trace = s.trace
	s.api = api.New(deps)
	s.handler = s.routes(s.api)
	return s, nil
}

// apiDeps are what the API stands on, on a cluster.
func apiDeps(cfg Config, d APIDeps, rdb redis.UniversalClient, set *client.Set, k *rest.Config, sink Poster) (api.Deps, error) {
	kc := rest.CopyConfig(k)
	kc.QPS = -1 // what is bounded is what callers may ask
	reviews, err := kubernetes.NewForConfig(kc)
	if err != nil {
		return api.Deps{}, errs.New(errs.Invalid, "kubernetes: %w", err)
	}
	l := ledger.New(rdb, ledger.Options{Now: d.Now})
	out := api.Deps{
		Client: set, Ledger: l, Affinity: affinity.New(rdb, l.Keys(), affinity.Options{Now: d.Now}),
		Auth: api.NewKubernetesAuthority(reviews, d.Now), Events: sink, Now: d.Now, Log: d.Log, Boards: d.Boards, Compiler: d.Compiler,
		Recents: recents(rdb, ""), RecentsIn: func(ns string) api.Recents { return recents(rdb, ns) },
		Broker: newDoors(rdb, places(cfg), sink, d.Now, d.Log),
		AsCaller: func(token string) (kubernetes.Interface, error) {
			c := rest.AnonymousClientConfig(kc)
			c.BearerToken, c.QPS = token, -1
			set, err := kubernetes.NewForConfig(c)
			if err != nil {
				return nil, errs.New(errs.Internal, "kubernetes: %w", err)
			}
			return set, nil
		},
		RedisInfo: func(ctx context.Context) (string, error) {
			info, err := rdb.Info(ctx).Result()
			if err != nil {
				return "", errs.New(errs.Unavailable, "redis: %w", err)
			}
			return info, nil
		},
		Health: map[string]func(context.Context) error{
			"kubernetes": func(ctx context.Context) error {
				_, _, err := set.Gateways.List(ctx, "", client.ListOptions{Limit: 1})
				return err
			},
		},
	}
	if cfg.Sink != "" {
		out.Health["broker"] = answers("the broker", cfg.Sink)
	}
	if cfg.ProvisionerURL != "" {
		console, err := api.NewProvisionerConsole(cfg.ProvisionerURL, cfg.ProvisionerToken)
		if err != nil {
			return api.Deps{}, errs.New(errs.CodeOf(err), "WASMBED_PROVISIONER_URL: %w", err)
		}
		out.Console, out.Health["provisioner"] = console, console.Health
	}
	if cfg.CompileURL != "" {
		if out.Compiler == nil {
			out.Compiler = compile.NewClient(cfg.CompileURL, cfg.CompileToken)
		}
		out.Health["compile"] = answers("the compiler", strings.TrimSuffix(cfg.CompileURL, "/")+"/healthz")
	}
	out.Meters = map[string]api.Meter{}
	for _, m := range cfg.Meters {
		name, url, ok := strings.Cut(strings.TrimSpace(m), "=")
		if !ok || name == "" || !strings.HasPrefix(url, "http") {
			return api.Deps{}, errs.New(errs.Invalid, "WASMBED_METERS: %q is not name=URL", m)
		}
		out.Meters[name] = api.MeterAt(url)
	}
	return out, nil
}

// answers asks a part for anything; Knative's ingress answers a GET with 405, and that says enough.
func answers(what, url string) func(context.Context) error {
	hc := &http.Client{Timeout: healthTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return errs.New(errs.Invalid, "%s: %w", what, err)
		}
		resp, err := hc.Do(req)
		if err != nil {
			return errs.New(errs.Unavailable, "%s does not answer: %w", what, err)
		}
		resp.Body.Close()
		if resp.StatusCode >= 500 {
			return errs.New(errs.Unavailable, "%s answers %s", what, resp.Status)
		}
		return nil
	}
}

// routes are the API's, and those that the place asks.
func (s *APIServer) routes(h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", readiness(s.rdb))
	mux.Handle("/", h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.open.Add(1)
		defer s.open.Done()
		mux.ServeHTTP(w, r)
	})
}

// Listen opens the port, and that of the metrics when there is one.
func (s *APIServer) Listen() error {
	ln, err := listen(s.cfg, apiListen)
	if err != nil {
		return err
	}
	s.ln = ln
	if s.cfg.ListenMetrics != "" {
		if s.metrics, err = ports.Listen(s.cfg.ListenMetrics, ""); err != nil {
			return errs.New(errs.Unavailable, "metrics: %w", err).WithMend("set WASMBED_LISTEN_METRICS to a free address")
		}
	}
	return nil
}

// Addr is the address that is listened on, host:port.
func (s *APIServer) Addr() string { return s.ln.Addr().String() }

// Serve serves until ctx ends. Then requests under way may end within Config.Grace; streams are ended at half of it,
// WebSockets with a close frame that says so, and their clients go on elsewhere from their cursors.
func (s *APIServer) Serve(ctx context.Context) error {
	base, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(errStops)
	srv := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, // no deadline of writing: streams have their own
		BaseContext: func(net.Listener) context.Context { return base }, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	ln := s.ln
	if s.tls != nil {
		srv.TLSConfig = s.tls
	}
	figures, enough := context.WithCancel(ctx)
	defer enough()
	go s.api.Run(figures) // the history of GET /metrics/summary
	failed := make(chan error, 2)
	go func() {
		if s.tls != nil {
			failed <- srv.ServeTLS(ln, "", "")
			return
		}
		failed <- srv.Serve(ln)
	}()
	if s.metrics != nil {
		m := &http.Server{Handler: promhttp.HandlerFor(s.reg, promhttp.HandlerOpts{}), ReadHeaderTimeout: 5 * time.Second}
		defer m.Close()
		go func() { failed <- m.Serve(s.metrics) }()
	}
	select {
	case err := <-failed:
		srv.Close()
		return errs.New(errs.Unavailable, "REST API: %w", err)
	case <-ctx.Done():
	}
	s.log.Info("stops", "cause", context.Cause(ctx))
	defer endTrace(s.trace, s.log)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Grace)
	defer cancel()
	streams := time.AfterFunc(s.cfg.Grace/2, func() { end(errStops) })
	defer streams.Stop()
	idle := make(chan struct{})
	err := srv.Shutdown(grace)
	go func() { s.open.Wait(); close(idle) }() // WebSockets are none of http.Server's
	select {
	case <-idle:
	case <-grace.Done():
		s.log.Info("requests under way are cut off")
	}
	if err != nil {
		return srv.Close()
	}
	return nil
}

// Close lets go of what NewAPI and Listen opened.
func (s *APIServer) Close() error {
	var all []error
	for _, ln := range []net.Listener{s.ln, s.metrics} {
		if ln != nil {
			if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
				all = append(all, err)
			}
		}
	}
	endTrace(s.trace, s.log)
	if s.owned {
		all = append(all, s.rdb.Close())
	}
	return errors.Join(all...)
}

// places are the functions that dead letters may go back to.
func places(cfg Config) deadletter.Places {
	p := deadletter.Places{Namespace: cfg.Namespace, Domain: cfg.ClusterDomain, Functions: append(Names(), Sinks()[0])}
	if p.Namespace == "" {
		p.Namespace = "wasmbed-system"
	}
	if p.Domain == "" {
		p.Domain = "cluster.local"
	}
	return p
}
