package rollback

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

const ns = "plant"

type bench struct {
	*testing.T
	f    *Function
	set  *client.Set
	fail bool // the next status update fails, once
}

func start(t *testing.T) *bench {
	b := &bench{T: t}
	b.set = client.NewMemoryWith(client.MemoryOptions{Fail: func(verb, resource, _, _ string) error {
		if b.fail && verb == "updatestatus" && resource == "applications" {
			b.fail = false
			return errs.New(errs.Unavailable, "killed")
		}
		return nil
	}})
	l := ledger.New(testredis.Start(t).Client(t), ledger.Options{})
	b.f = New(Deps{Client: b.set, Ledger: l, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	return b
}

// app makes an application with revisions app-1 … app-n, of which some completed, and a rollout.
func (b *bench) app(n int, completed []int, stable string, ro *v1alpha1.RolloutStatus, change func(*v1alpha1.ApplicationSpec)) {
	b.Helper()
	a := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "app"}}
	if change != nil {
		change(&a.Spec)
	}
	a, err := b.set.Applications.Create(b.Context(), a)
	if err != nil {
		b.Fatal(err)
	}
	a.Status.StableRevision, a.Status.Rollout = stable, ro
	if _, err := b.set.Applications.UpdateStatus(b.Context(), a); err != nil {
		b.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		r := &v1alpha1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "app-" + string(rune('0'+i)), Labels: map[string]string{v1alpha1.LabelApplication: "app"}, Annotations: map[string]string{}},
			Spec: v1alpha1.RevisionSpec{Application: "app", Number: int64(i)}}
		for _, c := range completed {
			if c == i {
				r.Annotations[annotationCompleted] = "2026-03-01T12:00:00Z"
			}
		}
		if _, err := b.set.Revisions.Create(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func (b *bench) status() v1alpha1.ApplicationStatus {
	b.Helper()
	a, err := b.set.Applications.Get(b.Context(), ns, "app")
	if err != nil {
		b.Fatal(err)
	}
	return a.Status
}

func (b *bench) condition() metav1.Condition {
	c := meta.FindStatusCondition(b.status().Conditions, v1alpha1.ConditionRolledBack)
	if c == nil {
		return metav1.Condition{}
	}
	return *c
}

func failed(t *testing.T, id string, seq uint64) ce.Event {
	e, err := event.New(event.RolloutFailed, "/wasmbed/functions/deploy", ns+"/app", id, event.Rollout{Namespace: ns, Application: "app", Sequence: seq, To: "app-3", Message: "1 of 3 devices failed"})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func asked(t *testing.T, id, to string) ce.Event {
	e, err := event.New(event.RollbackRequested, "/wasmbed/api/alice", ns+"/app", id, event.RollbackRequest{Namespace: ns, Application: "app", To: to, By: "alice", Reason: strings.Repeat("é", 900)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (b *bench) handle(e ce.Event) *ce.Event {
	b.Helper()
	r, err := b.f.Handle(b.Context(), e)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

func rollout(state v1alpha1.RolloutState, seq int64, from, to string) *v1alpha1.RolloutStatus {
	now := metav1.Now()
	ro := &v1alpha1.RolloutStatus{Generation: 1, Sequence: seq, From: from, To: to, SpecRevision: to, Reason: v1alpha1.RolloutSpecChanged, State: state, StartedAt: &now}
	if state != v1alpha1.RolloutProgressing {
		ro.Told = state
	}
	return ro
}

// TestTheEndIsToldFirst: a rollout that ended is not replaced before deploy has said so; nobody would say it any more.
func TestTheEndIsToldFirst(t *testing.T) {
	for _, state := range []v1alpha1.RolloutState{v1alpha1.RolloutComplete, v1alpha1.RolloutFailedState} {
		b := start(t)
		ro := rollout(state, 3, "app-2", "app-3")
		ro.Told = ""
		b.app(3, []int{1, 2}, "app-2", ro, nil)
		if _, err := b.f.Handle(t.Context(), asked(t, "e", "app-1")); !errs.Retryable(err) {
			t.Errorf("%s: %v", state, err)
		}
		if s := b.status(); s.Rollout.Sequence != 3 {
			t.Errorf("%s: %+v", state, s.Rollout)
		}
	}
}

func TestTarget(t *testing.T) {
	no := false
	failing := rollout(v1alpha1.RolloutFailedState, 3, "app-2", "app-3")
	complete := rollout(v1alpha1.RolloutComplete, 3, "app-2", "app-3")
	for _, x := range []struct {
		name      string
		completed []int
		stable    string
		ro        *v1alpha1.RolloutStatus
		spec      func(*v1alpha1.ApplicationSpec)
		e         ce.Event
		to        string // "": declined or ignored
		reason    string // of the condition; "": none
	}{
		{"automatic, to the stable one", []int{1, 2}, "app-2", failing, nil, failed(t, "e", 3), "app-2", "RolloutFailed"},
		{"automatic, stable one is gone", []int{1}, "app-9", failing, nil, failed(t, "e", 3), "app-1", "RolloutFailed"},
		{"automatic, nothing proven", nil, "", failing, nil, failed(t, "e", 3), "", "NothingToRollBackTo"},
		{"policy says no", []int{1, 2}, "app-2", failing, func(s *v1alpha1.ApplicationSpec) { s.Rollout.AutomaticRollback = &no }, failed(t, "e", 3), "", ""},
		{"an older rollout's failure", []int{1, 2}, "app-2", failing, nil, failed(t, "e", 2), "", ""},
		{"not failed (any more)", []int{1, 2}, "app-2", rollout(v1alpha1.RolloutProgressing, 3, "app-2", "app-3"), nil, failed(t, "e", 3), "", ""},
		{"a rollback that failed", []int{1, 2}, "app-1", func() *v1alpha1.RolloutStatus { r := *failing; r.Reason = "RolloutFailed"; return &r }(), nil, failed(t, "e", 3), "", ""},
		{"asked: back from the stable one", []int{1, 2, 3}, "app-3", complete, nil, asked(t, "e", ""), "app-2", "Requested"},
		{"asked: a certain one, never proven", nil, "app-3", complete, nil, asked(t, "e", "app-1"), "app-1", "Requested"},
		{"asked: one that is not there", []int{1}, "app-3", complete, nil, asked(t, "e", "app-7"), "", "RevisionNotFound"},
		{"asked: the one that is wanted", []int{1}, "app-3", complete, nil, asked(t, "e", "app-3"), "", "NothingToRollBackTo"},
		{"asked: the one that failed, once more", []int{1}, "app-1", failing, nil, asked(t, "e", "app-3"), "app-3", "Requested"},
		{"asked: none yet", nil, "", nil, nil, asked(t, "e", ""), "", "NothingToRollBackTo"},
	} {
		t.Run(x.name, func(t *testing.T) {
			b := start(t)
			b.app(3, x.completed, x.stable, x.ro.DeepCopy(), x.spec)
			reply := b.handle(x.e)
			s, c := b.status(), b.condition()
			if c.Reason != x.reason || (c.Status == "True") != (x.to != "") {
				t.Errorf("condition %+v", c)
			}
			if (reply != nil) != (x.to != "") {
				t.Fatalf("reply %v", reply)
			}
			if x.to != "" {
				ro := s.Rollout
				if ro.To != x.to || ro.Sequence != 4 || ro.From != "app-3" || ro.SpecRevision != "app-3" || ro.State != "Progressing" || ro.StartedAt != nil || ro.Generation != 1 {
					t.Errorf("%+v", ro)
				}
				d, err := event.Data[event.Rollout](*reply)
				if err != nil || d.To != x.to || d.Sequence != 4 || reply.Type() != event.RollbackDecided {
					t.Errorf("%+v %v", d, err)
				}
			} else if x.ro != nil && s.Rollout.Sequence != x.ro.Sequence {
				t.Errorf("decided: %+v", s.Rollout)
			}
			rv := func() string { a, _ := b.set.Applications.Get(t.Context(), ns, "app"); return a.ResourceVersion }
			was := rv()
			again := b.handle(x.e)
			if (again == nil) != (reply == nil) || again != nil && (again.ID() != reply.ID() || string(again.Data()) != string(reply.Data())) {
				t.Errorf("again: %v, not %v", again, reply)
			}
			if rv() != was {
				t.Error("the same event changed something")
			}
		})
	}
}

// TestKilledInBetween: the answer was remembered, the decision was not written.
func TestKilledInBetween(t *testing.T) {
	b := start(t)
	b.app(3, []int{1, 2}, "app-2", rollout(v1alpha1.RolloutFailedState, 3, "app-2", "app-3"), nil)
	b.fail = true
	if _, err := b.f.Handle(t.Context(), failed(t, "e", 3)); !errs.Is(err, errs.Unavailable) {
		t.Fatal(err)
	}
	if s := b.status(); s.Rollout.Sequence != 3 {
		t.Fatalf("%+v", s.Rollout)
	}
	if reply := b.handle(failed(t, "e", 3)); reply == nil || b.status().Rollout.To != "app-2" {
		t.Errorf("%v %+v", reply, b.status().Rollout)
	}
}

// TestLateDuplicate: a request that comes again after a later decision changes nothing.
func TestLateDuplicate(t *testing.T) {
	b := start(t)
	b.app(3, []int{1, 2, 3}, "app-3", rollout(v1alpha1.RolloutComplete, 3, "app-2", "app-3"), nil)
	first := b.handle(asked(t, "one", "app-1"))
	b.handle(asked(t, "two", "app-2"))
	again := b.handle(asked(t, "one", "app-1"))
	if again == nil || again.ID() != first.ID() {
		t.Errorf("%v", again)
	}
	if ro := b.status().Rollout; ro.To != "app-2" || ro.Sequence != 5 {
		t.Errorf("%+v", ro)
	}
	if len(b.status().Rollout.Message) > maxMessage || !strings.HasPrefix(b.status().Rollout.Message, "requested by alice: é") {
		t.Errorf("%q", b.status().Rollout.Message)
	}
}

func TestNobody(t *testing.T) {
	b := start(t)
	if r := b.handle(asked(t, "x", "")); r != nil {
		t.Error(r)
	}
	e, _ := event.New(event.RollbackRequested, "/s", "", "1", event.RollbackRequest{})
	if _, err := b.f.Handle(context.Background(), e); !errs.Is(err, errs.Invalid) {
		t.Error(err)
	}
}
