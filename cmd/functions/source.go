package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/source"
	"wasmbed.io/wasmbed/functions"
	"wasmbed.io/wasmbed/internal/errs"
)

// sourceName is the value of WASMBED_FUNCTION that runs the source of CRD changes instead of a function.
const sourceName = "source"

// watch announces changes of custom resources to the sink, as the standalone process does. On a cluster it stands beside
// Knative's ApiServerSource (eventing 0.49), for what that does not do: it cannot watch Gateways, whose plural it guesses
// as "gatewaies"; it says nothing of what changed while its adapter starts again, as it does whenever a namespace comes or
// goes; and it gives an event up after five attempts. What the other announces too is held back (WASMBED_SOURCE_HOLD), so
// that it is said a second time, once for all that happened meanwhile; and all of it again and again (WASMBED_SOURCE_AGAIN),
// for a broker on an in-memory channel loses what it took when its pod ends.
func watch(ctx context.Context, cfg *functions.Config, log *slog.Logger) error {
	resources, atOnce := cfg.SourceResources, cfg.SourceAtOnce
	kube, err := kubernetesConfig(cfg)
	if err != nil {
		return err
	}
	sink := cfg.Sink
	if k := os.Getenv("K_SINK"); k != "" {
		sink = k
	}
	if sink == "" {
		return errs.New(errs.Invalid, "WASMBED_SINK is not set").WithMend("set it to the URL of the broker's ingress")
	}
	o := source.Options{Log: log, Again: cfg.SourceAgain}
	for _, r := range resources {
		if r = strings.TrimSpace(r); r != "" {
			o.Resources = append(o.Resources, schema.GroupVersionResource{Group: "wasmbed.io", Version: "v1alpha1", Resource: r})
		}
	}
	if cfg.SourceHold > 0 {
		o.Hold = func(r schema.GroupVersionResource) time.Duration {
			if slices.Contains(atOnce, r.Resource) {
				return 0
			}
			return cfg.SourceHold
		}
	}
	s, err := source.New(kube, event.NewSink(sink, nil), o)
	if err != nil {
		return err
	}
	addr := cfg.Listen
	if addr == "" {
		addr = ":" + cfg.Port
		if cfg.Port == "" {
			addr = ":8083"
		}
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return errs.New(errs.Unavailable, "source: %w", err).WithMend("set WASMBED_LISTEN to a free address")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.Listed() {
			http.Error(w, "not every resource has been listed yet", http.StatusServiceUnavailable)
		}
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	log.Info("watches", "resources", resources, "sink", sink)
	return s.Run(ctx)
}
