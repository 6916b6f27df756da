// Package report records what devices say - sessions, reports, traps, telemetry, logs - in the ledger, and
// writes what people see of it: Device.status and Kubernetes Events.
//
// It alone writes reported in the ledger. Of Device.status it writes all but the certificate, the Enrolled
// condition and observedGeneration, which are enroll's.
package report

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/notice"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Name of this function, and source of what it says.
const (
	Name   = "report"
	source = "/wasmbed/functions/" + Name
)

// Limits of this package.
const (
	conflictAttempts = 5 // read-modify-write rounds before the event is given back for a retry

	// Writes of Device status, in this process.
	statusLeast    = 4 * time.Millisecond   // between two, at least
	statusMost     = 50 * time.Millisecond  // between two, at most: however slow the API server is
	statusBurst    = 32                     // of them at once, after a while of few
	statusParallel = 16                     // of them under way; half of the deliveries of a trigger, which reports need too
	statusAgain    = 250 * time.Millisecond // how long what is over waits, at least
	statusPromised = 100_000                // devices that wait, at most
)

// Types are the events that it takes.
func Types() []string {
	return []string{event.DeviceConnected, event.DeviceDisconnected, event.DeviceReported, event.DeviceTrapped, event.DeviceCommandCompleted,
		event.TelemetryReceived, event.LogsReceived, event.TimerDue}
}

// Deps is what it works with.
type Deps struct {
	Client *client.Set
	Ledger *ledger.Ledger
	Now    func() time.Time
	Log    *slog.Logger
}

// Function is the function. Safe for concurrent use.
type Function struct {
	d      Deps
	notice *notice.Writer
	pace   *pacer
}

// New returns the function.
func New(d Deps) *Function {
	return &Function{d: d, notice: notice.New(d.Client.Events, "wasmbed-report", d.Now), pace: newPacer()}
}

// Handle takes one event. Errors: Invalid for an event that can never be handled, others when it may be
// tried again.
func (f *Function) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	switch e.Type() {
	case event.DeviceConnected:
		c, err := event.Data[event.Connected](e)
		if err != nil {
			return nil, err
		}
		changes, err := f.d.Ledger.Connect(ctx, c)
		return f.changed(ctx, e, c.Device, changes, err)
	case event.DeviceDisconnected:
		d, err := event.Data[event.Disconnected](e)
		if err != nil {
			return nil, err
		}
		changes, _, err := f.d.Ledger.Disconnect(ctx, d)
		return f.changed(ctx, e, d.Device, changes, err)
	case event.DeviceReported:
		r, err := event.Data[event.Reported](e)
		if err != nil {
			return nil, err
		}
		changes, err := f.d.Ledger.Report(ctx, r)
		return f.changed(ctx, e, r.Device, changes, err)
	case event.DeviceTrapped:
		t, err := event.Data[event.Trapped](e)
		if err != nil {
			return nil, err
		}
		return nil, f.trapped(ctx, t)
	case event.DeviceCommandCompleted:
		c, err := event.Data[event.CommandCompleted](e)
		if err != nil {
			return nil, err
		}
		f.command(ctx, c)
		if !final(c) {
			return nil, nil
		}
		changes, err := f.d.Ledger.Decline(ctx, c)
		return f.changed(ctx, e, c.Device, changes, err)
	case event.TelemetryReceived:
		b, err := event.Data[event.TelemetryBatch](e)
		if err != nil {
			return nil, err
		}
		return nil, f.d.Ledger.AppendTelemetry(ctx, b)
	case event.LogsReceived:
		b, err := event.Data[event.LogBatch](e)
		if err != nil {
			return nil, err
		}
		return nil, f.d.Ledger.AppendLogs(ctx, b)
	case event.TimerDue:
		t, err := event.Data[event.Timer](e)
		if err != nil || t.Kind != ledger.DueStatus {
			return nil, err
		}
		return nil, f.status(ctx, event.Device{Namespace: t.Namespace, Name: t.Name})
	}
	return nil, nil // of another type: not for this function
}

// changed tells which applications moved. A word of an older session or era changes nothing: the newer one
// has been heard, or will be.
func (f *Function) changed(ctx context.Context, e ce.Event, d event.Device, changes []event.Change, err error) (*ce.Event, error) {
	if errs.Is(err, errs.Stale) {
		f.d.Log.Debug("stale", "device", d.String(), "type", e.Type(), "err", err)
		return nil, nil
	}
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	for _, c := range changes {
		if c.To == ledger.SetFailed {
			f.warn(ctx, d, failedReason(c), fmt.Sprintf("application %s, revision %s: %s", c.App, c.Revision, because(c.Reason, c.Message)))
		}
	}
	out, err := event.New(event.DeviceStateChanged, source, d.String(), event.ReplyID(e, Name), event.StateChanged{Device: d, Changes: changes},
		event.About(d), event.At(f.d.Now()), event.After(e))
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// failedReason is the reason of the notice: what the device did about the failure.
func failedReason(c event.Change) string {
	if c.State == "RolledBack" {
		return "RolledBackOnDevice"
	}
	return "ApplicationFailed"
}

func because(reason, message string) string {
	switch {
	case message == "":
		return reason
	case reason == "":
		return message
	}
	return reason + ": " + message
}

func (f *Function) trapped(ctx context.Context, t event.Trapped) error {
	fresh, err := f.d.Ledger.Trap(ctx, t)
	if err != nil || !fresh {
		return err
	}
	where := ""
	if t.Where != "" {
		where = " in " + t.Where
	}
	f.warn(ctx, t.Device, "Trapped", fmt.Sprintf("application %s, revision %s trapped%s: %s", t.App, t.Revision, where, because(t.Reason, t.Message)))
	return nil
}

// command notices what a device would not do. That it did is in its reports.
func (f *Function) command(ctx context.Context, c event.CommandCompleted) {
	if c.Status == "Refused" || c.Status == "Failed" {
		f.warn(ctx, c.Device, "Command"+c.Status, "command "+c.Command+": "+because(c.Reason, c.Message))
	}
}

// final reports whether a device said that it will not take an application, and nothing but another intent, or more
// room, changes that. Such a device has no instance to report about, so this answer is all that is heard of it. What
// it says of an application that it does not hold (UnknownApp) is a word about our picture of it, which the next full
// report mends.
func final(c event.CommandCompleted) bool {
	return c.Status == "Refused" && c.App != "" && c.Revision != "" && c.Reason != "" && c.Reason != "None" && c.Reason != "UnknownApp"
}

func (f *Function) warn(ctx context.Context, d event.Device, reason, message string) {
	err := f.notice.Warning(ctx, notice.About{Kind: v1alpha1.KindDevice, Namespace: d.Namespace, Name: d.Name}, reason, message)
	if err != nil {
		f.d.Log.Info("notice not written", "device", d.String(), "reason", reason, "err", err)
	}
}
