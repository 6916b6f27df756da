package api

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
)

// Limits of the index.
const (
	indexFresh   = 100 * time.Millisecond // how old what it says may be
	indexRebuild = time.Minute            // it is made anew so often, lest the feed was cut before it was read
	indexIdle    = 5 * time.Minute        // a namespace that nobody asks for is forgotten
	indexBuild   = 2 * time.Minute        // at most, for one
	indexSpaces  = 1000
)

// index answers questions about all devices of a namespace without walking the fleet for each: it walks once, then
// follows the ledger's feed. It is a cache of this process; what it names is read fresh before it is shown.
type index struct {
	ledger *ledger.Ledger
	now    func() time.Time
	log    *slog.Logger

	mu     sync.Mutex
	spaces map[string]*space
}

// space is one namespace.
type space struct {
	mu      sync.Mutex
	devices map[string]*ledger.DeviceView // never changed, only replaced
	names   []string                      // sorted; nil: to be made
	cursor  []string                      // behind which the feed was not read yet
	synced  time.Time
	built   time.Time
	asked   time.Time
	anew    bool // somebody makes it anew
}

func newIndex(l *ledger.Ledger, now func() time.Time, log *slog.Logger) *index {
	return &index{ledger: l, now: now, log: log, spaces: map[string]*space{}}
}

// with calls f with the devices of the namespace and their names in order. f must not keep or change either.
func (x *index) with(ctx context.Context, ns string, f func(devices map[string]*ledger.DeviceView, names []string)) error {
	s := x.space(ns)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := x.now()
	s.asked = now
	switch {
	case s.devices == nil:
		fresh, err := x.build(ctx, ns)
		if err != nil {
			return err
		}
		s.take(fresh)
	case now.Sub(s.built) > indexRebuild && !s.anew:
		s.anew = true
		go x.rebuild(ns, s)
	}
	if now.Sub(s.synced) > indexFresh {
		if err := x.sync(ctx, ns, s); err != nil {
			return err
		}
	}
	if s.names == nil {
		s.names = make([]string, 0, len(s.devices))
		for n := range s.devices {
			s.names = append(s.names, n)
		}
		slices.Sort(s.names)
	}
	f(s.devices, s.names)
	return nil
}

func (x *index) space(ns string) *space {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.spaces[ns]
	if s == nil {
		for n, old := range x.spaces {
			if len(x.spaces) >= indexSpaces || old.mu.TryLock() && func() bool { defer old.mu.Unlock(); return x.now().Sub(old.asked) > indexIdle }() {
				delete(x.spaces, n)
			}
		}
		s = &space{}
		x.spaces[ns] = s
	}
	return s
}

// built is an index that was made, and where the feed goes on.
type built struct {
	devices map[string]*ledger.DeviceView
	cursor  []string
	at      time.Time
}

func (s *space) take(b built) {
	s.devices, s.cursor, s.built, s.synced, s.names = b.devices, b.cursor, b.at, time.Time{}, nil
}

// build walks the namespace. Where the feed stands is read first: what moves meanwhile is read again.
func (x *index) build(ctx context.Context, ns string) (built, error) {
	b := built{devices: map[string]*ledger.DeviceView{}, at: x.now()}
	var err error
	if _, b.cursor, err = x.ledger.Feed(ctx, slices.Repeat([]string{"$"}, x.ledger.Shards()), 0); err != nil {
		return b, err
	}
	for after := ""; ; {
		views, next, err := x.ledger.Devices(ctx, ns, after, overviewPage)
		if err != nil {
			return b, err
		}
		for i := range views {
			b.devices[views[i].Device.Name] = &views[i]
		}
		if after = next; after == "" {
			return b, nil
		}
	}
}

// rebuild makes the index anew while the old one answers.
func (x *index) rebuild(ns string, s *space) {
	ctx, cancel := context.WithTimeout(context.Background(), indexBuild)
	defer cancel()
	b, err := x.build(ctx, ns)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.anew = false
	if err != nil {
		x.log.Info("the index of devices was not made anew", "namespace", ns, "err", err)
		s.built = x.now() // the old one goes on; try again after the same time
		return
	}
	s.take(b)
}

// sync reads again what the feed names. Under s.mu.
func (x *index) sync(ctx context.Context, ns string, s *space) error {
	moved := map[string]bool{}
	for {
		entries, next, err := x.ledger.Feed(ctx, s.cursor, 0)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Device.Namespace == ns {
				moved[e.Device.Name] = true
			}
		}
		s.cursor = next
		if len(entries) == 0 {
			break
		}
	}
	s.synced = x.now()
	devs := make([]event.Device, 0, len(moved))
	for name := range moved {
		devs = append(devs, event.Device{Namespace: ns, Name: name})
	}
	for part := range slices.Chunk(devs, overviewPage) {
		views, err := x.ledger.DevicesNamed(ctx, part)
		if err != nil {
			return err
		}
		there := map[string]bool{}
		for i := range views {
			name := views[i].Device.Name
			there[name] = true
			if s.devices[name] == nil {
				s.names = nil
			}
			s.devices[name] = &views[i]
		}
		for _, d := range part {
			if !there[d.Name] && s.devices[d.Name] != nil {
				delete(s.devices, d.Name)
				s.names = nil
			}
		}
	}
	return nil
}

// matching returns the names of at most n devices behind after that the filter takes; more: there are others.
func (x *index) matching(ctx context.Context, ns, after string, n int, f *deviceFilter) (names []string, more bool, err error) {
	err = x.with(ctx, ns, func(devices map[string]*ledger.DeviceView, all []string) {
		at, found := slices.BinarySearchFunc(all, after, strings.Compare)
		if found {
			at++
		}
		for _, name := range all[at:] {
			if !f.takes(devices[name]) {
				continue
			}
			if len(names) == n {
				more = true
				return
			}
			names = append(names, name)
		}
	})
	return names, more, err
}
