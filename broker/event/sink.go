package event

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/trace"
)

// Sink posts events to a broker's ingress. It does not retry: who holds the event decides when to say it
// again, and a post whose answer was lost may have been accepted. Safe for concurrent use.
type Sink struct {
	url     string
	hc      *http.Client
	noBatch atomic.Bool
}

// NewSink makes a sink for the ingress at url. hc nil means a client of its own, whose connections stay
// open; redirects are never followed.
func NewSink(url string, hc *http.Client) *Sink {
	if hc == nil {
		hc = &http.Client{Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			MaxIdleConns:          256,
			MaxIdleConnsPerHost:   256,
			IdleConnTimeout:       90 * time.Second,
			ResponseHeaderTimeout: postTimeout,
			DisableCompression:    true,
		}}
	}
	c := *hc
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Sink{url: url, hc: &c}
}

// URL is where the sink posts.
func (s *Sink) URL() string { return s.url }

// Post posts one event in binary mode. Nil means that the broker has accepted it, durably. Errors:
// errs.Invalid (it will never be accepted), TooLarge, Exhausted (the broker asks to wait), Unavailable,
// Deadline, Unauthenticated, Denied, NotFound (no broker there).
func (s *Sink) Post(ctx context.Context, e ce.Event) (err error) {
	if trace.Traced(ctx) {
		var span *trace.Active
		e, span = traced(ctx, e)
		defer func() { span.End(err) }()
	}
	if err := check(&e); err != nil {
		return errs.New(errs.Invalid, "event: %w", err)
	}
	if len(e.Data()) > MaxEvent {
		return errs.New(errs.TooLarge, "event %s of %d bytes, at most %d", e.Type(), len(e.Data()), MaxEvent)
	}
	h := make(http.Header, 12)
	SetHeader(h, Attributes(&e))
	return s.do(ctx, h, e.Data())
}

// PostBatch posts events together: all of them are accepted, or the error says why at least one was not
// (then some may have been: post all of them again). A broker that takes no batches, as Knative's, gets
// them one by one in parallel.
func (s *Sink) PostBatch(ctx context.Context, es []ce.Event) error {
	for len(es) > 0 {
		n, err := s.postSome(ctx, es)
		if err != nil {
			return err
		}
		es = es[n:]
	}
	return nil
}

// postSome posts a first part of es that fits into one batch, and returns its length.
func (s *Sink) postSome(ctx context.Context, es []ce.Event) (int, error) {
	if len(es) == 1 {
		return 1, s.Post(ctx, es[0])
	}
	if s.noBatch.Load() {
		return len(es), s.postEach(ctx, es)
	}
	var body bytes.Buffer
	n := 0
	body.WriteByte('[')
	for i := range es {
		if err := check(&es[i]); err != nil {
			return 0, errs.New(errs.Invalid, "event %d: %w", i, err)
		}
		b, err := json.Marshal(es[i])
		if err != nil {
			return 0, errs.New(errs.Invalid, "event %d: %w", i, err)
		}
		if n > 0 && (body.Len()+len(b)+2 > MaxEvent || n == MaxBatch) {
			break
		}
		if n > 0 {
			body.WriteByte(',')
		}
		body.Write(b)
		n++
	}
	body.WriteByte(']')
	if n == 1 {
		return 1, s.Post(ctx, es[0])
	}
	err := s.do(ctx, http.Header{contentType: {ce.ApplicationCloudEventsBatchJSON}}, body.Bytes())
	if errs.Is(err, errs.Invalid) {
		// No batches here, or one of the events is wrong: single posts tell which.
		if err := s.postEach(ctx, es[:n]); err != nil {
			return 0, err
		}
		s.noBatch.Store(true)
		return n, nil
	}
	return n, err
}

func (s *Sink) postEach(ctx context.Context, es []ce.Event) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelPosts)
	for _, e := range es {
		g.Go(func() error { return s.Post(ctx, e) })
	}
	return g.Wait()
}

func (s *Sink) do(ctx context.Context, h http.Header, body []byte) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, postTimeout)
		defer cancel()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return errs.New(errs.Invalid, "broker %s: %w", s.url, err)
	}
	r.Header = h
	resp, err := s.hc.Do(r)
	if err != nil {
		code := errs.Unavailable
		if errors.Is(err, context.DeadlineExceeded) {
			code = errs.Deadline
		}
		return errs.New(code, "broker: %w", err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // read so that the connection can be used again
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode/100 == 3:
		return errs.New(errs.Unavailable, "broker %s answered %s", s.url, resp.Status)
	}
	e := errs.New(errs.FromHTTP(resp.StatusCode), "broker answered %s: %s", resp.Status, strings.TrimSpace(string(answer)))
	if after := resp.Header.Get("Retry-After"); after != "" {
		return e.WithMend("retry after %s s", after)
	}
	return e
}
