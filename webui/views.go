package webui

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// overview is what the first page shows.
type overview struct {
	Problems   []string // what is not well, and why
	Gateways   []affinity.Instance
	Namespaces []string
	Namespace  string
	Known      int
	Devices    []row
	Next       string
	Apps       []appRow
	Events     []Recent
}

// row is a device with what to say of it.
type row struct {
	ledger.DeviceView
	Ready, Wanted int
}

// appRow is an application with its rollout's bar.
type appRow struct {
	Name, Revision, Word string
	ledger.Counts
	Bar []segment
}

// segment is one work set's share of the bar; Width is its index in twentieths (a class of the style sheet:
// the policy allows no inline style).
type segment struct {
	Set   string
	Count int
	Width int
}

func (s *Server) overview(ctx context.Context, q url.Values) overview {
	var o overview
	trouble := func(what string, err error) bool {
		if err != nil {
			o.Problems = append(o.Problems, what+": "+err.Error())
		}
		return err != nil
	}
	var err error
	if o.Gateways, err = s.Affinity.Instances(ctx); !trouble("gateways cannot be read", err) && len(o.Gateways) == 0 {
		o.Problems = append(o.Problems, "no gateway is up: devices cannot connect")
	}
	for _, g := range o.Gateways {
		if g.State != "Up" {
			o.Problems = append(o.Problems, fmt.Sprintf("gateway %s is %s", g.ID, g.State))
		}
	}
	if o.Namespaces, err = s.Ledger.Namespaces(ctx); trouble("namespaces cannot be read", err) {
		return o
	}
	o.Namespace = q.Get("namespace")
	if o.Namespace == "" && len(o.Namespaces) > 0 {
		o.Namespace = o.Namespaces[0]
		for _, n := range o.Namespaces {
			if n == "default" {
				o.Namespace = n
			}
		}
	}
	if o.Namespace != "" {
		o.Known, err = s.Ledger.DevicesKnown(ctx, o.Namespace)
		trouble("devices cannot be counted", err)
		views, next, err := s.Ledger.Devices(ctx, o.Namespace, q.Get("after"), pageSize)
		trouble("devices cannot be read", err)
		o.Next = next
		given := map[string]int{}
		for _, v := range views {
			for _, a := range v.Apps {
				if a.Reported != nil && a.Reported.State == "RolledBack" {
					given[fmt.Sprintf("%s: revision %s was given up (%s), %s runs", a.App, a.Reported.Revision, a.Reported.Reason, a.Reported.Running)]++
				}
			}
			r := newRow(v)
			o.Devices = append(o.Devices, r)
			switch {
			case !v.Approved && v.Known:
				o.Problems = append(o.Problems, v.Device.Name+" waits for approval: wasmbed approve "+v.Device.Name)
			case !v.Online:
				o.Problems = append(o.Problems, v.Device.Name+" is not connected")
			}
		}
		for _, what := range slices.Sorted(maps.Keys(given)) {
			o.Problems = append(o.Problems, fmt.Sprintf("%s, on %d of the devices shown", what, given[what]))
		}
		o.Apps, err = s.apps(ctx, o.Namespace)
		trouble("applications cannot be read", err)
		for _, a := range o.Apps {
			for _, f := range a.Failing {
				o.Problems = append(o.Problems, fmt.Sprintf("%s failed on %s: %s %s", a.Name, f.Device, f.Reason, f.Message))
			}
		}
	}
	if s.Recents != nil {
		o.Events, err = s.events.read(ctx, s.Recents)
		trouble("events cannot be read", err)
	}
	return o
}

func newRow(v ledger.DeviceView) row {
	r := row{DeviceView: v}
	for _, a := range v.Apps {
		if a.Set == "" {
			continue
		}
		r.Wanted++
		if a.Set == ledger.SetDone {
			r.Ready++
		}
	}
	return r
}

func (s *Server) apps(ctx context.Context, namespace string) ([]appRow, error) {
	names, err := s.Ledger.Applications(ctx, namespace, maxApps)
	if err != nil {
		return nil, err
	}
	var out []appRow
	for _, name := range names {
		c, err := s.Ledger.Counts(ctx, ledger.App{Namespace: namespace, Name: name})
		if err != nil {
			return nil, err
		}
		a := appRow{Name: name, Counts: c}
		for _, g := range []segment{
			{ledger.SetDone, c.Ready, 0}, {ledger.SetInFlight, c.InFlight, 0}, {ledger.SetPending, c.Pending, 0}, {ledger.SetAway, c.Away, 0},
			{ledger.SetLost, c.Lost, 0}, {ledger.SetHeld, c.Held, 0}, {ledger.SetFailed, c.Failed, 0},
		} {
			if g.Count > 0 {
				g.Width = max(1, 20*g.Count/max(1, c.Desired))
				a.Bar = append(a.Bar, g)
			}
		}
		switch {
		case c.Desired == 0:
			a.Word = "selects no device"
		case c.Ready == c.Desired:
			a.Word = "ready"
		case c.Failed > 0:
			a.Word = "failing"
		case c.InFlight+c.Pending > 0:
			a.Word = "progressing"
		default:
			a.Word = "waiting for devices"
		}
		out = append(out, a)
	}
	return out, nil
}

type deviceDetail struct {
	row
	Telemetry []ledger.TelemetryEntry
	Logs      []ledger.LogEntry
	Problem   string
}

func (s *Server) device(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	d := event.Device{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	v, err := s.Ledger.Device(ctx, d)
	if err != nil {
		w.WriteHeader(errs.HTTPStatus(err))
		s.render(w, "device.html", deviceDetail{row: row{DeviceView: ledger.DeviceView{Device: d}}, Problem: err.Error()})
		return
	}
	page := deviceDetail{row: newRow(v)}
	if page.Telemetry, err = newest(ctx, d, s.Ledger.Telemetry); err != nil {
		page.Problem = err.Error()
	}
	if page.Logs, err = newest(ctx, d, s.Ledger.Logs); err != nil {
		page.Problem = err.Error()
	}
	s.render(w, "device.html", page)
}

// newest reads a device's series to its end and returns the last records, newest first. The series is capped, so
// a few pages are all there is.
func newest[T any](ctx context.Context, d event.Device, read func(context.Context, event.Device, string, int) ([]T, string, error)) ([]T, error) {
	var kept []T
	from := ""
	for range maxPages {
		got, next, err := read(ctx, d, from, seriesPage)
		if err != nil {
			return nil, err
		}
		kept = append(kept, got...)
		kept = kept[max(0, len(kept)-shownRecords):]
		if len(got) == 0 || next == from {
			break
		}
		from = next
	}
	slices.Reverse(kept)
	return kept, nil
}

// newestEvents follows the feed of events and keeps its end, so that a page costs what is new and not the
// whole feed.
type newestEvents struct {
	mu   sync.Mutex
	from string
	kept []Recent // oldest first
}

// read returns the newest events, newest first.
func (e *newestEvents) read(ctx context.Context, recents func(context.Context, string, int) ([]Recent, string, error)) ([]Recent, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for range maxPages {
		got, next, err := recents(ctx, e.from, seriesPage)
		if err != nil {
			return nil, err
		}
		e.kept = append(e.kept, got...)
		e.kept = slices.Clone(e.kept[max(0, len(e.kept)-recentEvents):])
		if next != "" {
			e.from = next
		}
		if len(got) < seriesPage {
			break
		}
	}
	out := slices.Clone(e.kept)
	slices.Reverse(out)
	return out, nil
}
