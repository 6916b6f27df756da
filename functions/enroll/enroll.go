// Package enroll admits devices: it decides about their requests for a certificate, issues it, pins their
// keys, and puts what gateways need of Kubernetes - their settings, the trust anchors, the deny-list - into
// the ledger.
//
// It alone reads the device authority's key. It writes of a Device: the object itself at first contact,
// spec.identity.publicKey once, its finalizer and key label, status.certificate and the Enrolled condition.
// It writes all of a Gateway's status.
package enroll

import (
	"context"
	"log/slog"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/notice"
	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/replay"
)

// Name of this function, and source of what it says.
const (
	Name   = "enroll"
	source = "/wasmbed/functions/" + Name
)

// Types are the events that it takes.
func Types() []string {
	return []string{event.DeviceEnrollmentRequested, event.RefAdd, event.RefUpdate, event.RefDelete, event.GatewayChanged, event.LedgerLost, event.DeviceActionRequested, event.TimerDue, event.Ping}
}

// Instances lists the gateway processes. Affinity is one.
type Instances interface {
	Instances(context.Context) ([]affinity.Instance, error)
}

// Deps is what it works with.
type Deps struct {
	Client      *client.Set
	Ledger      *ledger.Ledger
	Instances   Instances
	TrustDomain string  // of the devices' identities
	Servers     Servers // whose server certificates are made here
	Now         func() time.Time
	Log         *slog.Logger
}

// Function is the function. Safe for concurrent use.
type Function struct {
	d      Deps
	ca     authority
	notice *notice.Writer
}

// New returns the function.
func New(d Deps) *Function {
	return &Function{d: d, ca: authority{secrets: d.Client.Secrets}, notice: notice.New(d.Client.Events, "wasmbed-enroll", d.Now)}
}

// Handle takes one event. Errors: Invalid for an event that can never be handled, others when it may be
// tried again.
func (f *Function) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	switch e.Type() {
	case event.DeviceEnrollmentRequested:
		return f.requested(ctx, e)
	case event.RefAdd, event.RefUpdate, event.RefDelete:
		ref, err := event.Data[event.ObjectReference](e)
		if err != nil {
			return nil, err
		}
		switch ref.Kind {
		case "Device":
			return f.device(ctx, e, event.Device{Namespace: ref.Namespace, Name: ref.Name})
		case "Gateway":
			return nil, f.gateway(ctx, ref.Namespace, ref.Name)
		}
		return nil, nil
	case event.GatewayChanged:
		g, err := event.Data[event.GatewayInstance](e)
		if err != nil {
			return nil, err
		}
		return nil, f.instance(ctx, g)
	case event.LedgerLost:
		return nil, f.rebuild(ctx, e)
	case event.TimerDue:
		t, err := event.Data[event.Timer](e)
		if err != nil || t.Kind != ledger.DueCertificate {
			return nil, err
		}
		return nil, f.certificateDue(ctx, t)
	case event.Ping:
		return nil, f.backstop(ctx)
	case event.DeviceActionRequested:
		return f.acted(ctx, e)
	}
	return nil, nil // of another type: not for this function
}

// reply makes the event that tells of a verdict.
func (f *Function) reply(in ce.Event, typ string, v event.EnrollmentVerdict) (*ce.Event, error) {
	out, err := event.New(typ, source, v.Device.String(), event.ReplyID(in, Name), v, event.About(v.Device), event.At(f.d.Now()), event.After(in))
	if err != nil {
		return nil, err
	}
	return &out, nil
}

func (f *Function) recall(ctx context.Context, e ce.Event) (*ce.Event, error) {
	return replay.Recall(ctx, f.d.Ledger, Name, e)
}

func (f *Function) remember(ctx context.Context, e ce.Event, reply *ce.Event) error {
	return replay.Remember(ctx, f.d.Ledger, Name, e, reply)
}

func (f *Function) warn(ctx context.Context, about notice.About, reason, message string) {
	if err := f.notice.Warning(ctx, about, reason, message); err != nil {
		f.d.Log.Info("notice not written", "reason", reason, "about", about.Namespace+"/"+about.Name, "err", err)
	}
}
