package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kelseyhightower/envconfig"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/run"
	"wasmbed.io/wasmbed/internal/testkube"
	"wasmbed.io/wasmbed/provisioner/docker"
)

const dockerImage = "wasmbed-qemu:local"

// dockerHost is where an engine answers, or the test is not run.
func dockerHost(t *testing.T) string {
	t.Helper()
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = docker.DefaultHost
	}
	path, ok := strings.CutPrefix(host, "unix://")
	if !ok {
		t.Skipf("not run: the Docker engine at %s is not on this machine", host)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Skip("not run: no Docker engine answers")
	}
	c.Close()
	return host
}

// docker is somebody at the command line.
func (p *place) docker(args ...string) string {
	p.t.Helper()
	cmd := exec.Command("docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+dockerHost(p.t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// containers are all of this place, NAME and container id, running or not.
func (p *place) containers() []string {
	p.t.Helper()
	out := strings.Fields(p.docker("ps", "-a", "--filter", "label=wasmbed.io/state="+filepath.Join(p.dir, "state", containers), "--format", `{{.Label "wasmbed.io/device"}}={{.ID}}`))
	slices.Sort(out)
	return out
}

// Five boards in a real Docker engine, under a real provisioner and a real Kubernetes API.
func TestProvisionerDocker(t *testing.T) {
	host := dockerHost(t)
	for _, tool := range []string{"docker", "socat"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("not run: no %s, so no board was started in Docker", tool)
		}
	}
	p := newPlace(t)
	if !p.images() {
		t.Skip("not run: no qemu-system-arm or arm-none-eabi-gcc, so no board was started in Docker")
	}
	find := exec.Command("docker", "image", "inspect", dockerImage)
	find.Env = append(os.Environ(), "DOCKER_HOST="+host)
	if find.Run() != nil {
		imported := exec.Command(filepath.Join(testkube.Root(t), "deploy", "docker", "import-qemu"), dockerImage)
		imported.Env = find.Env
		if out, err := imported.CombinedOutput(); err != nil {
			t.Fatalf("import-qemu: %v\n%s", err, out)
		}
	}
	p.env = append(p.env, "WASMBED_PROVISIONER_ENGINE=docker", "WASMBED_PROVISIONER_DOCKER_HOST="+host)
	defer func() { // whatever happened, nothing stays
		for _, c := range p.containers() {
			_, id, _ := strings.Cut(c, "=")
			t.Errorf("left: %s", c)
			p.docker("rm", "-f", id)
		}
	}()
	defer p.end(syscall.SIGKILL)
	p.start(onExitKeep)

	var names []string
	for i := range 5 {
		names = append(names, fmt.Sprintf("box-%d", i))
	}
	begun := time.Now()
	for i, name := range names {
		transport := "Serial"
		if i%2 == 1 {
			transport = "Ethernet"
		}
		p.create(name, v1alpha1.Emulation{Backend: "qemu", Transport: transport})
	}
	first := map[string]string{}
	for _, name := range names {
		b := p.phase(name, "Booted")
		first[name] = b.Instance
		if b.Engine != "docker" || b.Restarts != 0 {
			t.Errorf("%+v", b)
		}
	}
	t.Logf("%d boards booted after %s", len(names), time.Since(begun).Round(time.Millisecond))
	p.same(first)

	// Each killed behind its back, at once.
	begun = time.Now()
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() { p.docker("kill", first[name]) })
	}
	wg.Wait()
	second := map[string]string{}
	for _, name := range names {
		b := p.phase(name, "Booted", func(b v1alpha1.BoardStatus) bool { return b.Restarts == 1 && b.Instance != first[name] })
		second[name] = b.Instance
	}
	t.Logf("all killed, and booted again after %s", time.Since(begun).Round(time.Millisecond))
	p.same(second)
	if said := p.console(names[0], ""); !strings.Contains(said, "boot 2, the one before ended by power") { // its storage
		t.Errorf("console: %q", said)
	}

	// A reset, and a power cut.
	p.edit(names[0], func(e *v1alpha1.Emulation) { e.Resets++ })
	p.edit(names[1], func(e *v1alpha1.Emulation) { e.PowerCuts++ })
	if b := p.phase(names[0], "Booted", func(b v1alpha1.BoardStatus) bool { return b.Resets == 1 }); b.Instance != second[names[0]] || b.Restarts != 1 {
		t.Errorf("%+v", b)
	}
	if b := p.phase(names[1], "Booted", func(b v1alpha1.BoardStatus) bool { return b.PowerCuts == 1 }); b.Instance == second[names[1]] || b.Restarts != 1 {
		t.Errorf("%+v", b)
	} else {
		second[names[1]] = b.Instance
	}
	p.same(second)

	// One deleted by hand.
	p.docker("rm", "-f", second[names[2]])
	b := p.phase(names[2], "Booted", func(b v1alpha1.BoardStatus) bool { return b.Restarts == 2 })
	second[names[2]] = b.Instance
	p.same(second)

	// The provisioner is killed. Meanwhile one board is killed, one removed, and one Device goes.
	p.end(syscall.SIGKILL)
	p.same(second)
	p.docker("kill", second[names[3]])
	p.docker("rm", "-f", second[names[4]])
	if err := p.set.Devices.Delete(t.Context(), "plant", names[0]); err != nil {
		t.Fatal(err)
	}
	p.start(onExitKeep)
	third := map[string]string{names[1]: second[names[1]], names[2]: second[names[2]]}
	for _, name := range names[3:] {
		third[name] = p.phase(name, "Booted", func(b v1alpha1.BoardStatus) bool { return b.Instance != second[name] }).Instance
	}
	p.gone(names[0])
	for _, name := range names[1:3] { // the same containers, and nothing was counted
		restarts := map[string]int64{names[1]: 1, names[2]: 2}[name]
		if b := p.phase(name, "Booted"); b.Instance != second[name] || b.Restarts != restarts {
			t.Errorf("%s: %+v, was %s", name, b, second[name])
		}
	}
	p.same(third)

	// Killed in the middle of making boards: what it began is found, and there is one of each.
	for range 3 {
		before := p.containers()
		for _, name := range names[1:] {
			p.edit(name, func(e *v1alpha1.Emulation) { e.PowerCuts++ })
		}
		p.eventually("cut", func() bool { // one board is between two lives
			return len(p.containers()) < len(third) || slices.ContainsFunc(p.containers(), func(c string) bool { return !slices.Contains(before, c) })
		})
		p.end(syscall.SIGKILL)
		p.start(onExitKeep)
	}
	for _, name := range names[1:] {
		d, err := p.set.Devices.Get(t.Context(), "plant", name)
		if err != nil {
			t.Fatal(err)
		}
		want := d.Spec.Emulation.PowerCuts
		third[name] = p.phase(name, "Booted", func(b v1alpha1.BoardStatus) bool { return b.PowerCuts == want }).Instance
	}
	p.same(third)

	for _, name := range names[1:] {
		if err := p.set.Devices.Delete(t.Context(), "plant", name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names[1:] {
		p.gone(name)
	}
	p.end(syscall.SIGTERM)
	p.same(nil)
	if left, _ := filepath.Glob(filepath.Join(p.dir, "state", containers, "plant", "*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// same checks that exactly these containers are there, running, and that the status tells of them.
func (p *place) same(want map[string]string) {
	p.t.Helper()
	var list []string
	for name, id := range want {
		list = append(list, name+"="+id)
		if b := p.board(name); b.Instance != id {
			p.t.Errorf("the status of %s says %s, not %s", name, b.Instance, id)
		}
	}
	slices.Sort(list)
	if got := p.containers(); !slices.Equal(got, list) {
		p.t.Errorf("containers %v, want %v", got, list)
	}
	for _, c := range list {
		_, id, _ := strings.Cut(c, "=")
		if out := p.docker("inspect", "-f", "{{.State.Running}}", id); out != "true" {
			p.t.Errorf("%s does not run", c)
		}
	}
}

// gone waits until a Device is gone.
func (p *place) gone(name string) {
	p.t.Helper()
	p.eventually("end of "+name, func() bool {
		_, err := p.set.Devices.Get(p.t.Context(), "plant", name)
		return errs.Is(err, errs.NotFound)
	})
}

// Which engine is chosen, and what is said when there is none.
func TestEngineChoice(t *testing.T) {
	none := "unix://" + filepath.Join(t.TempDir(), "none.sock")
	for _, c := range []struct {
		engine, host, first string
		code                errs.Code
	}{
		{"auto", none, "process", ""},
		{"auto", "tcp://127.0.0.1:1", "process", ""},
		{"docker", none, "", errs.Unavailable},
		{"docker", "tcp://127.0.0.1:1", "", errs.Invalid},
		{"process", none, "process", ""},
		{"podman", none, "", errs.Invalid},
	} {
		t.Run(c.engine+" "+c.host[:3], func(t *testing.T) {
			for k, v := range map[string]string{"ENGINE": c.engine, "DOCKER_HOST": c.host, "DIR": t.TempDir(), "GATEWAY": "g:1", "TRUST": anchor(t), "SINK": "http://127.0.0.1:1"} {
				t.Setenv("WASMBED_PROVISIONER_"+k, v)
			}
			var cfg Config
			if err := errors.Join(envconfig.Process(run.Prefix, &cfg), cfg.check()); err != nil {
				t.Fatal(err)
			}
			e, err := openEngines(t.Context(), &cfg, run.Logger(t.Output(), "test"))
			if c.code != "" {
				if !errs.Is(err, c.code) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer e.close()
			if e.first != c.first || len(e.all) != 1 {
				t.Errorf("%s of %v", e.first, e.all)
			}
		})
	}
}
