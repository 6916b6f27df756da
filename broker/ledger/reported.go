package ledger

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// session is what a session said of its device, as it is stored.
type session struct {
	Gateway      string             `json:"gw,omitempty"`
	Instance     string             `json:"in,omitempty"`
	BootID       string             `json:"boot,omitempty"`
	Board        string             `json:"board,omitempty"`
	Firmware     string             `json:"fw,omitempty"`
	Capabilities event.Capabilities `json:"caps"`
	Serial       string             `json:"serial,omitempty"`
	NotAfter     *time.Time         `json:"na,omitempty"`
	Connected    int64              `json:"at,omitempty"` // Unix ms
}

// Connect puts a session on the record: the device is online, unless that session was closed already. Said
// again, it changes nothing and returns the same changes. Stale when the era is not the present one, or a newer
// session is on the record; nothing was changed then.
func (l *Ledger) Connect(ctx context.Context, c event.Connected) ([]event.Change, error) {
	if err := checkDevice(c.Device); err != nil {
		return nil, err
	}
	if c.Epoch == 0 {
		return nil, errs.New(errs.Invalid, "ledger: %s: a session without an epoch", c.Device)
	}
	b, err := json.Marshal(session{c.Gateway, c.Instance, text(c.BootID), text(c.Board), text(c.Firmware), c.Capabilities,
		text(c.Serial), c.NotAfter, c.Time.UnixMilli()})
	if err != nil {
		return nil, errs.New(errs.Invalid, "ledger: session of %s: %w", c.Device, err)
	}
	v, err := l.run(ctx, "connect", l.deviceCall(l.connect, c.Device, c.Era, dec(c.Epoch), string(b)))
	if err != nil {
		return nil, err
	}
	return l.answer(v, c.Device, "session", c.Era, c.Epoch)
}

// Disconnect closes a session on the record. applied is false when a newer session is on the record: the device
// is not gone. Said again, it returns the same. Stale when the era is not the present one.
func (l *Ledger) Disconnect(ctx context.Context, d event.Disconnected) (changes []event.Change, applied bool, err error) {
	if err := checkDevice(d.Device); err != nil {
		return nil, false, err
	}
	if d.Epoch == 0 {
		return nil, false, errs.New(errs.Invalid, "ledger: %s: a session without an epoch", d.Device)
	}
	v, err := l.run(ctx, "disconnect", l.deviceCall(l.disconnect, d.Device, d.Era, dec(d.Epoch), text(d.Reason)))
	if err != nil {
		return nil, false, err
	}
	if str(v, 0) == "old" {
		return nil, false, nil
	}
	changes, err = l.answer(v, d.Device, "end of a session", d.Era, d.Epoch)
	return changes, err == nil, err
}

// Report takes a device's report. Each application's word counts when its stamp (epoch, version) is newer than
// what is on the record, so reports may come twice and in any order; a report said again returns the same
// changes. Stale when the era is not the present one: the device will say it again, in full.
func (l *Ledger) Report(ctx context.Context, r event.Reported) ([]event.Change, error) {
	c, err := l.reportCall(r)
	if err != nil {
		return nil, err
	}
	v, err := l.run(ctx, "report", c)
	if err != nil {
		return nil, err
	}
	return l.answer(v, r.Device, "report", r.Era, r.Epoch)
}

func (l *Ledger) reportCall(r event.Reported) (call, error) {
	if err := checkDevice(r.Device); err != nil {
		return call{}, err
	}
	if r.Epoch == 0 || r.Version == 0 {
		return call{}, errs.New(errs.Invalid, "ledger: %s: a report without epoch or version", r.Device)
	}
	if len(r.Apps) > MaxApps || len(r.Removed) > MaxApps {
		return call{}, errs.New(errs.TooLarge, "ledger: %s reports %d applications, %d removed, more than %d", r.Device, len(r.Apps), len(r.Removed), MaxApps)
	}
	args := make([]any, 0, 6+len(r.Removed)+11*len(r.Apps))
	args = append(args, r.Era, dec(r.Epoch), dec(r.Version), dec(r.SeenDesired), bit(r.Full), len(r.Removed))
	for _, name := range r.Removed {
		if !named(name) {
			return call{}, errs.New(errs.Invalid, "ledger: %s reports an application %q", r.Device, name)
		}
		args = append(args, name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Apps)) {
		a := r.Apps[name]
		if !named(name) || !made(a.State, 32, "") {
			return call{}, errs.New(errs.Invalid, "ledger: %s reports an application %q in state %q", r.Device, name, a.State)
		}
		args = append(args, name, a.State, text(a.Revision), dec(a.Attempt), text(a.Running), bit(a.Confirmed),
			text(a.Reason), text(a.Message), count(a.Restarts), count(a.Progress), count(a.Traps))
	}
	return l.deviceCall(l.report, r.Device, args...), nil
}

// count writes a counter, "" for zero, which is not stored.
func count(n uint32) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(n), 10)
}

// answer reads {status, changes}.
func (l *Ledger) answer(v []any, d event.Device, what, era string, epoch uint64) ([]event.Change, error) {
	cs, err := changes(str(v, 1))
	if err != nil {
		return nil, err
	}
	switch str(v, 0) {
	case "stale":
		return nil, errs.New(errs.Stale, "ledger: %s: a %s of era %q, which is not the present one", d, what, era)
	case "old":
		if len(cs) == 0 {
			return nil, errs.New(errs.Stale, "ledger: %s: a %s of epoch %d, and a newer session is on the record", d, what, epoch)
		}
	}
	return cs, nil
}

// Decline fails a device in flight that answered that it would not take the command: until another sequence, or, when
// the reason is that it has no place for one more application, until it has removed one. It does nothing when the
// attempt is not the target's, another revision is wanted, or the device is not in flight; said again, it returns the
// same changes.
func (l *Ledger) Decline(ctx context.Context, c event.CommandCompleted) ([]event.Change, error) {
	if err := checkMember(App{Namespace: c.Device.Namespace, Name: c.App}, c.Device); err != nil {
		return nil, err
	}
	if !named(c.Reason) {
		return nil, errs.New(errs.Invalid, "ledger: %s declines %s because of %q", c.Device, c.App, c.Reason)
	}
	v, err := l.run(ctx, "decline", l.deviceCall(l.decline, c.Device, c.App, dec(c.Attempt), text(c.Revision), c.Reason, text(c.Message)))
	if err != nil {
		return nil, err
	}
	return changes(str(v, 0))
}

// Trap counts one wasm fault. fresh is false when (boot, seq) was counted before.
func (l *Ledger) Trap(ctx context.Context, t event.Trapped) (fresh bool, err error) {
	if err := checkDevice(t.Device); err != nil {
		return false, err
	}
	if !named(t.App) || !named(t.BootID) {
		return false, errs.New(errs.Invalid, "ledger: %s: a trap of application %q in boot %q", t.Device, t.App, t.BootID)
	}
	v, err := l.run(ctx, "trap", l.deviceCall(l.trap, t.Device, t.BootID, dec(t.Seq), t.App, text(t.Reason), text(t.Message)))
	if err != nil {
		return false, err
	}
	return num(v, 0) == 1, nil
}
