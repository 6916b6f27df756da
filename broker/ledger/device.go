package ledger

import (
	"context"
	"encoding/json"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// facts is DeviceFacts as it is stored; hold and approved are in the row.
type facts struct {
	Board  string            `json:"board,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	UID    string            `json:"uid,omitempty"`
}

// PutDevice says what a Device object says: it puts the device into the label index and into the applications
// that select it, and makes its desired Complete. Its cost grows with the applications of the namespace, not
// with the fleet. Said again, it changes nothing.
//
// Which applications select the device is worked out from the selections that SetTarget stored. targets are
// those that the caller knows to select it; they matter while the ledger is being rebuilt, when SetTarget has
// not told of them yet: they go to Desired.Keep.
func (l *Ledger) PutDevice(ctx context.Context, d event.Device, f DeviceFacts, targets []App) error {
	if err := checkDevice(d); err != nil {
		return err
	}
	if len(f.Labels) > MaxLabels {
		return errs.New(errs.TooLarge, "ledger: device %s has %d labels, more than %d", d, len(f.Labels), MaxLabels)
	}
	for k, v := range f.Labels {
		if !labelKey(k) || !labelValue(v) {
			return errs.New(errs.Invalid, "ledger: device %s: label %q=%q", d, k, v)
		}
	}
	b, err := json.Marshal(facts{f.Board, f.Labels, f.UID})
	if err != nil {
		return errs.New(errs.Invalid, "ledger: device %s: %w", d, err)
	}
	args := []any{string(b), bit(f.Hold), bit(f.Approved)}
	for _, a := range targets {
		if err := checkApp(a); err != nil {
			return err
		}
		if a.Namespace == d.Namespace {
			args = append(args, a.Name)
		}
	}
	_, err = l.run(ctx, "put device", l.deviceCall(l.put, d, args...))
	return err
}

// DeleteDevice forgets a device: its row, its places in work sets and indexes, its telemetry and logs. Said
// again, it changes nothing.
func (l *Ledger) DeleteDevice(ctx context.Context, d event.Device) error {
	if err := checkDevice(d); err != nil {
		return err
	}
	_, err := l.run(ctx, "delete device", l.deviceCall(l.delete, d))
	return err
}

// DevicesKnown returns how many devices of a namespace PutDevice has told of.
func (l *Ledger) DevicesKnown(ctx context.Context, ns string) (int, error) {
	p := l.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, l.keys.shards)
	for i := range cmds {
		cmds[i] = p.HGet(ctx, l.keys.Namespaces(i), ns)
	}
	_, _ = p.Exec(ctx)
	sum := 0
	for _, c := range cmds {
		n, err := c.Int()
		if err != nil && err != redis.Nil {
			return 0, wrap(err, "devices known")
		}
		sum += n
	}
	return sum, nil
}
