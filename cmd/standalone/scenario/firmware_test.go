package scenario

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/functions/api"
)

// firmware returns the folder of real firmware images.
func firmware(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("WASMBED_FIRMWARE")
	if dir == "" {
		notRun(t, "WASMBED_FIRMWARE is not set: the folder with Mps2An385.elf and Mps2An385-serial.elf (make firmware BOARD=Mps2An385 [TRANSPORT=serial], needs ZEPHYR_BASE and WAMR_ROOT_DIR)")
	}
	need(t, "Debian: apt-get install qemu-system-arm", "qemu-system-arm")
	if !filepath.IsAbs(dir) {
		dir = filepath.Join("..", "..", "..", dir) // of the project
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range []string{"Mps2An385.elf", "Mps2An385-serial.elf"} {
		if _, err := os.Stat(filepath.Join(dir, image)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// update is an application as these tests roll it out: everywhere at once, a short trial, and only what every firmware
// has.
func update(name string, wasm []byte, change ...func(*v1alpha1.ApplicationSpec)) *v1alpha1.Application {
	return application(name, wasm, append([]func(*v1alpha1.ApplicationSpec){func(s *v1alpha1.ApplicationSpec) {
		s.Manifest.Permissions = []v1alpha1.Permission{"log", "telemetry"}
		s.Manifest.Health.MaxTraps = 1
	}}, change...)...)
}

// restarted waits until a device has a session of another boot than before.
func (p *platform) restarted(device string, before ledger.DeviceView) {
	p.t.Helper()
	p.until(device+" is back after its restart", func() error {
		v, err := p.view(device)
		if err == nil && (!v.Online || v.BootID == before.BootID) {
			err = fmt.Errorf("online %v, boot %s", v.Online, v.BootID)
		}
		return err
	})
}

// runs waits until a device runs this revision of an application.
func (p *platform) runs(device, app, revision string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%s runs %s", device, revision), func() error {
		v, err := p.view(device)
		if err != nil {
			return err
		}
		if s := on(v, app); !v.Online || s.Running != revision {
			return fmt.Errorf("online %v, %+v", v.Online, s)
		}
		return nil
	})
}

// renode says whether boards can be on Renode too: the program is there, and an image for it.
func renode(t *testing.T, firmware string) bool {
	t.Helper()
	program := os.Getenv("WASMBED_PROVISIONER_RENODE")
	if program == "" {
		program = "renode"
	}
	_, err := exec.LookPath(program)
	if err == nil {
		_, err = os.Stat(filepath.Join(firmware, "Stm32F746gDisco.elf"))
	}
	if err != nil {
		fmt.Printf("not run: %s on Renode: %v (WASMBED_PROVISIONER_RENODE names the program)\n", t.Name(), err)
	}
	return err == nil
}

// emulatedFleet is a platform with emulated boards of real firmware, which run, and a host device.
type emulatedFleet struct {
	*platform
	boards []string // the emulated ones
	all    []string
	good   string // revision of hello that they run
}

// TestEmulatedBoardsRunApplications is `make run EMULATION=qemu` with real firmware: two boards on QEMU, one on Ethernet
// and one on a serial line, one on Renode where that is there, and a host device, under one Application. They enroll, run,
// are updated, roll a trapping update back by themselves - also with the gateway away - and survive resets and a power cut
// in a module write.
func TestEmulatedBoardsRunApplications(t *testing.T) {
	dir := firmware(t)
	f := &emulatedFleet{platform: newPlatform(t, "gateway", "webui"), boards: []string{"qemu-ethernet", "qemu-serial"}}
	emulation := "qemu"
	if renode(t, dir) {
		emulation, f.boards = "qemu,renode", append(f.boards, "renode-serial")
	}
	f.all = append([]string{"mps2an385"}, f.boards...)
	f.env = append(f.env, "WASMBED_EMULATION="+emulation, "WASMBED_FIRMWARE="+dir, "WASMBED_BOARDS=Mps2An385", "WASMBED_PROVISIONER_ENGINE=process")
	t.Cleanup(func() { f.leftovers(true) })
	f.start("gateway")
	f.part("gateway")
	defer f.witness()
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"enroll and run the sample", f.enroll}, {"telemetry", f.telemetry}, {"reset", f.reset}, {"update", f.update},
		{"trapping update", f.trap}, {"trapping update without a gateway", f.trapAlone}, {"power cut in a module write", f.cutInWrite},
	} {
		begun := time.Now()
		step.do()
		t.Logf("%s: %.1f s", step.name, time.Since(begun).Seconds())
	}
}

// witness shows what the boards said last when something is not as it should be.
func (f *emulatedFleet) witness() {
	if !f.t.Failed() {
		return
	}
	for _, d := range f.boards {
		out, stderr, _ := f.cli("console", d, "--tail", "30")
		b, err := f.board(d)
		f.t.Logf("%s: %+v %v\n%s%s", d, b, err, out, stderr)
	}
}

func (f *emulatedFleet) enroll() {
	f.online(f.all...)
	for _, d := range f.boards {
		b := f.boardIs(d, "is Running", func(b *v1alpha1.BoardStatus) bool { return b.Phase == v1alpha1.BoardRunning })
		o, err := f.kube.Devices.Get(f.ctx(), ns, d)
		if err != nil {
			f.t.Fatal(err)
		}
		if c := condition(o.Status.Conditions, "Enrolled"); c.Status != metav1.ConditionTrue || b.Restarts != 0 || o.Status.Firmware == "host" {
			f.t.Errorf("%s: %+v, Enrolled %+v", d, b, c)
		}
		f.t.Logf("%s: Running %s after its Device was made", d, b.Since.Sub(o.CreationTimestamp.Time))
	}
	f.ready("hello", len(f.all))
}

// telemetry: each device's is its own.
func (f *emulatedFleet) telemetry() {
	for _, d := range f.all {
		f.until(d+" measures", func() error {
			out, stderr, code := f.cli("telemetry", d, "-o", "json")
			if code != 0 || strings.TrimSpace(out) == "" {
				return fmt.Errorf("exit %d %s, no sample", code, stderr)
			}
			for dec := json.NewDecoder(strings.NewReader(out)); dec.More(); {
				var s api.Sample
				if err := dec.Decode(&s); err != nil {
					return err
				}
				if s.Device != d {
					f.t.Fatalf("telemetry of %s has a sample of %s", d, s.Device)
				}
			}
			return nil
		})
	}
}

func (f *emulatedFleet) reset() {
	for _, d := range f.boards {
		before, err := f.view(d)
		if err != nil {
			f.t.Fatal(err)
		}
		f.does("device", "reset", d)
		f.restarted(d, before)
	}
	f.ready("hello", len(f.all))
}

func (f *emulatedFleet) update() {
	f.apply(update("hello", module(f.t, "hello-v2.wasm")))
	f.good = f.ready("hello", len(f.all)).Status.Revision
	for _, d := range f.all {
		f.runs(d, "hello", f.good)
	}
}

func (f *emulatedFleet) trap() {
	all := intstr.FromString("100%")
	f.apply(update("hello", module(f.t, "hello-bad.wasm"), func(s *v1alpha1.ApplicationSpec) {
		s.Rollout.FailureThreshold = &all // so that the slowest gets it too
	}))
	f.until("rolled back", func() error {
		a, err := f.app("hello")
		if err != nil {
			return err
		}
		if back := condition(a.Status.Conditions, "RolledBack"); back.Status != metav1.ConditionTrue || a.Status.Revision != f.good {
			return fmt.Errorf("RolledBack %s, revision %s", back.Status, a.Status.Revision)
		}
		return nil
	})
	for _, d := range f.all {
		f.runs(d, "hello", f.good)
		if out, _, code := f.cli("explain", "device", d, "--app", "hello"); code != 0 || !strings.Contains(out, "Trap") {
			f.t.Errorf("explain %s: %d\n%s", d, code, out)
		}
	}
	for _, d := range f.boards {
		f.consoleHas(d, "given up")
	}
}

// trapAlone: the gateway goes while the bad revision is on trial, and the boards go back without being told.
func (f *emulatedFleet) trapAlone() {
	off := false
	f.apply(update("hello", module(f.t, "hello-bad.wasm"), func(s *v1alpha1.ApplicationSpec) {
		s.Rollout.AutomaticRollback = &off
		s.Manifest.Config = map[string]string{"slow": "yes"} // another revision than the one before
		s.Manifest.Health.Window = &metav1.Duration{Duration: time.Minute}
		s.Manifest.Timers = []v1alpha1.Timer{{ID: 1, Period: metav1.Duration{Duration: 8 * time.Second}}} // it traps at the second
	}))
	bad := ""
	f.until("the bad update is on trial everywhere", func() error {
		a, err := f.app("hello")
		if err != nil {
			return err
		}
		if bad = a.Status.Revision; a.Status.ObservedGeneration != a.Generation {
			return fmt.Errorf("generation %d of %d", a.Status.ObservedGeneration, a.Generation)
		}
		for _, d := range f.boards {
			v, err := f.view(d)
			if err != nil {
				return err
			}
			if s := on(v, "hello"); s.Running != bad || bad == f.good {
				return fmt.Errorf("%s: %+v", d, s)
			}
		}
		return nil
	})
	f.parts["gateway"].kill()
	for _, d := range f.boards {
		f.consoleHas(d, "given up: "+bad)
	}
	f.part("gateway")
	f.online(f.all...)
	for _, d := range f.boards {
		f.runs(d, "hello", f.good)
	}
}

// cutInWrite: the power goes while a module is being written. The board comes up with what it had and fetches the rest.
func (f *emulatedFleet) cutInWrite() {
	for i, d := range f.boards {
		app := fmt.Sprintf("big-%d", i)
		before, err := f.view(d)
		if err != nil {
			f.t.Fatal(err)
		}
		f.apply(update(app, padded(module(f.t, "hello.wasm"), 40<<10), func(s *v1alpha1.ApplicationSpec) {
			s.Targets = v1alpha1.Targets{Names: []string{d}}
		}))
		f.until(d+" fetches", func() error {
			v, err := f.view(d)
			if err != nil {
				return err
			}
			switch s := on(v, app); s.State {
			case "Fetching", "Staged", "Starting", "Running":
				return nil
			default:
				return fmt.Errorf("%+v", s)
			}
		})
		f.does("device", "power-cut", d)
		f.restarted(d, before)
		f.ready(app, 1)
		f.runs(d, "hello", f.good)
		b, err := f.board(d)
		if err != nil || b.PowerCuts != 1 || b.Restarts != 0 {
			f.t.Errorf("%s: %+v, %v", d, b, err)
		}
		said := f.does("console", d)
		if before, _, cut := strings.Cut(said, "PowerCut:"); !cut || strings.Contains(before, app+": on trial") {
			fmt.Printf("not run: %s: the power of %s was cut after the module was written, not while\n", f.t.Name(), d)
		}
	}
}
