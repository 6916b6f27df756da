package gateway

import (
	"testing"
	"time"

	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/protocol"
)

// TestDisconnect: somebody ends a session, and that one alone.
func TestDisconnect(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	d, other := w.device("press-1"), w.device("press-2")
	welcome := d.open(g.TLSAddr())
	other.open(g.TLSAddr())
	// Of an older session's epoch: nothing ends. The next word is read after it, so it was heard.
	for _, epoch := range []uint64{welcome.Epoch + 100, welcome.Epoch} {
		if err := g.affinity.Disconnect(t.Context(), d.ref(), g.Instance(), epoch, 90*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if bye := next[*protocol.Goodbye](d); bye.Reason != protocol.GoodbyeShutdown || bye.RetryAfter != 90_000 {
		t.Fatalf("%+v", bye)
	}
	d.ended()
	eventually(t, "the lease is released", func() bool {
		_, _, err := g.affinity.Owner(t.Context(), d.ref())
		return errs.Is(err, errs.NotFound)
	})
	other.beat()
	if err := g.affinity.Disconnect(t.Context(), d.ref(), g.Instance(), welcome.Epoch, 48*time.Hour); !errs.Is(err, errs.Invalid) {
		t.Errorf("two days away: %v", err)
	}
}

// TestSwitchedOff: a gateway that is switched off ends its sessions, takes none, says so, and takes them again after.
func TestSwitchedOff(t *testing.T) {
	w := newWorld(t)
	w.put(ledger.GatewaySettings{Heartbeat: time.Second})
	g := w.gateway()
	d := w.device("press-1")
	d.open(g.TLSAddr())
	w.put(ledger.GatewaySettings{Heartbeat: time.Second, Disabled: true})
	away := func(d *device) {
		t.Helper()
		bye := next[*protocol.Goodbye](d)
		if after := time.Duration(bye.RetryAfter) * time.Millisecond; bye.Reason != protocol.GoodbyeBusy || after < disabledRetryMin || after > disabledRetryMin+disabledRetrySpread {
			t.Fatalf("%+v", bye)
		}
		d.ended()
	}
	away(d)
	if err := d.dial(g.TLSAddr()); err != nil {
		t.Fatal(err)
	}
	away(d)
	eventually(t, "the registry says so", func() bool {
		is, err := g.affinity.Instances(t.Context())
		return err == nil && len(is) == 1 && is[0].State == stateDisabled && is[0].Devices == 0
	})
	if r := g.Ready(); !r.Settings.OK || r.Settings.Note == "" {
		t.Errorf("%+v", r)
	}
	w.put(ledger.GatewaySettings{Heartbeat: time.Second})
	eventually(t, "it is on again", func() bool { return !g.settings().disabled })
	d.open(g.TLSAddr())
	d.beat()
}
