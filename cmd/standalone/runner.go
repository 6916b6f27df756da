package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// errStopped is why parts end when the platform does.
var errStopped = errors.New("the platform stops")

// runners keeps parts running and ends them in order.
type runners struct {
	log *slog.Logger

	mu  sync.Mutex
	all map[string]*runner
}

type runner struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
}

func newRunners(log *slog.Logger) *runners { return &runners{log: log, all: map[string]*runner{}} }

// serveFunc serves until its context ends.
type serveFunc func(context.Context) error

// start makes a part and runs it until stop. An error of the first make is start's; later ones are tried
// again with a back-off, as are parts that end by themselves. The part's context is not ctx's child: parts
// end one after the other, by stop.
func (r *runners) start(ctx context.Context, name string, make func() (serveFunc, error)) error {
	serve, err := make()
	if err != nil {
		return err
	}
	r.keep(ctx, name, func(ctx context.Context) {
		pause := restartFirst
		for {
			begun := time.Now()
			if serve != nil {
				err = serve(ctx)
			}
			if ctx.Err() != nil {
				return
			}
			if time.Since(begun) > stableAfter {
				pause = restartFirst
			}
			r.log.Error("a part ended and is started again", "of", name, "cause", err, "in", pause)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, restartMax)
			serve, err = make()
		}
	})
	return nil
}

// keep runs fn under a name until it returns; stop ends its context.
func (r *runners) keep(ctx context.Context, name string, fn func(context.Context)) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	run := &runner{cancel: cancel, done: make(chan struct{})}
	r.mu.Lock()
	r.all[name] = run
	r.mu.Unlock()
	go func() {
		defer close(run.done)
		fn(ctx)
	}()
}

// stop ends parts together and waits for them, at most until the deadline; it reports whether all ended.
func (r *runners) stop(deadline <-chan time.Time, names ...string) bool {
	var waiting []*runner
	for _, n := range names {
		r.mu.Lock()
		run := r.all[n]
		delete(r.all, n)
		r.mu.Unlock()
		if run != nil {
			run.cancel(errStopped)
			waiting = append(waiting, run)
		}
	}
	for _, run := range waiting {
		select {
		case <-run.done:
		case <-deadline:
			return false
		}
	}
	return true
}

// names lists what runs.
func (r *runners) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.all))
}
