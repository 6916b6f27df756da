package scenario

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// notRun says aloud what is left out and why, and leaves it out.
func notRun(t *testing.T, why string, args ...any) {
	t.Helper()
	fmt.Printf("not run: %s: %s\n", t.Name(), fmt.Sprintf(why, args...))
	t.SkipNow()
}

// need is notRun for programs that are missing; mend says how to get them.
func need(t *testing.T, mend string, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			notRun(t, "there is no %s on PATH (%s)", p, mend)
		}
	}
}

// bareMetal builds the small image that stands for firmware where Zephyr's sources are not: it boots, reads its
// blob, counts its boots in memory that outlives them, and writes to its console.
func bareMetal(t *testing.T) (dir string) {
	t.Helper()
	need(t, "Debian: apt-get install gcc-arm-none-eabi qemu-system-arm", "arm-none-eabi-gcc", "make", "qemu-system-arm")
	dir = t.TempDir()
	out, err := exec.Command("make", "-C", "../../../firmware/tests/baremetal", "OUT="+dir, "BUILD="+filepath.Join(dir, "build"), "all").CombinedOutput()
	if err != nil {
		t.Fatalf("the bare-metal image: %v\n%s", err, out)
	}
	return dir
}

// emulating is a platform without devices that has a provisioner for these images, as a process of its own.
func emulating(t *testing.T, firmware string) *platform {
	t.Helper()
	p := newPlatform(t, "devices", "provisioner", "webui")
	if _, err := os.Stat(filepath.Join(p.bin, "provisioner")); err != nil {
		t.Fatalf("%v: make build makes it", err)
	}
	p.env = append(p.env, "WASMBED_SAMPLE=false", "WASMBED_FIRMWARE="+firmware, "WASMBED_PROVISIONER_ENGINE=process")
	t.Cleanup(func() { p.leftovers(true) })
	p.start("provisioner")
	return p
}

// leftovers returns the emulators that run in this platform's folder, and ends them when that is asked for: they
// outlive a provisioner that is killed.
func (p *platform) leftovers(end bool) []int {
	p.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		p.t.Fatal(err)
	}
	var out []int
	for _, link := range all {
		cwd, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(cwd, filepath.Join(p.dir, "boards")+"/") {
			continue
		}
		name, err := os.ReadFile(filepath.Join(filepath.Dir(link), "comm"))
		if err != nil || !strings.HasPrefix(string(name), "qemu-system") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil {
			continue
		}
		out = append(out, pid)
		if end {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
	return out
}

func (p *platform) board(name string) (*v1alpha1.BoardStatus, error) {
	d, err := p.kube.Devices.Get(p.ctx(), ns, name)
	if err != nil {
		return nil, err
	}
	if d.Status.Board == nil {
		return nil, fmt.Errorf("%s has no status.board", name)
	}
	return d.Status.Board, nil
}

// boardIs waits until a board's status is as is says.
func (p *platform) boardIs(name, what string, is func(*v1alpha1.BoardStatus) bool) *v1alpha1.BoardStatus {
	p.t.Helper()
	var b *v1alpha1.BoardStatus
	p.until(name+" "+what, func() (err error) {
		if b, err = p.board(name); err == nil && !is(b) {
			err = fmt.Errorf("%+v", *b)
		}
		return err
	})
	return b
}

// up is a board whose firmware has booted.
func up(b *v1alpha1.BoardStatus) bool {
	return b.Phase == v1alpha1.BoardBooted || b.Phase == v1alpha1.BoardRunning
}

// consoleHas waits until the console has shown want.
func (p *platform) consoleHas(device, want string) {
	p.t.Helper()
	p.until(fmt.Sprintf("the console of %s shows %q", device, want), func() error {
		out, stderr, code := p.cli("console", device)
		if code != 0 || !strings.Contains(out, want) {
			return fmt.Errorf("exit %d %s\n%s", code, stderr, out[max(0, len(out)-2000):])
		}
		return nil
	})
}

// does runs the command line and wants it to succeed.
func (p *platform) does(args ...string) string {
	p.t.Helper()
	out, stderr, code := p.cli(args...)
	if code != 0 {
		p.t.Fatalf("wasmbed %v: exit %d %s\n%s", args, code, stderr, out)
	}
	return out
}

// TestEmulatedBoardsLive: boards are made, booted, reset, lose their power, are killed behind the provisioner's back and
// outlive its own end, and are removed; what is said of them is true and their storage stays. With the bare-metal image,
// which does not enroll.
func TestEmulatedBoardsLive(t *testing.T) {
	p := emulating(t, bareMetal(t))
	p.does("device", "create", "eth", "--board", "Mps2An385", "--backend", "qemu")
	p.does("device", "create", "uart", "--board", "Mps2An385", "--backend", "qemu", "--transport", "Serial")
	for _, d := range []string{"eth", "uart"} {
		p.consoleHas(d, "boot Mps2An385")
		p.consoleHas(d, "boot 1,")
		o, err := p.kube.Devices.Get(p.ctx(), ns, d)
		if err != nil {
			t.Fatal(err)
		}
		if c := condition(o.Status.Conditions, v1alpha1.ConditionProvisioned); c.Status != metav1.ConditionTrue {
			t.Errorf("%s: Provisioned is %+v", d, c)
		}
		if o.Spec.Identity == nil || o.Spec.Identity.ClaimDigest == "" {
			t.Errorf("%s has no claim: %+v", d, o.Spec.Identity)
		}
	}
	first, err := p.board("eth")
	if err != nil || first.Backend != "qemu" || first.Engine != "process" || first.Instance == "" || !strings.HasPrefix(first.Image, "sha256:") || first.Transport != "Ethernet" {
		t.Errorf("%+v, %v", first, err)
	}
	if b, err := p.board("uart"); err != nil || b.Transport != "Serial" {
		t.Errorf("%+v, %v", b, err)
	}
	p.consoleHas("uart", "serial line: open") // the bridge reaches the gateway

	p.does("device", "reset", "eth")
	p.consoleHas("eth", "boot 2,")
	if b, err := p.board("eth"); err != nil || b.Resets != 1 || b.Instance != first.Instance {
		t.Errorf("a reset is none: %+v, %v", b, err)
	}
	p.does("device", "power-cut", "eth")
	p.consoleHas("eth", "boot 3,")
	cut, err := p.board("eth")
	if err != nil || cut.PowerCuts != 1 || cut.Instance == first.Instance {
		t.Errorf("a power cut is none: %+v, %v", cut, err)
	}

	// Killed behind the provisioner's back.
	pid, err := strconv.Atoi(cut.Instance)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	after := p.boardIs("eth", "is started again", func(b *v1alpha1.BoardStatus) bool { return up(b) && b.Restarts == 1 && b.Instance != cut.Instance })
	p.consoleHas("eth", "boot 4,")

	// The provisioner is killed: its boards go on, and the next one finds them.
	p.parts["provisioner"].kill()
	if got := p.leftovers(false); len(got) != 2 {
		t.Errorf("%d boards outlive their provisioner", len(got))
	}
	if _, stderr, code := p.cli("console", "eth"); code != 7 {
		t.Errorf("console without a provisioner: exit %d %s", code, stderr)
	}
	p.does("device", "reset", "eth", "--no-wait")
	p.part("provisioner")
	again := p.boardIs("eth", "is reset by the next provisioner", func(b *v1alpha1.BoardStatus) bool { return up(b) && b.Resets == 2 })
	if again.Instance != after.Instance || again.Restarts != 1 {
		t.Errorf("it was made again: %+v, before %+v", again, after)
	}
	p.consoleHas("eth", "boot 5,")
	if got := p.leftovers(false); len(got) != 2 {
		t.Errorf("%d boards run", len(got))
	}

	// Stopped, it keeps its storage. The console is followed over it.
	p.does("device", "stop", "eth")
	if got := p.leftovers(false); len(got) != 1 {
		t.Errorf("%d boards run, one is stopped", len(got))
	}
	if _, stderr, code := p.cli("device", "reset", "eth"); code != 6 {
		t.Errorf("reset of a stopped board: exit %d %s", code, stderr)
	}
	p.does("device", "start", "eth", "--no-wait")
	p.cliUntil("boot 6,", "console", "eth", "-f")
	p.boardIs("eth", "is started", up)

	// What cannot be says why.
	if _, stderr, code := p.cli("device", "create", "none", "--board", "Mps2An386", "--backend", "qemu"); code != 7 || !strings.Contains(stderr, "Mps2An386") {
		t.Errorf("a board without firmware: exit %d %s", code, stderr)
	}
	p.until("a Kubernetes Event says so", func() error {
		all, _, err := p.kube.Events.List(p.ctx(), ns, client0)
		if err != nil {
			return err
		}
		for _, e := range all {
			if e.Reason == "BoardFailed" && e.InvolvedObject.Name == "none" {
				return nil
			}
		}
		return fmt.Errorf("%d events", len(all))
	})
	out := p.does("boards")
	if !strings.Contains(out, "Mps2An385") || !strings.Contains(out, "TRUTH") {
		t.Error(out)
	}
	if out := p.does("devices", "eth"); !strings.Contains(out, "POWER CUTS") {
		t.Error(out)
	}
	if out := p.does("status"); !strings.Contains(out, "redis") {
		t.Error(out)
	}

	p.does("device", "delete", "eth", "uart", "none")
	for _, d := range []string{"eth", "uart", "none"} {
		if _, err := p.kube.Devices.Get(p.ctx(), ns, d); !errs.Is(err, errs.NotFound) {
			t.Errorf("%s: %v", d, err)
		}
	}
	p.until("no board is left", func() error {
		if got := p.leftovers(false); len(got) != 0 {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
}

// TestEmulatedBoardsEndWithThePlatform: the provisioner is there as soon as somebody asks for a board, Ctrl-C ends its
// boards, and the next start has them again.
func TestEmulatedBoardsEndWithThePlatform(t *testing.T) {
	p := newPlatform(t, "devices", "webui")
	p.env = append(p.env, "WASMBED_SAMPLE=false", "WASMBED_FIRMWARE="+bareMetal(t))
	t.Cleanup(func() { p.leftovers(true) })
	p.start()
	if _, err := os.Stat(filepath.Join(p.dir, "log", "provisioner.log")); err == nil {
		t.Error("the provisioner was started for nobody")
	}
	p.does("device", "create", "eth", "--board", "Mps2An385", "--backend", "qemu")
	p.consoleHas("eth", "boot 1,")
	p.main.end(t)
	p.until("the boards end with the platform", func() error {
		if got := p.leftovers(false); len(got) != 0 {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
	p.start()
	p.consoleHas("eth", "boot 2,")
	p.boardIs("eth", "is up again", up)
	if b, err := os.ReadFile(filepath.Join(p.dir, "provisioner.kubeconfig")); err != nil || bytes.Contains(b, []byte("admin")) {
		t.Errorf("the provisioner's kubeconfig: %v\n%s", err, b)
	}
}
