package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

// The life of an application is told in the tests of package functions, with all functions at work. Here is
// what is better seen alone.

type sink struct {
	mu   sync.Mutex
	said []ce.Event
}

func (s *sink) Post(_ context.Context, e ce.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, e)
	return nil
}

func start(t *testing.T) (*Function, *client.Set, *ledger.Ledger, *sink) {
	set, s := client.NewMemory(), &sink{}
	l := ledger.New(testredis.Start(t).Client(t), ledger.Options{})
	return New(Deps{Client: set, Ledger: l, Sink: s, Now: time.Now, Log: slog.New(slog.DiscardHandler), AdvanceGap: -1}), set, l, s
}

func TestRebuildGoesOnWithAnotherEvent(t *testing.T) {
	f, set, l, s := start(t)
	f.share = 0 // one page an event
	const n = devicePage*2 + 17
	for i := range n {
		_, err := set.Devices.Create(t.Context(), &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: fmt.Sprintf("d-%05d", i)},
			Spec: v1alpha1.DeviceSpec{Board: "Mps2An385", Approval: v1alpha1.ApprovalApproved}})
		if err != nil {
			t.Fatal(err)
		}
	}
	era, created, err := l.Era(t.Context())
	if err != nil || !created {
		t.Fatal(era, created, err)
	}
	e, err := event.New(event.LedgerLost, "gw", era, "1", event.Lost{Era: era, By: "gw"})
	if err != nil {
		t.Fatal(err)
	}
	events := 0
	for next := []ce.Event{e}; len(next) > 0; events++ {
		if _, err := f.Handle(t.Context(), next[0]); err != nil {
			t.Fatal(err)
		}
		next = next[1:]
		s.mu.Lock()
		next = append(next, s.said...)
		s.said = nil
		s.mu.Unlock()
		whole, err := f.rebuilt(t.Context(), "plant")
		if err != nil || whole != (events == 2) {
			t.Errorf("after event %d: rebuilt %v, %v", events, whole, err)
		}
	}
	if events != 3 {
		t.Errorf("%d events", events)
	}
	if known, err := l.DevicesKnown(t.Context(), "plant"); err != nil || known != n {
		t.Errorf("%d devices known, %v", known, err)
	}
	// Said again, or of another era: nothing.
	old, _ := event.New(event.LedgerLost, "gw", "0", "2", event.Lost{Era: "0000000000000000", By: "gw"})
	for _, e := range []ce.Event{e, old} {
		if _, err := f.Handle(t.Context(), e); err != nil || len(s.said) > 0 {
			t.Errorf("%v, %d events", err, len(s.said))
		}
	}
}

func TestRevisionHashIgnoresWhatIsDefault(t *testing.T) {
	h := func(m v1alpha1.Manifest) string {
		t.Helper()
		s, err := revisionHash("sha256:00", m)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	plain := h(v1alpha1.Manifest{})
	var full v1alpha1.Manifest
	full.Default()
	if h(full) != plain {
		t.Error("writing the defaults out makes another revision")
	}
	p := v1alpha1.Manifest{Permissions: []v1alpha1.Permission{"telemetry", "log", "clock"}}
	if h(p) != plain {
		t.Error("the order of permissions makes another revision")
	}
	for name, m := range map[string]v1alpha1.Manifest{
		"config":      {Config: map[string]string{"a": "b"}},
		"pages":       {Limits: v1alpha1.Limits{MemoryPages: 2}},
		"permissions": {Permissions: []v1alpha1.Permission{}},
		"timer":       {Timers: []v1alpha1.Timer{{ID: 1, Period: metav1.Duration{Duration: time.Second}}}},
		"window":      {Health: v1alpha1.Health{Window: &metav1.Duration{Duration: time.Second}}},
	} {
		if h(m) == plain {
			t.Errorf("%s makes no other revision", name)
		}
	}
}

// TestTargetsAndLedgerAgree compares matcher with what the ledger makes of selection.
func TestTargetsAndLedgerAgree(t *testing.T) {
	f, _, l, _ := start(t)
	_ = f
	sel := func(s metav1.LabelSelector) v1alpha1.Targets { return v1alpha1.Targets{Selector: &s} }
	req := func(key string, op metav1.LabelSelectorOperator, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: values}
	}
	fleet := map[string]map[string]string{
		"a": {"line": "a", "wasmbed.io/x": "1"}, "b": {"line": "b"}, "c": nil, "d": {"line": ""}, "e": {"wasmbed.io/x": "2", "line": "a"},
	}
	for name, labels := range fleet {
		if err := l.PutDevice(t.Context(), event.Device{Namespace: "plant", Name: name}, ledger.DeviceFacts{Labels: labels, Approved: true}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, targets := range []v1alpha1.Targets{
		{All: true}, {}, {Names: []string{"a", "c", "a", "zz"}}, sel(metav1.LabelSelector{}),
		sel(metav1.LabelSelector{MatchLabels: map[string]string{"line": "a"}}),
		sel(metav1.LabelSelector{MatchLabels: map[string]string{"line": "a", "wasmbed.io/x": "2"}}),
		sel(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{req("line", "In", "a", "b")}}),
		sel(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{req("line", "NotIn", "a")}}),
		sel(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{req("line", "Exists"), req("wasmbed.io/x", "DoesNotExist")}}),
		sel(metav1.LabelSelector{MatchLabels: map[string]string{"line": ""}}),
	} {
		s, err := selection(targets)
		if err != nil {
			t.Fatal(err)
		}
		app := ledger.App{Namespace: "plant", Name: fmt.Sprint("app-", i)}
		if _, err := l.SetTarget(t.Context(), app, ledger.Target{Sequence: 1, Revision: "r-1", Digest: "sha256:" + fmt.Sprintf("%064d", 1)}, s); err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		devs, _, err := l.AppDevices(t.Context(), app, "", "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range devs {
			got[d.Name] = true
		}
		m := matcher(targets)
		for name, labels := range fleet {
			if m(name, labels) != got[name] {
				t.Errorf("%+v: %s: matcher says %v, the ledger %v", targets, name, m(name, labels), got[name])
			}
		}
	}
	if _, err := selection(sel(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{req("line", "Near", "a")}})); !errs.Is(err, errs.Invalid) {
		t.Errorf("%v", err)
	}
}

func TestUnfit(t *testing.T) {
	info := module.Info{Size: 5000, MemoryPages: 1, Imports: []module.Import{{Module: "wasmbed", Name: "gpio_read"}}}
	for _, x := range []struct {
		caps   event.Capabilities
		reason string
	}{
		{event.Capabilities{}, ""}, // it tells nothing
		{event.Capabilities{ModuleMemory: 1 << 20, ModuleSize: 8000, Permissions: []string{"gpio", "log"}}, ""},
		{event.Capabilities{ModuleMemory: 1 << 20, ModuleSize: 4000}, "ModuleTooLarge"},
		{event.Capabilities{ModuleMemory: 4096, ModuleSize: 8000}, "InsufficientMemory"},
		{event.Capabilities{ModuleMemory: 1 << 20, ModuleSize: 8000, Permissions: []string{"log"}}, "MissingImport"},
	} {
		reason, message := unfit(ledger.Candidate{Board: "B", Capabilities: x.caps}, info, v1alpha1.Manifest{})
		if reason != x.reason || (message == "") != (reason == "") {
			t.Errorf("%+v: %s (%s), want %s", x.caps, reason, message, x.reason)
		}
	}
}

// TestUnfitIsWhatInspectSays: what is planned is decided by the estimate that `wasmbed inspect` shows, to the byte.
func TestUnfitIsWhatInspectSays(t *testing.T) {
	b, err := os.ReadFile("../../firmware/modules/hello.wasm")
	if err != nil {
		t.Fatal(err)
	}
	info, err := module.Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	need := module.EstimateMemory(info, v1alpha1.Manifest{})
	for less, want := range []string{"", "InsufficientMemory"} {
		caps := event.Capabilities{ModuleMemory: uint32(need) - uint32(less), ModuleSize: uint32(info.Size)}
		if reason, message := unfit(ledger.Candidate{Board: "B", Capabilities: caps}, info, v1alpha1.Manifest{}); reason != want {
			t.Errorf("%d bytes: %q (%s), want %q", caps.ModuleMemory, reason, message, want)
		}
	}
}

func TestKeyedLock(t *testing.T) {
	var k keyed
	var wg sync.WaitGroup
	held := map[string]int{}
	for i := range 100 {
		wg.Go(func() {
			key := fmt.Sprint(i % 3)
			release, err := k.lock(t.Context(), key)
			if err != nil {
				t.Error(err)
				return
			}
			k.mu.Lock()
			held[key]++
			if held[key] > 1 {
				t.Error("held twice")
			}
			k.mu.Unlock()
			k.mu.Lock()
			held[key]--
			k.mu.Unlock()
			release()
		})
	}
	wg.Wait()
	if len(k.held) != 0 {
		t.Errorf("%d locks are left", len(k.held))
	}
	release, err := k.lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.lock(ctx, "x"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("%v", err)
	}
}

func TestSelectionsAreSharedAndMended(t *testing.T) {
	var mu sync.Mutex
	lists, fail := 0, true
	s := selections{list: func(context.Context, string) ([]appSelection, error) {
		mu.Lock()
		defer mu.Unlock()
		lists++
		if fail {
			return nil, errors.New("away")
		}
		return []appSelection{{}}, nil
	}}
	if _, err := s.get(t.Context(), "plant"); err == nil {
		t.Error("no error")
	}
	mu.Lock()
	fail = false
	mu.Unlock()
	for { // the failed list is dropped a moment after it is answered
		if got, err := s.get(t.Context(), "plant"); err == nil && len(got) == 1 {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("it stays failed")
		}
	}
	var wg sync.WaitGroup
	mu.Lock()
	before := lists
	mu.Unlock()
	for range 50 {
		wg.Go(func() {
			if _, err := s.get(t.Context(), "plant"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if mu.Lock(); lists > before+1 {
		t.Errorf("%d lists for 50 devices", lists-before)
	}
	mu.Unlock()
}
