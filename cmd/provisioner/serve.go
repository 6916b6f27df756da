package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner/console"
	"wasmbed.io/wasmbed/provisioner/reconcile"
)

// serve makes boards until ctx ends. The order of the end: the watch and the reconciler stop (nothing new begins), boards
// are stopped if ON_EXIT says so, consoles are ended and what they keep is written, HTTP ends, the state folder is let go.
func serve(ctx context.Context, cfg *Config, log *slog.Logger) error {
	if err := cfg.check(); err != nil {
		return err
	}
	kube, err := kubernetes(cfg.Provisioner.Kubeconfig)
	if err != nil {
		return err
	}
	set, err := client.New(kube)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", cfg.Provisioner.Listen)
	if err != nil {
		return errs.New(errs.Unavailable, "WASMBED_PROVISIONER_LISTEN: %w", err)
	}
	defer ln.Close()
	eng, err := openEngines(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer eng.close()

	p := cfg.Provisioner
	consoles := console.New(0, p.Token)
	kept := filepath.Join(p.Dir, "consoles")
	consoles.Load(kept)
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	images := &firmware{dir: p.Firmware}
	r, err := reconcile.New(reconcile.Options{
		Devices: set.Devices, Namespace: p.Namespace, Engines: eng.all, Default: eng.first, Plan: cfg.plan, Image: images.image,
		Sink: event.NewSink(p.Sink, nil), Consoles: consoles, Dir: filepath.Join(p.Dir, "notes"), Instance: p.Instance,
		Jitter: mrand.Float64, Random: func(b []byte) { rand.Read(b) }, // never fails (crypto/rand since Go 1.24)
		Log: log, Registry: reg,
	})
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: routes(r, consoles, reg), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	ended := make(chan error, 3)
	go func() { ended <- srv.Serve(ln) }()
	work, stop := context.WithCancel(ctx)
	defer stop()
	watched, looked := make(chan error, 1), make(chan error, 1)
	go func() { watched <- watchDevices(work, kube, p.Namespace, r.Poke, r.Resync) }()
	go func() { looked <- r.Run(work) }()
	log.Info("provisioner", "address", ln.Addr().String(), "engine", eng.first, "boards", p.Dir, "firmware", p.Firmware)

	var failed error
	select {
	case <-ctx.Done():
	case failed = <-ended: // it cannot serve any more
	case failed = <-watched:
		watched <- nil
	}
	stop()
	failed = errors.Join(failed, <-watched, <-looked)
	if p.OnExit == onExitStop {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.Grace)
		failed = errors.Join(failed, r.StopAll(grace))
		cancel()
	}
	consoles.Close()
	failed = errors.Join(failed, consoles.Save(kept))
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		srv.Close()
	}
	if failed != nil && !errors.Is(failed, http.ErrServerClosed) {
		return errs.New(errs.CodeOf(failed), "%w", failed)
	}
	return nil
}

const httpGrace = time.Second

// kubernetes returns the API's configuration. Errors: Invalid.
func kubernetes(path string) (*rest.Config, error) {
	var cfg *rest.Config
	var err error
	if path == "" {
		cfg, err = rest.InClusterConfig()
	} else {
		cfg, err = clientcmd.BuildConfigFromFlags("", path)
	}
	if err != nil {
		return nil, errs.New(errs.Invalid, "kubernetes: %w", err).WithMend("set WASMBED_PROVISIONER_KUBECONFIG, or run in a Pod")
	}
	cfg.QPS = -1 // what is bounded is what one board does
	cfg.UserAgent = "wasmbed/provisioner"
	return cfg, nil
}

// routes are:
//
//	GET /healthz                       the process lives
//	GET /readyz                        Devices and boards have been listed
//	GET /metrics                       Prometheus
//	GET /console/{namespace}/{name}    what a board says; ?follow=true&tail=N, with the token
func routes(r *reconcile.Reconciler, consoles *console.Hub, reg *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := r.Ready()
		answer := struct {
			Ready bool   `json:"ready"`
			Note  string `json:"note,omitempty"`
		}{Ready: err == nil}
		if err != nil {
			answer.Note = err.Error()
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(errs.HTTPStatus(err))
		json.NewEncoder(w).Encode(answer)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.Handle("GET /console/{namespace}/{name}", consoles)
	return mux
}
