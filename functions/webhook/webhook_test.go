package webhook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/hook"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

const (
	ns        = "plant"
	oldSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	newSecret = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
)

// got is one request that a receiver got.
type got struct {
	method string
	header http.Header
	body   []byte
}

// receiver is somebody's server.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	all    []got
	answer func(w http.ResponseWriter, r *http.Request, n int) // n: posts so far
}

func newReceiver(t *testing.T, answer func(http.ResponseWriter, *http.Request, int)) *receiver {
	rc := &receiver{answer: answer}
	rc.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		rc.mu.Lock()
		rc.all = append(rc.all, got{r.Method, r.Header.Clone(), b})
		n := 0
		for _, g := range rc.all {
			if g.method == http.MethodPost {
				n++
			}
		}
		rc.mu.Unlock()
		if rc.answer != nil {
			rc.answer(w, r, n)
		}
	}))
	t.Cleanup(rc.Close)
	return rc
}

func (rc *receiver) of(method string) []got {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	var out []got
	for _, g := range rc.all {
		if g.method == method {
			out = append(out, g)
		}
	}
	return out
}

func (rc *receiver) posts() []got { return rc.of(http.MethodPost) }

// bench is the function on a real Redis, with a clock that the test moves. It plays the gateways, who say when timers are due.
type bench struct {
	*testing.T
	f    *Function
	l    *ledger.Ledger
	set  *client.Set
	mu   sync.Mutex
	now  time.Time
	said []ce.Event
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) move(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func start(t *testing.T, rc *receiver) *bench {
	b := &bench{T: t, now: time.Now().Truncate(time.Millisecond)}
	b.l = ledger.New(testredis.Start(t).Client(t), ledger.Options{Now: b.clock})
	b.set = client.NewMemoryWith(client.MemoryOptions{Now: b.clock})
	d := Deps{Client: b.set, Ledger: b.l, AllowPrivate: true, Origin: "wasmbed.test", Now: b.clock, Log: slog.New(slog.DiscardHandler)}
	if rc != nil {
		d.Roots = rc.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	}
	b.f = New(d)
	b.f.jitter = func() float64 { return 0.5 }
	if _, _, err := b.l.Era(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.secret("key", v1alpha1.SecretTypeWebhook, map[string][]byte{"secret": []byte(newSecret)})
	return b
}

func (b *bench) secret(name, typ string, data map[string][]byte) {
	b.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Type: corev1.SecretType(typ), Data: data}
	if have, err := b.set.Secrets.Get(b.Context(), ns, name); err == nil {
		have.Data = data
		if _, err := b.set.Secrets.Update(b.Context(), have); err != nil {
			b.Fatal(err)
		}
		return
	}
	if _, err := b.set.Secrets.Create(b.Context(), s); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) webhook(name, url string, change func(*v1alpha1.WebhookSpec)) *v1alpha1.Webhook {
	b.Helper()
	w := &v1alpha1.Webhook{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha1.WebhookSpec{URL: url, AllowPrivate: true, SecretRef: v1alpha1.SecretReference{Name: "key"}}}
	if change != nil {
		change(&w.Spec)
	}
	w, err := b.set.Webhooks.Create(b.Context(), w)
	if err != nil {
		b.Fatal(err)
	}
	b.changed("dev.knative.apiserver.ref.add", name)
	return w
}

func (b *bench) update(name string, change func(*v1alpha1.WebhookSpec)) {
	b.Helper()
	w := b.get(name)
	change(&w.Spec)
	if _, err := b.set.Webhooks.Update(b.Context(), w); err != nil {
		b.Fatal(err)
	}
	b.changed(event.RefUpdate, name)
}

func (b *bench) get(name string) *v1alpha1.Webhook {
	b.Helper()
	w, err := b.set.Webhooks.Get(b.Context(), ns, name)
	if err != nil {
		b.Fatal(err)
	}
	return w
}

// changed says a Webhook's change, as the source does.
func (b *bench) changed(typ, name string) {
	b.Helper()
	b.handle(b.event(typ, event.NewID(), event.ObjectReference{APIVersion: "wasmbed.io/v1alpha1", Kind: "Webhook", Namespace: ns, Name: name}))
}

func (b *bench) event(typ, id string, data any, opts ...event.Option) ce.Event {
	b.Helper()
	e, err := event.New(typ, "/test", ns+"/thing", id, data, append([]event.Option{event.In(ns), event.At(b.clock())}, opts...)...)
	if err != nil {
		b.Fatal(err)
	}
	return e
}

func (b *bench) handle(e ce.Event) {
	b.Helper()
	out, err := b.f.Handle(b.Context(), e)
	if err != nil {
		b.Fatalf("%s: %v", e.Type(), err)
	}
	if out != nil {
		b.said = append(b.said, *out)
	}
}

// tick gives out what is due, and reports how many timers that were.
func (b *bench) tick() int {
	b.Helper()
	n := 0
	for s := range b.l.Shards() {
		ts, err := b.l.Due(b.Context(), s, 100)
		if err != nil {
			b.Fatal(err)
		}
		if err := b.l.DoneDue(b.Context(), s, ts); err != nil {
			b.Fatal(err)
		}
		for _, t := range ts {
			n++
			b.handle(b.event(event.TimerDue, event.NewID(), t))
		}
	}
	return n
}

// settle ticks until nothing is due.
func (b *bench) settle() {
	b.Helper()
	for range 50 {
		if b.tick() == 0 {
			return
		}
	}
	b.Fatal("timers without end")
}

func (b *bench) deliveries(name string) []ledger.HookDelivery {
	b.Helper()
	ds, _, err := b.l.Deliveries(b.Context(), ledger.Hook{Namespace: ns, Name: name}, "", 500)
	if err != nil {
		b.Fatal(err)
	}
	return ds
}

func verify(t *testing.T, secret string, g got) {
	t.Helper()
	v, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.VerifyIgnoringTimestamp(g.body, g.header); err != nil {
		t.Errorf("a verifier that is not ours: %v", err)
	}
}

// TestEveryTransition: each event that is wanted comes once it is said, signed, in the format that was asked for, and no other.
func TestEveryTransition(t *testing.T) {
	rc := newReceiver(t, nil)
	b := start(t, rc)
	b.webhook("all", rc.URL+"/all", nil)
	b.settle()
	for i, e := range []ce.Event{
		b.event(event.RolloutStarted, "1", event.Rollout{Namespace: ns, Application: "hello", To: "hello-2"}),
		b.event(event.DeviceStateChanged, "2", event.StateChanged{Changes: []event.Change{{App: "hello", To: "done"}}}),
		b.event(event.RefUpdate, "3", event.ObjectReference{Kind: "Application", Namespace: ns, Name: "hello"}),
		b.event("com.example.own", "4", map[string]int{"x": 1}),
		b.event(event.RolloutStarted, "5", event.Rollout{}, event.In("other")), // another tenant's
		b.event(event.TelemetryReceived, "6", event.TelemetryBatch{}),
		b.event(event.DeviceEnrollmentRequested, "7", event.EnrollmentRequest{Claim: []byte("x")}),
	} {
		b.handle(e)
		if i%2 == 0 {
			b.handle(e) // the broker says it twice
		}
	}
	b.settle()
	posts := rc.posts()
	ids := map[string]int{}
	for _, g := range posts {
		verify(t, newSecret, g)
		v, err := standardwebhooks.NewWebhook(newSecret)
		if err != nil || v.Verify(g.body, g.header) != nil {
			t.Error("the timestamp is not of now")
		}
		var e ce.Event
		if err := json.Unmarshal(g.body, &e); err != nil || g.header.Get("Content-Type") != "application/cloudevents+json" {
			t.Fatalf("%s: %v", g.body, err)
		}
		ids[e.ID()]++
		if want := "msg_" + hook.DeliveryID(ns, "all", e.Source(), e.ID()); g.header.Get("webhook-id") != want {
			t.Errorf("id %s, want %s", g.header.Get("webhook-id"), want)
		}
	}
	delete(ids, "")
	for _, id := range []string{"1", "2", "3", "4"} {
		if ids[id] != 1 {
			t.Errorf("event %s came %d times", id, ids[id])
		}
	}
	for _, id := range []string{"5", "6", "7"} {
		if ids[id] != 0 {
			t.Errorf("event %s came", id)
		}
	}
	b.move(time.Minute)
	b.settle()
	w := b.get("all")
	if w.Status.Delivered != 5 || w.Status.Waiting != 0 || !meta.IsStatusConditionTrue(w.Status.Conditions, "Ready") || w.Status.LastDelivery == nil || w.Status.LastDelivery.Status != 200 {
		t.Errorf("status %+v", w.Status) // 4, and that the webhook itself was made
	}
	// Its own writing of the status is no news: otherwise it would feed itself.
	n := len(rc.posts())
	b.changed(event.RefUpdate, "all")
	b.settle()
	if len(rc.posts()) != n {
		t.Error("a status write was sent")
	}
}

func TestFormatsAndFilters(t *testing.T) {
	rc := newReceiver(t, nil)
	b := start(t, rc)
	b.secret("key", "", map[string][]byte{"secret": []byte(newSecret), "previous": []byte(oldSecret), "authorization": []byte("Bearer abc")})
	only := func(s *v1alpha1.WebhookSpec) { s.Types = []string{"io.wasmbed.rollout.*"} }
	b.webhook("binary", rc.URL, func(s *v1alpha1.WebhookSpec) { only(s); s.Format = v1alpha1.FormatBinary })
	b.webhook("json", rc.URL, func(s *v1alpha1.WebhookSpec) {
		only(s)
		s.Format, s.Filter = v1alpha1.FormatJSON, &v1alpha1.WebhookFilter{Application: "hello", SubjectPrefix: ns + "/"}
	})
	b.webhook("other", rc.URL, func(s *v1alpha1.WebhookSpec) { only(s); s.Filter = &v1alpha1.WebhookFilter{Application: "nobody"} })
	b.handle(b.event(event.RolloutStarted, "1", event.Rollout{Namespace: ns, Application: "hello", To: "hello-2"}, event.Ext(event.ExtTraceParent, "00-x y%-01")))
	b.handle(b.event(event.RollbackDecided, "2", event.Rollout{Namespace: ns, Application: "hello"}))
	b.settle()
	posts := rc.posts()
	if len(posts) != 2 {
		t.Fatalf("%d posts", len(posts))
	}
	for _, g := range posts {
		verify(t, newSecret, g)
		verify(t, oldSecret, g) // two in rotation
		if g.header.Get("Authorization") != "Bearer abc" {
			t.Error("no authorization")
		}
		if g.header.Get("Ce-Type") != "" {
			e, err := event.ReadRequest(&http.Request{Method: "POST", Header: g.header, Body: io.NopCloser(strings.NewReader(string(g.body))), ContentLength: int64(len(g.body))}, 0)
			if err != nil || e.ID() != "1" || event.Extension(e, event.ExtTraceParent) != "00-x y%-01" {
				t.Errorf("binary: %v %v", e, err)
			}
			continue
		}
		var p plain
		if err := json.Unmarshal(g.body, &p); err != nil || p.Type != event.RolloutStarted || p.Timestamp.IsZero() || !strings.Contains(string(p.Data), "hello-2") || p.Namespace != ns {
			t.Errorf("json: %s %v", g.body, err)
		}
	}
}

// TestRetries: back-off, Retry-After, a dead letter at the end, and that one again by hand, under the same id.
func TestRetries(t *testing.T) {
	answer := http.StatusInternalServerError
	after := ""
	rc := newReceiver(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(answer)
		fmt.Fprint(w, `{"error":"no","token":"hunter2","n":`+strings.Repeat("1", 3000)+`}`)
	})
	b := start(t, rc)
	b.webhook("w", rc.URL, func(s *v1alpha1.WebhookSpec) { s.Types, s.MaxAttempts = []string{"x.y"}, 4 })
	b.handle(b.event("x.y", "1", map[string]string{"a": "b"}))
	b.settle()
	for i, wait := range []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute} {
		if n := len(rc.posts()); n != i+1 {
			t.Fatalf("%d posts, want %d", n, i+1)
		}
		b.move(wait - time.Second)
		b.settle()
		if n := len(rc.posts()); n != i+1 {
			t.Fatalf("a post before its time: %d", n)
		}
		b.move(2 * time.Second)
		b.settle()
	}
	ds := b.deliveries("w")
	if len(ds) != 1 || ds[0].Status != ledger.HookFailed || ds[0].Attempts != 4 || len(ds[0].Tries) != 4 || ds[0].Tries[0].Status != 500 {
		t.Fatalf("%+v", ds)
	}
	if r := ds[0].Tries[0].Response; len(r) > maxExcerpt || strings.Contains(r, "hunter2") || !strings.Contains(r, "***") && !strings.Contains(r, "error") {
		t.Errorf("excerpt %q", r)
	}
	b.move(time.Hour)
	b.settle()
	if n := len(rc.posts()); n != 4 {
		t.Fatalf("a dead letter is sent: %d", n)
	}
	// By hand.
	answer, after = http.StatusTooManyRequests, "600"
	again := b.event(event.WebhookRedeliveryRequested, "r1", event.WebhookRedelivery{Namespace: ns, Webhook: "w", Delivery: ds[0].ID})
	b.handle(again)
	b.settle()
	b.handle(again) // twice is once
	b.settle()
	if n := len(rc.posts()); n != 5 {
		t.Fatalf("%d posts", n)
	}
	b.move(9 * time.Minute)
	b.settle()
	if n := len(rc.posts()); n != 5 {
		t.Fatal("Retry-After is not kept")
	}
	answer, after = http.StatusNoContent, ""
	b.move(2 * time.Minute)
	b.settle()
	posts := rc.posts()
	if len(posts) != 6 || posts[0].header.Get("webhook-id") != posts[5].header.Get("webhook-id") {
		t.Fatalf("%d posts", len(posts))
	}
	if ds := b.deliveries("w"); ds[0].Status != ledger.HookDelivered {
		t.Errorf("%+v", ds[0])
	}
	answer = http.StatusUnsupportedMediaType // never again
	b.handle(b.event("x.y", "2", 1))
	b.settle()
	if ds := b.deliveries("w"); ds[0].Status != ledger.HookFailed || ds[0].Attempts != 1 {
		t.Errorf("%+v", ds[0])
	}
}

func TestGoneDisables(t *testing.T) {
	answer := http.StatusGone
	rc := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(answer) })
	b := start(t, rc)
	b.webhook("w", rc.URL, func(s *v1alpha1.WebhookSpec) { s.Types = []string{"x.y"} })
	b.handle(b.event("x.y", "1", 1))
	b.settle()
	if len(b.said) != 1 || b.said[0].Type() != event.WebhookDisabled {
		t.Fatalf("said %v", b.said)
	}
	stopped, err := event.Data[event.WebhookStopped](b.said[0])
	if err != nil || stopped.Reason != "Gone" || stopped.Waiting != 1 {
		t.Errorf("%+v %v", stopped, err)
	}
	w := b.get("w")
	if !meta.IsStatusConditionTrue(w.Status.Conditions, "Disabled") || meta.IsStatusConditionTrue(w.Status.Conditions, "Ready") {
		t.Errorf("%+v", w.Status.Conditions)
	}
	b.handle(b.event("x.y", "2", 1))
	b.move(time.Hour)
	b.settle()
	if n := len(rc.posts()); n != 1 {
		t.Fatalf("%d posts to somebody who is gone", n)
	}
	answer = 200
	b.update("w", func(s *v1alpha1.WebhookSpec) { s.Enables++ })
	b.settle()
	b.move(time.Minute)
	b.settle()
	w = b.get("w")
	if n := len(rc.posts()); n != 2 || meta.IsStatusConditionTrue(w.Status.Conditions, "Disabled") || !meta.IsStatusConditionTrue(w.Status.Conditions, "Ready") || w.Status.Dropped != 1 || w.Status.Delivered != 1 {
		t.Errorf("%d posts, %+v", n, w.Status)
	}
}

// TestSustainedFailure: a receiver that is away for long is left alone, and one that is slow or away is not hammered meanwhile.
func TestSustainedFailure(t *testing.T) {
	up := false
	rc := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		if !up {
			w.WriteHeader(503)
		}
	})
	b := start(t, rc)
	b.webhook("w", rc.URL, func(s *v1alpha1.WebhookSpec) {
		s.Types, s.DisableAfter = []string{"x.y"}, &metav1.Duration{Duration: time.Hour}
	})
	for i := range 100 {
		b.handle(b.event("x.y", fmt.Sprint(i), i))
		b.settle()
		b.move(100 * time.Millisecond)
	}
	if n := len(rc.posts()); n < 3 || n > 10 {
		t.Errorf("%d posts in ten seconds to somebody who takes nothing", n)
	}
	for range 70 {
		b.move(time.Minute)
		b.settle()
	}
	if len(b.said) != 1 || !meta.IsStatusConditionTrue(b.get("w").Status.Conditions, "Disabled") {
		t.Fatalf("said %v", b.said)
	}
	if n := len(rc.posts()); n > 40 {
		t.Errorf("%d posts", n)
	}
	up = true
	b.update("w", func(s *v1alpha1.WebhookSpec) { s.Enables++ })
	for range 200 {
		b.move(10 * time.Minute)
		b.settle()
	}
	seen := map[string]bool{}
	for _, d := range b.deliveries("w") {
		if d.Status == ledger.HookDelivered {
			seen[d.EventID] = true
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d of 100 arrived in the end", len(seen))
	}
}

func TestPausedTestedAndTooLarge(t *testing.T) {
	rc := newReceiver(t, nil)
	b := start(t, rc)
	b.webhook("w", rc.URL, func(s *v1alpha1.WebhookSpec) { s.Types, s.Paused = []string{"x.y"}, true })
	b.handle(b.event("x.y", "1", 1))
	b.settle()
	if len(rc.posts()) != 0 || b.get("w").Status.Waiting != 1 {
		t.Fatalf("paused: %d posts, %+v", len(rc.posts()), b.get("w").Status)
	}
	b.update("w", func(s *v1alpha1.WebhookSpec) { s.Paused = false })
	b.settle()
	b.handle(b.event(event.WebhookTested, "t", event.WebhookTest{Namespace: ns, Webhook: "w"}))
	b.handle(b.event("x.y", "big", strings.Repeat("x", ledger.MaxHookEvent)))
	b.settle()
	if n := len(rc.posts()); n != 2 {
		t.Errorf("%d posts", n)
	}
	if ds := b.deliveries("w"); len(ds) != 3 || ds[0].Tries[0].Reason != "TooLarge" && ds[1].Tries[0].Reason != "TooLarge" {
		t.Errorf("%+v", ds)
	}
	if err := b.set.Webhooks.Delete(b.Context(), ns, "w"); err != nil {
		t.Fatal(err)
	}
	b.changed(event.RefDelete, "w")
	if ds := b.deliveries("w"); len(ds) != 0 {
		t.Errorf("what was sent for a webhook that is gone stays: %d", len(ds))
	}
}

func TestSecrets(t *testing.T) {
	rc := newReceiver(t, nil)
	b := start(t, rc)
	for name, c := range map[string]struct {
		typ, secret, reason string
		missing             bool
	}{
		"missing": {missing: true, reason: "SecretMissing"}, "opaque": {typ: "Opaque", secret: newSecret, reason: "SecretInvalid"},
		"short": {typ: v1alpha1.SecretTypeWebhook, secret: "short", reason: "SecretInvalid"}, "base64": {typ: v1alpha1.SecretTypeWebhook, secret: "whsec_!!!!", reason: "SecretInvalid"},
		"raw": {typ: v1alpha1.SecretTypeWebhook, secret: strings.Repeat("r", 32), reason: "Ready"},
	} {
		if !c.missing {
			b.secret(name, c.typ, map[string][]byte{"secret": []byte(c.secret)})
		}
		b.webhook(name, rc.URL, func(s *v1alpha1.WebhookSpec) { s.SecretRef.Name, s.Types = name, []string{"x.y"} })
		b.settle()
		cond := meta.FindStatusCondition(b.get(name).Status.Conditions, "Ready")
		if cond == nil || cond.Reason != c.reason {
			t.Errorf("%s: %+v", name, cond)
		}
	}
	b.handle(b.event("x.y", "1", 1))
	b.settle()
	posts := rc.posts()
	if len(posts) != 1 {
		t.Fatalf("%d posts", len(posts))
	}
	verify(t, "whsec_"+base64.StdEncoding.EncodeToString([]byte(strings.Repeat("r", 32))), posts[0])
	b.secret("missing", v1alpha1.SecretTypeWebhook, map[string][]byte{"secret": []byte(newSecret)})
	b.move(2 * denyRest)
	b.settle()
	if n := len(rc.posts()); n != 2 {
		t.Errorf("the secret came, and %d posts", n)
	}
}

// TestHandshake: CloudEvents HTTP Webhook, once for each URL.
func TestHandshake(t *testing.T) {
	for _, c := range []struct {
		handshake, allowed, rate string
		posts                    int
	}{
		{"Ask", "", "", 3}, {"Ask", "wasmbed.test", "", 3}, {"Ask", "*", "", 3}, {"Ask", "somebody.else", "", 0},
		{"Require", "", "", 0}, {"Require", "wasmbed.test", "", 3}, {"None", "somebody.else", "", 3}, {"Ask", "*", "60", 1},
	} {
		rc := newReceiver(t, func(w http.ResponseWriter, r *http.Request, _ int) {
			if r.Method == http.MethodOptions && c.allowed != "" {
				w.Header().Set("WebHook-Allowed-Origin", c.allowed)
				w.Header().Set("WebHook-Allowed-Rate", c.rate)
			}
		})
		b := start(t, rc)
		b.webhook("w", rc.URL, func(s *v1alpha1.WebhookSpec) { s.Types, s.Handshake = []string{"x.y"}, c.handshake })
		for i := range 3 {
			b.handle(b.event("x.y", fmt.Sprint(i), 1))
		}
		b.settle()
		if n := len(rc.posts()); n != c.posts {
			t.Errorf("%+v: %d posts", c, n)
		}
		asked := rc.of(http.MethodOptions)
		if c.handshake != "None" && (len(asked) != 1 || asked[0].header.Get("WebHook-Request-Origin") != "wasmbed.test") || c.handshake == "None" && len(asked) != 0 {
			t.Errorf("%+v: asked %d times", c, len(asked))
		}
		if c.rate != "" {
			for range 4 {
				b.move(time.Second)
				b.settle()
			}
			if n := len(rc.posts()); n != 3 {
				t.Errorf("at its rate: %d posts", n)
			}
		}
		if c.posts == 0 {
			if cond := meta.FindStatusCondition(b.get("w").Status.Conditions, "Ready"); cond == nil || cond.Reason != "HandshakeFailed" {
				t.Errorf("%+v: %+v", c, cond)
			}
		}
	}
}

// TestKubernetesAway: what is remembered of webhooks serves on.
func TestKubernetesAway(t *testing.T) {
	rc := newReceiver(t, nil)
	b := start(t, rc)
	b.webhook("w", rc.URL, func(s *v1alpha1.WebhookSpec) { s.Types = []string{"x.y"} })
	b.handle(b.event("x.y", "1", 1))
	b.settle()
	b.move(time.Minute)
	b.f.d.Client.Webhooks = away{b.f.d.Client.Webhooks}
	b.handle(b.event("x.y", "2", 1))
	if len(b.deliveries("w")) != 2 {
		t.Error("an event is lost while Kubernetes is away")
	}
	b.move(time.Hour)
	if _, err := b.f.Handle(t.Context(), b.event("x.y", "3", 1)); !errs.Retryable(err) {
		t.Errorf("nobody knows the webhooks: %v", err)
	}
}

type away struct {
	client.Resource[v1alpha1.Webhook]
}

func (away) List(context.Context, string, client.ListOptions) ([]v1alpha1.Webhook, string, error) {
	return nil, "", errs.New(errs.Unavailable, "away")
}
