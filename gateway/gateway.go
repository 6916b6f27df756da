// Package gateway holds the devices' connections. It is the one long-lived part: it authenticates devices, keeps
// their leases, sends them the difference between desired and reported, and turns what they say into events.
// What it needs to know functions put into Redis; it never talks to Kubernetes.
//
// listener.go accepts, conn.go carries a session (whose rules are the pure state machine of package session),
// hub.go keeps the leases alive, reconciler.go compares (package reconcile), package uplink posts, ticker.go
// posts the shards' deadlines, era.go survives the loss of Redis, drain.go ends it all in order.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/gateway/uplink"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/ports"
	"wasmbed.io/wasmbed/internal/trace"
)

// Gateway is one gateway process: New, Listen, Serve until its context ends or Close.
type Gateway struct {
	cfg     Config
	log     *slog.Logger
	now     func() time.Time
	source  string // of its events
	subject string // of events about itself
	started time.Time
	probe   func() error

	redis    redis.UniversalClient
	ledger   *ledger.Ledger
	affinity *affinity.Affinity
	uplink   *uplink.Uplink
	trace    *trace.Tracer

	tls       *tls.Config
	files     *certFile // nil: the certificate came with Deps
	judge     *judge
	trust     atomic.Pointer[trust]
	set       atomic.Pointer[settings]
	gate      gate
	claims    chan struct{}
	admission *admission

	poller     *poller
	workers    chan *conn
	hub        *hub
	reconciler *batcher // desired, to be compared
	takers     *batcher // open commands, to be told
	modules    *modules
	transfers  *transfers
	rate       rate
	ticker     *ticker
	metrics    *metrics

	era       atomic.Value // string
	eraSince  atomic.Int64 // Unix ns of the last change of era; 0: never
	unsaidEra atomic.Pointer[string]
	redisErr  atomic.Pointer[error]
	redisOK   atomic.Int64 // Unix ns
	redisGap  atomic.Int64 // Unix ns: when Redis last was away, or came back
	brokerOK  atomic.Int64 // Unix ns of the last good probe
	said      instanceSaid // under registering

	registering sync.Mutex

	eraWake, settingsWake, sweepWake, registerWake chan struct{}

	tlsListener, httpListener net.Listener
	http                      *http.Server

	ctx       context.Context // of everything that runs; ends last
	stop      context.CancelFunc
	loops     sync.WaitGroup
	accepting sync.WaitGroup
	conns     sync.WaitGroup // connections, from accept to finish
	draining  atomic.Bool
	closing   atomic.Bool
	asked     chan struct{} // closed when /drain or Close asks to stop
	askOnce   sync.Once
	done      chan struct{} // closed when Serve has returned
	serving   atomic.Bool
}

// New makes a gateway and starts nothing. The error is errs.Invalid: a setting that cannot work.
func New(cfg Config, deps Deps) (*Gateway, error) {
	if err := cfg.complete(&deps); err != nil {
		return nil, err
	}
	l := ledger.New(deps.Redis, ledger.Options{Now: deps.Now})
	g := &Gateway{
		cfg: cfg, log: deps.Log, now: deps.Now, probe: deps.Probe, redis: deps.Redis, ledger: l, trace: deps.Trace,
		affinity:     affinity.New(deps.Redis, l.Keys(), affinity.Options{Now: deps.Now}),
		source:       fmt.Sprintf("/wasmbed/namespaces/%s/gateways/%s/%s", cfg.Namespace, cfg.Gateway, cfg.Instance),
		subject:      cfg.Namespace + "/" + cfg.Gateway,
		started:      deps.Now(),
		judge:        newJudge(cfg.TrustDomain, cfg.Namespace),
		gate:         make(gate, runtime.GOMAXPROCS(0)),
		claims:       make(chan struct{}, maxClaims),
		workers:      make(chan *conn),
		admission:    newAdmission(),
		hub:          newHub(),
		transfers:    &transfers{max: maxTransfers},
		rate:         rate{perSecond: cfg.ModuleRate},
		eraWake:      make(chan struct{}, 1),
		settingsWake: make(chan struct{}, 1),
		sweepWake:    make(chan struct{}, 1),
		registerWake: make(chan struct{}, 1),
		asked:        make(chan struct{}),
		done:         make(chan struct{}),
	}
	certificate := deps.Certificate
	if certificate == nil {
		g.files = &certFile{cert: cfg.TLSCert, key: cfg.TLSKey}
		if err := g.files.reload(); err != nil {
			return nil, err
		}
		certificate = g.files.get
	}
	g.tls = tlsConfig(certificate, deps.Now)
	g.set.Store(completeSettings(ledger.GatewaySettings{}, false))
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.modules = newModules(func(ctx context.Context, d string) ([]byte, error) {
		return l.Module(ctx, cfg.Namespace, d)
	}, g.missModule, deps.Now)
	g.reconciler = newBatcher(g, g.compare)
	g.takers = newBatcher(g, g.tell)
	g.ticker = newTicker(g)
	// The metrics look at everything above, the uplink reports to them.
	g.metrics = newMetrics(g, deps.Registry)
	g.uplink = uplink.New(deps.Sink, uplink.Options{Source: g.source, Subject: g.subject, Namespace: cfg.Namespace, Now: deps.Now, Log: deps.Log, Observer: g.metrics})
	g.http = g.newHTTP(deps.Registry)
	return g, nil
}

// Listen binds both addresses. After it, TLSAddr and HTTPAddr are the real ones.
func (g *Gateway) Listen() error {
	l, err := ports.Listen(g.cfg.ListenTLS, "")
	if err != nil {
		return errs.New(errs.Unavailable, "device listener: %w", err).WithMend("WASMBED_LISTEN_TLS moves it")
	}
	h, err := ports.Listen(g.cfg.ListenHTTP, "")
	if err != nil {
		l.Close()
		return errs.New(errs.Unavailable, "HTTP listener: %w", err).WithMend("WASMBED_LISTEN_HTTP moves it")
	}
	if g.poller, err = newPoller(); err != nil {
		l.Close()
		h.Close()
		return err
	}
	g.tlsListener, g.httpListener = l, h
	return nil
}

// TLSAddr is where devices connect; nil before Listen.
func (g *Gateway) TLSAddr() net.Addr { return addrOf(g.tlsListener) }

// HTTPAddr is where health, metrics and drain are; nil before Listen.
func (g *Gateway) HTTPAddr() net.Addr { return addrOf(g.httpListener) }

func addrOf(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

// Instance is the name of this process.
func (g *Gateway) Instance() string { return g.cfg.Instance }

// Serve runs the gateway until ctx ends or Close or POST /drain asks it to stop, and then drains it. Redis and
// the broker may be away at the start and at any time after it.
func (g *Gateway) Serve(ctx context.Context) error {
	if g.tlsListener == nil {
		return errs.New(errs.Invalid, "Serve before Listen")
	}
	if g.serving.Swap(true) {
		return errs.New(errs.Invalid, "Serve twice")
	}
	defer close(g.done)
	g.redisGap.Store(g.now().UnixNano()) // leases that lapsed before we came get the grace
	g.checkEra()
	g.refresh()

	failed := make(chan error, 2)
	go func() {
		if err := g.http.Serve(g.httpListener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			failed <- errs.New(errs.Internal, "HTTP: %w", err)
		}
	}()
	g.loop(func(ctx context.Context) { g.listen(ctx) })
	g.loop(func(ctx context.Context) { every(ctx, fixed(renewEvery), g.eraWake, g.checkEra) })
	g.loop(func(ctx context.Context) { every(ctx, fixed(settingsEvery), g.settingsWake, g.refresh) })
	g.loop(func(ctx context.Context) { every(ctx, fixed(registerEvery), g.registerWake, g.register) })
	g.loop(func(ctx context.Context) { every(ctx, fixed(sweepEvery), g.sweepWake, g.sweep) })
	g.loop(func(ctx context.Context) { every(ctx, fixed(registerEvery), nil, g.probeBroker) })
	g.loop(func(ctx context.Context) {
		var conns []*conn
		every(ctx, g.tickEvery, nil, func() { conns = g.beat(conns) })
	})
	for range reconcileWorkers {
		g.loop(g.reconciler.run)
		g.loop(g.takers.run)
	}
	g.loop(g.ticker.run)
	g.poke(g.registerWake)
	g.accepting.Add(1)
	go func() {
		defer g.accepting.Done()
		if err := g.accept(g.ctx, g.tlsListener); err != nil {
			failed <- err
		}
	}()
	g.log.Info("gateway", "devices", g.TLSAddr(), "http", g.HTTPAddr(), "instance", g.cfg.Instance, "gateway", g.subject)

	var err error
	select {
	case <-ctx.Done():
	case <-g.asked:
	case err = <-failed:
	}
	return errors.Join(err, g.drain())
}

// loop runs f until everything ends.
func (g *Gateway) loop(f func(context.Context)) {
	g.loops.Add(1)
	go func() {
		defer g.loops.Done()
		f(g.ctx)
	}()
}

// work has a worker serve c: one that waits for work, else a new one. A worker may block, for Redis or for a slow
// device, so their number is not bounded but by the connections; those that are not needed end soon.
func (g *Gateway) work(c *conn) {
	select {
	case g.workers <- c:
	default:
		go g.worker(c)
	}
}

func (g *Gateway) worker(c *conn) {
	idle := time.NewTimer(workerIdle)
	defer idle.Stop()
	for {
		c.serve()
		c = nil // holds nothing while it waits
		idle.Reset(workerIdle)
		select {
		case c = <-g.workers:
		case <-idle.C:
			return
		}
	}
}

// Close asks Serve to drain, and waits for it.
func (g *Gateway) Close() error {
	g.ask()
	if g.serving.Load() {
		<-g.done
		return nil
	}
	if g.tlsListener != nil {
		g.tlsListener.Close()
		g.httpListener.Close()
		g.poller.close()
	}
	g.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	return g.uplink.Close(ctx)
}

func (g *Gateway) ask() { g.askOnce.Do(func() { close(g.asked) }) }

// missModule asks for a module that Redis does not hold.
func (g *Gateway) missModule(d string) error {
	g.metrics.moduleMisses.Inc()
	return g.say(event.ModuleMissed, "", event.ModuleMiss{Namespace: g.cfg.Namespace, Digest: d}, subject(g.cfg.Namespace+"/"+d))
}
