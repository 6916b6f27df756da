package ledger

import (
	"context"

	"wasmbed.io/wasmbed/broker/event"
)

// Dump is what the ledger says of the present: all that must be the same after Redis was wiped and the ledger was
// rebuilt. It leaves out what then differs by design: versions, epochs, times, history. Tests compare it.
type Dump struct {
	Devices map[string]DumpDevice // by namespace/name
	Apps    map[string]DumpApp    // by namespace/name
}

// DumpDevice is a device in a Dump.
type DumpDevice struct {
	Online, Known, Hold, Approved, Complete bool
	Board, Firmware, Gateway, BootID, UID   string
	Labels                                  map[string]string
	Capabilities                            event.Capabilities
	Sets                                    map[string]string         // application → work set
	Desired                                 map[string]DesiredApp     // by application
	Keep                                    []string                  //
	Reported                                map[string]event.AppState // by application
}

// DumpApp is an application in a Dump.
type DumpApp struct {
	Counts  Counts
	Members map[string]string // device → work set, as the sets have it
}

// Dump reads everything. Its cost grows with the fleet: for tests and for people.
func (l *Ledger) Dump(ctx context.Context) (Dump, error) {
	out := Dump{map[string]DumpDevice{}, map[string]DumpApp{}}
	namespaces, err := l.Namespaces(ctx)
	if err != nil {
		return out, err
	}
	for _, ns := range namespaces {
		for after := ""; ; {
			views, next, err := l.Devices(ctx, ns, after, MaxPage)
			if err != nil {
				return out, err
			}
			if err := l.dumpDevices(ctx, out.Devices, views); err != nil {
				return out, err
			}
			if after = next; next == "" {
				break
			}
		}
		apps, err := l.apps(ctx, ns)
		if err != nil {
			return out, err
		}
		for _, app := range apps {
			if out.Apps[app.String()], err = l.dumpApp(ctx, app); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

func (l *Ledger) dumpDevices(ctx context.Context, into map[string]DumpDevice, views []DeviceView) error {
	devs := make([]event.Device, len(views))
	for i, v := range views {
		devs[i] = v.Device
	}
	desired, err := l.DesiredMany(ctx, devs)
	if err != nil {
		return err
	}
	for i, v := range views {
		d := DumpDevice{Online: v.Online, Known: v.Known, Hold: v.Hold, Approved: v.Approved, Complete: desired[i].Complete,
			Board: v.Board, Firmware: v.Firmware, Gateway: v.Gateway, BootID: v.BootID, UID: v.UID, Labels: v.Labels,
			Capabilities: v.Capabilities, Sets: map[string]string{}, Desired: desired[i].Apps, Keep: desired[i].Keep,
			Reported: map[string]event.AppState{}}
		for _, a := range v.Apps {
			if a.Set != "" {
				d.Sets[a.App] = a.Set
			}
			if a.Reported != nil {
				d.Reported[a.App] = *a.Reported
			}
		}
		into[v.Device.String()] = d
	}
	return nil
}

func (l *Ledger) dumpApp(ctx context.Context, app App) (DumpApp, error) {
	c, err := l.Counts(ctx, app)
	if err != nil {
		return DumpApp{}, err
	}
	out := DumpApp{Counts: c, Members: map[string]string{}}
	for _, set := range Sets() {
		for after := ""; ; {
			devs, next, err := l.AppDevices(ctx, app, set, after, MaxPage)
			if err != nil {
				return out, err
			}
			for _, d := range devs {
				out.Members[d.Name] += set
			}
			if after = next; next == "" {
				break
			}
		}
	}
	return out, nil
}

// apps names the applications of a namespace that the ledger has a target of, in any shard.
func (l *Ledger) apps(ctx context.Context, ns string) ([]App, error) {
	all := make(map[App]bool)
	var out []App
	for i := range l.keys.shards {
		names, err := l.rdb.SMembers(ctx, l.keys.Apps(i, ns)).Result()
		if err != nil {
			return nil, wrap(err, "applications")
		}
		for _, n := range names {
			if a := (App{ns, n}); !all[a] {
				all[a] = true
				out = append(out, a)
			}
		}
	}
	return out, nil
}
