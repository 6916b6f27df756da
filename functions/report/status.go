package report

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Reasons of the Online condition.
const (
	reasonConnected      = "Connected"
	reasonDisconnected   = "Disconnected"
	reasonNeverConnected = "NeverConnected"
	reasonNotHeard       = "NotHeardSinceLedgerLost"
)

// status writes a device's status from the ledger's view, when it differs. Timers mark it due a little after
// a change, so that what changes together is written once.
func (f *Function) status(ctx context.Context, who event.Device) error {
	now := f.d.Now()
	again, ok := f.pace.turn(who, now)
	if !ok {
		return f.d.Ledger.MarkDue(ctx, event.Timer{Kind: ledger.DueStatus, Namespace: who.Namespace, Name: who.Name, Due: again})
	}
	defer func() { f.pace.done(f.d.Now().Sub(now)) }()
	for range conflictAttempts {
		d, err := f.d.Client.Devices.Get(ctx, who.Namespace, who.Name)
		if err != nil {
			if errs.Is(err, errs.NotFound) {
				return nil
			}
			return err
		}
		view, err := f.d.Ledger.Device(ctx, who) // read after the object: never older than what is written over
		if err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
		old := d.Status.DeepCopy()
		fill(&d.Status, view, d.Generation, f.d.Now())
		seen := d.Status.LastSeen
		d.Status.LastSeen = old.LastSeen // heartbeats alone are not written
		if equality.Semantic.DeepEqual(old, &d.Status) {
			return nil
		}
		d.Status.LastSeen = seen
		if _, err = f.d.Client.Devices.UpdateStatus(ctx, d); !errs.Is(err, errs.Conflict) {
			if errs.Is(err, errs.NotFound) {
				return nil
			}
			return err
		}
	}
	return errs.New(errs.Conflict, "status of device %s changes too fast", who)
}

// fill writes what report owns of a device's status.
func fill(s *v1alpha1.DeviceStatus, v ledger.DeviceView, generation int64, now time.Time) {
	c := metav1.Condition{Type: v1alpha1.ConditionOnline, ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(now)}
	heard := v.Epoch > 0
	switch {
	case v.Online:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, reasonConnected, "connected to gateway "+v.Gateway
	case heard:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, reasonDisconnected, "the device is not connected"
	case s.BootID != "":
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, reasonNotHeard, "the ledger was lost, and the device has not been heard of since"
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, reasonNeverConnected, "the device has never been connected"
	}
	meta.SetStatusCondition(&s.Conditions, c)
	s.Online = string(c.Status)
	if heard {
		s.Gateway, s.Firmware, s.BootID = v.Gateway, v.Firmware, v.BootID
		caps := v.Capabilities
		s.Capabilities = &v1alpha1.Capabilities{ModuleMemory: int64(caps.ModuleMemory), ModuleSize: int64(caps.ModuleSize),
			Apps: int32(caps.Apps), ABI: int32(caps.ABI), Permissions: caps.Permissions}
		if !v.LastSeen.IsZero() {
			at := metav1.NewTime(v.LastSeen.Truncate(time.Second))
			s.LastSeen = &at
		}
	}
	s.AppsReady, s.AppsDesired = 0, 0
	for _, a := range v.Apps {
		if a.Set == "" {
			continue
		}
		s.AppsDesired++
		if a.Set == ledger.SetDone {
			s.AppsReady++
		}
	}
	s.Apps = fmt.Sprintf("%d/%d", s.AppsReady, s.AppsDesired)
}
