package provisioner

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner/blob"
)

var update = flag.Bool("update", false, "write the golden files anew")

// options are those of the golden files.
func options() PlanOptions {
	return PlanOptions{
		Gateway: "127.0.0.1:8081", ServerName: "gateway.plant", Trust: [][]byte{{0x30, 0x03, 0x02, 0x01, 0x2a}},
		Claim: []byte(strings.Repeat("c1", 32)), Seed: bytes.Repeat([]byte{7}, 64), Floor: time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC),
		ImageDigest: "sha256:" + strings.Repeat("0", 64), Provisioner: "pv-1", Sandbox: true, Tap: "tap0",
	}
}

func device(backend string, t Transport) Device {
	return Device{Key: Key{Namespace: "plant", Name: "press-7"}, UID: "0b4d5f6e", Backend: backend, Transport: t}
}

// text is a Spec as people read it; binary files as their blob's content, or their digest.
func text(t *testing.T, s Spec) string {
	t.Helper()
	var w strings.Builder
	fmt.Fprintf(&w, "program %s\n", s.Program)
	for _, a := range s.Args {
		fmt.Fprintf(&w, "  %s\n", a)
	}
	for _, e := range s.Env {
		fmt.Fprintf(&w, "env %s\n", e)
	}
	for _, f := range s.Files {
		switch {
		case f.Keep:
			fmt.Fprintf(&w, "file %s kept, %d bytes of %#02x\n", f.Name, f.Size, f.Fill)
		case f.Name == fileBlob:
			b, err := blob.Decode(f.Data)
			if err != nil {
				t.Errorf("the blob cannot be read: %v", err)
			}
			j, err := json.Marshal(b)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&w, "file %s %x %s\n", f.Name, sha256.Sum256(f.Data), j)
		case f.Name == "board.cs":
			fmt.Fprintf(&w, "file %s, provisioner/renode/*.cs\n", f.Name)
		default:
			fmt.Fprintf(&w, "file %s\n", f.Name)
			for line := range strings.Lines(string(f.Data)) {
				fmt.Fprintf(&w, "  | %s", line)
			}
		}
	}
	rest := s
	rest.Program, rest.Args, rest.Env, rest.Files = "", nil, nil, nil
	j, err := json.MarshalIndent(rest, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	w.Write(j)
	w.WriteByte('\n')
	return w.String()
}

// Every board, backend and transport: what is planned, or why it is not.
func TestGolden(t *testing.T) {
	var refused strings.Builder
	seen := map[string]bool{}
	for _, b := range Boards() {
		for _, backend := range []string{BackendHost, BackendQEMU, BackendRenode} {
			for _, transport := range []Transport{Ethernet, Serial} {
				name := strings.ToLower(b.Name + "-" + backend + "-" + string(transport))
				s, err := Plan(device(backend, transport), b, options())
				if err != nil {
					if !errs.Is(err, errs.Unsupported) || !strings.HasSuffix(err.Error(), ")") {
						t.Errorf("%s: %v has no mend, or is no refusal", name, err)
					}
					fmt.Fprintf(&refused, "%s: %v\n", name, err)
					continue
				}
				golden(t, name+".txt", text(t, s), seen)
			}
		}
	}
	golden(t, "refused.txt", refused.String(), seen)
	old, err := filepath.Glob("testdata/plan/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range old {
		if !seen[filepath.Base(path)] {
			if *update {
				os.Remove(path)
			} else {
				t.Errorf("%s is nobody's", path)
			}
		}
	}
}

func golden(t *testing.T, name, got string, seen map[string]bool) {
	t.Helper()
	seen[name] = true
	path := filepath.Join("testdata", "plan", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("%v (go test ./provisioner -update writes it)", err)
	} else if string(want) != got {
		t.Errorf("%s differs (go test ./provisioner -update, then read the diff):\n%s", name, got)
	}
}

func TestPlanIsPure(t *testing.T) {
	b, _ := BoardNamed("Mps2An385")
	o := options()
	one, err := Plan(device(BackendQEMU, ""), b, o)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Plan(device(BackendQEMU, ""), b, o)
	if err != nil || !reflect.DeepEqual(one, two) {
		t.Errorf("the same gave another: %v", err)
	}
	o.Seed, o.Floor, o.Claim = bytes.Repeat([]byte{9}, 64), o.Floor.Add(time.Hour), nil
	three, err := Plan(device(BackendQEMU, ""), b, o)
	if err != nil || three.Setup != one.Setup || three.Storage != one.Storage {
		t.Error("seed, time and claim make another setup")
	}
	o.Gateway = "127.0.0.1:9999"
	if four, _ := Plan(device(BackendQEMU, ""), b, o); four.Setup == one.Setup || four.Storage != one.Storage {
		t.Error("another gateway is the same setup, or another storage")
	}
	if five, _ := Plan(device(BackendQEMU, Serial), b, options()); five.Storage == one.Storage {
		t.Error("another transport has the same storage")
	}
	dir := one.Fill("/x")
	if strings.Contains(fmt.Sprint(dir.Args, dir.Env), "{") {
		t.Errorf("placeholders are left: %v", dir.Args)
	}
}

func TestFill(t *testing.T) {
	s := Spec{Args: []string{"a", "{dir}/b"}, Env: []string{"HOME={dir}"}}
	f := s.Fill("/x/y")
	if fmt.Sprint(f.Args, f.Env) != "[a /x/y/b] [HOME=/x/y]" {
		t.Error(f.Args, f.Env)
	}
	if s.Args[1] != "{dir}/b" {
		t.Error("Fill changed what it was given")
	}
}

func TestGatewayAsTheBoardSeesIt(t *testing.T) {
	b, _ := BoardNamed("Mps2An385")
	for gateway, want := range map[string]string{
		"127.0.0.1:8081": "10.0.2.2", "localhost:8081": "10.0.2.2", "[::1]:8081": "10.0.2.2", "0.0.0.0:8081": "10.0.2.2",
		"192.0.2.9:8081": "192.0.2.9", "gw.example:8081": "gw.example",
	} {
		o := options()
		o.Gateway = gateway
		s, err := Plan(device(BackendQEMU, ""), b, o)
		if err != nil {
			t.Fatal(err)
		}
		v, err := blob.Decode(s.Files[0].Data)
		if err != nil || v.Host != want || v.Port != 8081 {
			t.Errorf("%s: %s:%d, %v", gateway, v.Host, v.Port, err)
		}
	}
	o := options()
	o.Forward = "nc"
	s, err := Plan(device(BackendQEMU, ""), b, o)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.Index(s.Args, "-nic")
	if nic := s.Args[i+1]; !strings.Contains(nic, "restrict=on") || !strings.Contains(nic, "guestfwd=tcp:10.0.2.100:8081-cmd:nc 127.0.0.1 8081") {
		t.Error(nic)
	}
}

func TestBadOptions(t *testing.T) {
	b, _ := BoardNamed("Mps2An385")
	for name, change := range map[string]func(*Device, *PlanOptions){
		"no gateway":    func(_ *Device, o *PlanOptions) { o.Gateway = "" },
		"no port":       func(_ *Device, o *PlanOptions) { o.Gateway = "host" },
		"port 0":        func(_ *Device, o *PlanOptions) { o.Gateway = "host:0" },
		"no trust":      func(_ *Device, o *PlanOptions) { o.Trust = nil },
		"three anchors": func(_ *Device, o *PlanOptions) { o.Trust = [][]byte{{1}, {2}, {3}} },
		"large anchors": func(_ *Device, o *PlanOptions) { o.Trust = [][]byte{make([]byte, 5000)} },
		"short seed":    func(_ *Device, o *PlanOptions) { o.Seed = o.Seed[:16] },
		"long claim":    func(_ *Device, o *PlanOptions) { o.Claim = make([]byte, 65) },
		"other backend": func(d *Device, _ *PlanOptions) { d.Backend = "bochs" },
		"other wire":    func(d *Device, _ *PlanOptions) { d.Transport = "carrier pigeon" },
	} {
		d, o := device(BackendQEMU, ""), options()
		change(&d, &o)
		if _, err := Plan(d, b, o); !errs.Is(err, errs.Invalid) && !errs.Is(err, errs.TooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a plan says about a board is what the table says.
func TestTablesAgree(t *testing.T) {
	named := map[string]bool{}
	for _, b := range Boards() {
		named[b.Name] = true
		if _, ok := qemuMachines[b.QEMU]; !ok && b.QEMU != "" && b.Refused == "" {
			t.Logf("%s: QEMU's %s is not used", b.Name, b.QEMU)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(renodeBoards)) {
		if !named[name] {
			t.Logf("%s is not in the table of boards", name)
		}
	}
}
