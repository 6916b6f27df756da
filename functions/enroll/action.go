package enroll

import (
	"context"
	"fmt"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/replay"
)

// When the requests were made that a device's approval and its hold follow: an older one changes nothing after them.
const (
	annotationApproval = "wasmbed.io/approval-requested-at"
	annotationHold     = "wasmbed.io/hold-requested-at"
)

const actionAnswers = "device action"

// acted approves, rejects, revokes, holds or releases devices because an outside system asked. What follows is as if a
// person had edited the Devices. One that is refused stops no other.
func (f *Function) acted(ctx context.Context, e ce.Event) (*ce.Event, error) {
	r, err := event.Data[event.DeviceAction](e)
	if err != nil {
		return nil, err
	}
	if r.Namespace == "" || len(r.Devices) == 0 || len(r.Devices) > event.MaxActionDevices {
		return nil, errs.New(errs.Invalid, "an action needs namespace, and 1 to %d devices", event.MaxActionDevices)
	}
	if reply, err := replay.Recall(ctx, f.d.Ledger, actionAnswers, e); reply != nil || err != nil {
		return reply, err
	}
	out := event.ActionOutcome{Namespace: r.Namespace, Kind: v1alpha1.KindDevice, Action: r.Action, By: r.By}
	for _, name := range r.Devices {
		var refused *event.ActionRefuse
		for try := range conflictAttempts {
			refused, err = f.act(ctx, e.Time(), r, name)
			if !errs.Is(err, errs.Conflict) || try == conflictAttempts-1 {
				break
			}
		}
		switch {
		case err != nil:
			return nil, err // what was done is done again, which changes nothing
		case refused != nil:
			out.Refused = append(out.Refused, *refused)
		default:
			out.Done = append(out.Done, name)
		}
	}
	reply, err := event.New(event.ActionAnswered, source, r.Namespace, event.ReplyID(e, actionAnswers), out, event.In(r.Namespace), event.At(f.d.Now()), event.After(e))
	if err != nil {
		return nil, err
	}
	// After the effect: setting the same twice is one change, and a request that was never carried out must not be
	// remembered as one that was.
	if err := replay.Remember(ctx, f.d.Ledger, actionAnswers, e, &reply); err != nil {
		return nil, err
	}
	return &reply, nil
}

func (f *Function) act(ctx context.Context, at time.Time, r event.DeviceAction, name string) (*event.ActionRefuse, error) {
	refuse := func(reason, format string, args ...any) (*event.ActionRefuse, error) {
		return &event.ActionRefuse{Name: name, Reason: reason, Message: fmt.Sprintf(format, args...)}, nil
	}
	if name == "" || strings.ContainsAny(name, "/ ") {
		return refuse("Invalid", "%q is not a device's name", name)
	}
	d, err := f.d.Client.Devices.Get(ctx, r.Namespace, name)
	if errs.Is(err, errs.NotFound) {
		return refuse("NotFound", "there is no device %s", name)
	}
	if err != nil {
		return nil, err
	}
	if d.DeletionTimestamp != nil {
		return refuse("Deleting", "device %s is being removed", name)
	}
	note, approval := annotationApproval, v1alpha1.Approval("")
	switch r.Action {
	case event.ActionApprove:
		approval = v1alpha1.ApprovalApproved
	case event.ActionReject:
		approval = v1alpha1.ApprovalRejected
	case event.ActionRevoke:
		approval = v1alpha1.ApprovalRevoked
	case event.ActionHold, event.ActionRelease:
		note = annotationHold
	default:
		return nil, errs.New(errs.Invalid, "action %q: it is Approve, Reject, Revoke, Hold or Release", r.Action)
	}
	if last, err := time.Parse(time.RFC3339Nano, d.Annotations[note]); err == nil && at.Before(last) {
		return refuse("Superseded", "a request of %s was carried out already", last.Format(time.RFC3339))
	}
	hold := r.Action == event.ActionHold
	if approval != "" {
		d.Spec.Approval = approval
	} else {
		d.Spec.Hold = hold
	}
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	if !at.IsZero() {
		d.Annotations[note] = at.UTC().Format(time.RFC3339Nano)
	}
	_, err = f.d.Client.Devices.Update(ctx, d)
	if errs.Is(err, errs.Invalid) {
		return refuse("Invalid", "%v", err)
	}
	return nil, err
}
