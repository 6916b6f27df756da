package api

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
)

func TestExplainNamesOneCause(t *testing.T) {
	const rev = "hello-2"
	app := func(change func(*v1alpha1.Application)) *v1alpha1.Application {
		a := &v1alpha1.Application{}
		a.Status.Revision = rev
		a.Status.Rollout = &v1alpha1.RolloutStatus{To: rev, State: v1alpha1.RolloutProgressing, Message: "1 of 3 failed"}
		if change != nil {
			change(a)
		}
		return a
	}
	view := func(online bool, set string, r *event.AppState) ledger.DeviceView {
		v := ledger.DeviceView{Device: event.Device{Namespace: "default", Name: "d1"}, Known: true, Online: online, LastSeen: time.Unix(1e9, 0)}
		if set != "" {
			v.Apps = []ledger.AppView{{App: "hello", Set: set, Reported: r, Reason: "Trap"}}
		}
		return v
	}
	approved := &v1alpha1.Device{Spec: v1alpha1.DeviceSpec{Approval: v1alpha1.ApprovalApproved}}
	st := func(state, revision, running string) *event.AppState {
		return &event.AppState{State: state, Revision: revision, Running: running, Reason: "Trap", Progress: 512}
	}
	invalid := func(a *v1alpha1.Application) {
		a.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "False", Reason: "ModuleInvalid", Message: "imports env.open"}}
	}
	for _, c := range []struct {
		name string
		app  *v1alpha1.Application
		dev  *v1alpha1.Device
		view ledger.DeviceView
		want Cause
	}{
		{"no application", nil, approved, view(true, "done", nil), CauseNotFound},
		{"module refused", app(invalid), approved, view(true, "pending", nil), CauseInvalid},
		{"not approved", app(nil), &v1alpha1.Device{}, view(true, "held", nil), CauseNotEnrolled},
		{"unknown to the ledger", app(nil), approved, ledger.DeviceView{}, CauseRebuilding},
		{"not selected", app(nil), approved, view(true, "", nil), CauseNotTargeted},
		{"done", app(nil), approved, view(true, "done", st("Running", rev, rev)), CauseUpToDate},
		{"rolled back for good", app(nil), approved, view(true, "done", st("RolledBack", "hello-3", rev)), CauseRolledBack},
		{"done, then gone", app(nil), approved, view(false, "lost", st("Running", rev, rev)), CauseOffline},
		{"rolled back", app(nil), approved, view(true, "failed", st("RolledBack", rev, "hello-1")), CauseRolledBack},
		{"failed", app(nil), approved, view(true, "failed", st("Failed", rev, "")), CauseFailed},
		{"refused before sending", app(nil), approved, view(true, "failed", nil), CauseRefused},
		{"held", app(nil), approved, view(true, "held", nil), CauseHeld},
		{"away", app(nil), approved, view(false, "away", nil), CauseOffline},
		{"paused", app(func(a *v1alpha1.Application) { a.Spec.Paused = true }), approved, view(true, "pending", nil), CausePaused},
		{"halted", app(func(a *v1alpha1.Application) { a.Status.Rollout.State = v1alpha1.RolloutFailedState }), approved, view(true, "pending", nil), CauseRolloutHalted},
		{"queued", app(nil), approved, view(true, "pending", nil), CauseQueued},
		{"fetching", app(nil), approved, view(true, "inflight", st("Fetching", rev, "hello-1")), CauseFetching},
		{"on trial", app(nil), approved, view(true, "inflight", st("Running", rev, rev)), CauseOnTrial},
		{"sent", app(nil), approved, view(true, "inflight", st("Running", "hello-1", "hello-1")), CauseInProgress},
		{"went away on the way", app(nil), approved, view(false, "inflight", nil), CauseOffline},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := Explain(c.app, c.dev, c.view, "hello")
			if x.Cause != c.want {
				t.Errorf("cause %s (%s), want %s", x.Cause, x.Text, c.want)
			}
			if x.Text == "" {
				t.Error("no text for a person")
			}
		})
	}
}
