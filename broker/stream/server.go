package stream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/ports"
)

// Server is a Broker behind a listener: POST anywhere is the ingress, GET /healthz says that the process
// lives, GET /readyz that Redis answers, GET /metrics the metrics.
type Server struct {
	b    *Broker
	addr string
	l    net.Listener
	http *http.Server
}

// NewServer makes a server of b at addr (host:port; port 0: any). metrics may be nil.
func NewServer(b *Broker, addr string, metrics prometheus.Gatherer) *Server {
	mux := http.NewServeMux()
	mux.Handle("/", b.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if err := b.Ready(ctx); err != nil {
			http.Error(w, err.Error(), errs.HTTPStatus(err))
		}
	})
	if metrics != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	}
	return &Server{b: b, addr: addr, http: &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 2 * bodyTimeout, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}}
}

// Ready reports errs.Unavailable while posts would be answered 503.
func (b *Broker) Ready(ctx context.Context) error {
	if err := b.rdb.Ping(ctx).Err(); err != nil {
		return storeError(err)
	}
	if b.full.Load() {
		return errs.New(errs.Unavailable, "redis is nearly full")
	}
	return nil
}

// Listen takes the port; then URL is known, and posts wait for Serve. Errors: errs.Unavailable.
func (s *Server) Listen() error {
	l, err := ports.Listen(s.addr, "")
	if err != nil {
		return errs.New(errs.Unavailable, "broker: %w", err)
	}
	s.l = l
	return nil
}

// URL is the ingress as this machine reaches it.
func (s *Server) URL() string {
	if s.l == nil {
		return ""
	}
	host, port, _ := net.SplitHostPort(s.l.Addr().String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Serve accepts and delivers until ctx ends, which is no error. Then, in this order: no new posts are
// taken and those under way are answered (producers before consumers); then the Broker ends as Run says.
// It listens first when Listen was not called.
func (s *Server) Serve(ctx context.Context) error {
	if s.l == nil {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	g, stop := errgroup.WithContext(ctx)
	deliveries, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	g.Go(func() error { return s.b.Run(deliveries) })
	g.Go(func() error {
		if err := s.http.Serve(s.l); !errors.Is(err, http.ErrServerClosed) {
			return errs.New(errs.Unavailable, "broker: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-stop.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.b.o.Grace)
		defer cancel()
		err := s.http.Shutdown(grace)
		if err != nil {
			s.http.Close()
		}
		end(context.Cause(stop))
		return nil
	})
	return g.Wait()
}

// Close gives up the port at once. Serve's way of ending is the better one.
func (s *Server) Close() error {
	if s.l != nil {
		s.l.Close()
	}
	return s.http.Close()
}

// FunctionsAt resolves a Trigger's ref to a Service as base/<name>: all functions behind one address.
func FunctionsAt(base string) func(Ref) (string, error) {
	base = strings.TrimSuffix(base, "/")
	return func(r Ref) (string, error) {
		if r.Kind != "Service" {
			return "", errs.New(errs.Unsupported, "%s %s cannot be resolved without a cluster", r.Kind, r.Name)
		}
		if base == "" {
			return "", errs.New(errs.Unavailable, "no address of the functions is known")
		}
		return base + "/" + url.PathEscape(r.Name), nil
	}
}
