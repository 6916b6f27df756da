// Package webhook sends events to the URLs of Webhook objects, signed as Standard Webhooks says: at least once, under
// an id that stays, with retries, and no further than the object's namespace and the platform's rules of addresses go.
//
// It is two things to the broker. Of an event it notes, for each webhook of the event's namespace that wants it, a
// delivery in the ledger, and speaks to nobody: a slow receiver keeps no event waiting. Of a webhook's timer it sends
// what is due, one sender for each webhook at a time.
//
// It alone writes Webhook.status.
package webhook

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/hook"
	"wasmbed.io/wasmbed/api/notice"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Name of this function, and source of what it says.
const (
	Name   = "webhook"
	source = "/wasmbed/functions/" + Name
)

// Types are the events that it takes: any.
func Types() []string { return []string{"*"} }

// Deps is what it works with.
type Deps struct {
	Client       *client.Set
	Ledger       *ledger.Ledger
	AllowPrivate bool           // the platform permits webhooks to private addresses
	Origin       string         // who asks, in the CloudEvents handshake: a DNS name. Default: wasmbed.local
	Callback     string         // URL of the REST API as receivers reach it, for the handshake's callback; "": none is offered
	Roots        *x509.CertPool // of receivers' certificates; nil: the system's
	Resolver     *net.Resolver  // nil: the system's
	Now          func() time.Time
	Log          *slog.Logger
}

// Function is the function. Safe for concurrent use.
type Function struct {
	d      Deps
	notice *notice.Writer
	jitter func() float64 // 0 to 1

	mu      sync.Mutex
	spaces  map[string]*space
	secrets map[string]secretEntry
}

// New returns the function.
func New(d Deps) *Function {
	if d.Origin == "" {
		d.Origin = "wasmbed.local"
	}
	return &Function{d: d, notice: notice.New(d.Client.Events, "wasmbed-webhook", d.Now), jitter: rand.Float64, spaces: map[string]*space{}, secrets: map[string]secretEntry{}}
}

// Handle takes one event. Errors: Invalid for an event that can never be handled, others when it may be tried again.
func (f *Function) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	switch e.Type() {
	case event.TimerDue:
		t, err := event.Data[event.Timer](e)
		if err != nil {
			return nil, err
		}
		switch h := (ledger.Hook{Namespace: t.Namespace, Name: t.Name}); t.Kind {
		case ledger.DueHook:
			return f.send(ctx, e, h)
		case ledger.DueHookSource:
			_, err = f.source(ctx, h)
		}
		return nil, err
	case event.WebhookPermitted:
		p, err := event.Data[event.WebhookPermission](e)
		if err != nil {
			return nil, err
		}
		if err := f.permitted(ctx, p); err != nil {
			return nil, err
		}
	case event.WebhookTested:
		t, err := event.Data[event.WebhookTest](e)
		if err != nil {
			return nil, err
		}
		return nil, f.queue(ctx, ledger.Hook{Namespace: t.Namespace, Name: t.Webhook}, e, true)
	case event.WebhookRedeliveryRequested:
		return nil, f.again(ctx, e)
	case event.TelemetryReceived, event.LogsReceived, event.DeviceEnrollmentRequested:
		return nil, nil // batches that nobody wants one by one; and what devices prove themselves with
	case event.RefAdd, event.RefUpdate, event.RefDelete:
		ref, err := event.Data[event.ObjectReference](e)
		if err != nil {
			return nil, err
		}
		if ref.Kind == v1alpha1.KindWebhookSource {
			wrote, err := f.source(ctx, ledger.Hook{Namespace: ref.Namespace, Name: ref.Name})
			if err != nil || e.Type() == event.RefUpdate && !wrote {
				return nil, err // its status: what came in is no news out
			}
		}
		if ref.Kind == v1alpha1.KindWebhook {
			news, err := f.changed(ctx, e.Type(), ledger.Hook{Namespace: ref.Namespace, Name: ref.Name})
			if err != nil || !news {
				return nil, err
			}
		}
	}
	return nil, f.spread(ctx, e)
}

// changed follows a Webhook object. news: it is not only its status, which this function writes itself.
func (f *Function) changed(ctx context.Context, typ string, h ledger.Hook) (news bool, err error) {
	f.forget(h.Namespace)
	w, err := f.d.Client.Webhooks.Get(ctx, h.Namespace, h.Name)
	if errs.Is(err, errs.NotFound) {
		return typ == event.RefDelete, f.d.Ledger.ForgetHook(ctx, h)
	}
	if err != nil {
		return false, err
	}
	s, err := f.d.Ledger.HookState(ctx, h)
	if err != nil {
		return false, err
	}
	if s.Generation == w.Generation && typ == event.RefUpdate {
		return false, nil
	}
	if err := f.d.Ledger.SetHook(ctx, h, ledger.HookNote{Changed: true}); err != nil {
		return false, err
	}
	return true, f.d.Ledger.MarkDue(ctx, event.Timer{Kind: ledger.DueHook, Namespace: h.Namespace, Name: h.Name})
}

// spread notes the event for each webhook that wants it.
func (f *Function) spread(ctx context.Context, e ce.Event) error {
	ns := event.Namespace(e)
	if ns == "" {
		return nil // of no tenant
	}
	hooks, err := f.hooks(ctx, ns)
	if err != nil || len(hooks) == 0 {
		return err
	}
	var about *subject
	for i := range hooks {
		w := &hooks[i]
		if !wantsType(w.Spec.Types, e.Type()) {
			continue
		}
		if w.Spec.Filter != nil {
			if about == nil {
				about = subjectOf(e)
			}
			if !about.passes(w.Spec.Filter) {
				continue
			}
		}
		h := ledger.Hook{Namespace: ns, Name: w.Name}
		if disabled(w) {
			if err := f.d.Ledger.DropHookEvent(ctx, h); err != nil {
				return err
			}
			continue
		}
		if err := f.queue(ctx, h, e, false); err != nil {
			return err
		}
	}
	return nil
}

// queue notes a delivery. urgent: before all others, and though the line rests.
func (f *Function) queue(ctx context.Context, h ledger.Hook, e ce.Event, urgent bool) error {
	d := ledger.HookDelivery{
		ID: hook.DeliveryID(h.Namespace, h.Name, e.Source(), e.ID()), Type: e.Type(), Source: e.Source(), EventID: e.ID(), Subject: e.Subject(),
		Created: f.d.Now().UTC(), Status: ledger.HookWaiting,
	}
	b, err := json.Marshal(e)
	if err != nil {
		return errs.New(errs.Invalid, "event %s: %w", e.ID(), err)
	}
	if len(b) > ledger.MaxHookEvent {
		d.Status = ledger.HookFailed
		d.Tries = []ledger.HookTry{{Time: d.Created, Reason: "TooLarge", Message: "the event has more bytes than a webhook carries"}}
	} else {
		d.Event = b
	}
	word, err := f.d.Ledger.QueueHook(ctx, h, d, urgent)
	if err == nil && word == "full" {
		f.d.Log.Warn("too many events wait for a webhook: one is not kept", "webhook", h.String(), "type", e.Type(), "id", e.ID())
	}
	return err
}

// again sends a delivery once more. One that is forgotten is nobody's any more.
func (f *Function) again(ctx context.Context, e ce.Event) error {
	r, err := event.Data[event.WebhookRedelivery](e)
	if err != nil {
		return err
	}
	if _, done, err := f.d.Ledger.Once(ctx, Name+" "+e.Source(), e.ID()); err != nil || done != "" {
		return err
	}
	err = f.d.Ledger.AgainHook(ctx, ledger.Hook{Namespace: r.Namespace, Name: r.Webhook}, r.Delivery)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	return f.d.Ledger.SetOnce(ctx, Name+" "+e.Source(), e.ID(), "done")
}

// wantsType reports whether a list of types and beginnings has the type; an empty one has all.
func wantsType(types []string, typ string) bool {
	for _, t := range types {
		if begin, ok := strings.CutSuffix(t, "*"); t == typ || ok && strings.HasPrefix(typ, begin) {
			return true
		}
	}
	return len(types) == 0
}

// subject is what an event is about.
type subject struct {
	subject string
	apps    map[string]bool
}

// subjectOf finds the applications that an event speaks of, in the ways of the catalogue.
func subjectOf(e ce.Event) *subject {
	s := &subject{subject: e.Subject(), apps: map[string]bool{}}
	var d struct {
		Application string                     `json:"application"`
		App         string                     `json:"app"`
		Apps        map[string]json.RawMessage `json:"apps"`
		Changes     []struct {
			App string `json:"app"`
		} `json:"changes"`
		Kind string `json:"kind"`
		Name string `json:"name"`
	}
	if json.Unmarshal(e.Data(), &d) != nil {
		return s // data that says nothing of applications
	}
	s.apps[d.Application], s.apps[d.App] = true, true
	for a := range d.Apps {
		s.apps[a] = true
	}
	for _, c := range d.Changes {
		s.apps[c.App] = true
	}
	if d.Kind == v1alpha1.KindApplication && strings.HasPrefix(e.Type(), "dev.knative.") {
		s.apps[d.Name] = true
	}
	return s
}

func (s *subject) passes(f *v1alpha1.WebhookFilter) bool {
	return strings.HasPrefix(s.subject, f.SubjectPrefix) && (f.Application == "" || s.apps[f.Application])
}
