package docker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

const testImage = "wasmbed-qemu:local"

// host is where an engine answers, or the test is not run.
func host(t *testing.T) string {
	t.Helper()
	h := os.Getenv("DOCKER_HOST")
	if h == "" {
		h = DefaultHost
	}
	path, ok := strings.CutPrefix(h, "unix://")
	if !ok {
		t.Skipf("not run: the Docker engine at %s is not on this machine", h)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Skip("not run: no Docker engine answers")
	}
	conn.Close()
	return h
}

// docker is somebody at the command line.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+host(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// images builds the bare-metal test image, and the container's image where it is not there.
func images(t *testing.T) string {
	t.Helper()
	h := host(t)
	for _, tool := range []string{"docker", "qemu-system-arm", "socat", "arm-none-eabi-gcc", "make"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("not run: no %s, so no board was started in Docker", tool)
		}
	}
	find := exec.Command("docker", "image", "inspect", testImage)
	find.Env = append(os.Environ(), "DOCKER_HOST="+h)
	if find.Run() != nil {
		make := exec.Command("../../deploy/docker/import-qemu", testImage)
		make.Env = find.Env
		if out, err := make.CombinedOutput(); err != nil {
			t.Fatalf("import-qemu: %v\n%s", err, out)
		}
	}
	dir := t.TempDir()
	out, err := exec.Command("make", "-C", "../../firmware/tests", "baremetal", "OUT="+dir, "BUILD="+filepath.Join(t.TempDir(), "build")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// real is a state folder with an engine.
type real struct {
	t      *testing.T
	images string
	dir    string
	host   string
	e      *Engine
}

func newReal(t *testing.T) *real {
	t.Helper()
	r := &real{t: t, images: images(t), dir: t.TempDir(), host: host(t)}
	t.Cleanup(r.clean)
	r.open()
	return r
}

func (r *real) open() {
	r.t.Helper()
	e, err := New(r.t.Context(), Options{Host: r.host, Dir: r.dir, Images: r.images, QEMU: testImage, Log: slog.New(slog.NewTextHandler(r.t.Output(), nil))})
	if err != nil {
		r.t.Fatal(err)
	}
	r.e = e
}

// containers are all of this folder, whatever they do.
func (r *real) containers() []string {
	return strings.Fields(docker(r.t, "ps", "-aq", "--filter", "label="+labelState+"="+r.dir))
}

// clean removes everything and looks whether that was all.
func (r *real) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	all, err := r.e.List(ctx)
	if err != nil {
		r.t.Error(err)
	}
	for _, i := range all {
		if err := r.e.Remove(ctx, i.ID); err != nil {
			r.t.Error(err)
		}
	}
	r.e.Close()
	if left := r.containers(); len(left) > 0 {
		r.t.Errorf("left: %v", left)
		docker(r.t, append([]string{"rm", "-f"}, left...)...)
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, "*", "*")); len(left) > 0 {
		r.t.Errorf("left: %v", left)
	}
}

// spec is that of a serial board with the bare-metal image.
func (r *real) spec(name string, t provisioner.Transport) provisioner.Spec {
	r.t.Helper()
	b, _ := provisioner.BoardNamed("Mps2An385")
	k := provisioner.Key{Namespace: "plant", Name: name}
	image, err := os.ReadFile(filepath.Join(r.images, provisioner.ImageName(b, t)))
	if err != nil {
		r.t.Fatal(err)
	}
	sum := sha256.Sum256(image)
	s, err := provisioner.Plan(provisioner.Device{Key: k, UID: "uid-" + name, Backend: provisioner.BackendQEMU, Transport: t}, b, provisioner.PlanOptions{
		Gateway: "127.0.0.1:1", ServerName: "gateway", Trust: [][]byte{{0x30, 0}}, Seed: bytes.Repeat([]byte{7}, 64), Floor: time.Now(), Provisioner: "pv-1",
		ImageDigest: "sha256:" + hex.EncodeToString(sum[:]), Sandbox: true, Relay: Socat,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *real) start(s provisioner.Spec) provisioner.Instance {
	r.t.Helper()
	i, err := r.e.Start(r.t.Context(), s)
	if err != nil {
		r.t.Fatal(err)
	}
	if !i.Running || i.Life == "" || i.Key != s.Key || i.UID != s.UID || i.Spec.Setup != s.Setup || i.Started.IsZero() {
		r.t.Errorf("%+v", i)
	}
	return i
}

// console opens the console, without which the board does not begin.
func (r *real) console(id string) io.ReadCloser {
	r.t.Helper()
	c, err := r.e.Console(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// booted opens the console and waits for the board's last line about its boot.
func (r *real) booted(id string) io.ReadCloser {
	r.t.Helper()
	c := r.console(id)
	expect(r.t, c, ready)
	return c
}

const ready = "wasmbed: ready"

// reset resets a board and waits until it has booted.
func (r *real) reset(id string) io.ReadCloser {
	r.t.Helper()
	c := r.console(id)
	if err := r.e.Reset(r.t.Context(), id); err != nil {
		r.t.Fatal(err)
	}
	expect(r.t, c, ready)
	return c
}

func expect(t *testing.T, c io.Reader, text string) {
	t.Helper()
	if d, ok := c.(net.Conn); ok {
		d.SetReadDeadline(time.Now().Add(60 * time.Second))
	}
	var all strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(all.String(), text) {
		n, err := c.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			t.Fatalf("%q was not said before %v: %q", text, err, all.String()[max(0, all.Len()-500):])
		}
	}
}

// boots returns how often the board says on its console that its memory has seen a boot.
func (r *real) boots(id string) int {
	r.t.Helper()
	c := r.booted(id)
	if _, err := io.WriteString(c.(io.Writer), "s"); err != nil {
		r.t.Fatal(err)
	}
	in := bufio.NewScanner(c)
	for in.Scan() {
		if _, n, ok := strings.Cut(in.Text(), "boot "); ok && strings.Contains(in.Text(), "up ") {
			n, _ := strconv.Atoi(strings.TrimSpace(n))
			return n
		}
	}
	r.t.Fatal(in.Err())
	return 0
}

// listed asks for the list until ok, as what is done behind the engine's back is heard of a moment later (listFor).
func (r *real) listed(ok func([]provisioner.Instance) bool) ([]provisioner.Instance, error) {
	for tries := 0; ; tries++ {
		all, err := r.e.List(r.t.Context())
		if err != nil || ok(all) || tries == 200 {
			return all, err
		}
		time.Sleep(listFor / 10)
	}
}

func (r *real) wait(id string) provisioner.Exit {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	x, err := r.e.Wait(ctx, id)
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

func TestLife(t *testing.T) {
	r := newReal(t)
	s := r.spec("press", provisioner.Serial)
	begun := time.Now()
	i := r.start(s)
	created := time.Since(begun)
	r.booted(i.ID).Close()
	t.Logf("created and started after %s, ready after %s", created.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	if _, err := r.e.Start(t.Context(), s); !errs.Is(err, errs.AlreadyExists) {
		t.Errorf("a second one: %v", err)
	}
	u, err := r.e.Usage(t.Context(), i.ID)
	if err != nil || u.Memory < 1<<20 || u.PIDs < 2 || u.CPU <= 0 {
		t.Errorf("usage %+v %v", u, err)
	}
	t.Logf("memory of its cgroup %.1f MiB, %d processes and threads, %s of CPU so far", float64(u.Memory)/(1<<20), u.PIDs, u.CPU)
	r.confined(i)

	// The link: TLS goes there. The board has a line of its own protocol there; only that it says something is of interest.
	link, err := r.e.Link(t.Context(), i.ID)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := link.Read(make([]byte, 16)); n == 0 {
		t.Error(err)
	}
	link.Close()

	c := r.reset(i.ID)
	if now, err := r.e.named(i.ID); err != nil {
		t.Error(err)
	} else if j, err := now.now(t.Context(), r.e); err != nil || j.Life != i.Life {
		t.Errorf("a reset is no new life: %+v %v", j, err)
	}
	if err := r.e.Stop(t.Context(), i.ID, false); err != nil {
		t.Fatal(err)
	}
	if x := r.wait(i.ID); x.Reason != provisioner.ExitStopped || x.Life != i.Life {
		t.Errorf("%+v", x)
	}
	if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the console ends with %v", err)
	}
	if err := r.e.Stop(t.Context(), i.ID, true); err != nil {
		t.Errorf("stopping what has ended: %v", err)
	}
	if _, err := r.e.Console(t.Context(), i.ID); !errs.Is(err, errs.Conflict) {
		t.Errorf("%v", err)
	}
	if err := r.e.Reset(t.Context(), i.ID); !errs.Is(err, errs.Conflict) {
		t.Errorf("%v", err)
	}
	if _, err := r.e.Usage(t.Context(), i.ID); !errs.Is(err, errs.Conflict) {
		t.Errorf("%v", err)
	}

	again := r.start(s) // the same storage, another life
	if again.Life == i.Life || again.ID != i.ID {
		t.Errorf("%+v", again)
	}
	if n := r.boots(i.ID); n != 3 {
		t.Errorf("boot %d", n)
	}
	if err := r.e.Stop(t.Context(), i.ID, true); err != nil { // power cut
		t.Fatal(err)
	}
	if x := r.wait(i.ID); x.Reason != provisioner.ExitKilled || x.Code != 137 {
		t.Errorf("%+v", x)
	}
	s.Storage = "another board's"
	r.start(s)
	if n := r.boots(i.ID); n != 1 {
		t.Errorf("boot %d", n)
	}
	if n := len(r.containers()); n != 1 {
		t.Errorf("%d containers", n)
	}
	if err := r.e.Remove(t.Context(), i.ID); err != nil {
		t.Fatal(err)
	}
	if all, err := r.e.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%v %v", all, err)
	}
	for what, err := range map[string]error{
		"remove": r.e.Remove(t.Context(), i.ID), "stop": r.e.Stop(t.Context(), i.ID, false), "reset": r.e.Reset(t.Context(), "plant/../x"),
	} {
		if !errs.Is(err, errs.NotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// confined looks at the program from outside: what the kernel says it may.
func (r *real) confined(i provisioner.Instance) {
	t := r.t
	t.Helper()
	leader := docker(t, "inspect", "-f", "{{.State.Pid}}", i.Handle)
	pid := strings.TrimSpace(docker(t, "top", i.Handle, "-eo", "pid,comm"))
	for line := range strings.Lines(pid) {
		if f := strings.Fields(line); len(f) == 2 && strings.HasPrefix(f[1], "qemu") {
			pid = f[0]
		}
	}
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatalf("%v (leader %s)", err, leader)
	}
	uid, gid, _ := r.e.o.ids()
	for _, want := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", fmt.Sprintf("Uid:\t%d\t", uid), fmt.Sprintf("Gid:\t%d\t", gid)} {
		if !strings.Contains(string(status), want) {
			t.Errorf("no %q of\n%s", want, status)
		}
	}
	dev, err := os.ReadFile("/proc/" + pid + "/net/dev")
	if err != nil || strings.Count(string(dev), ":") != 1 || !strings.Contains(string(dev), "lo:") {
		t.Errorf("its network: %v\n%s", err, dev)
	}
	mounts, err := os.ReadFile("/proc/" + pid + "/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 4 || strings.HasPrefix(f[3], "ro") {
			continue
		}
		if f[2] == "tmpfs" && strings.Contains(f[3], "mode=755") { // root's alone
			continue
		}
		if f[1] != inside && f[1] != "/tmp" && f[1] != "/proc" && !strings.HasPrefix(f[1], "/dev") && !strings.HasPrefix(f[1], "/etc/") {
			t.Errorf("it can write to %s", line)
		}
	}
	if out := docker(t, "inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}", i.Handle); out != "134217728 1000000000 32" {
		t.Errorf("limits %s", out)
	}
	smaps, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	if err == nil {
		for line := range strings.Lines(string(smaps)) {
			if strings.HasPrefix(line, "Pss:") || strings.HasPrefix(line, "Rss:") {
				t.Logf("QEMU's %s", strings.Join(strings.Fields(line), " "))
			}
		}
	}
}

func TestBehindItsBack(t *testing.T) {
	r := newReal(t)
	s := r.spec("press", provisioner.Serial)
	i := r.start(s)
	r.booted(i.ID).Close()
	waited := make(chan provisioner.Exit, 1)
	go func() { waited <- r.wait(i.ID) }()
	docker(t, "kill", i.Handle)
	if x := <-waited; x.Reason != provisioner.ExitExited || x.Code != 137 || x.Life != i.Life {
		t.Errorf("killed: %+v", x)
	}

	i = r.start(s)
	r.booted(i.ID).Close()
	go func() { waited <- r.wait(i.ID) }()
	docker(t, "rm", "-f", i.Handle)
	if x := <-waited; x.Life != i.Life || x.Reason != provisioner.ExitLost && x.Code != 137 {
		t.Errorf("removed: %+v", x)
	}
	all, err := r.listed(func(all []provisioner.Instance) bool { // what it stored is there still
		return len(all) == 1 && !all[0].Running && all[0].Exit.Reason == provisioner.ExitLost
	})
	if err != nil || len(all) != 1 || all[0].Running || all[0].Exit.Reason != provisioner.ExitLost || all[0].Broken != "" || all[0].Spec.Storage != s.Storage {
		t.Errorf("%+v %v", all, err)
	}
	if x := r.wait(i.ID); x.Reason != provisioner.ExitLost {
		t.Errorf("%+v", x)
	}
	i = r.start(s)
	if n := r.boots(i.ID); n != 3 {
		t.Errorf("boot %d", n)
	}

	docker(t, "restart", "-t", "0", i.Handle) // another life of the same container
	all, err = r.listed(func(all []provisioner.Instance) bool { return len(all) == 1 && all[0].Running && all[0].Life != i.Life })
	if err != nil || len(all) != 1 || !all[0].Running || all[0].Life == i.Life || all[0].Handle != i.Handle {
		t.Errorf("%+v %v, was %s", all, err, i.Life)
	}

	// Copied, with its labels: none of them is to be trusted.
	docker(t, "run", "-d", "--network", "none", "--label", labelState+"="+r.dir, "--label", provisioner.LabelNamespace+"=plant", "--label", provisioner.LabelDevice+"=press", testImage, "-M", "none", "-nodefaults", "-display", "none")
	all, err = r.listed(func(all []provisioner.Instance) bool { return len(all) == 1 && all[0].Broken != "" })
	if err != nil || len(all) != 1 || all[0].Broken == "" {
		t.Fatalf("%+v %v", all, err)
	}
	if err := r.e.Remove(t.Context(), all[0].ID); err != nil {
		t.Fatal(err)
	}
	if left := r.containers(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestMemoryLimit(t *testing.T) {
	r := newReal(t)
	s := r.spec("press", provisioner.Serial)
	s.Limits.Memory = 8 << 20
	if _, err := r.e.Start(t.Context(), s); err != nil {
		t.Logf("the start itself fails: %v", err)
	}
	if x := r.wait("plant/press"); x.Reason != provisioner.ExitMemory {
		t.Errorf("%+v", x)
	}
}

func TestBadBackend(t *testing.T) {
	r := newReal(t)
	s := r.spec("press", provisioner.Serial)
	s.Args = append([]string{"-no-such-option"}, s.Args...)
	r.start(s)
	if x := r.wait("plant/press"); x.Reason != provisioner.ExitExited || x.Code != 1 || !strings.Contains(x.Output, "no-such-option") {
		t.Errorf("%+v", x)
	} else {
		t.Logf("why: %s", x.Output)
	}
	s = r.spec("press", provisioner.Serial)
	s.Image = "missing.elf"
	if _, err := r.e.Start(t.Context(), s); !errs.Is(err, errs.NotFound) {
		t.Errorf("%v", err)
	}
	r.e.o.QEMU = "wasmbed-missing:local"
	if _, err := r.e.Start(t.Context(), r.spec("press", provisioner.Serial)); !errs.Is(err, errs.NotFound) || !strings.Contains(err.Error(), "import-qemu") {
		t.Errorf("%v", err)
	}
	if err := r.e.Can(t.Context(), provisioner.BackendQEMU); !errs.Is(err, errs.NotFound) {
		t.Errorf("%v", err)
	}
	if err := r.e.Can(t.Context(), provisioner.BackendHost); !errs.Is(err, errs.Unsupported) {
		t.Errorf("%v", err)
	}
}

// A board that floods its console while nobody reads goes on, and takes no more memory for it.
func TestFlood(t *testing.T) {
	r := newReal(t)
	i := r.start(r.spec("press", provisioner.Serial))
	c := r.booted(i.ID)
	for range 5 {
		if _, err := io.WriteString(c.(io.Writer), "f"); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	if c, err := r.e.Console(t.Context(), i.ID); err != nil {
		t.Fatal(err)
	} else {
		defer c.Close()
		io.WriteString(c.(io.Writer), "s")
		expect(t, c, "up ")
	}
	u, err := r.e.Usage(t.Context(), i.ID)
	if err != nil || u.Memory > 100<<20 {
		t.Errorf("%+v %v", u, err)
	}
	logs, err := os.Stat(docker(t, "inspect", "-f", "{{.LogPath}}", i.Handle))
	if err == nil && logs.Size() > 64<<10 {
		t.Errorf("the engine kept %d bytes", logs.Size())
	}
}
