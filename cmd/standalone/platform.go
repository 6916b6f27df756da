package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/redisurl"
	"wasmbed.io/wasmbed/internal/run"
)

// Names of what standalone makes in Kubernetes.
const (
	namespace   = "default"
	gatewayName = "default"
)

// stopWithin bounds the end of everything; children that are still there are killed then.
const stopWithin = 4500 * time.Millisecond

// platform is one platform on this machine, or the part of it that this process runs.
type platform struct {
	cfg   *Config
	state *state
	log   *slog.Logger
	ends  endpoints
	redis redisChoice
	rdb   redis.UniversalClient
	spawn *spawner
	runs  *runners

	begun  time.Time
	fresh  bool // the state folder was empty
	heldMu sync.Mutex
	held   map[string]net.Listener // ports taken at the start, until their part listens itself
}

// up starts everything but what c leaves out, says so on out, and runs until ctx ends.
func up(ctx context.Context, cfg *Config, c call, out io.Writer) (err error) {
	begun := time.Now()
	st, err := openState(cfg.Dir)
	if err != nil {
		return err
	}
	defer st.Close()
	logFile, err := st.logFile("standalone")
	if err != nil {
		return err
	}
	defer logFile.Close()
	log := slog.New(teeHandler{run.Logger(logFile, "standalone").Handler(), run.Logger(os.Stderr, "standalone").Handler()})

	p := &platform{cfg: cfg, state: st, log: log, spawn: newSpawner(), runs: newRunners(log), begun: begun, held: map[string]net.Listener{}}
	defer p.releaseAll()
	if err := p.plan(c); err != nil {
		return err
	}
	go exitOnSecondSignal(ctx)
	defer p.down()
	startCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := p.start(startCtx, c); err != nil {
		if ctx.Err() != nil {
			return nil // it was told to stop while it started
		}
		return err
	}
	missing := p.await(ctx, c, begun)
	if ctx.Err() == nil {
		p.say(out, c, missing, time.Since(begun))
	}
	<-ctx.Done()
	log.Info("stops", "cause", context.Cause(ctx))
	return nil
}

// plan checks and chooses everything that can be known before anything is started: programs, Redis, ports.
func (p *platform) plan(c call) error {
	needs := map[string]string{partKube: "kubeapi", partDevices: "device"}
	for part, program := range needs {
		if c.with(part) && (part != partDevices || len(p.cfg.boards()) > 0) {
			if _, err := p.cfg.program(program); err != nil {
				return err
			}
		}
	}
	if c.with(partProvisioner) && len(p.cfg.emulation()) > 0 {
		if _, err := p.cfg.program("provisioner"); err != nil {
			return err
		}
	}
	p.fresh = !p.state.has(endpointsFile)
	last := p.state.loadEndpoints()
	var err error
	if p.redis, err = chooseRedis(p.cfg, p.state, last, c.with(partRedis)); err != nil {
		return err
	}
	p.ends = endpoints{
		Redis: p.redis.url, Kubeconfig: p.state.path("kubeconfig"), Namespace: namespace, Gateway: gatewayName, TrustDomain: p.cfg.TrustDomain,
	}
	l := &p.cfg.Listen
	for _, a := range []struct {
		part, key, what, variable, address, last string
		chosen                                   *string
	}{
		{partWebUI, "webui", "dashboard", "WASMBED_LISTEN_DASHBOARD", l.Dashboard, last.Dashboard, &p.ends.Dashboard},
		{partAPI, "api", "REST API", "WASMBED_LISTEN_API", l.API, last.API, &p.ends.API},
		{partGateway, "http", "gateway (HTTP)", "WASMBED_LISTEN_HTTP", l.HTTP, last.HTTP, &p.ends.HTTP},
		{partGateway, "tls", "gateway (TLS)", "WASMBED_LISTEN_TLS", l.TLS, last.TLS, &p.ends.TLS},
		{partKube, "kubeapi", "Kubernetes API", "WASMBED_LISTEN_KUBERNETES", l.Kubernetes, last.Kubernetes, &p.ends.Kubernetes},
		{partBroker, "broker", "broker", "WASMBED_LISTEN_BROKER", l.Broker, last.Broker, &p.ends.Broker},
		{partProvisioner, "provisioner", "provisioner", "WASMBED_LISTEN_PROVISIONER", l.Provisioner, last.Provisioner, &p.ends.Provisioner},
		{partFunctions, "functions", "functions", "WASMBED_LISTEN_FUNCTIONS", l.Functions, last.Functions, &p.ends.Functions},
	} {
		if !c.with(a.part) || a.part == partProvisioner && len(p.cfg.emulation()) == 0 { // which may never start
			if *a.chosen, err = reserve(a.what, a.variable, a.address, a.last); err != nil {
				return err
			}
			continue
		}
		ln, err := bind(a.what, a.variable, a.address, a.last)
		if err != nil {
			return err
		}
		p.held[a.key] = ln
		*a.chosen = withPort(a.address, ln.Addr())
	}
	p.ends.Address = p.cfg.advertised(p.ends.TLS)
	if _, err := p.provisionerToken(); err != nil { // before a part of its own can look for it
		return err
	}
	return p.state.saveEndpoints(p.ends)
}

// withPort is address with the port that was really bound: the host stays as people wrote it.
func withPort(address string, bound net.Addr) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return bound.String()
	}
	_, port, err := net.SplitHostPort(bound.String())
	if err != nil {
		return bound.String()
	}
	return net.JoinHostPort(host, port)
}

// release gives a held port to its part, which listens on it next.
func (p *platform) release(key string) {
	p.heldMu.Lock()
	defer p.heldMu.Unlock()
	p.letGo(key)
}

func (p *platform) letGo(key string) {
	if l := p.held[key]; l != nil {
		l.Close()
		delete(p.held, key)
	}
}

func (p *platform) releaseAll() {
	p.heldMu.Lock()
	defer p.heldMu.Unlock()
	for key := range p.held {
		p.letGo(key)
	}
}

// start starts the parts: those that need nothing first and together, the others as what they need is there.
func (p *platform) start(ctx context.Context, c call) error {
	begin := func(name string, keys []string, make func() (serveFunc, error)) error {
		if !c.with(name) {
			return nil
		}
		for _, k := range keys {
			p.release(k)
		}
		return p.runs.start(ctx, name, make)
	}
	var err error
	if p.rdb, err = p.redis.client(); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	redisUp, certs := make(chan struct{}), make(chan struct{})
	g.Go(func() error {
		if c.with(partRedis) {
			if err := p.startRedis(gctx); err != nil {
				return err
			}
		}
		if err := p.waitForRedis(gctx, c); err != nil {
			return err
		}
		p.reached("redis answers")
		if p.fresh {
			// Nothing was ever there, so nothing was lost and nothing is to be rebuilt: the ledger begins.
			if _, _, err := ledger.New(p.rdb, ledger.Options{}).Era(gctx); err != nil {
				return err
			}
		}
		close(redisUp)
		if err := begin(partBroker, []string{"broker"}, p.makeBroker); err != nil {
			return err
		}
		return begin(partWebUI, []string{"webui"}, p.makeWebUI)
	})
	g.Go(func() error {
		if c.with(partKube) {
			p.release("kubeapi")
			if err := p.startKube(gctx); err != nil {
				return err
			}
			p.reached("the kubernetes api answers")
		}
		if err := p.setup(gctx, c); err != nil {
			return err
		}
		p.reached("kubernetes has what the platform needs")
		close(certs)
		if err := wait(gctx, redisUp); err != nil {
			return err
		}
		if err := begin(partFunctions, []string{"functions"}, p.makeFunctions); err != nil {
			return err
		}
		if err := begin(partAPI, []string{"api"}, p.makeAPI); err != nil {
			return err
		}
		if err := begin(partSource, nil, p.makeSource); err != nil {
			return err
		}
		p.reached("functions and source run")
		if !c.with(partProvisioner) {
			return nil
		}
		return p.startProvisioner(gctx, len(p.cfg.emulation()) > 0)
	})
	g.Go(func() error {
		for _, ch := range []chan struct{}{redisUp, certs} {
			if err := wait(gctx, ch); err != nil {
				return err
			}
		}
		if err := begin(partGateway, []string{"http", "tls"}, func() (serveFunc, error) { return p.makeGateway(p.cfg.Instance, nil) }); err != nil {
			return err
		}
		if !c.with(partDevices) {
			return nil
		}
		return p.startDevices(gctx, c)
	})
	return g.Wait()
}

// reached logs a step of the start.
func (p *platform) reached(step string) {
	p.log.Info("start: "+step, "after", time.Since(p.begun).Round(time.Millisecond))
}

func wait(ctx context.Context, ch <-chan struct{}) error {
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return errs.New(errs.CodeOf(ctx.Err()), "%w", context.Cause(ctx))
	}
}

// down ends everything in the order of parts(): who makes work ends before who does it, and the stores last.
func (p *platform) down() {
	deadline := time.After(stopWithin)
	for _, name := range []string{partDevices, partProvisioner, partGateway, partSource} {
		p.runs.stop(deadline, name)
	}
	p.runs.stop(deadline, partAPI, partWebUI)
	p.runs.stop(deadline, partBroker)
	p.runs.stop(deadline, partFunctions)
	if p.rdb != nil {
		_ = p.rdb.Close() // nobody is left to use it
	}
	p.runs.stop(deadline, partKube, partRedis)
}

// waitForRedis waits for a Redis that we started or that somebody else will; one that was named must be there.
func (p *platform) waitForRedis(ctx context.Context, c call) error {
	limit := p.cfg.Patience
	if p.redis.kind == redisGiven && c.with(partRedis) {
		limit = 5 * time.Second
	}
	wctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := waitRedis(wctx, p.rdb); err != nil {
		return errs.New(errs.Unavailable, "%s: %w", redisurl.Redacted(p.redis.url), err)
	}
	return nil
}
