package reconcile

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/process"
)

// images builds the bare-metal test image of firmware/tests/baremetal.
func images(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"qemu-system-arm", "arm-none-eabi-gcc", "make"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("not run: no %s, so no board was started in QEMU", tool)
		}
	}
	dir := t.TempDir()
	out, err := exec.Command("make", "-C", "../../firmware/tests", "baremetal", "OUT="+dir, "BUILD="+filepath.Join(t.TempDir(), "build")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// echo is a gateway that answers with what it gets, and tells what it got as lines.
func echo(t *testing.T) (address string, lines <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	said := make(chan string, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewScanner(c)
				for in.Scan() {
					said <- in.Text()
				}
			}()
		}
	}()
	return l.Addr().String(), said
}

// real is a world with QEMU in it.
type real struct {
	*world
	images, state, gateway string
	hello                  <-chan string
	e                      *process.Engine
}

func (r *real) start() {
	r.t.Helper()
	log := slog.New(slog.NewTextHandler(r.t.Output(), nil))
	var err error
	if r.e, err = process.New(process.Options{Dir: filepath.Join(r.state, "boards"), Images: r.images, Log: log}); err != nil {
		r.t.Fatal(err)
	}
	rec, err := New(Options{
		Devices: r.set.Devices, Engines: map[string]provisioner.Engine{"process": r.e}, Default: "process",
		Plan: func(string) (provisioner.PlanOptions, error) {
			return provisioner.PlanOptions{Gateway: r.gateway, ServerName: "gateway", Trust: [][]byte{{0x30, 0}}, Sandbox: true}, nil
		},
		Image: func(name string) (string, error) {
			b, err := os.ReadFile(filepath.Join(r.images, name))
			if err != nil {
				return "", errs.New(errs.NotFound, "%w", err)
			}
			sum := sha256.Sum256(b)
			return "sha256:" + hex.EncodeToString(sum[:]), nil
		},
		Sink: r.world, Consoles: r.hub, Dir: filepath.Join(r.state, "notes"), Instance: "pv-1",
		Jitter: func() float64 { return 0 }, Random: func(b []byte) { rand.Read(b) }, Log: log, Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.rec, r.stop, r.done = rec, cancel, make(chan struct{})
	go func() { defer close(r.done); rec.Run(ctx) }()
}

func (r *real) kill() {
	r.world.kill()
	r.e.Close()
}

// until waits for a state of a board.
func (r *real) until(name, what string, ok func(v1alpha1.BoardStatus) bool) v1alpha1.BoardStatus {
	r.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b := r.board(name)
		if ok(b) {
			return b
		}
		if time.Now().After(end) {
			r.t.Fatalf("%s: no %s: %+v\n%s", name, what, b, r.hub.Ring(provisioner.Key{Namespace: "plant", Name: name}).Bytes())
		}
	}
}

func (r *real) booted(name string) v1alpha1.BoardStatus {
	r.t.Helper()
	return r.until(name, "boot", func(b v1alpha1.BoardStatus) bool { return b.Phase == "Booted" })
}

// says waits for the serial board's next words at the gateway.
func (r *real) says(want string) {
	r.t.Helper()
	select {
	case got := <-r.hello:
		if got != want {
			r.t.Fatalf("the board said %q, want %q", got, want)
		}
	case <-time.After(60 * time.Second):
		r.t.Fatalf("the board did not say %q\n%s", want, r.hub.Ring(provisioner.Key{Namespace: "plant", Name: "wire"}).Bytes())
	}
}

func TestRealBoards(t *testing.T) {
	r := &real{world: newWorld(t), images: images(t), state: t.TempDir()}
	r.gateway, r.hello = echo(t)
	r.start()
	defer func() {
		all, _ := r.e.List(context.Background())
		r.kill()
		for _, i := range all {
			if pid, err := strconv.Atoi(i.Handle); err == nil && i.Running {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}()
	begun := time.Now()
	r.create("wire", func(d *v1alpha1.Device) { d.Spec.Emulation.Transport = "Serial" })
	r.create("net")
	wire := r.booted("wire")
	r.says("hello wire 1")
	r.booted("net")
	t.Logf("two boards booted after %s", time.Since(begun).Round(time.Millisecond))
	for _, name := range []string{"wire", "net"} {
		u, err := r.e.Usage(t.Context(), "plant/"+name)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.1f MiB PSS, %d threads, %s of CPU so far", name, float64(u.Memory)/(1<<20), u.PIDs, u.CPU)
	}

	// A reset: the same process, the same storage.
	begun = time.Now()
	r.edit("wire", func(d *v1alpha1.Device) { d.Spec.Emulation.Resets = 1 })
	r.says("hello wire 2")
	t.Logf("from the wish for a reset to the next word at the gateway: %s", time.Since(begun).Round(time.Millisecond))
	if b := r.until("wire", "reset", func(b v1alpha1.BoardStatus) bool { return b.Phase == "Booted" && b.Resets == 1 }); b.Instance != wire.Instance || b.Restarts != 0 {
		t.Errorf("%+v", b)
	}
	// A power cut: another process, the same storage.
	begun = time.Now()
	r.edit("wire", func(d *v1alpha1.Device) { d.Spec.Emulation.PowerCuts = 1 })
	r.says("hello wire 3")
	t.Logf("from the wish for a power cut to the next word at the gateway: %s", time.Since(begun).Round(time.Millisecond))
	cut := r.until("wire", "power cut", func(b v1alpha1.BoardStatus) bool { return b.Phase == "Booted" && b.PowerCuts == 1 })
	if cut.Instance == wire.Instance || cut.Restarts != 0 {
		t.Errorf("%+v", cut)
	}
	// Killed behind our back: started again.
	pid, err := strconv.Atoi(cut.Instance)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	r.says("hello wire 4")
	back := r.until("wire", "restart", func(b v1alpha1.BoardStatus) bool { return b.Phase == "Booted" && b.Restarts == 1 })

	// Another life of the provisioner: the same boards, and the serial line works again.
	r.kill()
	r.start()
	r.says("hello wire 4")
	if b := r.booted("wire"); b.Instance != back.Instance || b.Restarts != 1 {
		t.Errorf("%+v, was %+v", b, back)
	}
	r.edit("wire", func(d *v1alpha1.Device) { d.Spec.Emulation.Resets = 2 })
	r.says("hello wire 5")

	// Storage of its own: the other board has booted once.
	key := provisioner.Key{Namespace: "plant", Name: "net"}
	if said, _ := io.ReadAll(r.hub.Ring(key).Follow(t.Context(), -1, false)); !strings.Contains(string(said), "boot 1,") || strings.Contains(string(said), "boot 2,") {
		t.Errorf("%q", said)
	}
	for _, name := range []string{"wire", "net"} {
		if err := r.set.Devices.Delete(context.Background(), "plant", name); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		all, err := r.e.List(context.Background())
		if err == nil && len(all) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("left: %v %v", all, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(r.state, "*", "plant", "*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// A board that says too much neither fills memory nor stops others, and its last lines are kept.
func TestFlood(t *testing.T) {
	r := &real{world: newWorld(t), images: images(t), state: t.TempDir()}
	r.gateway, r.hello = echo(t)
	r.start()
	defer func() {
		all, _ := r.e.List(context.Background())
		for _, i := range all {
			r.e.Remove(context.Background(), i.ID)
		}
		r.kill()
	}()
	r.create("net")
	r.booted("net")
	key := provisioner.Key{Namespace: "plant", Name: "net"}
	ring := r.hub.Ring(key)
	// Who types has the console for a moment; then the provisioner takes it back.
	press := func(letter string) {
		t.Helper()
		c, err := r.e.Console(t.Context(), key.String())
		if err != nil {
			t.Fatal(err)
		}
		go io.Copy(ring, c)
		if _, err := io.WriteString(c.(io.Writer), letter); err != nil {
			t.Fatal(err)
		}
	}
	press("f")
	for end := time.Now().Add(60 * time.Second); !strings.Contains(string(ring.Bytes()), "lines said"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no end of the flood: %q", ring.Bytes())
		}
	}
	if n := len(ring.Bytes()); n != provisioner.ConsoleRing {
		t.Errorf("%d bytes are kept", n)
	}
	press("s")
	for end := time.Now().Add(60 * time.Second); !strings.Contains(string(ring.Bytes()), "up "); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the board is mute")
		}
	}
}
