package ledger

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// stored is a record: one application on one device, as prelude.lua describes it.
type stored struct {
	Member   int           `json:"m,omitempty"`
	Set      string        `json:"s,omitempty"`
	Since    int64         `json:"n,omitempty"`
	Desired  string        `json:"d,omitempty"`
	State    string        `json:"ds,omitempty"`
	Attempt  string        `json:"da,omitempty"`
	Until    int64         `json:"u,omitempty"`
	AwayAt   string        `json:"xa,omitempty"`
	Refused  string        `json:"q,omitempty"`
	Reason   string        `json:"qr,omitempty"`
	Message  string        `json:"qm,omitempty"`
	Reported *reportedWord `json:"w,omitempty"`
	Epoch    string        `json:"se,omitempty"`
	Version  string        `json:"sv,omitempty"`
	Traps    int           `json:"tc,omitempty"`
	Running  int           `json:"rn,omitempty"`
	Counted  string        `json:"fr,omitempty"`
}

type reportedWord struct {
	State     string `json:"st"`
	Revision  string `json:"rv,omitempty"`
	Attempt   string `json:"at,omitempty"`
	Running   string `json:"ru,omitempty"`
	Confirmed int    `json:"cf,omitempty"`
	Reason    string `json:"re,omitempty"`
	Message   string `json:"ms,omitempty"`
	Restarts  string `json:"rs,omitempty"`
	Progress  string `json:"pg,omitempty"`
	Traps     string `json:"tr,omitempty"`
}

func (w *reportedWord) appState() *event.AppState {
	if w == nil {
		return nil
	}
	n := func(s string) uint32 { return uint32(u64(s)) }
	return &event.AppState{State: w.State, Revision: w.Revision, Attempt: u64(w.Attempt), Running: w.Running,
		Confirmed: w.Confirmed == 1, Reason: w.Reason, Message: w.Message, Restarts: n(w.Restarts),
		Progress: n(w.Progress), Traps: n(w.Traps)}
}

// Device returns all that is known of a device; NotFound when that is nothing.
func (l *Ledger) Device(ctx context.Context, d event.Device) (DeviceView, error) {
	if err := checkDevice(d); err != nil {
		return DeviceView{}, err
	}
	vs, err := l.views(ctx, []event.Device{d})
	if err != nil {
		return DeviceView{}, err
	}
	if len(vs) == 0 {
		return DeviceView{}, errs.New(errs.NotFound, "ledger: no device %s", d)
	}
	return vs[0], nil
}

// Devices returns at most n devices of a namespace by name, those after a name; next is "" at the end, else the
// after of the next page.
func (l *Ledger) Devices(ctx context.Context, ns, after string, n int) (views []DeviceView, next string, err error) {
	names, next, err := l.page(ctx, ns, after, n, func(i int) string { return l.keys.Devices(i, ns) })
	if err != nil {
		return nil, "", err
	}
	views, err = l.views(ctx, devicesOf(ns, names))
	return views, next, err
}

// DevicesNamed returns all that is known of devices, in their order, those of which nothing is known left out.
func (l *Ledger) DevicesNamed(ctx context.Context, devs []event.Device) ([]DeviceView, error) {
	for _, d := range devs {
		if err := checkDevice(d); err != nil {
			return nil, err
		}
	}
	return l.views(ctx, devs)
}

// AppDevices returns at most n devices in a work set of an application (any, when set is "") by name, as Devices.
func (l *Ledger) AppDevices(ctx context.Context, app App, set, after string, n int) ([]event.Device, string, error) {
	if err := checkApp(app); err != nil {
		return nil, "", err
	}
	if set != "" && !slices.Contains(Sets(), set) {
		return nil, "", errs.New(errs.Invalid, "ledger: there is no work set %q", set)
	}
	names, next, err := l.page(ctx, app.Namespace, after, n, func(i int) string {
		if set == "" {
			return l.keys.Members(i, app)
		}
		return l.keys.Set(i, app, set)
	})
	return devicesOf(app.Namespace, names), next, err
}

// page merges the shards' ordered indexes.
func (l *Ledger) page(ctx context.Context, ns, after string, n int, key func(shard int) string) ([]string, string, error) {
	if !named(ns) || (after != "" && !named(after)) {
		return nil, "", errs.New(errs.Invalid, "ledger: page of namespace %q after %q", ns, after)
	}
	n = max(1, min(n, MaxPage))
	from := "-"
	if after != "" {
		from = "(" + after
	}
	p := l.rdb.Pipeline()
	cmds := make([]*redis.StringSliceCmd, l.keys.shards)
	for i := range cmds {
		cmds[i] = p.ZRangeByLex(ctx, key(i), &redis.ZRangeBy{Min: from, Max: "+", Count: int64(n) + 1})
	}
	_, _ = p.Exec(ctx)
	var names []string
	for _, c := range cmds {
		v, err := c.Result()
		if err != nil {
			return nil, "", wrap(err, "page")
		}
		names = append(names, v...)
	}
	slices.Sort(names)
	if len(names) > n {
		return names[:n], names[n-1], nil
	}
	return names, "", nil
}

// Namespaces returns the namespaces in which there is a device or an application, by name.
func (l *Ledger) Namespaces(ctx context.Context) ([]string, error) {
	p := l.rdb.Pipeline()
	cmds := make([]*redis.StringSliceCmd, l.keys.shards)
	for i := range cmds {
		cmds[i] = p.HKeys(ctx, l.keys.Namespaces(i))
	}
	_, _ = p.Exec(ctx)
	all := make(map[string]bool)
	for _, c := range cmds {
		v, err := c.Result()
		if err != nil {
			return nil, wrap(err, "namespaces")
		}
		for _, ns := range v {
			all[ns] = true
		}
	}
	return slices.Sorted(maps.Keys(all)), nil
}

// views reads devices in the order given, without those that are not there.
func (l *Ledger) views(ctx context.Context, devs []event.Device) ([]DeviceView, error) {
	pieces := l.byShard(devs)
	calls := make([]call, len(pieces))
	for i, p := range pieces {
		args := make([]any, len(p.at))
		for j, n := range p.at {
			args[j] = devs[n].String()
		}
		calls[i] = l.shardCall(l.view, p.shard, "", args...)
	}
	res, err := l.pipe(ctx, "view", calls)
	if err != nil {
		return nil, err
	}
	all := make([]*DeviceView, len(devs))
	for i, p := range pieces {
		for j, n := range p.at {
			if all[n], err = view(devs[n], list(res[i], j)); err != nil {
				return nil, err
			}
		}
	}
	out := make([]DeviceView, 0, len(all))
	for _, v := range all {
		if v != nil {
			out = append(out, *v)
		}
	}
	return out, nil
}

func view(d event.Device, v []any) (*DeviceView, error) {
	row := pairs(list(v, 0))
	if len(row) == 0 {
		return nil, nil
	}
	var f facts
	var s session
	if err := unmarshal(str(v, 1), &f); err != nil {
		return nil, err
	}
	if err := unmarshal(str(v, 2), &s); err != nil {
		return nil, err
	}
	out := &DeviceView{Device: d, Online: row["on"] == "1", Known: row["known"] == "1", Board: cmp.Or(f.Board, s.Board),
		Firmware: s.Firmware, Gateway: s.Gateway, Instance: s.Instance, BootID: s.BootID, Serial: s.Serial,
		Epoch: u64(row["e"]), LastSeen: fromMS(row["ls"]), Hold: row["hold"] == "1", Approved: row["appr"] == "1",
		UID: f.UID, Labels: f.Labels, Capabilities: s.Capabilities, DesiredVersion: u64(row["v"]), SeenDesired: u64(row["sd"])}
	if s.NotAfter != nil {
		out.NotAfter = s.NotAfter.UTC().Format(time.RFC3339)
	}
	if s.Connected > 0 {
		out.ConnectedAt = time.UnixMilli(s.Connected).UTC()
	}
	if seen := fromMS(str(v, 3)); seen.After(out.LastSeen) {
		out.LastSeen = seen
	}
	apps := list(v, 4)
	for i := 0; i+4 < len(apps); i += 5 {
		a, err := appView(out, str(apps, i), apps[i+1:i+5])
		if err != nil {
			return nil, err
		}
		if a != nil {
			out.Apps = append(out.Apps, *a)
		}
	}
	slices.SortFunc(out.Apps, func(a, b AppView) int { return cmp.Compare(a.App, b.App) })
	return out, nil
}

// appView reads {record, content of desired, target, content of target}; nil for an application that is gone.
func appView(d *DeviceView, name string, v []any) (*AppView, error) {
	var r stored
	if err := unmarshal(str(v, 0), &r); err != nil {
		return nil, err
	}
	if r.Member == 0 && r.Reported == nil {
		return nil, nil
	}
	a := &AppView{App: name, Set: r.Set, Reported: r.Reported.appState(), Traps: r.Traps}
	if r.Since > 0 {
		a.Since = time.UnixMilli(r.Since).UTC()
	}
	if r.Until > 0 {
		a.Deadline = time.UnixMilli(r.Until).UTC()
	}
	if r.Desired != "" {
		w, err := wanted(r.Desired, r.State, r.Attempt, str(v, 1))
		if err != nil {
			return nil, err
		}
		a.Desired = &w
	}
	if t := pairs(list(v, 2)); t["rev"] != "" && t["gone"] == "" {
		w, err := wanted(t["rev"], t["st"], t["seq"], str(v, 3))
		if err != nil {
			return nil, err
		}
		a.Target, a.Paused, a.Halted = &w, t["paused"] == "1", t["halted"] == "1"
	}
	switch {
	case a.Set == SetFailed && a.Target != nil && r.Refused == dec(a.Target.Attempt):
		a.Reason, a.Message = r.Reason, r.Message
		if w := r.Reported; w != nil && w.Revision == a.Target.Revision && w.Attempt == r.Refused && w.Reason != "" {
			a.Reason, a.Message = w.Reason, w.Message
		}
	case a.Set == SetFailed && r.Reported != nil:
		a.Reason, a.Message = r.Reported.Reason, r.Reported.Message
	case a.Set == SetHeld && d.Hold:
		a.Reason, a.Message = "Held", "the device is on hold"
	case a.Set == SetHeld:
		a.Reason, a.Message = "NotApproved", "the device is not approved"
	}
	return a, nil
}
