package ledger

import (
	"context"
	"encoding/json"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// content is the part of a revision that does not change, as it is stored.
type content struct {
	Digest   string   `json:"digest"`
	Size     int64    `json:"size"`
	Manifest Manifest `json:"manifest"`
}

func wanted(revision, state, attempt, stored string) (DesiredApp, error) {
	var c content
	if err := json.Unmarshal([]byte(stored), &c); err != nil {
		return DesiredApp{}, errs.New(errs.Internal, "ledger: content of revision %s: %w", revision, err)
	}
	return DesiredApp{Revision: revision, Digest: c.Digest, Size: c.Size, Manifest: c.Manifest, State: state, Attempt: u64(attempt)}, nil
}

// Desired returns what a device shall do. A device that the ledger does not know has no Apps and is not
// Complete; that is no error.
func (l *Ledger) Desired(ctx context.Context, d event.Device) (Desired, error) {
	ds, err := l.DesiredMany(ctx, []event.Device{d})
	if err != nil {
		return Desired{}, err
	}
	return ds[0], nil
}

// DesiredMany is Desired for many devices in one round trip, in the order of devs.
func (l *Ledger) DesiredMany(ctx context.Context, devs []event.Device) ([]Desired, error) {
	pieces := l.byShard(devs)
	calls := make([]call, len(pieces))
	for i, p := range pieces {
		args := make([]any, len(p.at))
		for j, n := range p.at {
			if err := checkDevice(devs[n]); err != nil {
				return nil, err
			}
			args[j] = devs[n].String()
		}
		calls[i] = l.shardCall(l.scripts.desired, p.shard, "", args...)
	}
	res, err := l.pipe(ctx, "desired", calls)
	if err != nil {
		return nil, err
	}
	out := make([]Desired, len(devs))
	for i, p := range pieces {
		for j, n := range p.at {
			v := list(res[i], j)
			d := Desired{Era: str(v, 0), Version: u64(str(v, 1)), Complete: num(v, 2) == 1, Apps: map[string]DesiredApp{}}
			apps := list(v, 3)
			for k := 0; k+5 < len(apps); k += 6 {
				a, err := wanted(str(apps, k+1), str(apps, k+2), str(apps, k+3), str(apps, k+4))
				if err != nil {
					return nil, err
				}
				d.Apps[str(apps, k)] = a
				if tp := str(apps, k+5); tp != "" {
					if d.Traces == nil {
						d.Traces = map[string]string{}
					}
					d.Traces[str(apps, k)] = tp
				}
			}
			keep := list(v, 4)
			for k := range keep {
				d.Keep = append(d.Keep, str(keep, k))
			}
			out[n] = d
		}
	}
	return out, nil
}

// DesiredVersions returns the versions of the devices' desired, 0 for a device that never had one, in the order
// of devs. It is cheap: one field per device.
func (l *Ledger) DesiredVersions(ctx context.Context, devs []event.Device) ([]uint64, error) {
	if len(devs) == 0 {
		return nil, nil
	}
	p := l.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(devs))
	for i, d := range devs {
		if err := checkDevice(d); err != nil {
			return nil, err
		}
		cmds[i] = p.HGet(ctx, l.keys.Row(d), "v")
	}
	_, _ = p.Exec(ctx)
	out := make([]uint64, len(devs))
	for i, c := range cmds {
		v, err := c.Result()
		if err != nil && err != redis.Nil {
			return nil, wrap(err, "desired versions")
		}
		out[i] = u64(v)
	}
	return out, nil
}
