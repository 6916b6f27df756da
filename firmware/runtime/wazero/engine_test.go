package wazero

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wasmbed.io/wasmbed/firmware/modules"
)

const second = time.Second

// world is a host as a device's core would be, in memory.
type world struct {
	config  map[string]string
	kv      map[string]string
	logs    []string
	values  map[string]float64
	sent    []string
	timers  map[uint32]uint32
	pins    map[uint32]uint32
	entropy int32
}

func newWorld(config map[string]string) *world {
	return &world{config: config, kv: map[string]string{}, values: map[string]float64{}, timers: map[uint32]uint32{}, pins: map[uint32]uint32{1: 0}}
}

const (
	invalid  = -1
	notFound = -3
)

func (w *world) Log(_ uint32, text []byte) { w.logs = append(w.logs, string(text)) }
func (w *world) ClockNow() int64           { return 1_700_000_000_000 }
func (w *world) ClockUptime() int64        { return 1234 }
func (w *world) Telemetry(name []byte, value float64) int32 {
	if len(name) == 0 {
		return invalid
	}
	w.values[string(name)] = value
	return 0
}
func (w *world) MessageSend(topic, payload []byte) int32 {
	if len(topic) == 0 {
		return invalid
	}
	w.sent = append(w.sent, string(topic)+"="+string(payload))
	return 0
}
func get(m map[string]string, key, buf []byte) int32 {
	if len(key) == 0 {
		return invalid
	}
	v, ok := m[string(key)]
	if !ok {
		return notFound
	}
	copy(buf, v)
	return int32(len(v))
}
func (w *world) KVGet(key, buf []byte) int32     { return get(w.kv, key, buf) }
func (w *world) ConfigGet(key, buf []byte) int32 { return get(w.config, key, buf) }
func (w *world) KVSet(key, value []byte) int32 {
	switch {
	case len(key) == 0:
		return invalid
	case len(value) == 0:
		delete(w.kv, string(key))
	default:
		w.kv[string(key)] = string(value)
	}
	return 0
}
func (w *world) GPIORead(pin uint32) int32 {
	if v, ok := w.pins[pin]; ok {
		return int32(v)
	}
	return notFound
}
func (w *world) GPIOWrite(pin, value uint32) int32 {
	if _, ok := w.pins[pin]; !ok {
		return notFound
	}
	w.pins[pin] = value
	return 0
}
func (w *world) SensorRead(id uint32) (float64, int32) {
	if id != 0 {
		return 0, notFound
	}
	return 21.5, 0
}
func (w *world) TimerSet(id, period uint32) int32 {
	w.timers[id] = period
	if period == 0 {
		delete(w.timers, id)
	}
	return 0
}
func (w *world) Random(buf []byte) int32 {
	for i := range buf {
		buf[i] = byte(rand.Uint32())
	}
	return w.entropy
}

func newEngine(t testing.TB) *Engine {
	t.Helper()
	e, err := New(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close(context.Background()) })
	return e
}

func code(b []byte) Code {
	return Code{Digest: sha256.Sum256(b), Read: func() ([]byte, error) { return b, nil }}
}

var limits = Limits{MemoryPages: 1, CallTimeout: second}

func load(t testing.TB, e *Engine, name string, host Host) *Instance {
	t.Helper()
	b, err := modules.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	i, err := e.Load(context.Background(), code(b), limits, host)
	if err != nil {
		t.Fatalf("load %s: %v", name, err)
	}
	t.Cleanup(i.Close)
	return i
}

func wantTrap(t *testing.T, err error, reason Reason) *Trap {
	t.Helper()
	var trap *Trap
	if !errors.As(err, &trap) || trap.Reason != reason {
		t.Fatalf("got %v (%+v), want a trap with reason %d", err, trap, reason)
	}
	if strings.ContainsAny(trap.Text, "\n") || trap.Text == "" {
		t.Fatalf("text %q is not one line", trap.Text)
	}
	return trap
}

func wantStart(t *testing.T, i *Instance) {
	t.Helper()
	if r, err := i.Start(second); r != 0 || err != nil {
		t.Fatalf("start: %d, %v", r, err)
	}
}

func TestHello(t *testing.T) {
	e := newEngine(t)
	for name, version := range map[string]float64{"hello": 1, "hello-v2": 2, "hello-bad": 3, "hello-as": 0} {
		w := newWorld(nil)
		i := load(t, e, name, w)
		wantStart(t, i)
		if r, err := i.Timer(second, 1); r != 0 || err != nil {
			t.Fatalf("%s: timer: %d, %v", name, r, err)
		}
		if w.values["ticks"] != 1 || w.values["version"] != version {
			t.Errorf("%s: %v", name, w.values)
		}
		_, err := i.Timer(second, 1)
		if name == "hello-bad" {
			if trap := wantTrap(t, err, ReasonTrap); trap.Where != "wasmbed_timer" {
				t.Errorf("trapped in %q", trap.Where)
			}
			continue
		}
		if err != nil || w.values["ticks"] != 2 {
			t.Errorf("%s: second tick: %v, %v", name, err, w.values)
		}
		if err := i.Stop(second); err != nil || w.logs[len(w.logs)-1] != "bye" {
			t.Errorf("%s: stop: %v, %q", name, err, w.logs)
		}
	}
}

func TestCounter(t *testing.T) {
	e, w := newEngine(t), newWorld(nil)
	answer := make([]byte, 16)
	invoke := func(i *Instance, function, payload, want string) {
		t.Helper()
		n, number, err := i.Invoke(second, function, []byte(payload), answer)
		if err != nil || number != 0 || string(answer[:n]) != want {
			t.Fatalf("%s(%q) = %q, %d, %v, want %q", function, payload, answer[:n], number, err, want)
		}
	}
	i := load(t, e, "counter", w)
	wantStart(t, i)
	invoke(i, "get", "", "0")
	invoke(i, "add", "", "1")
	invoke(i, "add", "41", "42")
	if w.kv["count"] != "42" {
		t.Fatalf("kept %q", w.kv)
	}
	again := load(t, e, "counter", w) // as after a restart
	wantStart(t, again)
	invoke(again, "get", "", "42")
	if _, _, err := again.Invoke(second, "add", make([]byte, 33), answer); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("33 bytes: %v", err)
	}
	for _, function := range []string{"missing", "wasmbed_start", "wasmbed_alloc", "memory", ""} {
		if _, _, err := again.Invoke(second, function, nil, answer); !errors.Is(err, ErrNoExport) {
			t.Errorf("invoke %q: %v", function, err)
		}
	}
	if _, err := again.Message(second, []byte("t"), nil); !errors.Is(err, ErrNoExport) {
		t.Errorf("message: %v", err)
	}
}

func TestTrapReasons(t *testing.T) {
	e := newEngine(t)
	for kind, reason := range map[string]Reason{
		"": ReasonTrap, "trap": ReasonTrap, "bounds": ReasonOutOfBounds, "divide": ReasonDivideByZero,
		"stack": ReasonStackOverflow, "loop": ReasonTimeout, "exit": 0,
	} {
		t.Run(kind, func(t *testing.T) {
			for _, when := range []string{"start", "2"} {
				i := load(t, e, "trapper", newWorld(map[string]string{"when": when, "kind": kind}))
				call := func() (int32, error) { return i.Start(50 * time.Millisecond) }
				if when != "start" {
					wantStart(t, i)
					if r, err := i.Timer(second, 1); r != 0 || err != nil {
						t.Fatalf("first tick: %d, %v", r, err)
					}
					call = func() (int32, error) { return i.Timer(50*time.Millisecond, 1) }
				}
				r, err := call()
				if reason == 0 {
					if r != 7 || err != nil {
						t.Fatalf("exit: %d, %v", r, err)
					}
					continue
				}
				wantTrap(t, err, reason)
				if _, err := i.Start(second); reason == ReasonTimeout && err == nil {
					t.Error("an instance ran on after its timeout")
				}
			}
		})
	}
}

func TestConformance(t *testing.T) {
	e := newEngine(t)
	w := newWorld(map[string]string{"a": "1", "long": "abcdefghijklmnopqrst"})
	i := load(t, e, "conformance", w)
	if r, err := i.Start(second); r != 0 || err != nil {
		t.Fatalf("start: %d, %v, %q", r, err, w.logs)
	}
	if w.values["half"] != 0.5 || !slices.Equal(w.sent, []string{"topic=payload"}) || w.timers[7] != 20 || len(w.timers) != 1 {
		t.Errorf("%v %v %v", w.values, w.sent, w.timers)
	}
	for range 3 {
		if r, err := i.Timer(second, 7); r != 0 || err != nil {
			t.Fatalf("timer: %d, %v", r, err)
		}
	}
	if w.values["tick"] != 3 || len(w.timers) != 0 {
		t.Errorf("%v %v", w.values, w.timers)
	}
	if r, err := i.Message(second, []byte("to"), []byte("data")); r != 0 || err != nil || w.sent[1] != "echo/to=data" {
		t.Errorf("message: %d, %v, %q", r, err, w.sent)
	}
	if _, err := i.Message(second, []byte("to"), make([]byte, 200)); !errors.Is(err, ErrNoRoom) {
		t.Errorf("a long message: %v", err)
	}
	answer := make([]byte, 8)
	if n, number, err := i.Invoke(second, "echo", []byte("12345678"), answer); n != 8 || number != 0 || err != nil || string(answer) != "12345678" {
		t.Errorf("echo: %q, %d, %v", answer[:n], number, err)
	}
	if n, _, err := i.Invoke(second, "echo", nil, answer); n != 0 || err != nil {
		t.Errorf("echo of nothing: %d, %v", n, err)
	}
	if _, _, err := i.Invoke(second, "echo", []byte("123456789"), answer); !errors.Is(err, ErrTooLong) {
		t.Errorf("a long answer: %v", err)
	}
	if n, number, err := i.Invoke(second, "refuse", []byte("ab"), answer); n != 0 || number != 42 || err != nil {
		t.Errorf("refuse: %d, %d, %v", n, number, err)
	}
	_, _, err := i.Invoke(second, "wild", nil, answer)
	wantTrap(t, err, ReasonOutOfBounds)
	other := load(t, e, "conformance", w)
	_, _, err = other.Invoke(second, "trap", nil, answer)
	wantTrap(t, err, ReasonTrap)
	if err := load(t, e, "conformance", w).Stop(second); err != nil {
		t.Error(err)
	}
	w.entropy = -4
	_, err = load(t, e, "conformance", w).Start(second)
	wantTrap(t, err, ReasonTrap)
}

// wasm assembles a module with one page of memory and one exported function wasmbed_start () -> i32; an import when named.
type wasm struct {
	imported   string // of type (i32, i32) -> i32, from "wasmbed" unless it has a dot
	pages      byte
	body       []byte
	noMemory   bool
	startTraps bool
}

func (w wasm) bytes() []byte {
	section := func(id byte, body ...byte) []byte { return append([]byte{id, byte(len(body))}, body...) }
	str := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = append(out, section(1, 3, 0x60, 0, 1, i32, 0x60, 2, i32, i32, 1, i32, 0x60, 0, 0)...)
	index := byte(0)
	if w.imported != "" {
		module, name, ok := strings.Cut(w.imported, ".")
		if !ok {
			module, name = "wasmbed", w.imported
		}
		body := append(append([]byte{1}, str(module)...), str(name)...)
		out = append(out, section(2, append(body, 0, 1)...)...)
		index = 1
	}
	out = append(out, section(3, 2, 0, 2)...)
	out = append(out, section(4, 1, 0x70, 0, 1)...) // an empty table
	if !w.noMemory {
		out = append(out, section(5, 1, 0, w.pages)...)
	}
	exports := append([]byte{1}, append(str("wasmbed_start"), 0, index)...)
	if !w.noMemory {
		exports[0] = 2
		exports = append(exports, append(str("memory"), 2, 0)...)
	}
	out = append(out, section(7, exports...)...)
	if w.startTraps {
		out = append(out, section(8, index+1)...)
	}
	code := append([]byte{2, byte(len(w.body) + 2), 0}, append(slices.Clone(w.body), 0x0b)...)
	return append(out, section(10, append(code, 3, 0, 0x00, 0x0b)...)...)
}

func f32Const(v float32) []byte {
	return append([]byte{0x43}, binary.LittleEndian.AppendUint32(nil, math.Float32bits(v))...)
}

// Faults that the samples do not make; with TestTrapReasons, every text of the table of words.
func TestMoreFaults(t *testing.T) {
	e := newEngine(t)
	for name, c := range map[string]struct {
		body   []byte
		reason Reason
	}{
		"overflow":     {[]byte{0x41, 0x80, 0x80, 0x80, 0x80, 0x78, 0x41, 0x7f, 0x6d}, ReasonDivideByZero}, // min / -1
		"conversion":   {append(f32Const(float32(math.NaN())), 0xa8), ReasonTrap},
		"null table":   {[]byte{0x41, 0, 0x11, 0, 0}, ReasonTrap},
		"table bounds": {[]byte{0x41, 9, 0x11, 0, 0}, ReasonTrap},
		"grow": { // grow by 9 pages gives -1, load at it: out of bounds
			[]byte{0x41, 9, 0x40, 0, 0x28, 2, 0}, ReasonOutOfBounds},
	} {
		t.Run(name, func(t *testing.T) {
			i, err := e.Load(context.Background(), code(wasm{pages: 1, body: c.body}.bytes()), limits, newWorld(nil))
			if err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			_, err = i.Start(second)
			wantTrap(t, err, c.reason)
		})
	}
}

func TestRefusedAtLoad(t *testing.T) {
	e := newEngine(t)
	zero := []byte{0x41, 0}
	hello, err := modules.Get("hello")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		bytes  []byte
		limits Limits
		reason Reason
	}{
		"empty":             {nil, limits, ReasonNotWasm},
		"text":              {[]byte("int main(void)"), limits, ReasonNotWasm},
		"cut":               {hello[:len(hello)-5], limits, ReasonNotWasm},
		"no memory":         {wasm{noMemory: true, body: zero}.bytes(), limits, ReasonNotWasm},
		"huge type":         {append(wasm{}.bytes()[:8], 1, 8, 1, 0x60, 0xff, 0xff, 0xff, 0xff, 0x0f, i32), limits, ReasonNotWasm},
		"huge count":        {append(wasm{}.bytes()[:8], 3, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0), limits, ReasonNotWasm},
		"huge table":        {append(wasm{}.bytes()[:8], 4, 8, 1, 0x70, 0, 0xff, 0xff, 0xff, 0xff, 0x0f), limits, ReasonNotWasm},
		"huge locals":       {append(wasm{}.bytes()[:8], 10, 9, 1, 7, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, i32), limits, ReasonNotWasm},
		"huge section":      {append(wasm{}.bytes()[:8], 0, 0xff, 0xff, 0xff, 0xff, 0x0f), limits, ReasonNotWasm},
		"simd":              {wasm{pages: 1, body: append(append([]byte{0xfd, 0x0c}, make([]byte, 16)...), 0xfd, 0x1b, 0)}.bytes(), limits, ReasonNotWasm},
		"memory":            {wasm{pages: 2, body: zero}.bytes(), limits, ReasonInsufficientMemory},
		"unknown import":    {wasm{imported: "nothing", pages: 1, body: zero}.bytes(), limits, ReasonMissingImport},
		"wasi":              {wasm{imported: "wasi_snapshot_preview1.environ_get", pages: 1, body: zero}.bytes(), limits, ReasonMissingImport},
		"other type":        {wasm{imported: "telemetry", pages: 1, body: zero}.bytes(), limits, ReasonMissingImport},
		"instruction limit": {hello, Limits{MemoryPages: 1, CallTimeout: second, Instructions: 1}, ReasonUnsupported},
		"start section":     {wasm{pages: 1, body: zero, startTraps: true}.bytes(), limits, ReasonTrap},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.Load(context.Background(), code(c.bytes), c.limits, newWorld(nil))
			wantTrap(t, err, c.reason)
		})
	}
	if n := e.Modules(); n != 0 {
		t.Errorf("%d modules are still held", n)
	}
	broken := errors.New("flash")
	if _, err := e.Load(context.Background(), Code{Read: func() ([]byte, error) { return nil, broken }}, limits, newWorld(nil)); !errors.Is(err, broken) {
		t.Errorf("a failing read: %v", err)
	}
}

// The manifest's pages are the limit of memory.grow, exactly, and each instance has its own.
func TestMemoryLimit(t *testing.T) {
	e := newEngine(t)
	grow := wasm{pages: 1, body: []byte{0x41, 1, 0x40, 0}}.bytes() // memory.grow(1)
	for pages, want := range map[uint32][]int32{1: {-1, -1}, 2: {1, -1}, 3: {1, 2}} {
		i, err := e.Load(context.Background(), code(grow), Limits{MemoryPages: pages, CallTimeout: second}, newWorld(nil))
		if err != nil {
			t.Fatal(err)
		}
		for n, w := range want {
			if r, err := i.Start(second); r != w || err != nil {
				t.Errorf("%d pages, grow %d: %d, %v, want %d", pages, n, r, err, w)
			}
		}
		if got := uint32(i.MemorySize()) / pageSize; got != pages {
			t.Errorf("%d pages: it has %d", pages, got)
		}
		i.Close()
	}
}

// Many devices run the same bytes: they are read and decoded once, and forgotten with the last.
func TestShared(t *testing.T) {
	e := newEngine(t)
	hello, err := modules.Get("hello")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	reads := 0
	shared := code(hello)
	shared.Read = func() ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		reads++
		return bytes.Clone(hello), nil
	}
	var wg sync.WaitGroup
	instances := make([]*Instance, 64)
	for n := range instances {
		wg.Go(func() {
			i, err := e.Load(context.Background(), shared, limits, newWorld(nil))
			if err != nil {
				t.Error(err)
				return
			}
			instances[n] = i
			if r, err := i.Start(second); r != 0 || err != nil {
				t.Errorf("start: %d, %v", r, err)
			}
		})
	}
	wg.Wait()
	if reads != 1 || e.Modules() != 1 {
		t.Errorf("read %d times, %d modules", reads, e.Modules())
	}
	for _, i := range instances {
		i.Close()
		i.Close() // twice does no harm
	}
	if e.Modules() != 0 {
		t.Error("the module is still held")
	}
}

func FuzzLoad(f *testing.F) {
	names, err := modules.Names()
	if err != nil || len(names) == 0 {
		f.Fatal(err)
	}
	for _, name := range names {
		b, err := modules.Get(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	e := newEngine(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWorld(nil)
		i, err := e.Load(context.Background(), code(b), Limits{MemoryPages: 2, CallTimeout: 20 * time.Millisecond}, w)
		if err != nil {
			return
		}
		_, _ = i.Start(20 * time.Millisecond)
		i.Close()
		if n := e.Modules(); n != 0 {
			t.Fatalf("%d modules are still held", n)
		}
	})
}
