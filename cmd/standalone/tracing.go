package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wasmbed.io/wasmbed/internal/trace"
)

// traceGrace is how long the spans of a part may take to be written at its end.
const traceGrace = 300 * time.Millisecond

// tracer makes the tracer of a part, each with its own queue.
func (p *platform) tracer(component string, reg prometheus.Registerer) (*trace.Tracer, error) {
	return trace.New(trace.Options{Component: component, Instance: p.cfg.Instance, Redis: p.rdb, Registry: reg, Log: p.log.With("of", component)})
}

// closing has a part's spans written after it has ended.
func closing(t *trace.Tracer, serve serveFunc, err error) (serveFunc, error) {
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		defer func() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), traceGrace)
			defer cancel()
			_ = t.Close(end) // what was not written is lost: a trace is a help
		}()
		return serve(ctx)
	}, nil
}
