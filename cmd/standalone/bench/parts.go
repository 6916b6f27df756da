package main

import (
	"context"
	"math"
	"strings"
)

// Peers, measured side by side on two such cores; docs/performance.md says how.
const (
	mosquittoHandshakes = 1064     // full TLS 1.3 handshakes per core-s, the best of its runs
	natsHandshakes      = 1667     // the same of NATS
	mosquittoIdle       = 19.3     // KiB per idle session, its best run
	natsIdle            = 49.0     // the same of NATS
	natsIngest          = 145e3    // acknowledged messages per core-s: JetStream
	redisCAS            = 162e3    // Lua compare-and-set with an outbox, pipelined, per Redis core-s, no fsync
	knativeEvents       = 3040.0   // events per core-s of Knative's mt-broker handlers, in memory
	knativeP99          = 18.0     // ms, its best run
	aimRecords          = 0.5e6    // acknowledged telemetry records per core-s
	aimIdle             = 20.0     // KiB per idle session
	aimEvents           = 3 * 3040 // events per core-s
	aimReads            = 100.0    // ms
	aimPage             = 50.0     // ms
	aimWatch            = 1000.0   // ms
)

func gatewayRows(ctx context.Context, o *options) ([]row, error) {
	r, err := goBench(ctx, o, "./gateway", "^Benchmark(Handshake|Idle|Telemetry)$", "1x", o.samples)
	if err != nil {
		return nil, err
	}
	var out []row
	add := func(x row, e error) *row {
		if e != nil {
			err = e
		}
		out = append(out, x)
		return &out[len(out)-1]
	}
	x := add(r.row("Handshake/tls", "sessions/core-s", "full TLS 1.3 handshakes, mutual, known devices", "/core-s"))
	*x = x.peer("NATS", natsHandshakes).with("mosquitto %s", number(mosquittoHandshakes))
	for _, k := range []struct{ name, what string }{
		{"first", "sessions of new devices: handshake, lease, first report acknowledged"},
		{"known", "sessions of known devices, the same"},
		{"resumed", "resumed sessions, the same"},
	} {
		x := add(r.row("Handshake/"+k.name, "sessions/core-s", k.what, "/core-s"))
		*x = x.with("Redis: %.0f µs each", r.med("Handshake/"+k.name, "redis-µs/session"))
	}
	x = add(r.row("Idle", "KiB/session", "memory of an idle session, at 2,000", "KiB"))
	*x = x.atMost(aimIdle).with("mosquitto %.1f, NATS %.0f; the gateway idles at %.1f ms of CPU a second", mosquittoIdle, natsIdle, r.med("Idle", "cpu-ms/s"))
	for _, n := range []string{"1", "8", "32", "128"} {
		b := "Telemetry/records=" + n
		what := "acknowledged telemetry records, " + n + " a frame"
		if n == "1" {
			what = "acknowledged telemetry records, 1 a frame"
		}
		x := add(r.row(b, "records/core-s", what, "/core-s"))
		*x = x.atLeast(aimRecords).with("%s frames/core-s; Redis in the gateway's part: %.1f ms", number(r.med(b, "frames/core-s")), r.med(b, "redis-µs")/1000)
		if n == "1" {
			x.Beside += "; NATS JetStream " + number(natsIngest) + " messages"
		}
	}
	return out, err
}

func ledgerRows(ctx context.Context, o *options) ([]row, error) {
	n := "20000x"
	if o.quick {
		n = "5000x"
	}
	r, err := goBench(ctx, o, "./broker/ledger", "^BenchmarkReport$", n, o.samples)
	if err != nil {
		return nil, err
	}
	t, err := goBench(ctx, o, "./broker/ledger", "^BenchmarkTelemetry$", "200000x", o.samples)
	if err != nil {
		return nil, err
	}
	var out []row
	for _, k := range []struct{ name, what string }{
		{"move/parallel", "reports that move a device between work sets, one each"},
		{"move/pipelined", "the same, pipelined by 128"},
		{"progress/parallel", "reports that tell progress, one each"},
		{"progress/pipelined", "the same, pipelined by 128"},
	} {
		x, e := r.row("Report/"+k.name, "op/redis-core-s", k.what, "/Redis core-s")
		if e != nil {
			return out, e
		}
		x = x.with("%s /s with client and Redis on the same cores", number(r.med("Report/"+k.name, "op/s")))
		if k.name == "move/pipelined" || k.name == "progress/pipelined" {
			x = x.peer("bare compare-and-set", redisCAS)
		}
		out = append(out, x)
	}
	x, e := t.row("Telemetry", "op/redis-core-s", "telemetry records stored", "/Redis core-s")
	return append(out, x), e
}

func brokerRows(ctx context.Context, o *options) ([]row, error) {
	n := "30000x"
	if o.quick {
		n = "10000x"
	}
	r, err := goBench(ctx, o, "./broker/stream", "^BenchmarkDelivery$", n, o.samples)
	if err != nil {
		return nil, err
	}
	var out []row
	for _, fsync := range []string{"always", "everysec"} {
		b := "Delivery/fsync=" + fsync
		x, e := r.row(b, "events/core-s", "events accepted and delivered, appendfsync "+fsync, "/core-s")
		if e != nil {
			return out, e
		}
		x = x.atLeast(aimEvents).with("broker and Redis together; broker alone %s; Knative's mt-broker, in memory: %s", number(r.med(b, "broker/core-s")), number(knativeEvents))
		p, e := r.row(b, "p99-ms", "from post to subscriber, p99, 32 in flight, "+fsync, "ms")
		if e != nil {
			return out, e
		}
		p = p.lessThan("Knative", knativeP99).with("until 202: %.1f", r.med(b, "accept-p99-ms"))
		out = append(out, x, p)
	}
	return out, nil
}

func protocolRows(ctx context.Context, o *options) ([]row, error) {
	r, err := goBench(ctx, o, "./protocol", "^Benchmark(Append|Decode|OracleAppend|OracleDecode|TelemetryRaw)$", "50ms", o.samples)
	if err != nil {
		return nil, err
	}
	var out []row
	for _, k := range []struct{ ours, oracle, what string }{{"Append", "OracleAppend", "encode"}, {"Decode", "OracleDecode", "decode"}} {
		for _, m := range []string{"Telemetry", "Report", "Hello", "Module"} {
			x, e := r.row(k.ours+"/"+m, "ns/op", k.what+" "+m, "ns")
			if e != nil {
				continue // not every version of the protocol has every message
			}
			x = x.lessThan("fxamacker", r.med(k.oracle+"/"+m, "ns/op"))
			out = append(out, x)
		}
		if mean, n := geometric(r, k.ours, k.oracle); n > 0 {
			out = append(out, of(k.what+", all messages, ours to fxamacker", "×", mean).lessThan("fxamacker", 1).with("geometric mean over %d messages, same run; ours checks order, shortest forms, required keys and limits", n))
		}
	}
	x, e := r.row("TelemetryRaw/16", "records/s", "telemetry checked and kept raw, 16 records a frame", "/core-s")
	return append(out, x), e
}

// geometric is the mean of ours/theirs over all messages that both have.
func geometric(r results, ours, theirs string) (mean float64, n int) {
	sum := 0.0
	for name := range r {
		m, ok := strings.CutPrefix(name, ours+"/")
		if !ok {
			continue
		}
		a, b := r.med(name, "ns/op"), r.med(theirs+"/"+m, "ns/op")
		if a > 0 && b > 0 {
			sum += math.Log(a / b)
			n++
		}
	}
	if n == 0 {
		return 0, 0
	}
	return math.Exp(sum / float64(n)), n
}

// apiRows measures the REST API on a fleet of 10,000 devices.
func apiRows(ctx context.Context, o *options) ([]row, error) {
	r, err := goBench(ctx, o, "./functions/api", "^Benchmark(Reads|Watchers)$", "3x", o.samples)
	if err != nil {
		return nil, err
	}
	p, err := goBench(ctx, o, "./functions/api", "^BenchmarkFirstPage$", "200x", o.samples)
	if err != nil {
		return nil, err
	}
	var out []row
	x, e := r.row("Reads", "p99-ms", "REST, 500 mixed reads a second at 10,000 devices, p99", "ms")
	if e != nil {
		return out, e
	}
	out = append(out, x.atMost(aimReads).with("median %.1f ms", r.med("Reads", "p50-ms")))
	if x, e = p.row("FirstPage", "ms/page", "REST, first page of the list of devices at 10,000", "ms"); e != nil {
		return out, e
	}
	out = append(out, x.atMost(aimPage))
	if x, e = r.row("Watchers", "worst-ms", "from a change until the last of 200 WebSockets has it, worst", "ms"); e != nil {
		return out, e
	}
	return append(out, x.atMost(aimWatch)), nil
}
