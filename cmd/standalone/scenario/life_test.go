package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// TestFromNothing is what a new user does: one command, then look.
func TestFromNothing(t *testing.T) {
	p := newPlatform(t)
	p.start()
	devices, _, err := p.kube.Devices.List(p.ctx(), ns, client0)
	if err != nil || len(devices) != 3 {
		t.Fatalf("%d devices, %v", len(devices), err)
	}
	boards := map[string]bool{}
	for _, d := range devices {
		boards[d.Spec.Board] = true
		p.until(d.Name+" has a true status", func() error {
			d, err := p.kube.Devices.Get(p.ctx(), ns, d.Name)
			if err != nil {
				return err
			}
			for _, kind := range []string{"Enrolled", "Online"} {
				if c := condition(d.Status.Conditions, kind); c.Status != metav1.ConditionTrue {
					return fmt.Errorf("%s is %s: %s", kind, c.Status, c.Message)
				}
			}
			if d.Status.Firmware == "" || d.Status.Certificate == nil || d.Status.Apps != "1/1" {
				return fmt.Errorf("status %+v", d.Status)
			}
			return nil
		})
	}
	if len(boards) != 3 {
		t.Errorf("the devices are of %d boards", len(boards))
	}
	apps, _, err := p.kube.Applications.List(p.ctx(), ns, client0)
	if err != nil || len(apps) != 1 {
		t.Fatalf("%d applications, %v", len(apps), err)
	}
	p.ready(apps[0].Name, 3)

	// A second one, as kubectl apply does it.
	p.apply(application("counter", module(t, "counter.wasm")))
	p.ready("counter", 3)

	if out, stderr, code := p.cli("devices"); code != 0 || strings.Count(out, "true") != 3 || strings.Count(out, "2/2") != 3 {
		t.Errorf("wasmbed devices: %d %s\n%s", code, stderr, out)
	}
	if out, stderr, code := p.cli("apps"); code != 0 || !strings.Contains(out, "3/3") {
		t.Errorf("wasmbed apps: %d %s\n%s", code, stderr, out)
	}
	if out, stderr, code := p.cli("gateways"); code != 0 || !strings.Contains(out, "True") {
		t.Errorf("wasmbed gateways: %d %s\n%s", code, stderr, out)
	}
	if out, stderr, code := p.cli("status"); code != 0 {
		t.Errorf("wasmbed status: %d %s\n%s", code, stderr, out)
	}
	p.cliUntil("hello", "telemetry", "-f")
	p.cliUntil("io.wasmbed.telemetry.received.v1", "events", "-f")

	// Ctrl-C ends everything: afterwards nobody listens any more and the folder's lock is free.
	p.main.end(t)
	p.start()
	p.ready("counter", 3)
}

// TestBadRevisionIsRolledBack: an update that traps is undone, by the device at once and by the platform for
// good, and everybody can see why.
func TestBadRevisionIsRolledBack(t *testing.T) {
	p := boot(t)
	p.devices("d", 3, p.at.Address)
	p.online(names("d", 3)...)
	p.apply(application("hello", module(t, "hello.wasm")))
	good := p.ready("hello", 3).Status.Revision

	p.apply(application("hello", module(t, "hello-bad.wasm")))
	var a *v1alpha1.Application
	p.until("rolled back", func() (err error) {
		if a, err = p.app("hello"); err != nil {
			return err
		}
		back, ready := condition(a.Status.Conditions, "RolledBack"), condition(a.Status.Conditions, "Ready")
		if back.Status != metav1.ConditionTrue || ready.Status != metav1.ConditionTrue || a.Status.Revision != good || a.Status.Rollout.To != good {
			return fmt.Errorf("RolledBack %s, Ready %s (%s), revision %s, rollout %+v", back.Status, ready.Status, ready.Message, a.Status.Revision, a.Status.Rollout)
		}
		return nil
	})
	if c := condition(a.Status.Conditions, "RolledBack"); c.Message == "" || c.Reason == "" {
		t.Errorf("the condition does not say why: %+v", c)
	}
	if !bytes.Equal(a.Spec.Module.Inline, module(t, "hello-bad.wasm")) {
		t.Error("a rollback edited the spec")
	}
	for _, d := range names("d", 3) {
		v, err := p.view(d)
		if err != nil {
			t.Fatal(err)
		}
		if s := on(v, "hello"); s.Running != good {
			t.Errorf("%s runs %q, not %s: %+v", d, s.Running, good, s)
		}
	}
	if out, _, code := p.cli("explain", "device", "d-0001"); code != 0 || !strings.Contains(out, "RolledBack") || !strings.Contains(out, "Trap") {
		t.Errorf("explain device: %d\n%s", code, out)
	}
	if out, _, code := p.cli("explain", "app", "hello"); code != 0 || strings.Count(out, "RolledBack") != 3 {
		t.Errorf("explain app: %d\n%s", code, out)
	}
	events, _, err := p.kube.Events.List(p.ctx(), ns, client0)
	if err != nil {
		t.Fatal(err)
	}
	said := false
	for _, e := range events {
		said = said || e.InvolvedObject.Name == "hello" && strings.Contains(e.Reason+e.Message, "oll")
	}
	if !said {
		t.Errorf("no Kubernetes Event tells of the rollback: %d events", len(events))
	}

	// Without the automatic rollback each device still goes back by itself, and explain names the cause.
	off := false
	p.apply(application("hello", module(t, "hello-bad.wasm"), func(s *v1alpha1.ApplicationSpec) {
		s.Rollout.AutomaticRollback = &off
		s.Manifest.Config = map[string]string{"again": "yes"}
	}))
	p.until("the rollout has failed", func() error {
		a, err := p.app("hello")
		if err == nil && (a.Status.Rollout == nil || a.Status.Rollout.State != v1alpha1.RolloutFailedState) {
			err = fmt.Errorf("%+v", a.Status.Rollout)
		}
		return err
	})
	p.until("explain names the cause", func() error {
		out, _, code := p.cli("explain", "app", "hello")
		if code != 0 || !strings.Contains(out, "RolledBack") {
			return fmt.Errorf("%d\n%s", code, out)
		}
		return nil
	})

	// A person decides: back to the good one, on request, from the command line.
	if out, stderr, code := p.cli("rollback", "hello", "--to", good, "--reason", "it blinks"); code != 0 {
		t.Errorf("wasmbed rollback: %d %s %s", code, out, stderr)
	}
	p.until("back by request", func() error {
		a, err := p.app("hello")
		if c := condition(a.Status.Conditions, "Ready"); err == nil && (a.Status.Revision != good || c.Status != metav1.ConditionTrue) {
			err = fmt.Errorf("revision %s, Ready %s: %s", a.Status.Revision, c.Status, c.Message)
		}
		return err
	})
}

// TestCommandLine goes through the verbs that change something.
func TestCommandLine(t *testing.T) {
	p := boot(t)
	p.devices("d", 2, p.at.Address)
	p.online(names("d", 2)...)
	modules := func(name string) string {
		path, err := filepath.Abs("../../../firmware/modules/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	out, stderr, code := p.cli("deploy", modules("hello.wasm"), "--to", "d-0001", "--health-window", "1s", "--timer", "1=500ms")
	if code != 0 || !strings.Contains(out, "1 of 1") {
		t.Fatalf("deploy: %d %s\n%s", code, stderr, out)
	}
	if out, _, code := p.cli("explain", "device", "d-0002", "--app", "hello"); code != 0 || !strings.Contains(out, "NotTargeted") {
		t.Errorf("explain for a device that is not selected: %d\n%s", code, out)
	}
	if _, stderr, code := p.cli("pause", "hello"); code != 0 {
		t.Errorf("pause: %d %s", code, stderr)
	}
	if _, stderr, code := p.cli("deploy", modules("hello-v2.wasm"), "--name", "hello", "--all", "--no-wait"); code != 0 {
		t.Errorf("deploy over a paused one: %d %s", code, stderr)
	}
	p.until("explain says Paused", func() error {
		out, _, _ := p.cli("explain", "device", "d-0002")
		if !strings.Contains(out, "Paused") {
			return errs.New(errs.Internal, "%s", out)
		}
		return nil
	})
	if _, stderr, code := p.cli("resume", "hello"); code != 0 {
		t.Errorf("resume: %d %s", code, stderr)
	}
	p.ready("hello", 2)
	if _, stderr, code := p.cli("rollback", "hello"); code == 0 {
		// hello-2 is complete now and so the stable one: going back needs a name.
		t.Logf("rollback without a name: %s", stderr)
	}
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"devices", "nobody"}, 5, "nobody"},
		{[]string{"deploy", modules("wasmbed.h"), "--all"}, 2, "wasm"},
		{[]string{"deploy", modules("hello.wasm"), "--all", "--to", "x"}, 2, "exclude"},
		{[]string{"rollback", "nothing"}, 5, "nothing"},
		{[]string{"--token", "wrong", "devices"}, 4, "token"},
		{[]string{"-o", "xml", "devices"}, 2, "table"},
	} {
		_, stderr, code := p.cli(c.args...)
		if code != c.code || !strings.Contains(stderr, c.say) {
			t.Errorf("wasmbed %v: exit %d (want %d): %s", c.args, code, c.code, stderr)
		}
	}
	for _, format := range []string{"json", "yaml", "wide"} {
		if out, stderr, code := p.cli("devices", "-o", format); code != 0 || !strings.Contains(out, "d-0001") {
			t.Errorf("-o %s: %d %s\n%s", format, code, stderr, out)
		}
	}
	if _, stderr, code := p.cli("revoke", "d-0002"); code != 0 {
		t.Errorf("revoke: %d %s", code, stderr)
	}
	p.until("the revoked device is out", func() error {
		v, err := p.view("d-0002")
		if err == nil && v.Online {
			err = errs.New(errs.Internal, "still online")
		}
		return err
	})
}

// TestForeignDevice: somebody wrote a device from the specification alone, in another language.
func TestForeignDevice(t *testing.T) {
	p := boot(t)
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is not on PATH (Debian: apt-get install nodejs)")
	}
	script, err := filepath.Abs("../../../protocol/testdata/foreign/device.mjs")
	if err != nil {
		t.Fatal(err)
	}
	pr := p.spawn("foreign", node, os.Environ(), script, "--gateway", p.at.Address, "--trust", filepath.Join(p.dir, "trust.pem"),
		"--name", "foreign", "--board", "Mps2An385", "--dir", filepath.Join(filepath.Dir(p.dir), "foreign"))
	p.online("foreign")
	p.apply(application("hello", module(t, "hello.wasm")))
	first := p.ready("hello", 1).Status.Revision
	p.apply(application("hello", module(t, "hello-v2.wasm")))
	p.until("the foreign device has the update", func() error {
		a, err := p.app("hello")
		if err == nil && (a.Status.Revision == first || a.Status.Ready != 1) {
			err = fmt.Errorf("%+v", a.Status)
		}
		return err
	})
	if _, stderr, code := p.cli("rollback", "hello", "--to", first); code != 0 {
		t.Errorf("rollback: %d %s", code, stderr)
	}
	p.until("the foreign device was told to roll back", func() error {
		b, err := os.ReadFile(pr.log)
		if err != nil {
			return err
		}
		var last map[string]any
		for _, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
			var e map[string]any
			if json.Unmarshal(line, &e) == nil {
				last = e
				if strings.Contains(strings.ToLower(string(line)), "rollback") {
					return nil
				}
			}
		}
		return fmt.Errorf("its last word: %v", last)
	})
	p.ready("hello", 1)
}
