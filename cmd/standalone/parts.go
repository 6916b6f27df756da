package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/broker/source"
	"wasmbed.io/wasmbed/broker/stream"
	"wasmbed.io/wasmbed/config"
	"wasmbed.io/wasmbed/functions"
	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/functions/compile"
	"wasmbed.io/wasmbed/functions/deploy/oci"
	"wasmbed.io/wasmbed/gateway"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/ports"
	"wasmbed.io/wasmbed/internal/run"
)

// Grace of the parts' own ends; they add up to less than stopWithin.
const (
	brokerGrace    = 700 * time.Millisecond
	functionsGrace = 700 * time.Millisecond
	drainTime      = 800 * time.Millisecond
	childGrace     = 1500 * time.Millisecond
	kubeGrace      = 3 * time.Second // its store ends after it
)

func (p *platform) startRedis(ctx context.Context) error {
	if p.redis.kind == redisInProcess {
		m, err := p.redis.startInProcess()
		if err != nil {
			return err
		}
		p.runs.keep(ctx, partRedis, func(ctx context.Context) {
			<-ctx.Done()
			m.Close()
		})
		return nil
	}
	if p.redis.kind == redisGiven {
		return nil
	}
	return p.startChild(ctx, &child{name: partRedis, command: func() *exec.Cmd { return p.redis.command(p.state) }, grace: childGrace})
}

func (p *platform) startKube(ctx context.Context) error {
	bin, err := p.cfg.program("kubeapi")
	if err != nil {
		return err
	}
	return p.startChild(ctx, &child{
		name:  partKube,
		grace: kubeGrace,
		command: func() *exec.Cmd {
			return exec.Command(bin, append([]string{"--dir", p.state.path(partKube), "--listen", p.ends.Kubernetes}, p.cfg.OIDC.args()...)...)
		},
		ready: firstLine(func(line string) error {
			var e struct{ URL string }
			return json.Unmarshal([]byte(line), &e)
		}),
	})
}

// startChild starts a process under supervision and waits until it is ready for the first time.
func (p *platform) startChild(ctx context.Context, c *child) error {
	c.log, c.state, c.spawn = p.log, p.state, p.spawn
	ready, failed := make(chan struct{}), make(chan error, 1)
	p.runs.keep(ctx, c.name, func(ctx context.Context) { failed <- c.run(ctx, func() { close(ready) }) })
	select {
	case <-ready:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return errs.New(errs.CodeOf(ctx.Err()), "%w", context.Cause(ctx))
	}
}

// account returns a configuration that speaks as one of the users of the embedded API's kubeconfig.
func (p *platform) account(name string) (*rest.Config, error) {
	path := p.state.path(partKube, "kubeconfig")
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: path},
		&clientcmd.ConfigOverrides{CurrentContext: name}).ClientConfig()
	if err != nil {
		return nil, errs.New(errs.Unavailable, "kubeconfig %s: %w", path, err)
	}
	cfg.QPS = -1 // what is bounded is the functions' concurrency
	cfg.UserAgent = "wasmbed/" + name
	return cfg, nil
}

// registry returns metrics of one part, with the process' own among the first's.
func registry(process bool) *prometheus.Registry {
	r := prometheus.NewRegistry()
	if process {
		r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	return r
}

func (p *platform) makeBroker() (serveFunc, error) {
	folder, err := config.Sub(config.Triggers)
	if err != nil {
		return nil, err
	}
	triggers, err := stream.LoadTriggers(folder)
	if err != nil {
		return nil, err
	}
	reg := registry(false)
	t, err := p.tracer("broker", reg)
	if err != nil {
		return nil, err
	}
	b, err := stream.New(p.rdb, triggers, stream.Options{
		Resolve: stream.FunctionsAt("http://" + p.ends.Functions), Consumer: p.cfg.Instance, Grace: brokerGrace, Trace: t, Registry: reg, Log: p.log.With("of", partBroker),
	})
	if err != nil {
		return nil, err
	}
	s := stream.NewServer(b, p.ends.Broker, reg)
	return closing(t, s.Serve, s.Listen())
}

func (p *platform) makeSource() (serveFunc, error) {
	cfg, err := p.account("wasmbed-source")
	if err != nil {
		return nil, err
	}
	s, err := source.New(cfg, event.NewSink(p.ends.sink(), nil), source.Options{Source: "https://" + p.ends.Kubernetes, Log: p.log.With("of", partSource)})
	if err != nil {
		return nil, err
	}
	return s.Run, nil
}

// makeFunctions serves all functions, each as the service account that it is on a cluster.
func (p *platform) makeFunctions() (serveFunc, error) {
	reg := registry(false)
	l := ledger.New(p.rdb, ledger.Options{})
	log := p.log.With("of", partFunctions)
	t, err := p.tracer("functions", reg)
	if err != nil {
		return nil, err
	}
	opts := functions.HandlerOptions{Log: log, Metrics: functions.NewMetrics(reg), Trace: t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	for _, name := range functions.Names() {
		cfg, err := p.account("wasmbed-" + name)
		if err != nil {
			return nil, err
		}
		set, err := client.New(cfg)
		if err != nil {
			return nil, err
		}
		set = client.Traced(set, time.Now)
		table := functions.Table(functions.Deps{
			Client: set, Ledger: l, Instances: affinity.New(p.rdb, l.Keys(), affinity.Options{}), Sink: event.NewSink(p.ends.sink(), nil),
			Registry: oci.New(oci.Options{MaxSize: module.MaxSize}), TrustDomain: p.ends.TrustDomain, Private: p.cfg.WebhookPrivate, Callback: "http://" + p.ends.API, Now: time.Now, Log: log,
		})
		mux.Handle("/"+name, functions.Handler(table[name], opts))
	}
	serve, err := serveHTTP("functions", p.ends.Functions, mux, functionsGrace)
	return closing(t, serve, err)
}

func (p *platform) makeAPI() (serveFunc, error) {
	cfg, err := p.account("wasmbed-api")
	if err != nil {
		return nil, err
	}
	set, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, errs.New(errs.Invalid, "kubernetes client: %w", err)
	}
	l := ledger.New(p.rdb, ledger.Options{})
	console, err := p.consoles()
	if err != nil {
		return nil, err
	}
	t, err := p.tracer("api", nil)
	if err != nil {
		return nil, err
	}
	h := api.New(api.Deps{
		Trace:  t,
		Broker: brokerDoors{p.rdb}, Compiler: compile.New(compile.Deps{Cache: p.state.path("compile"), AssemblyScript: p.cfg.AssemblyScript, Log: p.log.With("of", compile.Name)}),
		Client: set, Ledger: l, Affinity: affinity.New(p.rdb, l.Keys(), affinity.Options{}), Auth: api.NewKubernetesAuthority(kube, nil),
		Events: event.NewSink(p.ends.sink(), nil), Recents: p.recents, Log: p.log.With("of", partAPI),
		Health: p.health(console), Console: console, Boards: boardTable(),
		Meters: p.meters(), RedisInfo: p.redisInfo, AsCaller: asCaller(cfg), PartLogs: partLogs{p.state},
	})
	serve, err := serveHTTP("REST API", p.ends.API, h, functionsGrace)
	if err != nil {
		return nil, err
	}
	return closing(t, func(ctx context.Context) error {
		figures, stop := context.WithCancel(ctx)
		defer stop()
		go h.Run(figures)
		return serve(ctx)
	}, nil)
}

// recents reads the broker's feed for the API.
func (p *platform) recents(ctx context.Context, from string, n int, block time.Duration) ([]api.Recorded, string, error) {
	events, next, err := stream.Recent(ctx, p.rdb, from, n, block)
	if err != nil {
		return nil, next, err
	}
	out := make([]api.Recorded, len(events))
	for i, e := range events {
		out[i] = api.Recorded{Cursor: e.ID, Event: e.Event}
	}
	return out, next, nil
}

// brokerHealth asks the broker whether it takes events.
func (p *platform) brokerHealth(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.ends.sink()+"readyz", nil)
	if err != nil {
		return errs.New(errs.Internal, "broker: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return errs.New(errs.Unavailable, "broker: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errs.New(errs.FromHTTP(resp.StatusCode), "the broker answers %s", resp.Status)
	}
	return nil
}

// makeGateway makes a gateway; listening is told the real addresses.
func (p *platform) makeGateway(instance string, listening func(tls, http net.Addr)) (serveFunc, error) {
	reg := registry(true)
	t, err := p.tracer("gateway", reg)
	if err != nil {
		return nil, err
	}
	g, err := gateway.New(gateway.Config{
		Namespace: p.ends.Namespace, Gateway: p.ends.Gateway, Instance: instance, Address: p.ends.Address,
		ListenTLS: p.ends.TLS, ListenHTTP: p.ends.HTTP, TLSCert: p.state.path(serverCertFile), TLSKey: p.state.path(serverKeyFile),
		Sink: p.ends.sink(), TrustDomain: p.ends.TrustDomain, DrainTime: drainTime, DrainSpread: drainTime, Tick: 100 * time.Millisecond,
	}, gateway.Deps{Redis: p.rdb, Log: p.log.With("of", partGateway), Registry: reg, Trace: t})
	if err != nil {
		return nil, err
	}
	if err := g.Listen(); err != nil {
		return nil, err
	}
	if listening != nil {
		listening(g.TLSAddr(), g.HTTPAddr())
	}
	return closing(t, g.Serve, nil)
}

// serveHTTP listens and returns what serves: until its context ends, then at most grace longer.
func serveHTTP(what, address string, h http.Handler, grace time.Duration) (serveFunc, error) {
	l, err := ports.Listen(address, "")
	if err != nil {
		return nil, errs.New(errs.Unavailable, "%s: %w", what, err)
	}
	return func(ctx context.Context) error {
		// Streams end with the server, not with its grace.
		base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		defer cancel(errStopped)
		srv := &http.Server{
			Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
			BaseContext: func(net.Listener) context.Context { return base },
		}
		done := make(chan error, 1)
		go func() { done <- srv.Serve(l) }()
		select {
		case err := <-done:
			return errs.New(errs.Unavailable, "%s: %w", what, err)
		case <-ctx.Done():
		}
		end, stop := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer stop()
		short := time.AfterFunc(grace/2, func() { cancel(errStopped) })
		defer short.Stop()
		if err := srv.Shutdown(end); err != nil {
			return srv.Close()
		}
		return nil
	}, nil
}

// runPart runs one part of the platform in cfg.Dir until ctx ends, and says on out where it is.
func runPart(ctx context.Context, cfg *Config, part string, log *slog.Logger, out io.Writer) error {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return errs.New(errs.Invalid, "state folder: %w", err)
	}
	st := &state{dir: dir}
	p := &platform{cfg: cfg, state: st, log: log, ends: st.loadEndpoints(), spawn: newSpawner(), runs: newRunners(log)}
	if p.ends.Redis == "" {
		return errs.New(errs.NotFound, "nothing was ever started in %s", dir).WithMend("start standalone --without %s first, or set WASMBED_DIR", part)
	}
	p.redis = redisChoice{kind: redisServer, url: p.ends.Redis}
	if p.rdb, err = p.redis.client(); err != nil {
		return err
	}
	defer p.rdb.Close()
	anyPort := p.overrides()
	say := func(where map[string]string) {
		where["part"] = part
		_ = json.NewEncoder(out).Encode(where) // who does not listen does not care
	}
	serve, err := p.lonePart(ctx, part, say)
	if errs.Is(err, errs.Unavailable) && part == partGateway { // somebody else has the platform's port for it
		anyPort()
		serve, err = p.lonePart(ctx, part, say)
	}
	if err != nil {
		return err
	}
	return serve(ctx)
}

// lonePart makes one part for a process of its own.
func (p *platform) lonePart(ctx context.Context, part string, say func(map[string]string)) (serveFunc, error) {
	told := func(where map[string]string, make func() (serveFunc, error)) (serveFunc, error) {
		serve, err := make()
		if err == nil {
			say(where)
		}
		return serve, err
	}
	switch part {
	case partBroker:
		return told(map[string]string{"broker": p.ends.Broker}, p.makeBroker)
	case partSource:
		return told(map[string]string{}, p.makeSource)
	case partFunctions:
		return told(map[string]string{"functions": p.ends.Functions}, p.makeFunctions)
	case partAPI:
		return told(map[string]string{"api": p.ends.API}, p.makeAPI)
	case partWebUI:
		return told(map[string]string{"dashboard": p.ends.Dashboard}, p.makeWebUI)
	case partGateway:
		return p.makeGateway(p.loneInstance(), func(tls, http net.Addr) {
			say(map[string]string{"tls": tls.String(), "http": http.String()})
		})
	}
	// The others are processes already: this one stands above them.
	bin, err := exec.LookPath("redis-server")
	if part == partRedis && err != nil {
		return nil, errs.New(errs.NotFound, "there is no redis-server on PATH")
	}
	p.redis.bin = bin
	return func(ctx context.Context) error {
		var err error
		switch part {
		case partRedis:
			err = p.startRedis(ctx)
		case partKube:
			err = p.startKube(ctx)
		case partDevices:
			err = p.startBoards(ctx)
		case partProvisioner:
			err = p.startProvisioner(ctx, true)
		}
		if err == nil {
			say(map[string]string{"kubernetes": p.ends.Kubernetes})
			<-ctx.Done()
		}
		if !p.runs.stop(time.After(stopWithin), p.runs.names()...) {
			err = errors.Join(err, errs.New(errs.Deadline, "%s did not end in time", part))
		}
		return err
	}, nil
}

// overrides lets the environment move a lone part, so that a second gateway can stand beside the first. Port 0 is
// the port that the platform chose for it; anyPort makes it any.
func (p *platform) overrides() (anyPort func()) {
	moved := map[*string]string{}
	for name, o := range map[string]struct {
		from string
		to   *string
	}{
		"TLS": {p.cfg.Listen.TLS, &p.ends.TLS}, "HTTP": {p.cfg.Listen.HTTP, &p.ends.HTTP}, "DASHBOARD": {p.cfg.Listen.Dashboard, &p.ends.Dashboard},
		"API": {p.cfg.Listen.API, &p.ends.API}, "BROKER": {p.cfg.Listen.Broker, &p.ends.Broker}, "FUNCTIONS": {p.cfg.Listen.Functions, &p.ends.Functions},
		"PROVISIONER": {p.cfg.Listen.Provisioner, &p.ends.Provisioner},
	} {
		if _, ok := os.LookupEnv(run.Prefix + "_LISTEN_" + name); !ok {
			continue
		}
		if _, port, err := net.SplitHostPort(o.from); err == nil && port == "0" {
			moved[o.to] = o.from
		} else {
			*o.to = o.from
		}
	}
	if p.cfg.Advertise != "" {
		p.ends.Address = p.cfg.Advertise
	}
	return func() {
		for to, from := range moved {
			*to = from
		}
	}
}

// loneInstance is the instance name of a lone gateway: the one that is asked for, else one that it makes up.
func (p *platform) loneInstance() string {
	if _, ok := os.LookupEnv(run.Prefix + "_INSTANCE"); ok {
		return p.cfg.Instance
	}
	return ""
}
