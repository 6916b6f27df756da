package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/api/hook"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

const userAgent = "Wasmbed-Webhook/1"

// Reasons of attempts that failed, and of conditions.
const (
	reasonNoAnswer  = "NoAnswer"         // no connection, or it broke, or it was too slow
	reasonForbidden = "AddressForbidden" // not a public address
	reasonRefused   = "Refused"          // another status than 2xx
	reasonRedirect  = "Redirected"       // which is not followed
	reasonGone      = "Gone"             // 410
	reasonTooLarge  = "TooLarge"         // 413
	reasonUnfit     = "Unfit"            // 415: it will never take this
	reasonSustained = "SustainedFailure"
	reasonBroken    = "Unreadable" // what is stored
)

// run is one round of sending for one webhook.
type run struct {
	f     *Function
	w     *v1alpha1.Webhook
	h     ledger.Hook
	url   *url.URL
	keys  hook.Keys
	hc    *http.Client
	token string

	mu       sync.Mutex
	failures int64
	since    time.Time
	gone     string    // the receiver said 410: what it said
	rest     time.Time // the line rests until then
}

// send sends what is due of a webhook. The reply, when there is one, says that it is disabled.
func (f *Function) send(ctx context.Context, e ce.Event, h ledger.Hook) (*ce.Event, error) {
	state, err := f.d.Ledger.HookState(ctx, h)
	if err != nil {
		return nil, err
	}
	w, err := f.hook(ctx, h, state.Generation)
	if errs.Is(err, errs.NotFound) {
		return nil, f.d.Ledger.ForgetHook(ctx, h)
	}
	if err != nil {
		return nil, err
	}
	r := &run{f: f, w: w, h: h, token: event.NewID(), failures: state.FailuresInARow, since: state.FailingSince}
	if disabled(w) || w.Spec.Paused {
		return nil, f.finish(ctx, r, ready{}, ledger.Idle{Stop: true})
	}
	if state.Generation != w.Generation { // it is new, or somebody changed it: a new chance
		if err := f.d.Ledger.SetHook(ctx, h, ledger.HookNote{Fresh: true}); err != nil {
			return nil, err
		}
		r.failures, r.since, state.Rest = 0, time.Time{}, time.Time{}
	}
	ok, rate, err := r.prepare(ctx, state)
	if err != nil {
		return nil, err
	}
	if ok.reason != "" {
		return nil, f.finish(ctx, r, ok, ledger.Idle{Rest: f.d.Now().Add(denyRest)})
	}
	if state.Rest.After(f.d.Now()) {
		return nil, f.finish(ctx, r, ok, ledger.Idle{Rest: state.Rest})
	}
	busy, err := r.drain(ctx, rate)
	if err != nil {
		return nil, errors.Join(err, f.finish(ctx, r, ok, ledger.Idle{Rest: r.rest}))
	}
	if !busy.IsZero() { // who sends marks the next timer, unless it ends before
		return nil, f.d.Ledger.IdleHook(ctx, h, r.token, ledger.Idle{Stop: true, Look: busy})
	}
	if why := r.stopReason(); why != "" {
		return f.disable(ctx, e, r, why)
	}
	return nil, f.finish(ctx, r, ok, ledger.Idle{Rest: r.rest})
}

// ready says whether a webhook can send, and if not, why.
type ready struct{ reason, message string }

// prepare checks all that is needed before an event is posted. rate: posts a minute, 0: any.
func (r *run) prepare(ctx context.Context, state ledger.HookState) (ready, int, error) {
	u, err := url.Parse(r.w.Spec.URL)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return ready{"URLInvalid", "the URL cannot be posted to"}, 0, nil
	}
	private := r.w.Spec.AllowPrivate && r.f.d.AllowPrivate
	switch {
	case u.Scheme == "http" && !r.w.Spec.AllowPrivate:
		return ready{"URLInvalid", "https is needed"}, 0, nil
	case r.w.Spec.AllowPrivate && !private:
		return ready{"PrivateForbidden", "this platform does not permit webhooks to private addresses (WASMBED_WEBHOOK_PRIVATE)"}, 0, nil
	}
	r.url = u
	roots := r.f.d.Roots
	if ref := r.w.Spec.CASecretRef; ref != nil {
		switch roots, err = r.f.rootsOf(ctx, r.w.Namespace, ref.Name); errs.CodeOf(err) {
		case "":
		case errs.NotFound:
			return ready{"CAMissing", err.Error()}, 0, nil
		case errs.Denied:
			return ready{"SecretDenied", err.Error()}, 0, nil
		case errs.Invalid:
			return ready{"CAInvalid", err.Error()}, 0, nil
		default:
			return ready{}, 0, err
		}
	}
	r.hc = newClient(reach{private: private, clear: u.Scheme == "http"}, roots, r.f.d.Resolver)
	if r.keys, err = r.f.keysOf(ctx, r.w); err != nil {
		switch errs.CodeOf(err) {
		case errs.NotFound:
			return ready{"SecretMissing", err.Error()}, 0, nil
		case errs.Denied:
			return ready{"SecretDenied", err.Error()}, 0, nil
		case errs.Invalid:
			return ready{"SecretInvalid", err.Error()}, 0, nil
		}
		return ready{}, 0, err
	}
	if state.Waiting == 0 {
		return ready{}, 0, nil // nobody is asked before there is something to say
	}
	s, err := r.f.handshake(ctx, r.w, r.h, state, r.keys, r.hc)
	switch {
	case err == nil:
		return ready{}, s.Rate, nil
	case errs.Is(err, errs.Denied), errs.Is(err, errs.Unavailable):
		return ready{"HandshakeFailed", err.Error()}, 0, nil
	}
	return ready{}, 0, err
}

// drain sends until nothing is due, the line must rest, or its time is over. busy: somebody else sends.
func (r *run) drain(ctx context.Context, rate int) (busy time.Time, err error) {
	until := r.f.d.Now().Add(sendTime)
	for first := true; ; first = false {
		n := batch
		if rate > 0 || r.resting() {
			n = 1 // one that tries how it is
		}
		ds, busy, err := r.f.d.Ledger.TakeHook(ctx, r.h, r.token, n, lease)
		if err != nil || !busy.IsZero() && first {
			return busy, err
		}
		if len(ds) == 0 || !busy.IsZero() {
			return time.Time{}, nil
		}
		if err := r.sendAll(ctx, ds); err != nil {
			return time.Time{}, err
		}
		now := r.f.d.Now()
		if rate > 0 {
			r.rest = later(r.rest, now.Add(time.Minute/time.Duration(rate)))
		}
		if r.stopReason() != "" || r.rest.After(now) || !now.Before(until) || ctx.Err() != nil {
			return time.Time{}, nil
		}
	}
}

// sendAll makes an attempt of each, a few at once. After failures in a row, those that were not begun stay for later.
func (r *run) sendAll(ctx context.Context, ds []ledger.HookDelivery) error {
	slots := make(chan struct{}, parallel)
	failed := make(chan error, len(ds))
	var wg sync.WaitGroup
	for i := range ds {
		slots <- struct{}{}
		if i > 0 && r.resting() {
			<-slots
			r.putBack(ctx, ds[i], failed)
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := r.attempt(ctx, ds[i]); err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func (r *run) resting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone != "" || r.failures >= restAfter
}

// putBack returns what was taken and not sent.
func (r *run) putBack(ctx context.Context, d ledger.HookDelivery, failed chan<- error) {
	now := r.f.d.Now().UTC()
	d.Next = &now
	if _, _, err := r.f.d.Ledger.SettleHook(ctx, r.h, d, "", false, false); err != nil {
		failed <- err
	}
}

// attempt posts one delivery and records what became of it.
func (r *run) attempt(ctx context.Context, d ledger.HookDelivery) error {
	began := r.f.d.Now().UTC()
	try, after := r.post(ctx, d)
	try.Time = r.f.d.Now().UTC()
	try.Seconds = try.Time.Sub(began).Seconds()
	d.Attempts++
	d.Tries = append(d.Tries, try)
	if len(d.Tries) > maxTries {
		d.Tries = d.Tries[len(d.Tries)-maxTries:]
	}
	d.Status, d.Next = ledger.HookDelivered, nil
	if try.Reason != "" {
		d.Status = ledger.HookFailed
		final := try.Reason == reasonTooLarge || try.Reason == reasonUnfit || try.Reason == reasonBroken
		if !final && (d.Attempts < int(r.w.Spec.MaxAttempts) || try.Reason == reasonGone) {
			next := try.Time.Add(max(r.f.backoff(d.Attempts), after))
			d.Status, d.Next = ledger.HookWaiting, &next
		}
	}
	last, err := json.Marshal(v1alpha1.WebhookDelivery{Time: metaTime(try.Time), ID: d.ID, Type: d.Type, Status: int32(try.Status), Reason: try.Reason, Message: try.Message})
	if err != nil {
		return errs.New(errs.Internal, "attempt: %w", err)
	}
	// What became of it is recorded even when the time of this event is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTimeout)
	defer cancel()
	failures, since, err := r.f.d.Ledger.SettleHook(ctx, r.h, d, string(last), try.Reason == "", try.Reason != "")
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures, r.since = failures, since
	if try.Reason == reasonGone {
		r.gone = try.Message
	}
	if failures >= restAfter {
		r.rest = later(r.rest, try.Time.Add(min(restMost, time.Second<<min(failures, 16))))
	}
	if after > 0 && try.Status == http.StatusTooManyRequests {
		r.rest = later(r.rest, try.Time.Add(after)) // all of it comes too often
	}
	return nil
}

// backoff is how long after the n-th failed attempt the next one comes.
func (f *Function) backoff(n int) time.Duration {
	d := schedule[min(max(n, 1), len(schedule))-1]
	return d + time.Duration((f.jitter()-0.5)*0.2*float64(d))
}

// post posts one event once. after: how long the receiver asks to wait.
func (r *run) post(ctx context.Context, d ledger.HookDelivery) (try ledger.HookTry, after time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	var e ce.Event
	if err := json.Unmarshal(d.Event, &e); err != nil {
		return ledger.HookTry{Reason: reasonBroken, Message: clip(err.Error(), ledger.MaxMessage)}, 0
	}
	header := http.Header{}
	body, err := encode(r.w.Spec.Format, e, header)
	if err != nil {
		return ledger.HookTry{Reason: reasonBroken, Message: clip(err.Error(), ledger.MaxMessage)}, 0
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url.String(), bytes.NewReader(body))
	if err != nil {
		return ledger.HookTry{Reason: reasonBroken, Message: clip(err.Error(), ledger.MaxMessage)}, 0
	}
	req.Header = header
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set(hook.HeaderHops, strconv.Itoa(hops(e)+1))
	r.keys.Set(req.Header, "msg_"+d.ID, r.f.d.Now(), body)
	resp, err := r.hc.Do(req)
	if err != nil {
		return ledger.HookTry{Reason: failure(err), Message: clip(quiet(err), ledger.MaxMessage)}, 0
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // the status counts; this is for people
	try = ledger.HookTry{Status: resp.StatusCode, Response: excerpt(answer)}
	switch c := resp.StatusCode; {
	case c/100 == 2:
		return try, 0
	case c/100 == 3:
		try.Reason = reasonRedirect
	case c == http.StatusGone:
		try.Reason = reasonGone
	case c == http.StatusRequestEntityTooLarge:
		try.Reason = reasonTooLarge
	case c == http.StatusUnsupportedMediaType:
		try.Reason = reasonUnfit
	default:
		try.Reason = reasonRefused
	}
	try.Message = resp.Status
	return try, retryAfter(resp.Header.Get("Retry-After"), r.f.d.Now())
}

// retryAfter reads seconds or a date (RFC 9110 §10.2.3); 0 for neither.
func retryAfter(v string, now time.Time) time.Duration {
	var d time.Duration
	if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if t, err := http.ParseTime(v); err == nil {
		d = t.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// hops is how many webhooks an event has come through.
func hops(e ce.Event) int {
	switch v := e.Extensions()[event.ExtHops].(type) {
	case int32:
		return int(v)
	case string:
		n, _ := strconv.Atoi(v)
		return n
	}
	return 0
}

func failure(err error) string {
	if errors.Is(err, errForbidden) {
		return reasonForbidden
	}
	return reasonNoAnswer
}

// quiet says an error without the URL, which may hold a token.
func quiet(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return err.Error()
}

// excerpt is the beginning of an answer as a person can read it, without what looks like a secret.
func excerpt(b []byte) string {
	s := string(hook.Redact(b, maxExcerpt))
	return strings.Map(func(c rune) rune {
		if c == utf8.RuneError || unicode.IsControl(c) && c != '\n' && c != '\t' {
			return '.'
		}
		return c
	}, s)
}

func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
