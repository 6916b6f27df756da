package source

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/trace"
)

// TestTraceOfTheRequest: a change is announced in the trace of the request that made it, and no other change is: not
// a later one by somebody who says nothing, not the deletion.
func TestTraceOfTheRequest(t *testing.T) {
	const a, b = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	s := &Source{queue: newQueue(nil), nonce: "n", o: Options{Source: "/k"}}
	w := &watched{s: s, kind: "Application", resource: schema.GroupVersionResource{Group: "wasmbed.io", Version: "v1alpha1", Resource: "applications"}, known: map[string]version{}}
	object := func(version string, generation int64, annotation string) any {
		m := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "app", UID: "u", ResourceVersion: version, Generation: generation}}
		m.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "long", trace.Annotation: annotation}
		o, err := w.Transformer()(m)
		if err != nil {
			t.Fatal(err)
		}
		if left := o.(*metav1.PartialObjectMetadata); len(left.Annotations) > 1 || left.Generation != 0 {
			t.Errorf("kept %+v", left.ObjectMeta)
		}
		return o
	}
	announced := func() (out []string) {
		work := s.queue.take(context.Background(), 10)
		for _, c := range work {
			e, err := s.event(c)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, event.Extension(e, event.ExtTraceParent))
		}
		s.queue.done(work)
		return out
	}
	now := time.Now()
	for i, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return w.Add(object("1", 1, trace.Annotate(a, 0, now))) }, a},
		{func() error { return w.Update(object("2", 1, trace.Annotate(a, 0, now))) }, ""}, // its status
		{func() error { return w.Update(object("3", 2, trace.Annotate(a, 0, now))) }, ""}, // kubectl
		{func() error { return w.Update(object("4", 3, trace.Annotate(b, 2, now))) }, b},
		{func() error { return w.Update(object("5", 4, "nonsense")) }, ""},
		{func() error { // two changes that nobody was told of become one, in the trace that there is
			_ = w.Update(object("6", 5, trace.Annotate(a, 4, now)))
			return w.Update(object("7", 5, trace.Annotate(a, 4, now)))
		}, a},
		{func() error { return w.Delete(object("8", 5, trace.Annotate(a, 4, now))) }, ""},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := announced(); len(got) != 1 || got[0] != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
}

// What is held back comes out once, with the last that happened, and not before its time.
func TestHeldBack(t *testing.T) {
	var ready []func()
	q := newQueue(func(_ object, f func()) { ready = append(ready, f) })
	k := object{name: "press"}
	for _, typ := range []string{event.RefAdd, event.RefUpdate, event.RefUpdate} {
		q.put(change{key: k, typ: typ, version: version{resource: typ}})
	}
	if len(q.order) != 0 || len(ready) != 1 {
		t.Fatalf("%d may be taken, %d timers", len(q.order), len(ready))
	}
	ready[0]()
	got := q.take(t.Context(), 10)
	if len(got) != 1 || got[0].typ != event.RefAdd || got[0].version.resource != event.RefUpdate {
		t.Fatalf("%+v", got)
	}
	q.put(change{key: k, typ: event.RefDelete}) // while the first is with a poster
	q.done(got)
	if len(q.order) != 0 || len(ready) != 2 {
		t.Fatalf("%d may be taken, %d timers", len(q.order), len(ready))
	}
	ready[1]()
	if got = q.take(t.Context(), 10); len(got) != 1 || got[0].typ != event.RefDelete {
		t.Fatalf("%+v", got)
	}
	q.done(got)
	if q.len() != 0 {
		t.Error("something is left")
	}
}

// All that is there is said once more, a part in each call, as an event of its own; what went is not.
func TestAgain(t *testing.T) {
	s := &Source{queue: newQueue(nil), nonce: "n", o: Options{Source: "/k"}}
	w := &watched{s: s, kind: "Device", known: map[string]version{}}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		w.see("plant/"+name, "plant", name, version{uid: name, resource: "1"})
	}
	ids := map[string]bool{}
	said := func() (names string) {
		for s.queue.len() > 0 {
			cs := s.queue.take(t.Context(), 10)
			for _, c := range cs {
				e, err := s.event(c)
				if err != nil || ids[e.ID()] {
					t.Fatalf("%v, or said before: %s", err, e)
				}
				ids[e.ID()] = true
				names += c.key.name
			}
			s.queue.done(cs)
		}
		return names
	}
	if got := said(); got != "abcde" {
		t.Fatal(got)
	}
	for round, want := range [][]string{{"ab", "cd", "e"}, {"ab", "c", "e"}} {
		w.again()
		for part, names := range want {
			if more := w.some(2); more != (part < 2) {
				t.Errorf("round %d part %d: more %v", round, part, more)
			}
			if round == 1 && part == 0 {
				delete(w.known, "plant/d") // it is left out
			}
			if got := said(); got != names {
				t.Errorf("round %d part %d: %q, want %q", round, part, got, names)
			}
		}
	}
}
