package deploy

import (
	"context"
	"fmt"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

type away struct{}

func (away) Post(context.Context, ce.Event) error { return errs.New(errs.Unavailable, "no broker") }

// TestSweep: with nobody to tick, a ping posts what is overdue, of every kind and shard, each once; what is merely due is
// left to the gateways.
func TestSweep(t *testing.T) {
	f, _, l, said := start(t)
	ping, err := event.New(event.Ping, "/apis/v1/namespaces/wasmbed-system/pingsources/wasmbed-backstop", "", "p1", nil)
	if err != nil {
		t.Fatal(err)
	}
	late, want := time.Now().Add(-2*sweepAfter), map[string]bool{}
	for i := range 3 * sweepPage {
		x := event.Timer{Kind: ledger.DueStatus, Namespace: "plant", Name: fmt.Sprint("d", i), Due: late}
		if i%2 == 0 {
			x = event.Timer{Kind: ledger.DueDeadline, Namespace: "plant", Name: "app", Device: fmt.Sprint("d", i), Due: late}
		}
		if err := l.MarkDue(t.Context(), x); err != nil {
			t.Fatal(err)
		}
		want[x.Kind+x.Name+x.Device] = true
	}
	for _, soon := range []time.Time{time.Now().Add(-time.Second), time.Now().Add(time.Hour)} {
		if err := l.MarkDue(t.Context(), event.Timer{Kind: ledger.DueAdvance, Namespace: "plant", Name: fmt.Sprint("app", soon.Unix()), Due: soon}); err != nil {
			t.Fatal(err)
		}
	}
	f.d.Sink = away{}
	if _, err := f.Handle(t.Context(), ping); !errs.Is(err, errs.Unavailable) {
		t.Errorf("%v", err)
	}
	f.d.Sink = said
	// What the failed one had claimed comes later; the rest now.
	for range 2 {
		if reply, err := f.Handle(t.Context(), ping); reply != nil || err != nil {
			t.Fatal(reply, err)
		}
	}
	for _, e := range said.said {
		x, err := event.Data[event.Timer](e)
		if err != nil || e.Type() != event.TimerDue || event.Extension(e, event.ExtTimerKind) != x.Kind || event.Namespace(e) != "plant" || e.Subject() != "plant/"+x.Name {
			t.Fatalf("%v %v", e, err)
		}
		key := x.Kind + x.Name + x.Device
		if !want[key] {
			t.Errorf("%s was posted twice, or too early", key)
		}
		delete(want, key)
	}
	if len(want) > sweepPage { // those of the one claim
		t.Errorf("%d were not posted", len(want))
	}
}
