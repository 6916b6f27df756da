package protocol

import (
	"fmt"
	"testing"
)

// benchRecords are what a device that reports every second sends.
func benchTelemetry(n int) *Telemetry {
	m := &Telemetry{ID: 77, Seq: 4001}
	for i := range n {
		m.Records = append(m.Records, TelemetryRecord{Time: 1_767_225_600_000 + uint64(i), App: "hello", Name: "temperature", Value: 21.3 + float64(i)})
	}
	return m
}

// one message of each type.
func benchMessages(b *testing.B) []Message {
	seen := map[Type]bool{}
	var out []Message
	for _, m := range positives(b) {
		if !seen[m.Type()] && m.Type() != TypeTelemetry {
			seen[m.Type()] = true
			out = append(out, m)
		}
	}
	return append(out, benchTelemetry(1))
}

func BenchmarkAppend(b *testing.B) {
	for _, m := range benchMessages(b) {
		b.Run(m.Type().String(), func(b *testing.B) {
			buf := make([]byte, 0, MaxFrame)
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if buf, err = Append(buf[:0], m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, m := range benchMessages(b) {
		frame, err := Append(nil, m)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(m.Type().String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(frame[HeaderSize:]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The plain library on the same structs, for the ratio. It checks less: neither order nor shortest forms nor
// required keys nor limits.
func BenchmarkOracleAppend(b *testing.B) {
	o := newOracle(b)
	for _, m := range benchMessages(b) {
		b.Run(m.Type().String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := o.enc.Marshal(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOracleDecode(b *testing.B) {
	o := newOracle(b)
	for _, m := range benchMessages(b) {
		body := o.body(b, m)
		b.Run(m.Type().String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := o.dec.Unmarshal(body, New(m.Type())); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTelemetryRaw is the gateway's hot path; the figure that counts is records per second.
func BenchmarkTelemetryRaw(b *testing.B) {
	for _, n := range []int{1, 16, 128} {
		frame, err := Append(nil, benchTelemetry(n))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, _, _, err := DecodeTelemetryRaw(frame[HeaderSize:]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
