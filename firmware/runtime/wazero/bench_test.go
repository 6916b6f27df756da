package wazero

import (
	"testing"

	"context"

	"wasmbed.io/wasmbed/firmware/modules"
)

// What an update costs the processor of a host device: a new instance and its start.
func BenchmarkLoadAndStart(b *testing.B) {
	e := newEngine(b)
	bytes, err := modules.Get("hello")
	if err != nil {
		b.Fatal(err)
	}
	held, err := e.Load(context.Background(), code(bytes), limits, newWorld(nil)) // keeps the module decoded
	if err != nil {
		b.Fatal(err)
	}
	defer held.Close()
	shared := code(bytes)
	w := newWorld(nil)
	b.ReportAllocs()
	for b.Loop() {
		w.logs = w.logs[:0]
		i, err := e.Load(context.Background(), shared, limits, w)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := i.Start(second); err != nil {
			b.Fatal(err)
		}
		i.Close()
	}
}

// What a timer tick costs: a call with two host functions in it.
func BenchmarkTimer(b *testing.B) {
	e := newEngine(b)
	i := load(b, e, "hello", newWorld(nil))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Timer(second, 1); err != nil {
			b.Fatal(err)
		}
	}
}
