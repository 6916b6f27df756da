package module

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wasmbed.io/wasmbed/api/v1alpha1"
)

// measured is what a board's pool said that one instance takes: WAMR 2.4.3, Zephyr 3.4.0, mps2_an385 in QEMU 7.2
// (firmware/runtime/wamr/test/zephyr prints it), with a stack of 4096 bytes.
var measured = map[string]int64{
	"hello": 12096, "hello-bad": 12104, "counter": 13160, "trapper": 13320, "conformance": 16304, "hello-as": 74256,
}

func sample(t *testing.T, name string) Info {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../firmware/modules", name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// The estimate is never below what a board measured, and at most 256 bytes above.
func TestEstimateIsCalibrated(t *testing.T) {
	for name, takes := range measured {
		got := EstimateMemory(sample(t, name), manifest())
		t.Logf("%-12s measured %6d estimated %6d", name, takes, got)
		if got < takes || got > takes+256 {
			t.Errorf("%s: measured %d, estimated %d", name, takes, got)
		}
	}
}

// The firmware's own estimate (memory_need) is the same sum, and this machine's WAMR agrees as far as pointers of twice
// the size let it. Runs with the sources of WAMR only.
func TestEstimateIsTheFirmwares(t *testing.T) {
	root := os.Getenv("WAMR_ROOT_DIR")
	if root == "" {
		t.Skip("not run: WAMR_ROOT_DIR is not set")
	}
	cmd := exec.Command("make", "-s", "-C", "../../firmware/runtime/wamr/test", "need", "SANITIZE=", "BUILD="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	seen := 0
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var name string
		var size int
		var takes, estimated int64
		if n, _ := fmt.Sscanf(lines.Text(), "need: %s %d bytes takes %d estimated %d", &name, &size, &takes, &estimated); n != 4 {
			continue
		}
		if _, ok := measured[name]; !ok {
			continue
		}
		seen++
		got := EstimateMemory(sample(t, name), manifest())
		if got != estimated {
			t.Errorf("%s: here %d, the firmware says %d", name, got, estimated)
		}
		if takes < got || takes > got+got/3 {
			t.Errorf("%s: WAMR takes %d here, estimated %d", name, takes, got)
		}
	}
	if seen != len(measured) {
		t.Errorf("%d of %d modules measured:\n%s", seen, len(measured), out)
	}
}

func withCode(code ...byte) []byte {
	b := append([]byte{0}, code...) // no locals
	return bytes.Replace(hello(), section(sectionCode, vec(body)), section(sectionCode, vec(append([]byte{byte(len(b))}, b...))), 1)
}

// A memory is given whole when the module may look at its size, or when the globals do not say where it ends.
func TestLinearMemory(t *testing.T) {
	for name, x := range map[string]struct {
		b    []byte
		want int64
	}{
		"shrunk":      {hello(), 1024},
		"grows":       {withCode(0x41, 1, 0x40, 0, 0x0b), PageSize},
		"size":        {withCode(0x3f, 0, 0x0b), PageSize},
		"no data end": {bytes.Replace(hello(), []byte("__data_end"), []byte("__data_eng"), 1), PageSize},
		"mutable":     {bytes.Replace(hello(), i32Global(0, 1024), i32Global(1, 1024), 1), PageSize},
		"overlap":     {bytes.Replace(hello(), i32Global(0, 1008), i32Global(0, 1025), 1), PageSize},
	} {
		info, err := Inspect(x.b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := EstimateParts(info, manifest()).Linear; got != x.want {
			t.Errorf("%s: %d, want %d", name, got, x.want)
		}
	}
}

// Each instruction of ABI 1 is stepped over rightly, and each feature that no device has is named.
func TestInstructions(t *testing.T) {
	for name, x := range map[string]struct {
		code []byte
		want string
	}{
		"blocks":      {[]byte{0x02, 0x40, 0x03, 0x7f, 0x41, 0, 0x0b, 0x1a, 0x0b, 0x0b}, ""},
		"if":          {[]byte{0x41, 1, 0x04, 0x7f, 0x41, 1, 0x05, 0x41, 2, 0x0b, 0x0b}, ""},
		"br_table":    {[]byte{0x41, 0, 0x0e, 2, 0, 0, 0, 0x0b}, ""},
		"constants":   {[]byte{0x42, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x1a, 0x43, 0xfd, 0xfd, 0xfd, 0xfd, 0x1a, 0x44, 0xfd, 0xfd, 0xfd, 0xfd, 0xfd, 0xfd, 0xfd, 0xfd, 0x1a, 0x0b}, ""},
		"memory":      {[]byte{0x41, 0, 0x41, 0, 0x36, 2, 0xfd, 0x01, 0x0b}, ""},
		"bulk":        {[]byte{0xfc, 8, 0xfd, 0, 0, 0xfc, 9, 0xfd, 0, 0xfc, 10, 0, 0, 0xfc, 11, 0, 0x0b}, ""},
		"saturating":  {[]byte{0xfc, 7, 0x0b}, ""},
		"sign":        {[]byte{0x41, 0, 0xc0, 0x1a, 0x0b}, ""},
		"vector":      {[]byte{0xfd, 0x0c}, "SIMD in function 1"},
		"atomics":     {[]byte{0xfe, 0x10, 2, 0}, "threads in function 1"},
		"tail":        {[]byte{0x12, 0}, "a tail call in function 1"},
		"exceptions":  {[]byte{0x08, 0}, "exception handling in function 1"},
		"references":  {[]byte{0xd0, 0x70}, "reference types in function 1"},
		"table.copy":  {[]byte{0xfc, 14, 0, 0}, "a table instruction (0xfc 14) in function 1"},
		"multi-value": {[]byte{0x02, 0}, "a block with parameters or several results in function 1"},
		"unknown":     {[]byte{0xff}, "instruction 0xff in function 1"},
	} {
		info, err := Inspect(withCode(x.code...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info.Unsupported != x.want {
			t.Errorf("%s: %q, want %q", name, info.Unsupported, x.want)
		}
		if err := Check(info, manifest()); (x.want == "") != (err == nil) || x.want != "" && ReasonOf(err) != ReasonNotWasm {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, code := range map[string][]byte{"cut constant": {0x41, 0x80}, "cut float": {0x44, 0}, "endless br_table": {0x0e, 0xff, 0xff, 0xff, 0x0f, 0}} {
		if _, err := Inspect(withCode(code...)); ReasonOf(err) != ReasonNotWasm {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCounts(t *testing.T) {
	b := wasm(
		section(sectionType, vec(typStart)),
		section(sectionFunction, vec([]byte{0}, []byte{0})),
		section(sectionTable, vec([]byte{0x70, 0, 10}, []byte{0x70, 1, 5, 20})),
		section(sectionMemory, vec([]byte{1, 1, 4})),
		section(sectionExport, vec(export("wasmbed_start", 0, 1), export("memory", 2, 0))),
		section(sectionStart, []byte{0}),
		section(sectionElement, vec([]byte{0, 0x41, 0, 0x0b, 2, 0, 1}, []byte{1, 0, 1, 0})),
		section(sectionCode, vec([]byte{8, 2, 100, 0x7f, 20, 0x7c, 0x41, 0, 0x0b}, body)),
		section(sectionData, vec([]byte{0, 0x41, 0, 0x0b, 2, 'h', 'i'}, []byte{1, 1, 'x'})),
	)
	info, err := Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	want := shape{kept: len(b), types: 1, typeValues: 1, locals: 120, mostLocals: 120, tables: 2, tableEntries: 15, mostEntries: 10,
		elements: 2, elementValues: 3, data: 2}
	if info.shape != want || info.StartIndex != 0 || info.Largest != (Function{0, "", 8}) || info.MaxPages != 4 {
		t.Errorf("%+v", info)
	}
	many := slices.Replace(slices.Clone(b), bytes.Index(b, []byte{100, 0x7f}), bytes.Index(b, []byte{100, 0x7f})+1, 0x64)
	if _, err := Inspect(many); err != nil {
		t.Error(err)
	}
	info.shape.mostLocals = maxLocals + 1
	if err := Check(info, manifest()); ReasonOf(err) != ReasonNotWasm || !strings.Contains(err.Error(), "locals") {
		t.Error(err)
	}
	info.shape.mostLocals, info.shape.mostEntries = 0, maxEntries+1
	if err := Check(info, manifest()); ReasonOf(err) != ReasonNotWasm || !strings.Contains(err.Error(), "entries") {
		t.Error(err)
	}
}

func TestFit(t *testing.T) {
	info := sample(t, "hello")
	m := v1alpha1.Manifest{}
	for name, x := range map[string]struct {
		room   Room
		reason string
	}{
		"unknown":     {Room{}, ""},
		"fits":        {Room{"B", 358, 12223, []string{"log", "telemetry"}}, ""},
		"size":        {Room{"B", 357, 1 << 20, nil}, ReasonModuleTooLarge},
		"memory":      {Room{"B", 358, 12222, nil}, ReasonInsufficientMemory},
		"permissions": {Room{"B", 358, 1 << 20, []string{"log"}}, ReasonMissingImport},
	} {
		p := Fit(info, m, x.room)
		if (p == nil) != (x.reason == "") || p != nil && (p.Reason != x.reason || !strings.Contains(p.Message, "B")) {
			t.Errorf("%s: %v", name, p)
		}
	}
	large := v1alpha1.Manifest{Limits: v1alpha1.Limits{StackBytes: 65536}}
	if p := Fit(info, large, Room{ModuleMemory: 64 << 10}); p == nil {
		t.Error("a stack of 64 KiB fits into 64 KiB")
	}
}
