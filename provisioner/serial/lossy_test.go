package serial

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// program compiles the device's side of the line into a program.
func program(t *testing.T) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("not run: no C compiler (cc)")
	}
	const firmware = "../../firmware/"
	out := filepath.Join(t.TempDir(), "line")
	if msg, err := exec.Command(cc, "-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
		"-o", out, "-I"+firmware+"port/zephyr", "-I"+firmware+"core/include", firmware+"tests/tool_line.c", firmware+"port/zephyr/serial_line.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
	return out
}

// device is a process that runs the C line, in the test's time.
type device struct {
	t       *testing.T
	in      io.Writer
	out     io.Reader
	state   int8
	timer   time.Duration // until it has something to say by itself; negative: never
	payload []byte        // came and is not yet taken
	line    []byte        // for the line, not yet taken
}

func startDevice(t *testing.T, path string) *device {
	t.Helper()
	cmd := exec.Command(path)
	// Files, so that no goroutine of os/exec lives in the test's bubble of time.
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	inR.Close()
	outW.Close()
	t.Cleanup(func() {
		inW.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		outR.Close()
	})
	return &device{t: t, in: inW, out: outR}
}

func (d *device) do(op byte, data []byte) {
	req := append([]byte{op}, binary.LittleEndian.AppendUint64(nil, uint64(time.Now().UnixMilli()))...)
	req = append(binary.LittleEndian.AppendUint32(req, uint32(len(data))), data...)
	if _, err := d.in.Write(req); err != nil {
		d.t.Fatal(err)
	}
	head := d.read(9)
	d.state = int8(head[0])
	d.timer = time.Duration(int64(binary.LittleEndian.Uint64(head[1:]))) * time.Millisecond
	d.payload = append(d.payload, d.read(int(binary.LittleEndian.Uint32(d.read(4))))...)
	d.line = append(d.line, d.read(int(binary.LittleEndian.Uint32(d.read(4))))...)
}

func (d *device) read(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(d.out, b); err != nil {
		d.t.Fatalf("the device's program ended: %v", err)
	}
	return b
}

func (d *device) take() []byte {
	b := d.line
	d.line = nil
	return b
}

// weather is what happens to the line.
type weather struct {
	rng  *rand.Rand
	loss float64 // of a byte
	bits float64 // of a byte that one of its bits turns
	junk float64 // of a byte that another comes before it
}

func (w *weather) through(p []byte) []byte {
	var out []byte
	for _, b := range p {
		if w.rng.Float64() < w.junk {
			out = append(out, []byte{dle, 'O', 'U', 'C', 'P', 'A', 'W', byte(w.rng.UintN(256))}[w.rng.IntN(8)])
		}
		if w.rng.Float64() < w.bits {
			b ^= 1 << w.rng.IntN(8)
		}
		if w.rng.Float64() >= w.loss {
			out = append(out, b)
		}
	}
	return out
}

// world is a device with an application that wants its echo, a line, a bridge that can be started anew, and a gateway.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	dev  *device
	air  weather
	line port
	stop func()

	mu     sync.Mutex
	mood   int // of the gateway: accepts, refuses, hangs while it is dialled
	open   int // connections that the gateway has
	most   int
	closer []net.Conn

	want   []byte // the echo awaited
	asked  time.Time
	again  time.Time // when the application opens next
	echoes int
}

const (
	accepts = iota
	refuses
	hangs
)

func (w *world) dial(ctx context.Context) (net.Conn, error) {
	w.mu.Lock()
	mood := w.mood
	w.mu.Unlock()
	switch mood {
	case refuses:
		return nil, errRefused
	case hangs:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	near, far := net.Pipe()
	w.mu.Lock()
	w.open++
	w.most = max(w.most, w.open)
	w.closer = append(w.closer, far)
	w.mu.Unlock()
	go func() {
		io.Copy(far, far)
		w.mu.Lock()
		w.open--
		w.mu.Unlock()
		far.Close()
	}()
	return near, nil
}

func (w *world) startBridge() {
	if w.stop != nil {
		w.stop()
	}
	w.line = newPort()
	line := w.line
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Bridge(ctx, line, w.dial, slog.New(slog.DiscardHandler)) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

// application does what the core does: opens with a pause after an end, sends, waits for the echo, closes when
// there is a wrong one or none.
func (w *world) application() {
	now := time.Now()
	switch {
	case w.dev.state < 0:
		w.want, w.dev.payload = nil, nil
		if w.again.IsZero() {
			w.again = now.Add(time.Second)
		}
		if !now.Before(w.again) {
			w.again = time.Time{}
			w.dev.do('o', nil)
		}
	case w.dev.state == 1 && w.want == nil && now.Sub(w.asked) < 100*time.Millisecond:
	case w.dev.state == 1 && w.want == nil:
		w.dev.payload = nil
		w.want = make([]byte, 1+w.rng.IntN(3000))
		for i := range w.want {
			w.want[i] = []byte{dle, 'C', 'U', byte(w.rng.UintN(256))}[w.rng.IntN(4)]
		}
		w.asked = now
		w.dev.do('s', w.want)
	case w.dev.state == 1:
		n := min(len(w.want), len(w.dev.payload))
		switch {
		case !bytes.Equal(w.want[:n], w.dev.payload[:n]) || len(w.dev.payload) > len(w.want) || now.Sub(w.asked) > 30*time.Second:
			w.dev.do('c', nil) // what TLS and the core's deadlines do
		case n == len(w.want):
			w.echoes++
			w.want = nil
		}
	}
}

// step moves bytes until nothing moves, then lets some time pass.
func (w *world) step() {
	for {
		synctest.Wait()
		w.application()
		up, down := w.dev.take(), w.line.out.take()
		if len(up)+len(down) == 0 {
			break
		}
		w.line.in.Write(w.air.through(up))
		if down = w.air.through(down); len(down) > 0 {
			w.dev.do('r', down)
		}
	}
	time.Sleep(50 * time.Millisecond)
	w.dev.do('t', nil)
}

func (w *world) pass(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		w.step()
	}
}

func (w *world) trouble() {
	switch w.rng.IntN(9) {
	case 0: // the device is reset
		w.dev.do('i', []byte{byte(w.rng.UintN(256)), 0, 4})
		w.dev.take()
		w.want, w.again = nil, time.Time{}
	case 1: // the bridge is
		w.startBridge()
	case 2: // both are
		w.dev.do('i', []byte{byte(w.rng.UintN(256)), 128, 0})
		w.startBridge()
	case 3: // the gateway drops its connections
		w.mu.Lock()
		for _, c := range w.closer {
			c.Close()
		}
		w.closer = nil
		w.mu.Unlock()
	case 4:
		w.mu.Lock()
		w.mood = w.rng.IntN(3)
		w.mu.Unlock()
	case 5:
		w.air.loss = 0.05 * w.rng.Float64()
	case 6:
		w.air.junk = 0.05 * w.rng.Float64()
	case 7:
		w.air.bits = 0.05 * w.rng.Float64()
	case 8: // a word out of nowhere, to either side
		word := []byte{dle, "OUFCPAW"[w.rng.IntN(7)], byte(w.rng.UintN(256))}
		if w.rng.IntN(2) == 0 {
			w.line.in.Write(word)
		} else {
			w.dev.do('r', word)
		}
	}
}

// TestAnythingThenQuiet: whatever happened on the line, once it is quiet the device has a connection within what
// two open requests and a keepalive take, keeps it, and the gateway holds that one alone.
func TestAnythingThenQuiet(t *testing.T) {
	path := program(t)
	rounds := 24
	if testing.Short() {
		rounds = 6
	}
	dev := startDevice(t, path)
	echoes := 0
	for seed := range rounds {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 7))
			w := &world{t: t, rng: rng, dev: dev, air: weather{rng: rng}}
			dev.line, dev.payload = nil, nil
			dev.do('i', []byte{byte(seed), 0, 4})
			w.startBridge()
			for range 1 + rng.IntN(12) {
				w.trouble()
				w.pass(time.Duration(rng.IntN(6000)) * time.Millisecond)
			}
			w.air = weather{rng: rng}
			w.mu.Lock()
			w.mood = accepts
			w.mu.Unlock()
			w.pass(45 * time.Second)
			before := w.echoes
			w.pass(5 * time.Second)
			synctest.Wait()
			if w.echoes-before < 20 || dev.state != 1 {
				t.Errorf("seed %d: %d echoes in 5 s of quiet, state %d", seed, w.echoes-before, dev.state)
			}
			if w.open != 1 {
				t.Errorf("seed %d: the gateway holds %d connections", seed, w.open)
			}
			echoes += w.echoes
			w.stop()
			synctest.Wait()
			if w.open != 0 {
				t.Errorf("seed %d: %d connections outlive the bridge", seed, w.open)
			}
		})
	}
	t.Logf("%d echoes", echoes)
}

// TestDialsAreBounded: a dial that minds no context is given up in time, and what it brings later is closed.
func TestDialsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := newPort()
		near, far := net.Pipe()
		release := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- Bridge(ctx, line, func(context.Context) (net.Conn, error) { <-release; return near, nil }, slog.New(slog.DiscardHandler))
		}()
		line.in.Write([]byte{dle, wordOpen, 3})
		synctest.Wait()
		line.out.take()
		time.Sleep(DialTimeout)
		synctest.Wait()
		if got := line.out.take(); !bytes.Equal(got, []byte{dle, wordFailed, 3}) {
			t.Errorf("the bridge said %x", got)
		}
		close(release)
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the late connection: %v", err)
		}
		cancel()
		<-done
	})
}

// TestGatewayThatDoesNotRead: what waits for it is bounded, and the device learns that its connection is gone.
func TestGatewayThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := newPort()
		near, far := net.Pipe()
		defer far.Close()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- Bridge(ctx, line, func(context.Context) (net.Conn, error) { return near, nil }, slog.New(slog.DiscardHandler))
		}()
		line.in.Write([]byte{dle, wordOpen, 3})
		synctest.Wait()
		line.out.take()
		for range 3 * maxUpstream / 1000 {
			line.in.Write(bytes.Repeat([]byte("x"), 1000))
		}
		synctest.Wait()
		if got := line.out.take(); !bytes.Equal(got, []byte{dle, wordClosed}) {
			t.Errorf("the bridge said %x", got)
		}
		cancel()
		<-done
	})
}

// TestPortThatFails: its error is Bridge's, its end is none.
func TestPortThatFails(t *testing.T) {
	for _, c := range []struct{ give, want error }{{io.EOF, nil}, {errRefused, errRefused}} {
		err := Bridge(t.Context(), failing{c.give}, nil, slog.New(slog.DiscardHandler))
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%v, want %v", err, c.want)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)    { return 0, f.err }
func (f failing) Write(p []byte) (int, error) { return len(p), nil }
func (f failing) Close() error                { return nil }

// FuzzFrames: however the bytes are cut, the decoder says the same, and payload that was escaped comes back.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{1, dle, dle, dle, 'O', 7, dle, 'C', dle, 'Z', 0, dle, 'x', 2}, uint8(3))
	f.Add([]byte{dle, 'W', dle, dle}, uint8(1))
	decode := func(p []byte, step int) (payload, words []byte) {
		var d decoder
		for len(p) > 0 {
			n := min(step, len(p))
			d.feed(p[:n], func(b []byte) { payload = append(payload, b...) }, func(word, arg byte) { words = append(words, word, arg) })
			p = p[n:]
		}
		return payload, words
	}
	f.Fuzz(func(t *testing.T, p []byte, step uint8) {
		a, aw := decode(p, len(p)+1)
		b, bw := decode(p, int(step)+1)
		if !bytes.Equal(a, b) || !bytes.Equal(aw, bw) {
			t.Fatalf("%x %x, in steps of %d %x %x", a, aw, step+1, b, bw)
		}
		if back, words := decode(appendPayload(nil, p), int(step)+1); !bytes.Equal(back, p) || len(words) > 0 {
			t.Fatalf("%x came back as %x with %x", p, back, words)
		}
		var w window
		for _, arg := range p {
			before := w.limit
			if w.grant(arg); w.limit < before || w.limit-before > 127*unit || w.limit%unit != 0 {
				t.Fatalf("limit %d after %d", w.limit, before)
			}
		}
	})
}
