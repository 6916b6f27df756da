package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/webui"
)

// Config is the command's environment, prefix WASMBED_.
type Config struct {
	API     string `envconfig:"API" default:"http://127.0.0.1:3001" desc:"URL of the REST API; whoever logs in acts there with their own Kubernetes token"`
	Listen  string `envconfig:"LISTEN" default:"127.0.0.1:3000" desc:"host:port"`
	Origin  string `envconfig:"ORIGIN" desc:"Scheme, host and port by which browsers reach this server, like https://wasmbed.example.net, when a proxy before it changes the Host header or ends TLS"`
	TLSCert string `envconfig:"TLS_CERT" desc:"File with the certificate chain, PEM; empty: plain HTTP"`
	TLSKey  string `envconfig:"TLS_KEY" desc:"File with its key, PEM"`
}

// serve serves until ctx ends, then lets requests under way finish for a moment.
func serve(ctx context.Context, cfg *Config, log *slog.Logger) error {
	base, err := url.Parse(cfg.API)
	if err != nil {
		return errs.New(errs.Invalid, "WASMBED_API: %w", err)
	}
	h, err := webui.New(webui.Deps{API: base, Origin: cfg.Origin, Log: log})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return errs.New(errs.Unavailable, "listen on %s: %w", cfg.Listen, err)
	}
	scheme := "http"
	if cfg.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
		if err != nil {
			return errs.New(errs.Invalid, "WASMBED_TLS_CERT: %w", err)
		}
		scheme, ln = "https", tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
	}
	log.Info("dashboard", "url", scheme+"://"+ln.Addr().String())
	// Streams have no deadline of writing; they end with this context.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return life }}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	defer time.AfterFunc(time.Second, end).Stop()
	if err := srv.Shutdown(grace); err != nil {
		srv.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
