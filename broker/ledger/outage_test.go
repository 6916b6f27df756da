package ledger

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

// everything calls every method that talks to Redis.
func everything(ctx context.Context, l *Ledger) map[string]error {
	d := dev("a")
	ds := devs(40)
	_, _, era := l.Era(ctx)
	_, _, once := l.Once(ctx, "s", "i")
	_, _, dis := l.Disconnect(ctx, event.Disconnected{Device: d, Epoch: 1})
	_, _, feed := l.Feed(ctx, nil, 0)
	_, _, page := l.Devices(ctx, "farm", "", 5)
	_, _, tm := l.Telemetry(ctx, d, "", 5)
	return map[string]error{
		"Era": era, "Once": once, "Disconnect": dis, "Feed": feed, "Devices": page, "Telemetry": tm,
		"Desired":         second(l.Desired(ctx, d)),
		"DesiredMany":     second(l.DesiredMany(ctx, ds)),
		"DesiredVersions": second(l.DesiredVersions(ctx, ds)),
		"SetTarget":       second(l.SetTarget(ctx, blink, to(1, 1), Selection{All: true})),
		"RemoveApp":       l.RemoveApp(ctx, blink),
		"PutDevice":       l.PutDevice(ctx, d, DeviceFacts{}, nil),
		"DeleteDevice":    l.DeleteDevice(ctx, d),
		"DevicesKnown":    second(l.DevicesKnown(ctx, "farm")),
		"Counts":          second(l.Counts(ctx, blink)),
		"Candidates":      second(l.Candidates(ctx, blink, 5)),
		"Admit":           second(l.Admit(ctx, blink, 1, 5, time.Now(), ds)),
		"Release":         l.Release(ctx, blink, ds...),
		"Dispatch":        second(l.Dispatch(ctx, blink, 1, time.Now(), ds)),
		"Refuse":          l.Refuse(ctx, blink, 1, d, "x", ""),
		"Expire":          second(l.Expire(ctx, blink, d, 1)),
		"Connect":         second(l.Connect(ctx, event.Connected{Device: d, Epoch: 1})),
		"Report":          second(l.Report(ctx, event.Reported{Device: d, Epoch: 1, Version: 1})),
		"Trap":            second(l.Trap(ctx, event.Trapped{Device: d, BootID: "b", App: "a"})),
		"AppendTelemetry": l.AppendTelemetry(ctx, event.TelemetryBatch{Devices: []event.TelemetryDevice{{Namespace: "farm", Name: "a", BootID: []byte{1}, Records: []byte{0x81, 1}}}}),
		"Due":             second(l.Due(ctx, 0, 5)),
		"DoneDue":         l.DoneDue(ctx, 0, []event.Timer{{}}),
		"MarkDue":         l.MarkDue(ctx, event.Timer{Kind: DueAdvance, Namespace: "farm", Name: "a"}),
		"HoldShard":       second(l.HoldShard(ctx, 0, "i", time.Second)),
		"PutGateway":      l.PutGateway(ctx, GatewaySettings{Namespace: "farm", Name: "g"}),
		"Denied":          second(l.Denied(ctx, "farm")),
		"PutVerdict":      l.PutVerdict(ctx, "i", "s", Verdict{}),
		"SetOnce":         l.SetOnce(ctx, "s", "i", "v"),
		"Namespaces":      second(l.Namespaces(ctx)),
	}
}

// TestOutage: Redis away at the start, then there, then away in the middle, and back with nothing.
func TestOutage(t *testing.T) {
	s := testredis.Start(t)
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, DialTimeout: time.Second, DialerRetries: 1})
	t.Cleanup(func() { rdb.Close() })
	l := New(rdb, Options{})
	ctx := t.Context()
	away := func(when string) {
		t.Helper()
		for what, err := range everything(ctx, l) {
			if !errs.Is(err, errs.Unavailable) {
				t.Errorf("%s, %s => %v (%s)", when, what, err, errs.CodeOf(err))
			}
		}
	}
	there := func(when string) string {
		t.Helper()
		// The client looks again after a second at most when many of its attempts have failed.
		for end := time.Now().Add(20 * time.Second); rdb.Ping(ctx).Err() != nil; {
			if time.Now().After(end) {
				t.Fatal("the client does not find Redis again")
			}
		}
		for what, err := range everything(ctx, l) {
			if errs.Retryable(err) {
				t.Errorf("%s, %s => %v", when, what, err)
			}
		}
		era, _, err := l.Era(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return era
	}
	s.Kill()
	away("away at the start")
	s.Restart(t)
	first := there("there")
	s.Kill()
	away("away in the middle")
	s.Restart(t)
	if next := there("back"); next == first {
		t.Error("the era is the same although the data is lost")
	}
}

// TestDeadline: a context that has ended is no outage.
func TestDeadline(t *testing.T) {
	rdb := testredis.Start(t).Client(t)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for what, err := range everything(ctx, New(rdb, Options{})) {
		if !errs.Is(err, errs.Deadline) {
			t.Errorf("%s => %v (%s)", what, err, errs.CodeOf(err))
		}
	}
}
