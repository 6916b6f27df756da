package enroll

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// TestActions: what outside systems ask for of devices is done once, newest last, and one that is refused stops no other.
func TestActions(t *testing.T) {
	b := start(t)
	for _, name := range []string{"d1", "d2"} {
		d := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha1.DeviceSpec{Board: "FrdmK64f"}}
		if _, err := b.set.Devices.Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for _, c := range []struct {
		id, act  string
		at       int
		done     int
		refused  string
		hold     bool
		approval v1alpha1.Approval
	}{
		{"a", "Hold", 1, 2, "NotFound", true, v1alpha1.ApprovalPending},
		{"b", "Hold", 4, 2, "NotFound", true, v1alpha1.ApprovalPending},
		{"c", "Release", 3, 0, "Superseded", true, v1alpha1.ApprovalPending},
		{"d", "Approve", 3, 2, "NotFound", true, v1alpha1.ApprovalApproved},
		{"e", "Release", 5, 2, "NotFound", false, v1alpha1.ApprovalApproved},
		{"a", "Hold", 1, 2, "NotFound", false, v1alpha1.ApprovalApproved}, // said again
		{"f", "Revoke", 6, 2, "NotFound", false, v1alpha1.ApprovalRevoked},
	} {
		e, err := event.New(event.DeviceActionRequested, "/ci", ns, c.id, event.DeviceAction{Namespace: ns, Devices: []string{"d1", "nobody", "d2"}, Action: c.act, By: "ci"},
			event.In(ns), event.At(began.Add(time.Duration(c.at)*time.Second)))
		if err != nil {
			t.Fatal(err)
		}
		reply := b.handle(e)
		if reply == nil || reply.Type() != event.ActionAnswered {
			t.Fatalf("%s: %v", c.id, reply)
		}
		out, err := event.Data[event.ActionOutcome](*reply)
		if err != nil || len(out.Done) != c.done || len(out.Refused) != 3-c.done || out.Refused[0].Reason != c.refused {
			t.Errorf("%s: %+v %v", c.id, out, err)
		}
		for _, name := range []string{"d1", "d2"} {
			d := b.device(name)
			if d.Spec.Hold != c.hold || d.Spec.Approval != c.approval {
				t.Errorf("%s: %s is %s, hold %v", c.id, name, d.Spec.Approval, d.Spec.Hold)
			}
		}
	}
	for _, bad := range []event.DeviceAction{{}, {Namespace: ns, Devices: []string{"d1"}, Action: "Explode"}} {
		e, err := event.New(event.DeviceActionRequested, "/ci", "x", "", bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.f.Handle(t.Context(), e); !errs.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
