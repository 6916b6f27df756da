package docker

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

var update = flag.Bool("update", false, "write the golden files anew")

func goldenOptions() Options {
	return Options{HostDir: "/var/lib/wasmbed/containers", QEMU: "wasmbed-qemu:local", Renode: "wasmbed-renode:local", User: "65534:65534"}
}

func planned(t *testing.T, board, backend string, tr provisioner.Transport) provisioner.Spec {
	t.Helper()
	b, ok := provisioner.BoardNamed(board)
	if !ok {
		t.Fatalf("no board %s", board)
	}
	s, err := provisioner.Plan(provisioner.Device{Key: provisioner.Key{Namespace: "plant", Name: "press-7"}, UID: "0b4d5f6e", Backend: backend, Transport: tr}, b, provisioner.PlanOptions{
		Gateway: "gateway.example:8081", Trust: [][]byte{{0x30, 0}}, Seed: bytes.Repeat([]byte{7}, 64), Floor: time.Unix(1e9, 0), ImageDigest: "sha256:" + strings.Repeat("0", 64),
		Provisioner: "pv-1", Sandbox: true, Relay: Socat,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGolden(t *testing.T) {
	for name, s := range map[string]provisioner.Spec{
		"qemu-ethernet.json": planned(t, "Mps2An385", provisioner.BackendQEMU, provisioner.Ethernet),
		"qemu-serial.json":   planned(t, "Mps2An385", provisioner.BackendQEMU, provisioner.Serial),
		"renode-serial.json": planned(t, "Stm32F746gDisco", provisioner.BackendRenode, provisioner.Serial),
	} {
		r, err := plan(goldenOptions(), s, "LIFE")
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%v (go test ./provisioner/docker -update writes it)", err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs (go test ./provisioner/docker -update, then read the diff):\n%s", name, got)
		}
	}
}

// Whatever a Spec says, the container has no more than any other.
func TestHostileSpecs(t *testing.T) {
	good := planned(t, "Mps2An385", provisioner.BackendQEMU, provisioner.Serial)
	for name, change := range map[string]func(*provisioner.Spec){
		"namespace up":       func(s *provisioner.Spec) { s.Key.Namespace = ".." },
		"name with a path":   func(s *provisioner.Spec) { s.Key.Name = "../../etc" },
		"name empty":         func(s *provisioner.Spec) { s.Key.Name = "" },
		"another program":    func(s *provisioner.Spec) { s.Program = "/bin/sh" },
		"another image":      func(s *provisioner.Spec) { s.Program = "evil:latest" },
		"host program":       func(s *provisioner.Spec) { s.Program = "device" },
		"no program":         func(s *provisioner.Spec) { s.Program = "" },
		"file above":         func(s *provisioner.Spec) { s.Files[0].Name = "../board.json" },
		"file anywhere":      func(s *provisioner.Spec) { s.Files[0].Name = "/etc/shadow" },
		"file without name":  func(s *provisioner.Spec) { s.Files[0].Name = "" },
		"file below":         func(s *provisioner.Spec) { s.Files[0].Name = "a/b" },
		"negative size":      func(s *provisioner.Spec) { s.Files[1].Size = -1 },
		"image above":        func(s *provisioner.Spec) { s.Image = "../secret" },
		"console elsewhere":  func(s *provisioner.Spec) { s.Console.Path = "/var/run/docker.sock" },
		"link elsewhere":     func(s *provisioner.Spec) { s.Link.Path = "../x.sock" },
		"monitor elsewhere":  func(s *provisioner.Spec) { s.Control.Path = ".." },
		"relay elsewhere":    func(s *provisioner.Spec) { s.Relay.Path = "../x.sock" },
		"console of output":  func(s *provisioner.Spec) { s.Console.Kind = provisioner.ChannelOutput },
		"no limit of memory": func(s *provisioner.Spec) { s.Limits.Memory = 0 },
		"memory unlimited":   func(s *provisioner.Spec) { s.Limits.Memory = -1 },
		"no limit of CPU":    func(s *provisioner.Spec) { s.Limits.CPU = 0 },
		"PIDs unlimited":     func(s *provisioner.Spec) { s.Limits.PIDs = -1 },
	} {
		s := good
		s.Files = append([]provisioner.File(nil), good.Files...)
		change(&s)
		if _, err := plan(goldenOptions(), s, "LIFE"); !errs.Is(err, errs.Invalid) && !errs.Is(err, errs.Unsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	only := goldenOptions()
	only.Renode = ""
	if _, err := plan(only, planned(t, "Stm32F746gDisco", provisioner.BackendRenode, provisioner.Serial), "LIFE"); !errs.Is(err, errs.Unsupported) {
		t.Errorf("%v", err)
	}

	// What is taken from it cannot change whose container it is.
	s := good
	s.Labels = map[string]string{labelState: "/", labelLife: "x", provisioner.LabelNamespace: "other", "com.example": "x", provisioner.LabelBoard: "B"}
	s.Args = []string{"--privileged", "{dir}"}
	r, err := plan(goldenOptions(), s, "LIFE")
	if err != nil {
		t.Fatal(err)
	}
	if l := r.Config.Labels; l[labelState] != "/var/lib/wasmbed/containers" || l[labelLife] != "LIFE" || l[provisioner.LabelNamespace] != "plant" || l["com.example"] != "" || l[provisioner.LabelBoard] != "B" {
		t.Errorf("%v", l)
	}
	h := r.Host
	if h.Privileged || len(h.CapAdd) > 0 || len(h.Binds) > 0 || len(h.Mounts) != 1 || h.Mounts[0].Source != "/var/lib/wasmbed/containers/plant/press-7/board" || h.NetworkMode != "none" || r.Config.Cmd[1] != inside {
		t.Errorf("%+v", h)
	}
	// Two Devices never have one container's name.
	a, b := good, good
	a.Key = provisioner.Key{Namespace: "a-b", Name: "c"}
	b.Key = provisioner.Key{Namespace: "a", Name: "b-c"}
	ra, erra := plan(goldenOptions(), a, "")
	rb, errb := plan(goldenOptions(), b, "")
	if erra != nil || errb != nil || ra.Name == rb.Name {
		t.Errorf("%v %v %s %s", erra, errb, ra.Name, rb.Name)
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"tcp": {Host: "tcp://127.0.0.1:2375"}, "ssh": {Host: "ssh://x"}, "user": {User: "root"}, "negative": {User: "-1:0"}, "host folder": {HostDir: "x"}, "host folder up": {HostDir: "/a/../b"},
	} {
		o.Dir = t.TempDir()
		if _, err := New(t.Context(), o); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(t.Context(), Options{Dir: t.TempDir(), Host: "unix://" + filepath.Join(t.TempDir(), "none.sock")}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("%v", err)
	}
}
