package deploy

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// TestActions: what outside systems ask for is done once, newest last.
func TestActions(t *testing.T) {
	f, set, _, _ := start(t)
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "hello"}, Spec: v1alpha1.ApplicationSpec{Module: v1alpha1.ModuleSource{Inline: []byte("\x00asm")}}}
	if _, err := set.Applications.Create(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, c := range []struct {
		id       string
		at       int
		app, act string
		refused  string
		stopped  bool
		paused   bool
	}{
		{"a", 1, "hello", "Stop", "", true, false},
		{"b", 3, "hello", "Stop", "", true, false}, // it is so: the newest word all the same
		{"c", 2, "hello", "Start", "Superseded", true, false},
		{"d", 2, "hello", "Pause", "", true, true}, // another matter, with an order of its own
		{"e", 4, "hello", "Start", "", false, true},
		{"a", 1, "hello", "Stop", "", false, true}, // said again: the same answer, and no effect
		{"f", 5, "hello", "Resume", "", false, false},
		{"g", 6, "nobody", "Stop", "NotFound", false, false},
	} {
		e, err := event.New(event.ApplicationActionRequested, "/ci", "plant/"+c.app, c.id, event.ApplicationAction{Namespace: "plant", Application: c.app, Action: c.act, By: "ci"},
			event.In("plant"), event.At(began.Add(time.Duration(c.at)*time.Second)))
		if err != nil {
			t.Fatal(err)
		}
		reply, err := f.Handle(t.Context(), e)
		if err != nil || reply == nil || reply.Type() != event.ActionAnswered {
			t.Fatalf("%s: %v %v", c.id, reply, err)
		}
		out, err := event.Data[event.ActionOutcome](*reply)
		if err != nil || c.refused == "" && len(out.Done) != 1 || c.refused != "" && (len(out.Refused) != 1 || out.Refused[0].Reason != c.refused) {
			t.Errorf("%s: %+v %v", c.id, out, err)
		}
		app, err := set.Applications.Get(t.Context(), "plant", "hello")
		if err != nil || (app.Spec.State == v1alpha1.RunStateStopped) != c.stopped || app.Spec.Paused != c.paused {
			t.Errorf("%s: %s paused %v, %v", c.id, app.Spec.State, app.Spec.Paused, err)
		}
	}
	for _, bad := range []event.ApplicationAction{{}, {Namespace: "plant", Application: "hello", Action: "Explode"}} {
		e, err := event.New(event.ApplicationActionRequested, "/ci", "x", "", bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Handle(t.Context(), e); !errs.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestDeployRequestWithSpec makes an application that was not there, and gives one that is there its spec.
func TestDeployRequestWithSpec(t *testing.T) {
	f, set, _, _ := start(t)
	ask := func(id string, at int, r event.DeployRequest) event.DeployOutcome {
		t.Helper()
		r.Namespace, r.Application = "plant", "hello"
		e, err := event.New(event.DeployRequested, "/ci", "plant/hello", id, r, event.In("plant"), event.At(time.Unix(int64(1_700_000_000+at), 0)))
		if err != nil {
			t.Fatal(err)
		}
		reply, err := f.Handle(t.Context(), e)
		if err != nil || reply == nil {
			t.Fatalf("%s: %v %v", id, reply, err)
		}
		out, err := event.Data[event.DeployOutcome](*reply)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	spec := json.RawMessage(`{"module":{"inline":"AGFzbQEAAAABBQFgAAF/AwIBAAUDAQABBxoCDXdhc21iZWRfc3RhcnQAAAZtZW1vcnkCAAoGAQQAQQAL"},"targets":{"all":true},"manifest":{"permissions":["log"]}}`)
	for _, c := range []struct {
		id             string
		at             int
		r              event.DeployRequest
		status, reason string
	}{
		{"a", 2, event.DeployRequest{Spec: spec}, "Changed", ""},
		{"b", 1, event.DeployRequest{Spec: spec}, "Refused", "Superseded"},
		{"c", 3, event.DeployRequest{Spec: spec}, "Unchanged", ""},
		{"d", 4, event.DeployRequest{Spec: json.RawMessage(`{"modle":{}}`)}, "Refused", "Invalid"},
		{"e", 5, event.DeployRequest{Spec: json.RawMessage(`null`)}, "Refused", "Invalid"},
		{"f", 6, event.DeployRequest{Spec: json.RawMessage(`[]`)}, "Refused", "Invalid"},
		{"g", 7, event.DeployRequest{Spec: spec, OCI: "registry.example/hello@sha256:" + strings.Repeat("b", 64)}, "Changed", ""},
	} {
		if out := ask(c.id, c.at, c.r); out.Status != c.status || out.Reason != c.reason {
			t.Errorf("%s: %+v", c.id, out)
		}
	}
	app, err := set.Applications.Get(t.Context(), "plant", "hello")
	if err != nil || !app.Spec.Targets.All || app.Spec.Module.Inline != nil || app.Spec.Module.OCI == "" || len(app.Spec.Manifest.Permissions) != 1 {
		t.Errorf("%+v %v", app, err)
	}
}

// TestLastWord: what was not said of a rollout is said before another one takes its place.
func TestLastWord(t *testing.T) {
	f, _, _, s := start(t)
	now := metav1.Now()
	for _, c := range []struct {
		ro   v1alpha1.RolloutStatus
		want []string
	}{
		{v1alpha1.RolloutStatus{State: v1alpha1.RolloutProgressing, StartedAt: &now, Reason: v1alpha1.RolloutSpecChanged}, nil},
		{v1alpha1.RolloutStatus{State: v1alpha1.RolloutProgressing, Reason: v1alpha1.RolloutSpecChanged}, []string{event.ApplicationRevised}},
		{v1alpha1.RolloutStatus{State: v1alpha1.RolloutProgressing, Reason: v1alpha1.RolloutRequested}, nil},
		{v1alpha1.RolloutStatus{State: v1alpha1.RolloutComplete, StartedAt: &now}, []string{event.RolloutCompleted}},
		{v1alpha1.RolloutStatus{State: v1alpha1.RolloutComplete, Told: v1alpha1.RolloutComplete, StartedAt: &now}, nil},
		{v1alpha1.RolloutStatus{State: v1alpha1.RolloutFailedState, Told: v1alpha1.RolloutComplete, StartedAt: &now}, []string{event.RolloutFailed}},
	} {
		s.said = nil
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "hello", UID: "u"}}
		app.Status.Rollout = &c.ro
		e, err := event.New(event.RefUpdate, "https://k", "x", "1", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := (&pass{f: f, e: e, key: ledger.App{Namespace: "plant", Name: "hello"}, app: app}).lastWord(t.Context()); err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, e := range s.said {
			said = append(said, e.Type())
		}
		if !slices.Equal(said, c.want) {
			t.Errorf("%+v: said %v", c.ro, said)
		}
	}
}

// TestRollbackByAnnotation: the wish is handed on once, the annotation goes, and a wish that was carried out while its annotation
// stayed is not carried out again.
func TestRollbackByAnnotation(t *testing.T) {
	f, set, _, s := start(t)
	ctx := t.Context()
	app, err := set.Applications.Create(ctx, &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "hello"}, Spec: v1alpha1.ApplicationSpec{Module: v1alpha1.ModuleSource{Name: "m"}}})
	if err != nil {
		t.Fatal(err)
	}
	e, err := event.New(event.RefUpdate, "https://k", "x", "1", event.ObjectReference{Kind: v1alpha1.KindApplication, Namespace: "plant", Name: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	wish := func(sequence int64, by string) []event.RollbackRequest {
		t.Helper()
		s.said = nil
		if app, err = set.Applications.Get(ctx, "plant", "hello"); err != nil {
			t.Fatal(err)
		}
		app.Annotations = map[string]string{v1alpha1.AnnotationRollbackTo: "", "note": "stays"}
		if app, err = set.Applications.UpdateMeta(ctx, app); err != nil {
			t.Fatal(err)
		}
		app.Status.Rollout = &v1alpha1.RolloutStatus{Sequence: sequence, To: "hello-1", Event: by, State: v1alpha1.RolloutComplete}
		if app, err = set.Applications.UpdateStatus(ctx, app); err != nil {
			t.Fatal(err)
		}
		out, err := f.annotated(ctx, e, app)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := out.Annotations[v1alpha1.AnnotationRollbackTo]; ok || out.Annotations["note"] != "stays" || out.Generation != 1 {
			t.Errorf("%+v", out.ObjectMeta)
		}
		var asked []event.RollbackRequest
		for _, said := range s.said {
			r, err := event.Data[event.RollbackRequest](said)
			if err != nil || said.Type() != event.RollbackRequested {
				t.Fatalf("%v %v", said, err)
			}
			asked = append(asked, r)
		}
		return asked
	}
	if got := wish(3, ""); len(got) != 1 || got[0].Application != "hello" || got[0].To != "" {
		t.Fatalf("%+v", got)
	}
	id := s.said[0].ID()
	if wish(3, ""); s.said[0].ID() != id {
		t.Error("the same wish has another id")
	}
	// rollback has decided by that wish, and we ended before the annotation went.
	if got := wish(4, source+" "+id); len(got) != 0 {
		t.Errorf("asked again: %+v", got)
	}
	if got := wish(5, "somebody else"); len(got) != 1 || s.said[0].ID() == id {
		t.Errorf("a new wish: %+v", got)
	}
}
