package source_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	cetest "github.com/cloudevents/sdk-go/v2/test"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/source"
	"wasmbed.io/wasmbed/internal/errs"
)

var devices = schema.GroupVersionResource{Group: "wasmbed.io", Version: "v1alpha1", Resource: "devices"}

// sink records what is posted; fail decides.
type sink struct {
	mu   sync.Mutex
	got  []ce.Event
	fail func([]ce.Event) error
}

func (s *sink) PostBatch(_ context.Context, es []ce.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(es); err != nil {
			return err
		}
	}
	s.got = append(s.got, es...)
	return nil
}

func (s *sink) set(f func([]ce.Event) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// said lists "type name" of what was posted, types shortened.
func (s *sink) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, e := range s.got {
		out = append(out, e.Type()[len("dev.knative.apiserver.ref."):]+" "+event.Extension(e, event.ExtName))
	}
	return out
}

func await(t *testing.T, cond func() bool, what func() any) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %v", what())
		}
	}
}

func (s *sink) await(t *testing.T, want ...string) {
	t.Helper()
	await(t, func() bool { return len(s.said()) >= len(want) }, func() any { return fmt.Sprintf("said %q, want %q", s.said(), want) })
	if got := s.said(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("said %q, want %q", got, want)
	}
}

func device(name, version string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "wasmbed.io/v1alpha1", Kind: "Device"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name, UID: types.UID("uid-" + name), ResourceVersion: version,
			Annotations: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "a whole module"}},
	}
}

// api is a fake API whose list and watch can fail and whose watch is driven by the test.
type api struct {
	*fake.FakeMetadataClient
	mu      sync.Mutex
	items   []metav1.PartialObjectMetadata
	away    bool
	watcher *watch.FakeWatcher
}

func newAPI(t *testing.T, items ...*metav1.PartialObjectMetadata) *api {
	t.Helper()
	scheme := fake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	a := &api{FakeMetadataClient: fake.NewSimpleMetadataClient(scheme)}
	a.setItems(items...)
	a.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.away {
			return true, nil, errs.New(errs.Unavailable, "connection refused")
		}
		l := &metav1.List{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}
		for i := range a.items {
			l.Items = append(l.Items, runtime.RawExtension{Object: a.items[i].DeepCopy()})
		}
		return true, l, nil
	})
	a.PrependWatchReactor("*", func(clienttesting.Action) (bool, watch.Interface, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.away {
			return true, nil, errs.New(errs.Unavailable, "connection refused")
		}
		a.watcher = watch.NewFakeWithChanSize(1000, false)
		return true, a.watcher, nil
	})
	return a
}

func (a *api) setItems(items ...*metav1.PartialObjectMetadata) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.items = nil
	for _, i := range items {
		a.items = append(a.items, *i)
	}
}

// setAway cuts the watch too.
func (a *api) setAway(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = away
	if away && a.watcher != nil {
		a.watcher.Stop()
		a.watcher = nil
	}
}

func (a *api) watching(t *testing.T) *watch.FakeWatcher {
	t.Helper()
	var w *watch.FakeWatcher
	await(t, func() bool { a.mu.Lock(); defer a.mu.Unlock(); w = a.watcher; return w != nil }, func() any { return "no watch" })
	return w
}

func run(t *testing.T, a *api, k source.Sink) *source.Source {
	t.Helper()
	s, err := source.New(nil, k, source.Options{Client: a, Resources: []schema.GroupVersionResource{devices}, Source: "https://10.0.0.1:443"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestAnnouncesInKnativesForm(t *testing.T) {
	k := &sink{}
	a := newAPI(t, device("press-7", "10"))
	s := run(t, a, k)
	k.await(t, "add press-7")
	if !s.Listed() {
		t.Error("not listed")
	}
	e := k.got[0]
	cetest.AssertEvent(t, e, cetest.IsValid(),
		cetest.HasType("dev.knative.apiserver.ref.add"), cetest.HasSource("https://10.0.0.1:443"),
		cetest.HasSubject("/apis/wasmbed.io/v1alpha1/namespaces/plant/devices/press-7"),
		cetest.HasExtension("apiversion", "wasmbed.io/v1alpha1"), cetest.HasExtension("kind", "Device"),
		cetest.HasExtension("name", "press-7"), cetest.HasExtension("namespace", "plant"), cetest.HasDataContentType("application/json"))
	ref, err := event.Data[event.ObjectReference](e)
	if want := (event.ObjectReference{APIVersion: "wasmbed.io/v1alpha1", Kind: "Device", Namespace: "plant", Name: "press-7"}); err != nil || ref != want {
		t.Errorf("%+v, %v", ref, err)
	}
	w := a.watching(t)
	w.Modify(device("press-7", "11"))
	k.await(t, "add press-7", "update press-7")
	w.Add(device("press-8", "12"))
	k.await(t, "add press-7", "update press-7", "add press-8")
	w.Delete(device("press-7", "13"))
	k.await(t, "add press-7", "update press-7", "add press-8", "delete press-7")
}

// While the broker takes nothing, changes of one object become one; nothing is lost, order stays.
func TestBrokerAway(t *testing.T) {
	k := &sink{}
	k.set(func([]ce.Event) error { return errs.New(errs.Unavailable, "away") })
	a := newAPI(t)
	s := run(t, a, k)
	w := a.watching(t)
	for i := range 50 {
		w.Add(device(fmt.Sprintf("d%02d", i), "1"))
	}
	await(t, func() bool { return s.Waiting() == 50 }, func() any { return s.Waiting() })
	for i := range 100 {
		w.Modify(device("d49", fmt.Sprint(100+i)))
	}
	w.Delete(device("d48", "300"))
	w.Delete(device("d47", "301"))
	w.Add(&metav1.PartialObjectMetadata{TypeMeta: device("", "").TypeMeta, ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "d47", UID: "another", ResourceVersion: "302"}})
	w.Add(device("last", "303"))
	await(t, func() bool { return s.Waiting() == 51 }, func() any { return s.Waiting() })
	k.set(nil)
	await(t, func() bool { return s.Waiting() == 0 }, func() any { return s.Waiting() })
	per := map[string]string{}
	for _, x := range k.said() {
		var typ, name string
		fmt.Sscan(x, &typ, &name)
		per[name] += typ + " "
	}
	if len(per) != 51 {
		t.Errorf("%d objects", len(per))
	}
	if got := per["d49"]; got != "add " && got != "add update " {
		t.Errorf("d49: %s", got)
	}
	if got := per["d48"]; got != "delete " && got != "add delete " {
		t.Errorf("d48: %s", got)
	}
	if got := per["d47"]; got != "delete add " && got != "add delete add " {
		t.Errorf("d47: %s", got)
	}
}

// A post that is repeated says the same event.
func TestRepeatedPostKeepsItsID(t *testing.T) {
	var ids []string
	k := &sink{}
	k.set(func(es []ce.Event) error {
		ids = append(ids, es[0].ID())
		if len(ids) < 3 {
			return errs.New(errs.Exhausted, "later")
		}
		return nil
	})
	run(t, newAPI(t, device("press-7", "1")), k)
	k.await(t, "add press-7")
	if ids[0] != ids[1] || ids[1] != ids[2] {
		t.Error(ids)
	}
}

// After an outage of the API what changed meanwhile is announced, and nothing else.
func TestAPIAway(t *testing.T) {
	k := &sink{}
	a := newAPI(t, device("same", "1"), device("changed", "1"), device("deleted", "1"))
	run(t, a, k)
	a.watching(t)
	k.await(t, "add same", "add changed", "add deleted")
	a.setAway(true)
	a.setItems(device("same", "1"), device("changed", "2"), device("new", "3"))
	a.setAway(false)
	// The watch ended without a word, so the reflector watches on from where it was; the fake knows no
	// history, so it says what a real API says when it has none left: too old, list again.
	a.watching(t).Error(&metav1.Status{Status: metav1.StatusFailure, Code: 410, Reason: metav1.StatusReasonExpired, Message: "too old resource version"})
	k.await(t, "add same", "add changed", "add deleted", "update changed", "add new", "delete deleted")
}

// The API may come later than the source.
func TestAPIAwayAtStart(t *testing.T) {
	k := &sink{}
	a := newAPI(t, device("press-7", "1"))
	a.setAway(true)
	s := run(t, a, k)
	await(t, func() bool { return len(a.Actions()) >= 3 }, func() any { return "no attempts" })
	if s.Listed() {
		t.Error("listed without an API")
	}
	a.setAway(false)
	k.await(t, "add press-7")
}

// What the broker will never take stops nobody else.
func TestRefusedForEver(t *testing.T) {
	k := &sink{}
	k.set(func(es []ce.Event) error {
		for _, e := range es {
			if event.Extension(e, "name") == "bad" {
				return errs.New(errs.Invalid, "no")
			}
		}
		return nil
	})
	s := run(t, newAPI(t, device("good", "1"), device("bad", "1"), device("fine", "1")), k)
	k.await(t, "add good", "add fine")
	await(t, func() bool { return s.Waiting() == 0 }, func() any { return s.Waiting() })
}

func TestNewRefuses(t *testing.T) {
	if _, err := source.New(nil, &sink{}, source.Options{}); !errs.Is(err, errs.Invalid) {
		t.Error(err)
	}
}
