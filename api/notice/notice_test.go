package notice

import (
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/internal/errs"
)

func TestEqualNoticesCount(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	set := client.NewMemory()
	w := New(set.Events, "wasmbed-test", func() time.Time { return now })
	about := About{Kind: "Application", Namespace: "plant", Name: "vibration", UID: "u"}
	for range 3 { // the second is within the quiet time of the first
		if err := w.Warning(t.Context(), about, "RolledBack", "it trapped"); err != nil {
			t.Fatal(err)
		}
		now = now.Add(40 * time.Second)
	}
	if err := w.Normal(t.Context(), about, "Completed", strings.Repeat("é", 2000)); err != nil {
		t.Fatal(err)
	}
	evs, _, err := set.Events.List(t.Context(), "plant", client.ListOptions{})
	if err != nil || len(evs) != 2 {
		t.Fatalf("%d events, %v", len(evs), err)
	}
	for _, e := range evs {
		switch e.Reason {
		case "RolledBack":
			if e.Count != 2 || e.Type != "Warning" || e.InvolvedObject.UID != "u" || e.InvolvedObject.APIVersion != "wasmbed.io/v1alpha1" {
				t.Errorf("event %+v", e)
			}
		case "Completed":
			if len(e.Message) > maxMessage || !strings.HasSuffix(e.Message, "é…") {
				t.Errorf("message of %d bytes", len(e.Message))
			}
		}
	}
}

func TestRateIsBounded(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w := New(client.NewMemory().Events, "wasmbed-test", func() time.Time { return now })
	dropped := 0
	for range 3 * burst {
		err := w.Normal(t.Context(), About{Kind: "Device", Namespace: "plant", Name: "d"}, "R", "m")
		if errs.Is(err, errs.Exhausted) {
			dropped++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if dropped != 2*burst {
		t.Errorf("%d dropped", dropped)
	}
}
