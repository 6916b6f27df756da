// Package board writes what the provisioner says about emulated boards into Device.status.board and the
// Provisioned condition, and a Kubernetes Event when a board failed. It owns these two and nothing else of the
// status.
package board

import (
	"context"
	"log/slog"
	"regexp"
	"time"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/notice"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// Name of this function.
const Name = "board"

// Limits of this package.
const (
	conflictAttempts = 5    // read-modify-write rounds before the event is given back for a retry
	maxWord          = 128  // bytes of a word that is kept: a reason, an engine, an instance
	maxText          = 1024 // bytes of a text that is kept: a message, an endpoint
)

// Types are the events that it takes.
func Types() []string { return []string{event.BoardChangedType} }

// Deps is what it works with.
type Deps struct {
	Client *client.Set
	Now    func() time.Time
	Log    *slog.Logger
}

// Function is the function. Safe for concurrent use.
type Function struct {
	d      Deps
	notice *notice.Writer
}

// New returns the function.
func New(d Deps) *Function {
	return &Function{d: d, notice: notice.New(d.Client.Events, "wasmbed-board", d.Now)}
}

// Handle takes one event. Errors: Invalid for an event that can never be handled, others when it may be tried
// again.
func (f *Function) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	if e.Type() != event.BoardChangedType {
		return nil, nil // not for this function
	}
	b, err := event.Data[event.BoardChanged](e)
	if err != nil {
		return nil, err
	}
	if err := check(b); err != nil {
		return nil, err
	}
	return nil, f.write(ctx, b)
}

func check(b event.BoardChanged) error {
	switch {
	case b.Device.Namespace == "" || b.Device.Name == "":
		return errs.New(errs.Invalid, "a board of no device")
	case b.Sequence <= 0:
		return errs.New(errs.Invalid, "board of %s: sequence %d", b.Device, b.Sequence)
	case b.Resets < 0 || b.PowerCuts < 0 || b.Restarts < 0:
		return errs.New(errs.Invalid, "board of %s: a counter is negative", b.Device)
	case b.Removed:
		return nil
	}
	switch b.Phase {
	case v1alpha1.BoardPending, v1alpha1.BoardStarting, v1alpha1.BoardBooted, v1alpha1.BoardRunning, v1alpha1.BoardStopped, v1alpha1.BoardFailed:
		return nil
	}
	return errs.New(errs.Invalid, "board of %s: there is no phase %q", b.Device, b.Phase)
}

// write brings the Device's status to what b says, when that is news and changes something.
func (f *Function) write(ctx context.Context, b event.BoardChanged) error {
	for range conflictAttempts {
		d, err := f.d.Client.Devices.Get(ctx, b.Device.Namespace, b.Device.Name)
		if errs.Is(err, errs.NotFound) {
			return nil // it went, and its board with it
		}
		if err != nil {
			return err
		}
		if why := outdated(d, b); why != "" {
			f.d.Log.Debug("board not written", "device", b.Device.String(), "because", why)
			return nil
		}
		old := d.Status.DeepCopy()
		if b.Removed || d.Spec.Emulation == nil {
			d.Status.Board = nil
			meta.RemoveStatusCondition(&d.Status.Conditions, v1alpha1.ConditionProvisioned)
		} else {
			f.fill(d, b)
		}
		if equality.Semantic.DeepEqual(old, &d.Status) {
			return nil
		}
		_, err = f.d.Client.Devices.UpdateStatus(ctx, d)
		switch {
		case errs.Is(err, errs.Conflict):
			continue
		case errs.Is(err, errs.NotFound):
			return nil
		case err != nil:
			return err
		}
		f.tell(ctx, d, old.Board)
		return nil
	}
	return errs.New(errs.Conflict, "status of device %s changes too fast", b.Device)
}

// outdated says why b is no news about d, "" when it is.
func outdated(d *v1alpha1.Device, b event.BoardChanged) string {
	if b.UID != "" && d.UID != "" && b.UID != string(d.UID) {
		return "it is about a Device of the same name that is gone"
	}
	if have := d.Status.Board; have != nil && b.Sequence <= have.Sequence {
		return "a newer word is written already"
	}
	return ""
}

func (f *Function) fill(d *v1alpha1.Device, b event.BoardChanged) {
	s := &v1alpha1.BoardStatus{
		Phase: b.Phase, Backend: clip(b.Backend, maxWord), Engine: clip(b.Engine, maxWord), Transport: clip(b.Transport, maxWord),
		Endpoint: clip(b.Endpoint, maxText), Instance: clip(b.Instance, maxWord), Image: clip(b.Image, maxWord),
		Resets: b.Resets, PowerCuts: b.PowerCuts, Restarts: b.Restarts, Reason: clip(b.Reason, maxWord), Message: clip(b.Message, maxText),
		ObservedGeneration: b.Generation, Sequence: b.Sequence,
	}
	if !b.Since.IsZero() {
		at := metav1.NewTime(b.Since.Truncate(time.Second)) // what the API keeps of it
		s.Since = &at
	}
	d.Status.Board = s
	c := metav1.Condition{
		Type: v1alpha1.ConditionProvisioned, Status: metav1.ConditionFalse, Reason: reason(b), Message: s.Message,
		ObservedGeneration: b.Generation, LastTransitionTime: metav1.NewTime(f.d.Now()),
	}
	if b.Phase == v1alpha1.BoardBooted || b.Phase == v1alpha1.BoardRunning {
		c.Status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&d.Status.Conditions, c)
}

var wordRE = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`) // the API's rule for a condition's reason

// reason is a condition's: the board's own when it is one, else its phase, which always is.
func reason(b event.BoardChanged) string {
	if len(b.Reason) <= maxWord && wordRE.MatchString(b.Reason) {
		return b.Reason
	}
	return b.Phase
}

// tell writes a notice when a board failed that had not, or failed for another reason.
func (f *Function) tell(ctx context.Context, d *v1alpha1.Device, old *v1alpha1.BoardStatus) {
	b := d.Status.Board
	if b == nil || b.Phase != v1alpha1.BoardFailed || old != nil && old.Phase == b.Phase && old.Reason == b.Reason && old.Message == b.Message {
		return
	}
	text := b.Message
	if b.Reason != "" {
		text = b.Reason + ": " + b.Message
	}
	err := f.notice.Warning(ctx, notice.About{Kind: v1alpha1.KindDevice, Namespace: d.Namespace, Name: d.Name, UID: d.UID}, "BoardFailed", text)
	if err != nil {
		f.d.Log.Info("notice not written", "device", d.Namespace+"/"+d.Name, "err", err)
	}
}

// clip cuts s to at most n bytes, between runes; what is no UTF-8 the API would refuse.
func clip(s string, n int) string {
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
