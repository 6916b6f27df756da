package uplink

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// sink is a broker whose answer a test decides.
type sink struct {
	mu     sync.Mutex
	answer func(e ce.Event) error
	took   []ce.Event
}

func (s *sink) Post(_ context.Context, e ce.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer != nil {
		if err := s.answer(e); err != nil {
			return err
		}
	}
	e.DataEncoded = append([]byte(nil), e.DataEncoded...)
	s.took = append(s.took, e)
	return nil
}

func (s *sink) PostBatch(ctx context.Context, es []ce.Event) error {
	for _, e := range es {
		if err := s.Post(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (s *sink) set(f func(ce.Event) error) {
	s.mu.Lock()
	s.answer = f
	s.mu.Unlock()
}

func (s *sink) events() []ce.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]ce.Event(nil), s.took...)
}

type book struct {
	mu       sync.Mutex
	accepted map[uint64]int
	refused  map[uint64]error
}

func newBook() *book { return &book{accepted: map[uint64]int{}, refused: map[uint64]error{}} }

func (b *book) Accepted(id uint64) {
	b.mu.Lock()
	b.accepted[id]++
	b.mu.Unlock()
}

func (b *book) Refused(id uint64, err error) {
	b.mu.Lock()
	b.refused[id] = err
	b.mu.Unlock()
}

func (b *book) counts() (accepted, refused int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.accepted), len(b.refused)
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for !f() {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
		time.Sleep(time.Millisecond)
	}
}

func start(t *testing.T, s *sink) *Uplink {
	u := New(s, Options{Source: "/test", Subject: "plant/main", Namespace: "plant"})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		u.Close(ctx)
	})
	return u
}

func testEvent(t testing.TB, id string) ce.Event {
	e, err := event.New(event.DeviceReported, "/test", "plant/press-7", id, event.Reported{Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var records = []byte{0x81, 0x84, 0, 0x61, 'a', 0x61, 't', 0xf9, 0x3c, 0}

func frame(i int) Frame {
	return Frame{Device: event.Device{Namespace: "plant", Name: fmt.Sprintf("press-%d", i)}, BootID: []byte("bootboot"), Seq: uint64(i), Records: records}
}

func TestNothingIsAcknowledgedBeforeTheBrokerHasIt(t *testing.T) {
	s, b := &sink{}, newBook()
	away := errs.New(errs.Unavailable, "away")
	s.set(func(ce.Event) error { return away })
	u := start(t, s)
	for i := range 10 {
		if err := u.Event(testEvent(t, fmt.Sprint(i)), b, uint64(i)); err != nil {
			t.Fatal(err)
		}
		if err := u.Telemetry(frame(i), b, uint64(100+i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the uplink knows that the broker is away", func() bool { _, err := u.Health(); return err != nil })
	if a, r := b.counts(); a != 0 || r != 0 {
		t.Fatalf("%d accepted, %d refused while the broker was away", a, r)
	}
	s.set(nil)
	eventually(t, "all accepted", func() bool { a, _ := b.counts(); return a == 20 })
	if _, err := u.Health(); err != nil {
		t.Fatal(err)
	}
	for id, n := range b.accepted {
		if n != 1 {
			t.Fatalf("%d accepted %d times", id, n)
		}
	}
}

func TestBatchIsWhatTheCatalogueSays(t *testing.T) {
	s, b := &sink{}, newBook()
	u := start(t, s)
	for i := range 300 { // more than 255: the array's head has three bytes
		if err := u.Telemetry(frame(i), b, uint64(i)); err != nil {
			t.Fatal(err)
		}
		if err := u.Logs(frame(i), b, uint64(1000+i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all accepted", func() bool { a, _ := b.counts(); return a == 600 })
	n := map[string]int{}
	for _, e := range s.events() {
		batch, err := event.Data[event.TelemetryBatch](e)
		if err != nil {
			t.Fatal(err)
		}
		if e.Subject() != "plant/main" || event.Namespace(e) != "plant" {
			t.Fatalf("%v", e)
		}
		for _, d := range batch.Devices {
			if want := frame(int(d.Seq)); d.Name != want.Device.Name || d.Namespace != "plant" || string(d.BootID) != "bootboot" || string(d.Records) != string(records) {
				t.Fatalf("%+v", d)
			}
			n[e.Type()]++
		}
	}
	if n[event.TelemetryReceived] != 300 || n[event.LogsReceived] != 300 {
		t.Fatalf("%v", n)
	}
}

func TestOnlyTheBadEventIsRefused(t *testing.T) {
	s, b := &sink{}, newBook()
	s.set(func(e ce.Event) error {
		if e.ID() == "3" {
			return errs.New(errs.Invalid, "no")
		}
		return nil
	})
	u := start(t, s)
	for i := range 6 {
		if err := u.Event(testEvent(t, fmt.Sprint(i)), b, uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all answered", func() bool { a, r := b.counts(); return a == 5 && r == 1 })
	if !errs.Is(b.refused[3], errs.Invalid) {
		t.Fatalf("%v", b.refused)
	}
}

func TestQueuesAreBounded(t *testing.T) {
	s, b := &sink{}, newBook()
	s.set(func(ce.Event) error { return errs.New(errs.Unavailable, "away") })
	u := start(t, s)
	var err error
	for i := 0; err == nil; i++ {
		if i > 2*maxQueued {
			t.Fatal("no end of events")
		}
		err = u.Event(testEvent(t, "x"), b, 1)
	}
	if !errs.Is(err, errs.Exhausted) {
		t.Fatal(err)
	}
	if err := u.Lifecycle(testEvent(t, "x"), nil, 0); err != nil {
		t.Fatalf("the reserve is not for lifecycle events: %v", err)
	}
	f := frame(1)
	f.Records = make([]byte, 16<<10)
	err = nil
	for i := 0; err == nil; i++ {
		if i > 100000 {
			t.Fatal("no end of telemetry")
		}
		err = u.Telemetry(f, b, 1)
	}
	if !errs.Is(err, errs.Exhausted) {
		t.Fatal(err)
	}
	if err := u.Logs(f, b, 1); err != nil {
		t.Fatalf("telemetry holds logs back: %v", err)
	}
}

func TestCloseFlushes(t *testing.T) {
	s, b := &sink{}, newBook()
	u := New(s, Options{Source: "/test", Subject: "plant/main", Namespace: "plant"})
	for i := range 50 {
		u.Event(testEvent(t, fmt.Sprint(i)), b, uint64(i))
		u.Telemetry(frame(i), b, uint64(100+i))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := u.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if a, _ := b.counts(); a != 100 {
		t.Fatalf("%d accepted", a)
	}

	s.set(func(ce.Event) error { return errs.New(errs.Unavailable, "away") })
	u = New(s, Options{Source: "/test"})
	u.Event(testEvent(t, "left"), b, 999)
	ctx, cancel = context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if err := u.Close(ctx); !errs.Is(err, errs.Deadline) {
		t.Fatal(err)
	}
	if b.accepted[999] != 0 {
		t.Fatal("acknowledged what was not accepted")
	}
}

func TestRecordsAllocateNothing(t *testing.T) {
	s := &sink{}
	s.set(func(ce.Event) error { return errs.New(errs.Unavailable, "away") })
	u := start(t, s)
	f, b := frame(1), newBook()
	u.Telemetry(f, b, 1)
	if n := testing.AllocsPerRun(500, func() { u.Telemetry(f, b, 1) }); n > 0.1 { // the buffer grows now and then
		t.Fatalf("%v allocations a frame", n)
	}
}
