package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/broker/stream"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/webui"
)

// Config is the command's environment, prefix WASMBED_.
type Config struct {
	RedisURL string `envconfig:"REDIS_URL" default:"redis://127.0.0.1:6379" desc:"Redis with the ledger; reading is all that is done"`
	Listen   string `envconfig:"LISTEN" default:"127.0.0.1:3000" desc:"host:port"`
	Token    string `envconfig:"TOKEN" required:"true" desc:"what opens the page, as ?token= or as a bearer token"`
}

// serve serves until ctx ends, then lets requests under way finish for a moment.
func serve(ctx context.Context, cfg *Config, log *slog.Logger) error {
	o, err := redis.ParseURL(cfg.RedisURL)
	if err != nil {
		return errs.New(errs.Invalid, "WASMBED_REDIS_URL: %w", err)
	}
	rdb := redis.NewClient(o)
	defer rdb.Close()
	l := ledger.New(rdb, ledger.Options{})
	page, err := webui.New(webui.Deps{Ledger: l, Affinity: affinity.New(rdb, l.Keys(), affinity.Options{}), Token: cfg.Token, Log: log,
		Recents: func(ctx context.Context, from string, n int) ([]webui.Recent, string, error) {
			got, next, err := stream.Recent(ctx, rdb, from, n, 0)
			out := make([]webui.Recent, len(got))
			for i, g := range got {
				out[i] = webui.Recent{Time: g.Accepted, Type: g.Event.Type(), Subject: g.Event.Subject()}
			}
			return out, next, err
		}})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return errs.New(errs.Unavailable, "listen on %s: %w", cfg.Listen, err)
	}
	log.Info("status page", "url", "http://"+ln.Addr().String())
	srv := &http.Server{Handler: page, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 15 * time.Second, MaxHeaderBytes: 64 << 10}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		srv.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
