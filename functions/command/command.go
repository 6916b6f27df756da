// Package command carries out what somebody asks of devices once: call a function of a module, hand it a message,
// restart. It notes the command in the ledger, from which the device's gateway takes it, and says what became of
// it. It alone writes commands and their results.
package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"slices"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/labels"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Name of this function, and source of what it says.
const (
	Name   = "command"
	source = "/wasmbed/functions/" + Name
)

// Limits of this package.
const (
	defaultLife = 30 * time.Second // from asking to the deadline, when nobody says
	page        = 200              // devices of a selection that one event asks
	maxNamed    = 1000             // devices named in one request
	maxWord     = 128              // bytes of a function or topic
)

// Types are the events that it takes.
func Types() []string {
	return []string{event.CommandRequested, event.DeviceCommandAnswered, event.TimerDue}
}

// Poster takes an event durably (event.Sink).
type Poster interface {
	Post(ctx context.Context, e ce.Event) error
}

// Deps is what it works with.
type Deps struct {
	Ledger *ledger.Ledger
	Sink   Poster // for the outcomes of devices that could not be asked, when there are several
	Now    func() time.Time
	Log    *slog.Logger
}

// Function is the function. Safe for concurrent use.
type Function struct{ d Deps }

// New returns the function.
func New(d Deps) *Function { return &Function{d} }

// Handle takes one event. Errors: Invalid for a request that can never be carried out, others when it may be tried
// again.
func (f *Function) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	switch e.Type() {
	case event.CommandRequested:
		r, err := event.Data[event.CommandRequest](e)
		if err != nil {
			return nil, err
		}
		return f.request(ctx, e, r)
	case event.DeviceCommandAnswered:
		a, err := event.Data[event.CommandAnswer](e)
		if err != nil {
			return nil, err
		}
		return f.finish(ctx, e, a.Device, a.Command, ledger.CommandResult{Status: a.Status, Reason: a.Reason, Message: a.Message, Payload: a.Payload, At: a.Time}, false)
	case event.TimerDue:
		t, err := event.Data[event.Timer](e)
		if err != nil || t.Kind != ledger.DueCommand {
			return nil, err
		}
		return f.finish(ctx, e, event.Device{Namespace: t.Namespace, Name: t.Device}, t.Name,
			ledger.CommandResult{Status: "Failed", Reason: "DeadlineExceeded", Message: "no answer came before the deadline", At: f.d.Now().UTC()}, true)
	}
	return nil, nil // of another type: not for this function
}

// check refuses what can never be carried out.
func check(r event.CommandRequest) error {
	switch {
	case r.Namespace == "":
		return errs.New(errs.Invalid, "a command needs a namespace")
	case len(r.Devices) == 0 && r.Selector == "" && !r.All:
		return errs.New(errs.Invalid, "a command needs devices, a selector, or all")
	case len(r.Devices) > maxNamed:
		return errs.New(errs.TooLarge, "%d devices are named; at most %d", len(r.Devices), maxNamed).WithMend("use a label selector")
	case len(r.Devices) > 0 && (r.Selector != "" || r.All), r.Selector != "" && r.All:
		return errs.New(errs.Invalid, "devices, selector and all exclude one another")
	case len(r.Payload) > ledger.MaxCommandPayload:
		return errs.New(errs.TooLarge, "a payload of %d bytes; at most %d", len(r.Payload), ledger.MaxCommandPayload)
	case len(r.Function) > maxWord || len(r.Topic) > maxWord:
		return errs.New(errs.Invalid, "a function or topic has at most %d bytes", maxWord)
	}
	switch r.Kind {
	case ledger.CommandInvoke:
		if r.Application == "" || r.Function == "" {
			return errs.New(errs.Invalid, "an invoke needs application and function")
		}
	case ledger.CommandMessage:
		if r.Application == "" || r.Topic == "" {
			return errs.New(errs.Invalid, "a message needs application and topic")
		}
	case ledger.CommandReboot:
	default:
		return errs.New(errs.Invalid, "there is no command of kind %q: Invoke, Message, Reboot", r.Kind)
	}
	return nil
}

// request asks the devices. A selection is worked off in pages: the reply asks for the next one.
func (f *Function) request(ctx context.Context, e ce.Event, r event.CommandRequest) (*ce.Event, error) {
	if err := check(r); err != nil {
		return nil, err
	}
	asked := e.Time()
	if asked.IsZero() {
		asked = f.d.Now()
	}
	if r.Deadline.IsZero() {
		r.Deadline = asked.Add(defaultLife)
	}
	if r.ID == "" {
		sum := sha256.Sum256([]byte(e.Source() + "\x00" + e.ID()))
		r.ID = hex.EncodeToString(sum[:8])
	}
	names, next, err := f.devices(ctx, r)
	if err != nil {
		return nil, err
	}
	var outcomes []ce.Event
	for _, name := range names {
		out, err := f.ask(ctx, e, r, event.Device{Namespace: r.Namespace, Name: name}, asked)
		if err != nil {
			return nil, err
		}
		if out != nil {
			outcomes = append(outcomes, *out)
		}
	}
	if next == "" {
		if r.Operation != "" {
			if err := f.d.Ledger.ListedOperation(ctx, r.Namespace, r.Operation); err != nil {
				return nil, err
			}
		}
		if len(outcomes) == 1 {
			return &outcomes[0], nil
		}
		return nil, f.post(ctx, outcomes)
	}
	if err := f.post(ctx, outcomes); err != nil {
		return nil, err
	}
	r.After = next
	out, err := event.New(event.CommandRequested, source, r.Namespace, event.ReplyID(e, Name), r, event.In(r.Namespace), event.At(asked), event.After(e))
	if err != nil {
		return nil, err
	}
	return &out, nil
}

func (f *Function) post(ctx context.Context, outcomes []ce.Event) error {
	for _, o := range outcomes {
		if err := f.d.Sink.Post(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// devices returns those of this page, and after which the next one begins.
func (f *Function) devices(ctx context.Context, r event.CommandRequest) (names []string, next string, err error) {
	if len(r.Devices) > 0 {
		names = slices.Clone(r.Devices)
		slices.Sort(names)
		return slices.Compact(names), "", nil
	}
	selector := labels.Everything()
	if r.Selector != "" {
		if selector, err = labels.Parse(r.Selector); err != nil {
			return nil, "", errs.New(errs.Invalid, "selector %q: %w", r.Selector, err)
		}
	}
	views, next, err := f.d.Ledger.Devices(ctx, r.Namespace, r.After, page)
	if err != nil {
		return nil, "", err
	}
	for _, v := range views {
		if v.Known && selector.Matches(labels.Set(v.Labels)) {
			names = append(names, v.Device.Name)
		}
	}
	return names, next, nil
}

// ask notes the command for one device. A device that cannot be asked has its outcome at once.
func (f *Function) ask(ctx context.Context, e ce.Event, r event.CommandRequest, d event.Device, asked time.Time) (*ce.Event, error) {
	c := ledger.Command{
		ID: r.ID, Kind: r.Kind, App: r.Application, Function: r.Function, Topic: r.Topic, Payload: r.Payload, Operation: r.Operation, By: r.By,
		At: asked, Deadline: r.Deadline,
	}
	if r.Operation != "" {
		if err := f.d.Ledger.NoteOperation(ctx, d.Namespace, r.Operation, d.Name, "asked"); err != nil {
			return nil, err
		}
	}
	result, err := f.d.Ledger.Ask(ctx, d, c)
	switch {
	case errs.Is(err, errs.NotFound):
		result = &ledger.CommandResult{Command: c, Status: "Refused", Reason: "UnknownDevice", Message: "no device of that name is known", At: asked}
	case errs.Is(err, errs.Exhausted):
		result = &ledger.CommandResult{Command: c, Status: "Refused", Reason: "Busy", Message: err.Error(), At: asked}
	case err != nil:
		return nil, err
	case result == nil:
		return nil, nil
	}
	return f.outcome(ctx, e, d, *result)
}

// finish records an answer, the first one, and says it.
func (f *Function) finish(ctx context.Context, e ce.Event, d event.Device, id string, r ledger.CommandResult, late bool) (*ce.Event, error) {
	result, _, err := f.d.Ledger.Finish(ctx, d, id, r, late)
	if err != nil || result == nil {
		return nil, err
	}
	return f.outcome(ctx, e, d, *result)
}

// outcome says what became of a command. Its id is made of the device and the command, so that it is one event however
// often and for whatever cause it is said.
func (f *Function) outcome(ctx context.Context, e ce.Event, d event.Device, r ledger.CommandResult) (*ce.Event, error) {
	c := r.Command
	if c.Operation != "" {
		if err := f.d.Ledger.NoteOperation(ctx, d.Namespace, c.Operation, d.Name, r.Status); err != nil {
			return nil, err
		}
	}
	out, err := event.New(event.CommandFinished, source, d.String(), event.DeriveID(d.String(), c.ID, "finished"), event.CommandOutcome{
		Device: d, Command: c.ID, Kind: c.Kind, Application: c.App, Function: c.Function, Topic: c.Topic, Operation: c.Operation,
		Status: r.Status, Reason: r.Reason, Message: r.Message, Payload: r.Payload, By: c.By, Asked: c.At, Finished: r.At,
	}, event.About(d), event.At(r.At), event.After(e))
	if err != nil {
		return nil, err
	}
	return &out, nil
}
