package functions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
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
	"wasmbed.io/wasmbed/functions/enroll"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/ports"
	"wasmbed.io/wasmbed/internal/redisurl"
	"wasmbed.io/wasmbed/internal/trace"
)

// Config is the command's environment, prefix WASMBED_, and its manual.
type Config struct {
	Function        string        `envconfig:"FUNCTION" desc:"What to serve: one function, at /: enroll, deploy, rollback, report, board, command, webhook; on a cluster also journal and deadletter; api: the REST API; source: changes of custom resources as events; authority: make the devices' authority when there is none, and end. Empty: the functions that every installation has, each at /<name>."`
	Listen          string        `envconfig:"LISTEN" desc:"Address to serve on. Default: the port in PORT, as Knative sets it; else :8083, for api :3001."`
	Port            string        `envconfig:"PORT" desc:"Port to serve on when LISTEN is empty."`
	RedisURL        string        `envconfig:"REDIS_URL" default:"redis://127.0.0.1:6379" desc:"Redis of the ledger: redis://[user:password@]host:port; a Redis Cluster with several host:port separated by commas; redis+sentinel://host:port,…?master=NAME; rediss… for TLS."`
	Sink            string        `envconfig:"SINK" desc:"URL of the broker's ingress, for what functions say on their own. K_SINK wins when it is set."`
	Kubeconfig      string        `envconfig:"KUBECONFIG" desc:"kubeconfig of the API; empty: the Pod's own service account."`
	TrustDomain     string        `envconfig:"TRUST_DOMAIN" default:"wasmbed.local" desc:"SPIFFE trust domain of the devices' certificates."`
	OCIHosts        []string      `envconfig:"OCI_HOSTS" desc:"Registries that modules may be pulled from, host or host:port, separated by commas; empty: any."`
	Callback        string        `envconfig:"WEBHOOK_CALLBACK" desc:"URL of the REST API as receivers of webhooks reach it, https in the field: where they may give their permission later (WebHook-Request-Callback). Empty: none is offered."`
	Private         bool          `envconfig:"WEBHOOK_PRIVATE" desc:"Webhooks may go to loopback and private addresses when they say allowPrivate. Whoever may make a Webhook can then post to what this process can reach."`
	SourceResources []string      `envconfig:"SOURCE_RESOURCES" desc:"With FUNCTION=source: the resources of wasmbed.io whose changes are announced, separated by commas; empty: all."`
	SourceHold      time.Duration `envconfig:"SOURCE_HOLD" desc:"With FUNCTION=source: how long changes are held back, to say again what another source may have missed; 0: they are announced at once."`
	SourceAtOnce    []string      `envconfig:"SOURCE_AT_ONCE" desc:"With FUNCTION=source: resources that are announced at once all the same."`
	SourceAgain     time.Duration `envconfig:"SOURCE_AGAIN" desc:"With FUNCTION=source: how often all there is is announced once more, for a broker that may lose what it took; 0: never."`
	Namespace       string        `envconfig:"NAMESPACE" default:"wasmbed-system" desc:"Namespace of the platform's own Services."`
	ClusterDomain   string        `envconfig:"CLUSTER_DOMAIN" default:"cluster.local" desc:"DNS domain of the cluster."`
	Timeout         time.Duration `envconfig:"TIMEOUT" default:"25s" desc:"How long a function may take for one event; less than the broker waits."`
	Grace           time.Duration `envconfig:"GRACE" default:"5s" desc:"How long events and requests under way may take when the process is told to stop."`

	GatewayTLS   []string `envconfig:"GATEWAY_TLS" default:"default/default=wasmbed-gateway-tls" desc:"enroll: Gateway objects whose server certificates it makes and renews, each as namespace/name=SECRET, in wasmbed-system; separated by commas."`
	GatewayNames []string `envconfig:"GATEWAY_NAMES" default:"wasmbed-gateway" desc:"enroll: Services in wasmbed-system that those certificates are good for too, separated by commas."`

	TLSCert          string   `envconfig:"TLS_CERT" desc:"api: file with the certificate chain, PEM, read again when it changes; empty: plain HTTP."`
	TLSKey           string   `envconfig:"TLS_KEY" desc:"api: file with its key, PEM."`
	ListenMetrics    string   `envconfig:"LISTEN_METRICS" desc:"api: address of its own metrics; empty: they are not served. Functions have them at /metrics."`
	CompileURL       string   `envconfig:"COMPILE_URL" desc:"api: URL of the compiler; empty: nothing is compiled."`
	CompileToken     string   `envconfig:"COMPILE_TOKEN_FILE" desc:"api: file with the token that the compiler wants to see, read with each request."`
	ProvisionerURL   string   `envconfig:"PROVISIONER_URL" desc:"api: URL of the provisioner, for consoles of emulated boards; empty: there is none."`
	ProvisionerToken string   `envconfig:"PROVISIONER_TOKEN" desc:"api: bearer token that opens it."`
	Meters           []string `envconfig:"METERS" desc:"api: parts whose metrics it shows, each as name=URL, separated by commas."`
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
	trace *trace.Tracer
	ln    net.Listener
	srv   *http.Server
}

// complete gives defaults.
func (d ServerDeps) complete() ServerDeps {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Metrics == nil {
		d.Metrics = prometheus.NewRegistry()
	}
	return d
}

// New makes a server. It connects to nothing: the functions do when the first event comes, so that a process
// that was scaled to zero is there in milliseconds. For the same reason it makes only the function that it serves.
func New(cfg Config, d ServerDeps) (*Server, error) {
	d = d.complete()
	serves := Names()
	if cfg.Function != "" {
		if all := append(Names(), Sinks()...); !slices.Contains(all, cfg.Function) {
			return nil, errs.New(errs.Invalid, "WASMBED_FUNCTION: there is no function %q; there are %s", cfg.Function, strings.Join(all, ", "))
		}
		serves = []string{cfg.Function}
	}
	if d.Sink == nil && cfg.Sink == "" && slices.ContainsFunc(serves, needsSink) {
		return nil, noSink()
	}
	servers, err := enroll.ParseServers(cfg.GatewayTLS)
	if err != nil {
		return nil, errs.New(errs.CodeOf(err), "WASMBED_GATEWAY_TLS: %w", err)
	}
	s := &Server{cfg: cfg, log: d.Log}
	if s.rdb, s.owned, err = openRedis(cfg, d); err != nil {
		return nil, err
	}
	set := d.Client
	if set == nil && slices.ContainsFunc(serves, needsKubernetes) {
		k, err := kubeConfig(cfg, d)
		if err == nil {
			set, err = client.New(k)
		}
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if d.Sink == nil {
		d.Sink = event.NewSink(cfg.Sink, nil)
	}
	if d.Registry == nil {
		d.Registry = oci.New(oci.Options{MaxSize: module.MaxSize, Hosts: cfg.OCIHosts})
	}
	component := cfg.Function
	if component == "" {
		component = "functions"
	}
	if s.trace, err = trace.New(trace.Options{Component: component, Redis: s.rdb, Registry: d.Metrics, Log: d.Log, Now: d.Now}); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if set != nil {
		set = client.Traced(set, d.Now)
	}
	l := ledger.New(s.rdb, ledger.Options{Now: d.Now})
	deps := Deps{
		Client: set, Ledger: l, Instances: affinity.New(s.rdb, l.Keys(), affinity.Options{Now: d.Now}),
		Registry: d.Registry, Sink: d.Sink, TrustDomain: cfg.TrustDomain, Private: cfg.Private, Now: d.Now, Log: d.Log,
		Servers: enroll.Servers{Secrets: servers, Names: cfg.GatewayNames, Domain: cfg.ClusterDomain}, Redis: s.rdb, Places: places(cfg),
	}
	var entries []Entry
	for _, name := range serves {
		if e, ok := Make(name, deps); ok {
			entries = append(entries, e)
		}
	}
	s.srv = &http.Server{
		Handler:           s.routes(entries, d.Metrics),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      cfg.Timeout + 30*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    event.MaxAttributes + 16<<10,
		ErrorLog:          slog.NewLogLogger(d.Log.Handler(), slog.LevelWarn),
	}
	return s, nil
}

func noSink() error {
	return errs.New(errs.Invalid, "WASMBED_SINK is not set").WithMend("set it to the URL of the broker's ingress")
}

// openRedis gives the client to use, and whether it is ours to close.
func openRedis(cfg Config, d ServerDeps) (rdb redis.UniversalClient, owned bool, err error) {
	if d.Redis != nil {
		return d.Redis, false, nil
	}
	if rdb, err = redisurl.Open(cfg.RedisURL); err != nil {
		return nil, false, errs.New(errs.CodeOf(err), "WASMBED_REDIS_URL: %w", err)
	}
	return rdb, true, nil
}

func (s *Server) routes(entries []Entry, reg *prometheus.Registry) http.Handler {
	o := HandlerOptions{Timeout: s.cfg.Timeout, Log: s.log, Metrics: NewMetrics(reg), Trace: s.trace}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", readiness(s.rdb))
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	if s.cfg.Function != "" {
		mux.Handle("/{$}", Handler(entries[0], o))
		mux.Handle("/", index([]string{"/"}))
		return mux
	}
	var paths []string
	for _, e := range entries {
		mux.Handle("/"+e.Name, Handler(e, o))
		paths = append(paths, "/"+e.Name)
	}
	mux.Handle("/", index(paths))
	return mux
}

// readiness: Redis answers. Kubernetes may be away: what devices report is still recorded then.
func readiness(rdb redis.UniversalClient) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if err := rdb.Ping(ctx).Err(); err != nil {
			http.Error(w, "redis: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusOK)
	}
}

// Listen opens the port.
func (s *Server) Listen() (err error) {
	s.ln, err = listen(s.cfg, ":8083")
	return err
}

func listen(cfg Config, otherwise string) (net.Listener, error) {
	addr := cfg.Listen
	switch {
	case addr != "":
	case cfg.Port != "":
		addr = ":" + cfg.Port
	default:
		addr = otherwise
	}
	ln, err := ports.Listen(addr, "")
	if err != nil {
		return nil, errs.New(errs.Unavailable, "functions: %w", err).WithMend("set WASMBED_LISTEN to a free address")
	}
	return ln, nil
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
	defer endTrace(s.trace, s.log)
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
	endTrace(s.trace, s.log)
	if s.owned {
		all = append(all, s.rdb.Close())
	}
	return errors.Join(all...)
}

// kubeConfig is how to speak to Kubernetes.
func kubeConfig(cfg Config, d ServerDeps) (*rest.Config, error) {
	if d.Kube != nil {
		return d.Kube, nil
	}
	var k *rest.Config
	var err error
	if cfg.Kubeconfig != "" {
		k, err = clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig)
	} else {
		k, err = rest.InClusterConfig()
	}
	if err != nil {
		return nil, errs.New(errs.Invalid, "kubernetes: %w", err).WithMend("set KUBECONFIG, or run in a Pod")
	}
	return k, nil
}

// server is what Run runs.
type server interface {
	Listen() error
	Addr() string
	Serve(context.Context) error
	Close() error
}

// Run is the command: it serves until ctx ends. more gives what only the REST API needs.
func Run(ctx context.Context, cfg *Config, log *slog.Logger, more func() (APIDeps, error)) error {
	if sink := os.Getenv("K_SINK"); sink != "" { // a SinkBinding of Knative's
		cfg.Sink = sink
	}
	redis.SetLogger(redisLog{log})
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var s server
	var err error
	if cfg.Function == APIName {
		var d APIDeps
		if d, err = more(); err == nil {
			d.Log, d.Metrics = log, reg
			s, err = NewAPI(*cfg, d)
		}
	} else {
		s, err = New(*cfg, ServerDeps{Log: log, Metrics: reg})
	}
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

// redisLog takes the client library's words, which are many while Redis is away; ours are enough.
type redisLog struct{ log *slog.Logger }

func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}
