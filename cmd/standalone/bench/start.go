package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

const (
	aimReady  = 8.0   // s
	aimMemory = 400.0 // MiB
	mib       = 1 << 20
)

// startRows starts what `make run` starts: everything, three devices and the sample application, from nothing and
// then again in the same folder.
func startRows(ctx context.Context, o *options) ([]row, error) {
	var first, again, rss, pss, cpu []float64
	var parts, peaks string
	for range o.samples {
		err := func() error {
			p, err := newPlatform(o)
			if err != nil {
				return err
			}
			defer p.close()
			if err := p.start(ctx, nil); err != nil {
				return err
			}
			all, err := tree(p.main.cmd.Process.Pid)
			if err != nil {
				return err
			}
			var r, s, c float64
			for _, u := range all {
				r, s, c = r+float64(u.rss)/mib, s+float64(u.pss)/mib, c+u.cpu.Seconds()
			}
			first, rss, pss, cpu = append(first, p.ready.Seconds()), append(rss, r), append(pss, s), append(cpu, c)
			parts, peaks = sizes(all, func(u usage) int64 { return u.rss }), sizes(all, func(u usage) int64 { return u.peak })
			p.stop()
			if err := p.start(ctx, nil); err != nil {
				return fmt.Errorf("second start: %w", err)
			}
			again = append(again, p.ready.Seconds())
			return nil
		}()
		if err != nil {
			return nil, err
		}
	}
	return []row{
		of("make run, built: start to ready, from nothing", "s", first...).atMost(aimReady).with("three devices online, the sample Ready, its 2 s on trial included; %.1f s of CPU", median(cpu)),
		of("the same in a folder of before", "s", again...).atMost(aimReady),
		of("memory when ready, RSS of all processes", "MiB", rss...).atMost(aimMemory).with("%s; peaks %s", parts, peaks),
		of("memory when ready, PSS", "MiB", pss...).atMost(aimMemory),
	}, nil
}

// sizes lists processes of one name together, the largest first.
func sizes(all []usage, of func(usage) int64) string {
	type sum struct {
		name  string
		n     int
		bytes int64
	}
	var sums []sum
	for _, u := range all {
		i := slices.IndexFunc(sums, func(s sum) bool { return s.name == u.name })
		if i < 0 {
			i, sums = len(sums), append(sums, sum{name: u.name})
		}
		sums[i].n++
		sums[i].bytes += of(u)
	}
	slices.SortFunc(sums, func(a, b sum) int { return int(b.bytes - a.bytes) })
	var out []string
	for _, s := range sums {
		name := s.name
		if s.n > 1 {
			name = fmt.Sprintf("%d %s", s.n, name)
		}
		out = append(out, fmt.Sprintf("%s %.0f", name, float64(s.bytes)/mib))
	}
	return strings.Join(out, ", ")
}
