package board

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

const ns = "plant"

type bench struct {
	*testing.T
	f   *Function
	set *client.Set
	now time.Time
	n   int
}

func start(t *testing.T, o client.MemoryOptions) *bench {
	b := &bench{T: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return b.now }
	o.Now = clock
	b.set = client.NewMemoryWith(o)
	b.f = New(Deps{Client: b.set, Now: clock, Log: slog.New(slog.DiscardHandler)})
	return b
}

func (b *bench) device(name string) *v1alpha1.Device {
	b.Helper()
	o, err := b.set.Devices.Create(b.Context(), &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: v1alpha1.DeviceSpec{Board: "Mps2An385", Emulation: &v1alpha1.Emulation{Backend: v1alpha1.BackendQEMU}}})
	if err != nil {
		b.Fatal(err)
	}
	return o
}

func (b *bench) get(name string) *v1alpha1.Device {
	b.Helper()
	o, err := b.set.Devices.Get(b.Context(), ns, name)
	if err != nil {
		b.Fatal(err)
	}
	return o
}

func (b *bench) say(c event.BoardChanged) error {
	b.Helper()
	b.n++
	e, err := event.New(event.BoardChangedType, "/wasmbed/provisioner/pv", "", fmt.Sprint("e", b.n), c, event.About(c.Device))
	if err != nil {
		b.Fatal(err)
	}
	reply, err := b.f.Handle(b.Context(), e)
	if reply != nil {
		b.Errorf("it answers %v", reply)
	}
	return err
}

func (b *bench) must(c event.BoardChanged) {
	b.Helper()
	if err := b.say(c); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) condition(d *v1alpha1.Device, status metav1.ConditionStatus, reason string) {
	b.Helper()
	c := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionProvisioned)
	if c == nil || c.Status != status || c.Reason != reason {
		b.Errorf("Provisioned is %+v, want %s %s", c, status, reason)
	}
}

func (b *bench) notices() []corev1.Event {
	evs, _, err := b.set.Events.List(b.Context(), ns, client.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return evs
}

func (b *bench) word(d *v1alpha1.Device, seq int64, phase string) event.BoardChanged {
	return event.BoardChanged{Device: event.Device{Namespace: d.Namespace, Name: d.Name}, UID: string(d.UID), Generation: d.Generation, Sequence: seq,
		Phase: phase, Backend: "qemu", Engine: "process", Since: b.now}
}

func TestAllOfABoardIsWritten(t *testing.T) {
	b := start(t, client.MemoryOptions{})
	d := b.device("press-1")
	w := b.word(d, 10, v1alpha1.BoardBooted)
	w.Transport, w.Endpoint, w.Instance, w.Image = "Ethernet", "unix:monitor.sock", "4242", "sha256:"+strings.Repeat("0a", 32)
	w.Resets, w.PowerCuts, w.Restarts, w.Reason, w.Message, w.Since = 1, 2, 3, "FirmwareBooted", "it said so", b.now.Add(1500*time.Millisecond)
	b.must(w)
	d = b.get("press-1")
	since := metav1.NewTime(b.now.Add(time.Second))
	want := v1alpha1.BoardStatus{Phase: "Booted", Backend: "qemu", Engine: "process", Transport: "Ethernet", Endpoint: "unix:monitor.sock", Instance: "4242",
		Image: w.Image, Resets: 1, PowerCuts: 2, Restarts: 3, Reason: "FirmwareBooted", Message: "it said so", Since: &since, ObservedGeneration: 1, Sequence: 10}
	if got := *d.Status.Board; !got.Since.Equal(want.Since) {
		t.Errorf("since %v, want %v", got.Since, want.Since)
	} else if got.Since = want.Since; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	b.condition(d, metav1.ConditionTrue, "FirmwareBooted")
}

func TestPhases(t *testing.T) {
	b := start(t, client.MemoryOptions{})
	d := b.device("press-1")
	for i, c := range []struct {
		phase string
		want  metav1.ConditionStatus
	}{
		{v1alpha1.BoardPending, metav1.ConditionFalse}, {v1alpha1.BoardStarting, metav1.ConditionFalse}, {v1alpha1.BoardBooted, metav1.ConditionTrue},
		{v1alpha1.BoardRunning, metav1.ConditionTrue}, {v1alpha1.BoardStopped, metav1.ConditionFalse}, {v1alpha1.BoardFailed, metav1.ConditionFalse},
	} {
		w := b.word(d, int64(i+1), c.phase)
		w.Reason = "not a word, so the phase it is"
		b.must(w)
		b.condition(b.get("press-1"), c.want, c.phase)
	}
}

// An older word, a word said twice and a word about a former Device of the name change nothing.
func TestOrder(t *testing.T) {
	b := start(t, client.MemoryOptions{})
	d := b.device("press-1")
	b.must(b.word(d, 20, v1alpha1.BoardRunning))
	before := b.get("press-1")
	b.must(b.word(d, 10, v1alpha1.BoardStarting))
	b.must(b.word(d, 20, v1alpha1.BoardFailed))
	gone := b.word(d, 30, v1alpha1.BoardFailed)
	gone.UID = "of another"
	b.must(gone)
	removed := b.word(d, 15, "")
	removed.Removed = true
	b.must(removed)
	if after := b.get("press-1"); after.ResourceVersion != before.ResourceVersion {
		t.Errorf("written: %+v", after.Status.Board)
	}
	// Every order of the same words ends the same.
	phases := []string{v1alpha1.BoardPending, v1alpha1.BoardStarting, v1alpha1.BoardBooted, v1alpha1.BoardRunning}
	for i, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}} {
		d := b.device(fmt.Sprint("order-", i))
		for _, n := range order {
			b.must(b.word(d, int64(n+1), phases[n]))
		}
		if s := b.get(d.Name).Status.Board; s.Phase != v1alpha1.BoardRunning || s.Sequence != 4 {
			t.Errorf("%v: %+v", order, s)
		}
	}
}

// What report and enroll write stays, and what this function wrote goes with the board.
func TestOnlyWhatIsItsOwn(t *testing.T) {
	b := start(t, client.MemoryOptions{})
	d := b.device("press-1")
	d.Status = v1alpha1.DeviceStatus{Gateway: "main", Online: "True", ObservedGeneration: 1,
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionOnline, Status: metav1.ConditionTrue, Reason: "Connected"}}}
	d, err := b.set.Devices.UpdateStatus(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	b.must(b.word(d, 1, v1alpha1.BoardRunning))
	s := b.get("press-1").Status
	if s.Gateway != "main" || s.ObservedGeneration != 1 || len(s.Conditions) != 2 || s.Board == nil {
		t.Errorf("%+v", s)
	}
	removed := b.word(d, 2, "")
	removed.Removed = true
	b.must(removed)
	s = b.get("press-1").Status
	if s.Gateway != "main" || len(s.Conditions) != 1 || s.Conditions[0].Type != v1alpha1.ConditionOnline || s.Board != nil {
		t.Errorf("%+v", s)
	}
	// A Device that asks for no emulation has no board, whatever a late word says.
	d = b.get("press-1")
	d.Spec.Emulation = nil
	if _, err := b.set.Devices.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	b.must(b.word(d, 3, v1alpha1.BoardRunning))
	if s := b.get("press-1").Status; s.Board != nil || len(s.Conditions) != 1 {
		t.Errorf("%+v", s)
	}
	// One of a Device that is gone is no error: it would come again for ever.
	b.must(event.BoardChanged{Device: event.Device{Namespace: ns, Name: "nobody"}, Sequence: 1, Phase: v1alpha1.BoardFailed})
}

func TestFailureIsNoticedOnce(t *testing.T) {
	b := start(t, client.MemoryOptions{})
	d := b.device("press-1")
	fail := func(seq int64, reason, message string) {
		w := b.word(d, seq, v1alpha1.BoardFailed)
		w.Reason, w.Message, w.Restarts = reason, message, seq
		b.must(w)
	}
	fail(1, "FirmwareMissing", "no image Mps2An385.elf")
	fail(2, "FirmwareMissing", "no image Mps2An385.elf") // it was tried again
	n := b.notices()
	if len(n) != 1 || n[0].Type != corev1.EventTypeWarning || n[0].Reason != "BoardFailed" || n[0].Message != "FirmwareMissing: no image Mps2An385.elf" ||
		n[0].InvolvedObject.UID != d.UID || n[0].InvolvedObject.Kind != "Device" {
		t.Fatalf("%+v", n)
	}
	fail(3, "BackendEnded", "qemu ended with status 1")
	b.must(b.word(d, 4, v1alpha1.BoardRunning))
	if n := b.notices(); len(n) != 2 {
		t.Errorf("%d notices", len(n))
	}
	b.condition(b.get("press-1"), metav1.ConditionTrue, "Running")
}

func TestBadWords(t *testing.T) {
	b := start(t, client.MemoryOptions{})
	d := b.device("press-1")
	for name, spoil := range map[string]func(*event.BoardChanged){
		"no device":        func(w *event.BoardChanged) { w.Device = event.Device{} },
		"no sequence":      func(w *event.BoardChanged) { w.Sequence = 0 },
		"unknown phase":    func(w *event.BoardChanged) { w.Phase = "Dreaming" },
		"no phase":         func(w *event.BoardChanged) { w.Phase = "" },
		"negative counter": func(w *event.BoardChanged) { w.Restarts = -1 },
	} {
		w := b.word(d, 1, v1alpha1.BoardRunning)
		spoil(&w)
		if err := b.say(w); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is too long is cut, between characters.
	w := b.word(d, 1, v1alpha1.BoardFailed)
	w.Reason, w.Message = strings.Repeat("R", 500), strings.Repeat("ü", 1000)
	b.must(w)
	s := b.get("press-1").Status.Board
	if len(s.Reason) != maxWord || len(s.Message) != maxText || !strings.HasSuffix(s.Message, "ü") {
		t.Errorf("%d %d", len(s.Reason), len(s.Message))
	}
	b.condition(b.get("press-1"), metav1.ConditionFalse, v1alpha1.BoardFailed)
}

// Somebody else writes the same status at the same time: neither's words are lost. An API server that is away
// brings the event back.
func TestConflictAndOutage(t *testing.T) {
	var race func()
	var away error
	b := start(t, client.MemoryOptions{Fail: func(verb, resource, _, _ string) error {
		if verb == "updatestatus" && race != nil {
			do := race
			race = nil
			do()
		}
		return away
	}})
	d := b.device("press-1")
	race = func() {
		o := b.get("press-1")
		o.Status.Gateway = "main"
		if _, err := b.set.Devices.UpdateStatus(context.Background(), o); err != nil {
			t.Error(err)
		}
	}
	b.must(b.word(d, 1, v1alpha1.BoardBooted))
	if s := b.get("press-1").Status; s.Gateway != "main" || s.Board == nil || s.Board.Phase != v1alpha1.BoardBooted {
		t.Errorf("%+v", s)
	}
	away = errs.New(errs.Unavailable, "the API server is away")
	if err := b.say(b.word(d, 2, v1alpha1.BoardRunning)); !errs.Is(err, errs.Unavailable) {
		t.Error(err)
	}
	away = nil
	b.must(b.word(d, 2, v1alpha1.BoardRunning))
	if s := b.get("press-1").Status.Board; s.Phase != v1alpha1.BoardRunning {
		t.Errorf("%+v", s)
	}
}
