package deadletter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// Poster posts an event to the broker's ingress. event.Sink is one.
type Poster interface {
	Post(context.Context, ce.Event) error
}

// Redeliverer delivers letters again. Safe for concurrent use, also by several processes.
type Redeliverer struct {
	Redis  redis.UniversalClient
	Places Places
	Sink   Poster
	Now    func() time.Time
	Log    *slog.Logger
	// HTTP speaks to functions; nil: a client of its own, whose redirects are not followed.
	HTTP *http.Client
	once sync.Once
	hc   *http.Client
}

// Redeliver delivers letters of a line again, and returns how many were taken; those are letters no more. Without ids:
// all that are there now. A letter of one of our functions goes to it alone, and the function's reply to the broker; one
// of anybody else goes to the broker, and so to every Trigger that wants it, which is safe because functions know an
// event that they have handled. One that is not taken stays, at the end of its line, with what was answered.
//
// Errors: Invalid for what is no line or no id; Unavailable when none of several was taken, with the last reason.
func (r *Redeliverer) Redeliver(ctx context.Context, trigger string, ids ...string) (int, error) {
	if !isTrigger(trigger) {
		return 0, errs.New(errs.Invalid, "dead letters: %q is no namespace/name", trigger)
	}
	for _, id := range ids {
		if !isID(id) {
			return 0, errs.New(errs.Invalid, "dead letters: %q is no letter's id", id)
		}
	}
	ls, err := r.letters(ctx, trigger, ids)
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex
	taken, failed := 0, error(nil)
	g := errgroup.Group{}
	g.SetLimit(redeliverParallel)
	for _, l := range ls {
		g.Go(func() error {
			ok, err := r.again(ctx, l)
			mu.Lock()
			defer mu.Unlock()
			if ok {
				taken++
			}
			if err != nil {
				failed = err
			}
			return nil
		})
	}
	_ = g.Wait() // none of them returns an error
	if taken == 0 && failed != nil {
		return 0, failed
	}
	return taken, nil
}

func (r *Redeliverer) letters(ctx context.Context, trigger string, ids []string) ([]Letter, error) {
	var out []Letter
	if len(ids) > 0 {
		for _, id := range ids {
			ms, err := r.Redis.XRangeN(ctx, lettersKey(trigger), id, id, 1).Result()
			if err != nil {
				return nil, wrap(err)
			}
			for _, m := range ms {
				out = append(out, letterOf(trigger, m))
			}
		}
		return out, nil
	}
	for from := ""; ; {
		ls, next, err := Letters(ctx, r.Redis, trigger, from, MaxPage)
		if err != nil {
			return nil, err
		}
		out = append(out, ls...)
		if from = next; next == "" {
			return out, nil
		}
	}
}

// again delivers one letter again. ok: it was taken. A letter that somebody else is at, or that is gone, is neither.
func (r *Redeliverer) again(ctx context.Context, l Letter) (ok bool, err error) {
	if l.Event.Context == nil {
		return false, errs.New(errs.Invalid, "dead letter %s: %s", l.ID, l.Message)
	}
	busy := busyPrefix + l.Trigger + ":" + l.ID
	mine, err := r.Redis.SetNX(ctx, busy, "1", busyTTL).Result()
	if err != nil || !mine {
		return false, wrap(err)
	}
	// It may have been taken between the list and now.
	if n, err := r.Redis.XRangeN(ctx, lettersKey(l.Trigger), l.ID, l.ID, 1).Result(); err != nil || len(n) == 0 {
		return false, errors.Join(wrap(err), wrap(r.Redis.Del(ctx, busy).Err()))
	}
	e := l.Event.Clone()
	e.SetExtension(ExtRedelivered, strconv.Itoa(l.Redelivered+1))
	post, cancel := context.WithTimeout(ctx, redeliverTime)
	defer cancel()
	status, err := r.post(post, l, e)
	flag, message := "1", ""
	if err != nil {
		flag, message = "0", clean(err.Error(), MaxMessage)
		r.Log.Warn("a dead letter was not taken again", "trigger", l.Trigger, "id", l.Event.ID(), "type", l.Event.Type(), "err", err)
	} else {
		r.Log.Info("a dead letter was taken", "trigger", l.Trigger, "id", l.Event.ID(), "type", l.Event.Type())
	}
	// Also when the caller is gone: what was delivered is no letter any more.
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	note := take.Run(end, r.Redis, []string{lettersKey(l.Trigger), bytesKey, busy, l.mark}, l.Trigger, l.ID, flag, status, message, r.Now().UnixMilli(), l.Redelivered+1).Err()
	return err == nil, errors.Join(err, wrap(note))
}

func (r *Redeliverer) post(ctx context.Context, l Letter, e ce.Event) (status int, err error) {
	name := r.Places.function(l.Dest)
	if name == "" {
		if err := r.Sink.Post(ctx, e); err != nil {
			return errs.HTTPStatus(err), err
		}
		return http.StatusAccepted, nil
	}
	return r.deliver(ctx, name, e)
}

// deliver posts an event to a function, as the broker does, and its reply to the broker.
func (r *Redeliverer) deliver(ctx context.Context, function string, e ce.Event) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Places.address(function), bytes.NewReader(e.Data()))
	if err != nil {
		return 0, errs.New(errs.Invalid, "dead letter: %w", err)
	}
	event.SetHeader(req.Header, event.Attributes(&e))
	if t := event.Extension(e, event.ExtTraceParent); t != "" {
		req.Header.Set("Traceparent", t)
	}
	req.Header.Set("Prefer", "reply")
	resp, err := r.client().Do(req)
	if err != nil {
		return 0, errs.New(errs.Unavailable, "function %s: %w", function, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	switch {
	case err != nil:
		return resp.StatusCode, errs.New(errs.Unavailable, "function %s: its answer breaks off: %w", function, err)
	case resp.StatusCode/100 != 2:
		return resp.StatusCode, errs.New(errs.FromHTTP(resp.StatusCode), "function %s answers %s: %s", function, resp.Status, clean(string(body), MaxMessage))
	case len(body) > maxReply:
		return resp.StatusCode, errs.New(errs.TooLarge, "function %s: its reply is larger than %d bytes", function, maxReply)
	}
	reply, err := event.ReadResponse(resp.Header, body)
	if err != nil {
		return resp.StatusCode, errs.New(errs.Unavailable, "function %s: its reply is no event: %w", function, err)
	}
	if reply == nil {
		return resp.StatusCode, nil
	}
	if err := r.Sink.Post(ctx, *reply); err != nil { // the function answers the same when it is asked again
		return resp.StatusCode, err
	}
	return resp.StatusCode, nil
}

func (r *Redeliverer) client() *http.Client {
	r.once.Do(func() {
		hc := r.HTTP
		if hc == nil {
			hc = &http.Client{Transport: &http.Transport{
				DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, MaxIdleConnsPerHost: redeliverParallel, IdleConnTimeout: 30 * time.Second,
			}}
		}
		c := *hc
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		r.hc = &c
	})
	return r.hc
}

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return errs.New(errs.Unavailable, "dead letters: %w", err)
}
