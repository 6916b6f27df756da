package reconcile

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/console"
)

// world is a platform around one reconciler; functions/board is played by its sink.
type world struct {
	t      *testing.T
	set    *client.Set
	engine *fake
	other  *fake
	hub    *console.Hub
	dir    string
	rec    *Reconciler
	stop   context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	image   error // of the firmware folder
	said    map[string][]event.BoardChanged
	sinkErr error
	apiErr  error
	deaf    bool // events are accepted and do nothing
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, engine: newFake("process"), other: newFake("docker"), hub: console.New(0, ""), dir: t.TempDir(), said: map[string][]event.BoardChanged{}}
	w.set = client.NewMemoryWith(client.MemoryOptions{
		OnChange: func(c client.Change) {
			if c.Kind == "Device" && w.rec != nil {
				w.rec.Poke(c.Namespace, c.Name)
			}
		},
		Fail: func(string, string, string, string) error { w.mu.Lock(); defer w.mu.Unlock(); return w.apiErr },
	})
	return w
}

// start is a life of the provisioner.
func (w *world) start() {
	w.t.Helper()
	r, err := New(Options{
		Devices: w.set.Devices, Engines: map[string]provisioner.Engine{"process": w.engine, "docker": w.other}, Default: "process",
		Plan: func(string) (provisioner.PlanOptions, error) {
			return provisioner.PlanOptions{Gateway: "127.0.0.1:8081", Trust: [][]byte{{0x30, 0}}}, nil
		},
		Image: func(string) (string, error) { w.mu.Lock(); defer w.mu.Unlock(); return "sha256:00", w.image },
		Sink:  w, Consoles: w.hub, Dir: w.dir, Instance: "pv-1",
		Jitter: func() float64 { return 0.5 }, Random: func(b []byte) { rand.NewChaCha8([32]byte{1}).Read(b) },
		Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.rec, w.stop, w.done = r, cancel, make(chan struct{})
	go func() { defer close(w.done); r.Run(ctx) }()
}

// kill ends that life.
func (w *world) kill() { w.stop(); <-w.done }

// Post plays the broker and functions/board: it writes the status.
func (w *world) Post(ctx context.Context, e ce.Event) error {
	w.mu.Lock()
	err, deaf := w.sinkErr, w.deaf
	w.mu.Unlock()
	if err != nil {
		return err
	}
	c, err := event.Data[event.BoardChanged](e)
	if err != nil {
		w.t.Error(err)
		return err
	}
	w.mu.Lock()
	w.said[c.Device.String()] = append(w.said[c.Device.String()], c)
	w.mu.Unlock()
	if deaf {
		return nil
	}
	w.edit(c.Device.Name, func(d *v1alpha1.Device) {
		if c.Removed {
			d.Status.Board = nil
			return
		}
		since := metav1.NewTime(c.Since)
		d.Status.Board = &v1alpha1.BoardStatus{Phase: c.Phase, Reason: c.Reason, Message: c.Message, Resets: c.Resets, PowerCuts: c.PowerCuts, Restarts: c.Restarts, Instance: c.Instance, Since: &since, Sequence: c.Sequence, Engine: c.Engine}
	})
	return nil
}

// edit changes a Device; the status as well.
func (w *world) edit(name string, change func(*v1alpha1.Device)) {
	ctx := context.Background()
	for {
		d, err := w.set.Devices.Get(ctx, "plant", name)
		if err != nil {
			return
		}
		change(d)
		status := d.Status
		d, err = w.set.Devices.Update(ctx, d)
		if err == nil {
			d.Status = status
			_, err = w.set.Devices.UpdateStatus(ctx, d)
		}
		if !errs.Is(err, errs.Conflict) {
			return
		}
	}
}

func (w *world) create(name string, change ...func(*v1alpha1.Device)) {
	w.t.Helper()
	d := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name}, Spec: v1alpha1.DeviceSpec{Board: "Mps2An385", Emulation: &v1alpha1.Emulation{Backend: "qemu"}}}
	for _, f := range change {
		f(d)
	}
	if _, err := w.set.Devices.Create(context.Background(), d); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) device(name string) *v1alpha1.Device {
	w.t.Helper()
	d, err := w.set.Devices.Get(context.Background(), "plant", name)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) board(name string) v1alpha1.BoardStatus {
	w.t.Helper()
	if b := w.device(name).Status.Board; b != nil {
		return *b
	}
	return v1alpha1.BoardStatus{}
}

// lack says what is wrong with the firmware's folder.
func (w *world) lack(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.image = err
}

// after lets time go by.
func after(d time.Duration) { time.Sleep(d); synctest.Wait() }

func (w *world) want(name, phase, reason string) {
	w.t.Helper()
	if b := w.board(name); b.Phase != phase || b.Reason != reason {
		w.t.Errorf("%s is %s %s (%s), want %s %s", name, b.Phase, b.Reason, b.Message, phase, reason)
	}
}

// in runs a test in a bubble of its own time.
func in(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		defer func() {
			w.kill()
			for _, id := range w.engine.running() {
				w.engine.crash(id)
			}
			synctest.Wait()
		}()
		test(t, w)
	})
}

func TestLife(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.create("press")
		after(50 * time.Millisecond)
		w.want("press", "Starting", "PowerOn")
		d := w.device("press")
		if !slices.Contains(d.Finalizers, v1alpha1.FinalizerBoard) || d.Spec.Identity == nil || !strings.HasPrefix(d.Spec.Identity.ClaimDigest, "sha256:") {
			t.Errorf("finalizers %v, identity %v", d.Finalizers, d.Spec.Identity)
		}
		after(time.Second)
		w.want("press", "Booted", "FirmwareBooted")
		w.edit("press", func(d *v1alpha1.Device) { d.Status.Online, d.Status.BootID = "True", "01" })
		after(time.Second)
		w.want("press", "Running", "Online")

		// A reset: the same life, and Running only when the device is back under another boot id.
		life := w.engine.get("plant/press").i.Life
		w.edit("press", func(d *v1alpha1.Device) { d.Spec.Emulation.Resets = 1 })
		after(10 * time.Millisecond)
		w.want("press", "Starting", "Reset")
		after(time.Second)
		w.want("press", "Booted", "FirmwareBooted")
		w.edit("press", func(d *v1alpha1.Device) { d.Status.BootID = "02" })
		after(time.Second)
		w.want("press", "Running", "Online")
		if b := w.board("press"); b.Resets != 1 || w.engine.get("plant/press").i.Life != life {
			t.Errorf("%+v", b)
		}

		// A power cut: another life, the same storage.
		w.edit("press", func(d *v1alpha1.Device) { d.Spec.Emulation.PowerCuts = 1 })
		after(10 * time.Millisecond)
		w.want("press", "Starting", "PowerCut")
		after(time.Second)
		if b := w.board("press"); b.PowerCuts != 1 || w.engine.get("plant/press").i.Life == life || w.engine.get("plant/press").mem != 2 || b.Restarts != 0 {
			t.Errorf("%+v", b)
		}

		// Stopped, and what was asked meanwhile is not done later.
		w.edit("press", func(d *v1alpha1.Device) { d.Spec.Emulation.State = "Stopped" })
		after(time.Second)
		w.want("press", "Stopped", "Wanted")
		w.edit("press", func(d *v1alpha1.Device) { d.Spec.Emulation.Resets, d.Spec.Emulation.PowerCuts = 5, 5 })
		after(time.Second)
		w.edit("press", func(d *v1alpha1.Device) { d.Spec.Emulation.State = "Running" })
		after(time.Second)
		w.want("press", "Booted", "FirmwareBooted")
		if n := w.engine.count("reset"); n != 1 {
			t.Errorf("%d resets", n)
		}
		if n := w.engine.count("kill"); n != 1 {
			t.Errorf("%d power cuts", n)
		}

		// Deleted: the board goes, then the Device.
		if err := w.set.Devices.Delete(context.Background(), "plant", "press"); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		if _, err := w.set.Devices.Get(context.Background(), "plant", "press"); !errs.Is(err, errs.NotFound) {
			t.Errorf("the Device is still there: %v", err)
		}
		if b := w.engine.get("plant/press"); b != nil {
			t.Error("the board is still there")
		}
		w.rec.mu.Lock()
		defer w.rec.mu.Unlock()
		if len(w.rec.workers) != 0 {
			t.Errorf("%d workers", len(w.rec.workers))
		}
	})
}

// A board that ends is started again, with growing pauses, and a crash loop is called one.
func TestCrashLoop(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.create("press")
		after(time.Second)
		var pauses []time.Duration
		for range crashAfter {
			w.engine.crash("plant/press")
			at := time.Now()
			for len(w.engine.running()) == 0 {
				after(100 * time.Millisecond)
			}
			pauses = append(pauses, time.Since(at))
		}
		want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, crashRetry}
		for i := range want {
			if d := pauses[i] - want[i]; d < 0 || d > 200*time.Millisecond {
				t.Errorf("pauses %v, want %v", pauses, want)
				break
			}
		}
		w.mu.Lock()
		loop := slices.ContainsFunc(w.said["plant/press"], func(c event.BoardChanged) bool { return c.Phase == "Failed" && c.Reason == "CrashLoop" })
		w.mu.Unlock()
		if b := w.board("press"); !loop || b.Restarts != crashAfter {
			t.Errorf("a crash loop was called one: %v, %+v", loop, b)
		}
		after(stableAfter + time.Second) // it recovers
		w.engine.crash("plant/press")
		after(1500 * time.Millisecond)
		if len(w.engine.running()) != 1 {
			t.Error("after a stable time it is started again soon")
		}
	})
}

func TestBootTimeout(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.engine.set(func(f *fake) { f.mute = true })
		w.create("press")
		after(provisioner.DefaultBootTimeout - time.Second)
		w.want("press", "Starting", "PowerOn")
		after(1100 * time.Millisecond)
		w.want("press", "Failed", "BootTimeout")
		if len(w.engine.running()) != 0 {
			t.Error("it was not stopped")
		}
		w.engine.set(func(f *fake) { f.mute = false })
		after(5 * time.Second)
		w.want("press", "Booted", "FirmwareBooted")
		after(onlineWithin)
		w.want("press", "Booted", "NotOnline")
		w.edit("press", func(d *v1alpha1.Device) { d.Status.Online = "True" })
		after(time.Second)
		w.want("press", "Running", "Online")
		w.edit("press", func(d *v1alpha1.Device) { d.Status.Online = "False" })
		after(time.Second)
		w.want("press", "Booted", "FirmwareBooted")
	})
}

func TestRefused(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.create("small", func(d *v1alpha1.Device) { d.Spec.Board = "Stm32Vldiscovery" })
		w.create("unknown", func(d *v1alpha1.Device) { d.Spec.Board = "Toaster" })
		w.create("nodocker", func(d *v1alpha1.Device) { d.Spec.Emulation.Engine = "podman" })
		w.lack(errs.New(errs.NotFound, "no image"))
		w.create("noimage")
		after(time.Second)
		w.want("small", "Failed", "Unsupported")
		w.want("unknown", "Failed", "Unsupported")
		w.want("nodocker", "Failed", "NoEngine")
		w.want("noimage", "Failed", "NoFirmware")
		if n := w.engine.count("start"); n != 0 {
			t.Errorf("%d starts", n)
		}
		w.lack(nil) // somebody built it
		after(2 * imageRetry)
		w.want("noimage", "Booted", "FirmwareBooted")
		w.edit("noimage", func(d *v1alpha1.Device) { d.Spec.Board = "Stm32Vldiscovery" })
		after(time.Second)
		w.want("noimage", "Failed", "Unsupported")
		if len(w.engine.running()) != 0 {
			t.Error("it runs on")
		}
	})
}

// A changed spec is another board; another engine too.
func TestChanged(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.create("press")
		after(time.Second)
		w.edit("press", func(d *v1alpha1.Device) { d.Spec.Emulation.Transport = "Serial" })
		after(time.Second)
		w.want("press", "Booted", "FirmwareBooted")
		if b := w.engine.get("plant/press"); b.i.Spec.Transport != provisioner.Serial || b.mem != 1 {
			t.Errorf("%s, started %d times on this storage", b.i.Spec.Transport, b.mem)
		}
		w.edit("press", func(d *v1alpha1.Device) { d.Spec.Emulation.Engine = "docker" })
		after(time.Second)
		w.want("press", "Booted", "FirmwareBooted")
		if w.engine.get("plant/press") != nil || len(w.other.running()) != 1 {
			t.Error("it is not in the other engine alone")
		}
		w.edit("press", func(d *v1alpha1.Device) { d.Spec.Emulation = nil })
		after(time.Second)
		if len(w.other.running()) != 0 || w.device("press").Status.Board != nil || slices.Contains(w.device("press").Finalizers, v1alpha1.FinalizerBoard) {
			t.Errorf("something is left: %+v", w.device("press"))
		}
	})
}

// Without the broker, boards are looked after, and the last word is said when it is back; a word that got lost is said again.
func TestBrokerAway(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mu.Lock()
		w.sinkErr = errs.New(errs.Unavailable, "no broker")
		w.mu.Unlock()
		w.create("press")
		after(time.Minute)
		if len(w.engine.running()) != 1 {
			t.Fatal("it does not run")
		}
		w.mu.Lock()
		w.sinkErr, w.deaf = nil, true
		w.mu.Unlock()
		after(time.Minute)
		if b := w.board("press"); b.Phase != "" {
			t.Errorf("%+v", b)
		}
		w.mu.Lock()
		w.deaf = false
		w.mu.Unlock()
		after(time.Minute)
		w.want("press", "Booted", "NotOnline")
		w.mu.Lock()
		n := len(w.said["plant/press"])
		w.mu.Unlock()
		after(time.Hour)
		w.mu.Lock()
		defer w.mu.Unlock()
		if more := len(w.said["plant/press"]) - n; more != 0 {
			t.Errorf("%d words about nothing new", more)
		}
		var last int64
		for _, c := range w.said["plant/press"] {
			if c.Sequence <= last {
				t.Errorf("sequence %d after %d", c.Sequence, last)
			}
			last = c.Sequence
		}
	})
}

// Without the API, boards that run are kept running; nothing new begins.
func TestAPIAway(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.create("press")
		after(time.Second)
		w.mu.Lock()
		w.apiErr = errs.New(errs.Unavailable, "no API")
		w.mu.Unlock()
		w.engine.crash("plant/press")
		after(10 * time.Second)
		if len(w.engine.running()) != 1 {
			t.Error("it was not started again")
		}
		w.kill()
		w.start() // knows nothing of what is wanted, and leaves what runs alone
		after(10 * time.Second)
		if len(w.engine.running()) != 1 || w.engine.count("remove") != 0 {
			t.Error("it was touched")
		}
		w.mu.Lock()
		w.apiErr = nil
		w.mu.Unlock()
		after(2 * time.Minute)
		w.want("press", "Booted", "NotOnline")
	})
}

// What is cleaned up and cannot be is reported, and tried again.
func TestCleanupFails(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.create("press")
		after(time.Second)
		w.engine.set(func(f *fake) {
			f.fail = func(op string) error {
				if op == "remove" {
					return errs.New(errs.Internal, "the disk is read-only")
				}
				return nil
			}
		})
		w.set.Devices.Delete(context.Background(), "plant", "press")
		after(10 * time.Second)
		w.want("press", "Failed", "CleanupFailed")
		w.engine.set(func(f *fake) { f.fail = nil })
		after(2 * time.Minute)
		if _, err := w.set.Devices.Get(context.Background(), "plant", "press"); !errs.Is(err, errs.NotFound) || w.engine.get("plant/press") != nil {
			t.Errorf("still there: %v", err)
		}
	})
}

// An engine that goes away takes only its own boards with it, and a Device that does not say stays where its board is.
func TestTwoEngines(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.create("press")
		w.create("box", func(d *v1alpha1.Device) { d.Spec.Emulation.Engine = "docker" })
		after(time.Second)
		w.want("press", "Booted", "FirmwareBooted")
		w.want("box", "Booted", "FirmwareBooted")
		away := func(string) error { return errs.New(errs.Unavailable, "no Docker engine") }
		w.other.set(func(f *fake) { f.fail = away })
		w.edit("press", func(d *v1alpha1.Device) { d.Spec.Emulation.PowerCuts++ })
		w.create("new")
		after(5 * time.Minute)
		if b := w.board("press"); b.Phase != "Booted" || b.PowerCuts != 1 {
			t.Errorf("%+v", b)
		}
		if b := w.board("new"); b.Phase != "Booted" {
			t.Errorf("%+v", b)
		}
		if b := w.board("box"); b.Phase == "Booted" {
			t.Errorf("%+v", b)
		}
		w.set.Devices.Delete(context.Background(), "plant", "new")
		w.set.Devices.Delete(context.Background(), "plant", "box")
		after(time.Minute)
		if _, err := w.set.Devices.Get(context.Background(), "plant", "new"); !errs.Is(err, errs.NotFound) {
			t.Errorf("new is still there: %v", err)
		}
		if w.device("box").DeletionTimestamp == nil { // its board is in the engine that is away: it is not forgotten
			t.Error("box is not going")
		}
		w.other.set(func(f *fake) { f.fail = nil })
		after(5 * time.Minute)
		if _, err := w.set.Devices.Get(context.Background(), "plant", "box"); !errs.Is(err, errs.NotFound) || w.other.get("plant/box") != nil {
			t.Errorf("box is still there: %v", err)
		}

		// A board that was made where the default was is found there by a provisioner with another default.
		w.create("old", func(d *v1alpha1.Device) { d.Spec.Emulation.Engine = "docker" })
		after(time.Second)
		w.kill()
		w.edit("old", func(d *v1alpha1.Device) { d.Spec.Emulation.Engine = "" })
		w.start()
		after(time.Minute)
		if w.other.get("plant/old") == nil || w.engine.get("plant/old") != nil || w.board("old").Phase != "Booted" || w.board("old").Engine != "docker" {
			t.Errorf("it moved: %+v", w.board("old"))
		}
		w.set.Devices.Delete(context.Background(), "plant", "old")
		after(time.Minute)
	})
}

// Whatever order things happen in, in the end exactly the wanted boards run, one each, and what was asked for was done.
func TestAnyOrder(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			in(t, func(t *testing.T, w *world) { anyOrder(t, w, rand.New(rand.NewPCG(uint64(seed), 7))) })
		})
	}
}

func anyOrder(t *testing.T, w *world, rnd *rand.Rand) {
	names := []string{"a", "b", "c", "d"}
	var log []string
	for range 60 {
		name := names[rnd.IntN(len(names))]
		op := rnd.IntN(14)
		log = append(log, fmt.Sprint(op, name))
		switch op {
		case 0, 1:
			d := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name}, Spec: v1alpha1.DeviceSpec{Board: "Mps2An385", Emulation: &v1alpha1.Emulation{Backend: "qemu"}}}
			w.set.Devices.Create(context.Background(), d)
		case 2:
			w.set.Devices.Delete(context.Background(), "plant", name)
		case 3:
			w.edit(name, func(d *v1alpha1.Device) { d.Spec.Emulation.State = "Stopped" })
		case 4:
			w.edit(name, func(d *v1alpha1.Device) { d.Spec.Emulation.State = "Running" })
		case 5:
			w.edit(name, func(d *v1alpha1.Device) { d.Spec.Emulation.Resets++ })
		case 6:
			w.edit(name, func(d *v1alpha1.Device) { d.Spec.Emulation.PowerCuts++ })
		case 7:
			w.engine.crash("plant/" + name)
		case 8:
			w.kill()
			if rnd.IntN(2) == 0 {
				w.engine.crash("plant/" + name)
			}
			w.start()
		case 9:
			fails := rand.New(rand.NewPCG(rnd.Uint64(), 1)) // its own: it is used under the engine's lock
			w.engine.set(func(f *fake) {
				f.fail = func(string) error {
					if fails.IntN(3) == 0 {
						return errs.New(errs.Unavailable, "the engine is away")
					}
					return nil
				}
			})
		case 10:
			w.engine.set(func(f *fake) { f.fail = nil })
		case 11:
			w.mu.Lock()
			w.apiErr = errs.New(errs.Unavailable, "the API is away")
			w.mu.Unlock()
		case 12:
			w.mu.Lock()
			w.apiErr = nil
			w.mu.Unlock()
		case 13:
			w.edit(name, func(d *v1alpha1.Device) { d.Spec.Emulation.Transport = []string{"", "Ethernet", "Serial"}[rnd.IntN(3)] })
		}
		time.Sleep(time.Duration(rnd.IntN(4)) * 400 * time.Millisecond)
	}
	w.engine.set(func(f *fake) { f.fail = nil })
	w.mu.Lock()
	w.apiErr = nil
	w.mu.Unlock()
	after(20 * time.Minute)

	want := map[string]bool{}
	all, _, err := w.set.Devices.List(context.Background(), "", client.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if d.DeletionTimestamp != nil {
			t.Errorf("%s waits for its end", d.Name)
		}
		b := d.Status.Board
		if b == nil {
			t.Errorf("%s has no status", d.Name)
			continue
		}
		if d.Spec.Emulation.State == "Running" {
			want["plant/"+d.Name] = true
			if i := w.engine.get("plant/" + d.Name); i != nil && (i.i.UID != string(d.UID) || i.i.Handle != b.Instance) {
				t.Errorf("%s runs as %s, the status says %s", d.Name, i.i.Handle, b.Instance)
			}
			if b.Phase != "Booted" {
				t.Errorf("%s is %s %s: %s", d.Name, b.Phase, b.Reason, b.Message)
			}
		} else if b.Phase != "Stopped" {
			t.Errorf("%s is %s", d.Name, b.Phase)
		}
		if b.Resets != d.Spec.Emulation.Resets || b.PowerCuts != d.Spec.Emulation.PowerCuts {
			t.Errorf("%s: resets %d of %d, power cuts %d of %d", d.Name, b.Resets, d.Spec.Emulation.Resets, b.PowerCuts, d.Spec.Emulation.PowerCuts)
		}
	}
	if got := w.engine.running(); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("running %v, want %v", got, slices.Sorted(maps.Keys(want)))
	}
	w.engine.mu.Lock()
	for id := range w.engine.boards {
		if _, err := w.set.Devices.Get(context.Background(), "plant", strings.TrimPrefix(id, "plant/")); err != nil {
			t.Errorf("orphan %s", id)
		}
	}
	w.engine.mu.Unlock()
	if t.Failed() {
		t.Log(log)
	}
}
