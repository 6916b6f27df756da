package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/testredis"
)

// bench is a ledger with a fleet that runs one application.
func bench(b *testing.B, n int) (*Ledger, *redis.Client, string, []event.Device) {
	b.Helper()
	rdb := testredis.Start(b).Client(b)
	ctx := context.Background()
	l := New(rdb, Options{})
	era, _, err := l.Era(ctx)
	if err != nil {
		b.Fatal(err)
	}
	ds := devs(n)
	for i, d := range ds {
		if err := l.PutDevice(ctx, d, DeviceFacts{Board: "Host", Approved: true}, nil); err != nil {
			b.Fatal(err)
		}
		if _, err := l.Connect(ctx, event.Connected{Device: d, Epoch: uint64(i + 1), Era: era, Instance: "gw-0", Time: time.Now()}); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := l.SetTarget(ctx, blink, to(1, 1), Selection{All: true}); err != nil {
		b.Fatal(err)
	}
	if _, err := l.Dispatch(ctx, blink, 1, time.Now().Add(time.Hour), ds); err != nil {
		b.Fatal(err)
	}
	return l, rdb, era, ds
}

// cpu returns the CPU seconds that Redis has used.
func cpu(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	s, err := rdb.Info(context.Background(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	sum := 0.0
	for _, line := range lines(s) {
		if k, v, ok := strings.Cut(line, ":"); ok && (k == "used_cpu_sys" || k == "used_cpu_user") {
			f, _ := strconv.ParseFloat(v, 64)
			sum += f
		}
	}
	return sum
}

func perCPU(b *testing.B, rdb *redis.Client, before float64) {
	if used := cpu(b, rdb) - before; used > 0 {
		b.ReportMetric(float64(b.N)/used, "op/redis-core-s")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

// BenchmarkReport is compare-and-sets per second: a report that moves a device between work sets (with counters,
// deadline, marks, feed, replay), and one that tells progress only.
func BenchmarkReport(b *testing.B) {
	states := map[string]func(i uint64) event.AppState{
		"move": func(i uint64) event.AppState {
			if i%2 == 0 {
				return event.AppState{State: "Failed", Revision: "blink-1", Attempt: 1, Reason: "Trap"}
			}
			return event.AppState{State: "Running", Revision: "blink-1", Attempt: 1, Running: "blink-1", Confirmed: true}
		},
		"progress": func(i uint64) event.AppState {
			return event.AppState{State: "Fetching", Revision: "blink-1", Attempt: 1, Progress: uint32(i)}
		},
	}
	for name, state := range states {
		report := func(ds []event.Device, era string, i uint64) event.Reported {
			d := int(i) % len(ds)
			return event.Reported{Device: ds[d], Epoch: uint64(d + 1), Era: era, Version: i/uint64(len(ds)) + 1,
				Apps: map[string]event.AppState{"blink": state(i / uint64(len(ds)))}}
		}
		b.Run(name+"/parallel", func(b *testing.B) {
			l, rdb, era, ds := bench(b, 1000)
			var n atomic.Uint64
			before := cpu(b, rdb)
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := l.Report(context.Background(), report(ds, era, n.Add(1))); err != nil {
						b.Error(err)
						return
					}
				}
			})
			perCPU(b, rdb, before)
		})
		b.Run(name+"/pipelined", func(b *testing.B) {
			l, rdb, era, ds := bench(b, 1000)
			before := cpu(b, rdb)
			b.ResetTimer()
			for i := 0; i < b.N; {
				var calls []call
				for ; i < b.N && len(calls) < 128; i++ {
					c, err := l.reportCall(report(ds, era, uint64(i)))
					if err != nil {
						b.Fatal(err)
					}
					calls = append(calls, c)
				}
				if _, err := l.pipe(context.Background(), "bench", calls); err != nil {
					b.Fatal(err)
				}
			}
			perCPU(b, rdb, before)
		})
	}
}

// BenchmarkTelemetry appends frames of ten records of 1,000 devices, in batches of 200 frames. An operation is a record.
func BenchmarkTelemetry(b *testing.B) {
	l, rdb, _, ds := bench(b, 1000)
	records := frameOf(b, ds[0], 1, 1, values(1, 10)).Records
	before := cpu(b, rdb)
	b.ResetTimer()
	for i := 0; i < b.N; {
		var batch event.TelemetryBatch
		for ; i < b.N && len(batch.Devices) < 200; i += 10 {
			f := i / 10
			d := ds[f%len(ds)]
			batch.Devices = append(batch.Devices, event.TelemetryDevice{Namespace: d.Namespace, Name: d.Name, BootID: []byte{1},
				Seq: uint64(f/len(ds)*10 + 1), Records: records})
		}
		if err := l.AppendTelemetry(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	perCPU(b, rdb, before)
}

// BenchmarkDesired reads desired of 1,000 devices in one call. An operation is a device.
func BenchmarkDesired(b *testing.B) {
	l, rdb, _, ds := bench(b, 1000)
	before := cpu(b, rdb)
	b.ResetTimer()
	for i := 0; i < b.N; i += len(ds) {
		if _, err := l.DesiredMany(context.Background(), ds); err != nil {
			b.Fatal(err)
		}
	}
	perCPU(b, rdb, before)
}

// BenchmarkDispatch dispatches a new revision to all devices. An operation is a device.
func BenchmarkDispatch(b *testing.B) {
	l, rdb, _, ds := bench(b, 1000)
	before := cpu(b, rdb)
	b.ResetTimer()
	seq := uint64(1)
	for i := 0; i < b.N; i += len(ds) {
		seq++
		if _, err := l.SetTarget(context.Background(), blink, to(int(seq), seq), Selection{All: true}); err != nil {
			b.Fatal(err)
		}
		n, err := l.Dispatch(context.Background(), blink, seq, time.Now().Add(time.Hour), ds)
		if err != nil || n != len(ds) {
			b.Fatal(fmt.Errorf("%d dispatched, %w", n, err))
		}
	}
	perCPU(b, rdb, before)
}

// BenchmarkMemory is what a device costs in Redis: one application, running; without telemetry.
func BenchmarkMemory(b *testing.B) {
	l, rdb, era, ds := bench(b, 5000)
	for i, d := range ds {
		if _, err := l.Report(context.Background(), event.Reported{Device: d, Epoch: uint64(i + 1), Era: era, Version: 1, Full: true, Apps: running(1, 1)}); err != nil {
			b.Fatal(err)
		}
	}
	used := func() float64 {
		s, err := rdb.Info(context.Background(), "memory").Result()
		if err != nil {
			b.Fatal(err)
		}
		for _, line := range lines(s) {
			if v, ok := strings.CutPrefix(line, "used_memory:"); ok {
				f, _ := strconv.ParseFloat(v, 64)
				return f
			}
		}
		return 0
	}
	full := used()
	for i := range l.Shards() { // history is bounded, whatever the fleet
		rdb.Del(context.Background(), l.keys.Feed(i))
	}
	with := used()
	rdb.FlushAll(context.Background())
	empty := used()
	for b.Loop() {
		continue
	}
	b.ReportMetric((with-empty)/float64(len(ds)), "B/device")
	b.ReportMetric((full-with)/1024, "KiB-feeds")
}
