package module

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// wasm assembles a module of the given sections.
func wasm(sections ...[]byte) []byte {
	return append([]byte("\x00asm\x01\x00\x00\x00"), bytes.Join(sections, nil)...)
}

func section(id byte, body ...[]byte) []byte {
	b := bytes.Join(body, nil)
	return append([]byte{id}, append(binary.AppendUvarint(nil, uint64(len(b))), b...)...)
}

func vec(items ...[]byte) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(items))), bytes.Join(items, nil)...)
}

func str(s string) []byte { return append(binary.AppendUvarint(nil, uint64(len(s))), s...) }

func function(module, name string, typ byte) []byte {
	return bytes.Join([][]byte{str(module), str(name), {0, typ}}, nil)
}

func export(name string, kind, index byte) []byte { return append(str(name), kind, index) }

// i32Global is a constant of 64 to 8191.
func i32Global(mutable byte, value int) []byte {
	return []byte{0x7f, mutable, 0x41, byte(value&0x7f | 0x80), byte(value >> 7), 0x0b}
}

var (
	typLog   = []byte{0x60, 3, 0x7f, 0x7f, 0x7f, 0}
	typStart = []byte{0x60, 0, 1, 0x7f}
	typGPIO  = []byte{0x60, 2, 0x7f, 0x7f, 1, 0x7f}
	body     = []byte{4, 0, 0x41, 0, 0x0b}
)

// hello imports log, exports wasmbed_start, memory, __heap_base = 1024 and __data_end = 1008, and has one page and a
// stack pointer of 512.
func hello(imports ...[]byte) []byte {
	if imports == nil {
		imports = [][]byte{function("wasmbed", "log", 0)}
	}
	n := byte(len(imports))
	return wasm(
		section(sectionType, vec(typLog, typStart, typGPIO)),
		section(sectionImport, vec(imports...)),
		section(sectionFunction, vec([]byte{1})),
		section(sectionMemory, vec([]byte{0, 1})),
		section(sectionGlobal, vec(i32Global(1, 512), i32Global(0, 1024), i32Global(0, 1008))),
		section(sectionExport, vec(export("wasmbed_start", 0, n), export("memory", 2, 0), export("__heap_base", 3, 1), export("__data_end", 3, 2))),
		section(sectionCode, vec(body)),
		section(sectionCustom, str("name"), []byte("whatever")),
	)
}

func manifest() v1alpha1.Manifest {
	var m v1alpha1.Manifest
	m.Default()
	return m
}

func TestInspect(t *testing.T) {
	b := hello()
	info, err := Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	if info.Digest != Digest(b) || info.Size != len(b) || info.MemoryPages != 1 || info.Functions != 1 || info.HeapBase != 1024 ||
		info.DataEnd != 1008 || info.StackSize != 512 || info.Grows || info.StartIndex != -1 || info.Largest != (Function{1, "wasmbed_start", 4}) {
		t.Errorf("got %+v", info)
	}
	if len(info.Imports) != 1 || info.Imports[0].String() != "wasmbed.log" || info.Imports[0].Type.String() != "(i32, i32, i32) -> ()" {
		t.Errorf("imports %+v", info.Imports)
	}
	if len(info.Exports) != 4 || info.Exports[0].Name != "wasmbed_start" || info.Exports[0].Type.String() != "() -> (i32)" {
		t.Errorf("exports %+v", info.Exports)
	}
	if err := Check(info, manifest()); err != nil {
		t.Error(err)
	}
	want := Memory{Linear: 1024, Stack: 4096, Code: int64(len(b) - len(section(sectionCustom, str("name"), []byte("whatever"))))}
	want.Engine = needFixed + 3*needType + 7 + needImport + needFunction + 3*needGlobal + 4*needExport + needFunctionExport
	want.Total = want.Linear + want.Stack + want.Code + want.Engine
	if got := EstimateParts(info, manifest()); got != want || EstimateMemory(info, manifest()) != want.Total {
		t.Errorf("estimate %+v, want %+v", got, want)
	}
	if p := Permissions(info); len(p) != 1 || p[0] != v1alpha1.PermissionLog {
		t.Errorf("permissions %v", p)
	}
}

func TestInspectRefuses(t *testing.T) {
	long := strings.Repeat("x", maxName+1)
	for name, tc := range map[string]struct {
		b    []byte
		text string
	}{
		"empty":             {nil, "does not begin with \\0asm"},
		"text":              {[]byte("(module)"), "does not begin"},
		"component":         {[]byte("\x00asm\x0d\x00\x01\x00"), "is a component"},
		"version":           {[]byte("\x00asm\x02\x00\x00\x00"), "binary version"},
		"cut":               {hello()[:40], "cut short"},
		"unknown section":   {wasm(section(99)), "unknown section 99"},
		"order":             {wasm(section(sectionFunction, vec()), section(sectionType, vec())), "out of order"},
		"twice":             {wasm(section(sectionType, vec()), section(sectionType, vec())), "out of order"},
		"huge count":        {wasm(section(sectionType, []byte{0xff, 0xff, 0xff, 0xff, 0x0f})), "at most"},
		"over-long integer": {wasm([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}), "more than 32 bits"},
		"long name":         {wasm(section(sectionImport, vec(function(long, "f", 0)))), "name of 129 bytes"},
		"not utf-8":         {wasm(section(sectionImport, vec(function("\xff", "f", 0)))), "not UTF-8"},
		"no such type":      {wasm(section(sectionFunction, vec([]byte{7}))), "type 7 does not exist"},
		"no such function":  {wasm(section(sectionExport, vec(export("f", 0, 3)))), "function 3 does not exist"},
		"two memories":      {wasm(section(sectionMemory, vec([]byte{0, 1}, []byte{0, 1}))), "at most 1"},
		"64-bit memory":     {wasm(section(sectionMemory, vec([]byte{4, 1}))), "64-bit"},
		"no bodies":         {wasm(section(sectionType, vec(typStart)), section(sectionFunction, vec([]byte{0}))), "0 have a body"},
		"same export":       {wasm(section(sectionMemory, vec([]byte{0, 1})), section(sectionExport, vec(export("m", 2, 0), export("m", 2, 0)))), "two exports"},
		"bytes left":        {wasm(section(sectionMemory, vec(), []byte{1})), "1 bytes too many"},
	} {
		_, err := Inspect(tc.b)
		if !errs.Is(err, errs.Invalid) || ReasonOf(err) != ReasonNotWasm || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v, want %q", name, err, tc.text)
		}
	}
	if _, err := Inspect(make([]byte, MaxSize+1)); !errs.Is(err, errs.TooLarge) || ReasonOf(err) != ReasonModuleTooLarge {
		t.Errorf("too large: %v", err)
	}
}

func TestCheckRefuses(t *testing.T) {
	noStart := wasm(section(sectionType, vec(typLog)))
	wrongStart := wasm(section(sectionType, vec(typLog)), section(sectionImport, vec(function("wasmbed", "log", 0))),
		section(sectionExport, vec(export("wasmbed_start", 0, 0))))
	noMemory := wasm(section(sectionType, vec(typStart)), section(sectionFunction, vec([]byte{0})),
		section(sectionExport, vec(export("wasmbed_start", 0, 0))), section(sectionCode, vec(body)))
	big := bytes.Replace(hello(), section(sectionMemory, vec([]byte{0, 1})), section(sectionMemory, vec([]byte{0, 3})), 1)
	for name, tc := range map[string]struct {
		b            []byte
		reason, text string
	}{
		"no start":        {noStart, ReasonNoEntryPoint, "exports no function wasmbed_start () -> (i32)"},
		"no memory":       {noMemory, ReasonNotWasm, "exports no memory"},
		"env memory":      {wasm(section(sectionImport, vec(append(append(str("env"), str("memory")...), 2, 0, 1)))), ReasonMissingImport, "imports memory env.memory"},
		"wrong start":     {wrongStart, ReasonNoEntryPoint, "export wasmbed_start is a function (i32, i32, i32) -> ()"},
		"wasi":            {hello(function("wasi_snapshot_preview1", "fd_write", 0)), ReasonMissingImport, "wasi_snapshot_preview1.fd_write"},
		"unknown":         {hello(function("wasmbed", "reboot", 0)), ReasonMissingImport, "imports function wasmbed.reboot, which does not exist"},
		"wrong type":      {hello(function("wasmbed", "log", 1)), ReasonMissingImport, "imports wasmbed.log as () -> (i32); it is (i32, i32, i32) -> ()"},
		"not permitted":   {hello(function("wasmbed", "gpio_write", 2)), ReasonPermissionDenied, `wasmbed.gpio_write, which needs permission "gpio"; manifest.permissions has log, clock, telemetry`},
		"too much memory": {big, ReasonInsufficientMemory, "3 pages (192 KiB) of memory, manifest.limits.memoryPages allows 1"},
	} {
		info, err := Inspect(tc.b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		err = Check(info, manifest())
		if !errs.Is(err, errs.Invalid) || ReasonOf(err) != tc.reason || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v, want %s with %q", name, err, tc.reason, tc.text)
		}
	}
}

// TestSamples: every sample module passes, with the permissions that it asks for.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("../../firmware/modules/*.wasm")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d sample modules, %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		info, err := Inspect(b)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		m := manifest()
		m.Permissions = Permissions(info)
		if err := Check(info, m); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		if n := EstimateMemory(info, m); n < 4096 || n > 128<<10 {
			t.Errorf("%s: estimate %d", f, n)
		}
	}
}

// TestABITable: the table here is the one of docs/spec/abi.md.
func TestABITable(t *testing.T) {
	b, err := os.ReadFile("../../docs/spec/abi.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| `\\(([^)]*)\\) -> ([^`]*)` \\| (`([a-z]+)`|none) \\|$")
	letter := map[string]string{"i32": "i", "i64": "I", "f64": "F", "()": ""}
	doc := map[string]HostFunction{}
	for _, m := range row.FindAllStringSubmatch(string(b), -1) {
		var fn HostFunction
		for _, p := range strings.Split(m[2], ", ") {
			if _, typ, ok := strings.Cut(p, ": "); ok {
				fn.Type.Params += letter[typ]
			}
		}
		fn.Type.Results = letter[m[3]]
		fn.Permission = v1alpha1.Permission(m[5])
		doc[m[1]] = fn
	}
	if got := hostFunctions(); !maps.Equal(got, doc) {
		t.Errorf("here    %v\nabi.md  %v", got, doc)
	}
}

func TestEveryPermissionHasAFunction(t *testing.T) {
	seen := map[v1alpha1.Permission]bool{}
	for name, fn := range hostFunctions() {
		if fn.Type == (FuncType{}) {
			t.Errorf("%s has no type", name)
		}
		seen[fn.Permission] = true
	}
	for _, p := range []v1alpha1.Permission{"log", "clock", "telemetry", "message", "kv", "gpio", "sensor", "timer", "random"} {
		if !seen[p] {
			t.Errorf("permission %s permits nothing", p)
		}
	}
}

// FuzzInspect: no input may panic, hang or allocate beyond the limits, and what passes obeys them.
func FuzzInspect(f *testing.F) {
	f.Add([]byte{})
	f.Add(hello())
	f.Add(hello(function("wasmbed", "gpio_write", 2), function("env", "memory", 2)))
	f.Add(wasm(section(sectionImport, vec(append(append(str("env"), str("m")...), 2, 1, 1, 2)))))
	files, err := filepath.Glob("../../firmware/modules/*.wasm")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := Inspect(b)
		if err != nil {
			if ReasonOf(err) == "" {
				t.Fatalf("no reason in %v", err)
			}
			return
		}
		if info.Digest != Digest(b) || len(info.Imports) > maxImports || len(info.Exports) > maxExports || info.Functions > maxFuncs {
			t.Fatalf("over a limit: %+v", info)
		}
		parts := EstimateParts(info, manifest())
		if parts.Linear < 0 || parts.Code < 8 || parts.Code > int64(len(b)) || parts.Engine < needFixed || parts.Total > 5<<32 {
			t.Fatalf("impossible estimate: %+v", parts)
		}
		if info.Largest.Size > len(b) || info.StackSize > info.HeapBase || info.shape.mostLocals > maxLocals+1 {
			t.Fatalf("impossible: %+v", info)
		}
		_ = Fit(info, manifest(), Room{ModuleMemory: 1, ModuleSize: 1 << 20})
		_ = Check(info, manifest())
	})
}
