package compile

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/source"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

const ascFolder = "../../firmware/modules/node_modules/assemblyscript"

func start(t *testing.T) *Function {
	d := Deps{Cache: t.TempDir()}
	if _, err := os.Stat(ascFolder); err == nil {
		d.AssemblyScript = ascFolder
	}
	return New(d)
}

// available skips, and says so, where the language's tools are not there.
func available(t *testing.T, f *Function, name string) {
	t.Helper()
	all, err := f.Languages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if l.Name == name && !l.Available {
			t.Skipf("not run: %s", l.Why)
		}
	}
}

func compile(t *testing.T, f *Function, r source.Request) source.Result {
	t.Helper()
	out, err := f.Compile(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestTemplates: every template compiles without a finding to a module that devices take with the manifest that it
// names, and that is small.
func TestTemplates(t *testing.T) {
	f := start(t)
	all, err := f.Templates(t.Context())
	if err != nil || len(all) < 9 {
		t.Fatalf("%d templates, %v", len(all), err)
	}
	for _, tp := range all {
		t.Run(tp.Name, func(t *testing.T) {
			available(t, f, tp.Language)
			r := source.Request{Language: tp.Language, Files: tp.Files}
			out := compile(t, f, r)
			if len(out.Diagnostics) > 0 || out.Size == 0 {
				t.Fatalf("%+v\n%s", out.Diagnostics, out.Log)
			}
			info, err := module.Inspect(out.Module)
			if err != nil {
				t.Fatal(err)
			}
			m := v1alpha1.Manifest{Limits: v1alpha1.Limits{MemoryPages: 1}}
			for _, p := range tp.Permissions {
				m.Permissions = append(m.Permissions, v1alpha1.Permission(p))
			}
			if err := module.Check(info, m); err != nil {
				t.Error(err)
			}
			if out.Size > 2048 {
				t.Errorf("%d bytes", out.Size)
			}
			again := compile(t, f, r)
			if !again.Cached || again.Digest != out.Digest {
				t.Errorf("compiled again: %+v", again)
			}
			t.Logf("%s: %d bytes by %s in %.2f s", tp.Name, out.Size, out.Compiler, out.Seconds)
		})
	}
}

// TestFindings: where it is wrong is said as an editor needs it.
func TestFindings(t *testing.T) {
	f := start(t)
	for _, c := range []struct {
		language, file, text string
		line                 int
		says                 string
	}{
		{"c", "main.c", "#include \"wasmbed.h\"\nWASMBED_EXPORT(\"wasmbed_start\") int start(void) {\n    return nothing;\n}\n", 3, "nothing"},
		{"c", "main.c", "#include \"wasmbed.h\"\nint away(void);\nWASMBED_EXPORT(\"wasmbed_start\") int start(void) { return away(); }\n", 0, "undefined symbol: away"},
		{"rust", "main.rs", "#![no_std]\nmod wasmbed;\n#[no_mangle]\npub extern \"C\" fn wasmbed_start() -> i32 { nothing }\n", 4, "nothing"},
		{"assemblyscript", "main.ts", "export function wasmbed_start(): i32 {\n  return nothing;\n}\n", 2, "nothing"},
		{"wat", "main.wat", "(module\n  (func (export \"wasmbed_start\") (result i32)\n    (i64.const 0)))\n", 0, "type mismatch"},
	} {
		t.Run(c.language+" "+c.says, func(t *testing.T) {
			available(t, f, c.language)
			out := compile(t, f, source.Request{Language: c.language, Files: map[string]string{c.file: c.text}})
			if out.Size != 0 || len(out.Diagnostics) == 0 {
				t.Fatalf("%+v", out)
			}
			for _, d := range out.Diagnostics {
				if d.Severity == source.Error && strings.Contains(d.Message, c.says) && (c.line == 0 || d.Line == c.line && d.Column > 0 && d.File == c.file) {
					return
				}
			}
			t.Errorf("%+v\n%s", out.Diagnostics, out.Log)
		})
	}
}

// TestSandbox: what is compiled sees nothing of the machine, and cannot hold it up.
func TestSandbox(t *testing.T) {
	f := start(t)
	available(t, f, "c")
	secret := t.TempDir() + "/secret"
	if err := os.WriteFile(secret, []byte("#error LEAKED\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SECRET", "LEAKED")
	for _, include := range []string{secret, "/etc/passwd", "/proc/1/environ", "/etc/shadow", "/sys/kernel/hostname"} {
		out := compile(t, f, source.Request{Language: "c", Files: map[string]string{"main.c": "#include \"" + include + "\"\n"}})
		if strings.Contains(string(out.Module), "LEAKED") || strings.Contains(out.Log, "LEAKED") || strings.Contains(out.Log, "root:") {
			t.Errorf("%s was seen: %s", include, out.Log)
		}
	}
	// A bomb: every include doubles what is to be read.
	bomb := source.Request{Language: "c", Files: map[string]string{"main.c": "#include \"main.c\"\n#include \"main.c\"\n"}}
	if out := compile(t, f, bomb); out.Size != 0 {
		t.Error("the bomb compiled")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	slow := source.Request{Language: "c", Files: map[string]string{"main.c": "#define B(x) x x\n#define C(x) B(B(x))\n#define D(x) C(C(C(x)))\n#define E(x) D(D(D(x)))\nint a[] = {E(E(1,))};\n"}}
	if _, err := f.Compile(ctx, slow); !errs.Is(err, errs.Deadline) {
		t.Errorf("it went on: %v", err)
	}
}

func TestRefused(t *testing.T) {
	f := start(t)
	good := map[string]string{"main.c": "int x;"}
	for _, c := range []struct {
		r    source.Request
		code errs.Code
	}{
		{source.Request{Language: "cobol", Files: good}, errs.Invalid},
		{source.Request{Language: "c"}, errs.Invalid},
		{source.Request{Language: "c", Files: map[string]string{"other.c": ""}}, errs.Invalid},
		{source.Request{Language: "c", Files: map[string]string{"main.c": "", "../x": ""}}, errs.Invalid},
		{source.Request{Language: "c", Files: map[string]string{"main.c": "", "-o": ""}}, errs.Invalid},
		{source.Request{Language: "c", Files: map[string]string{"main.c": "", "wasmbed.h": ""}}, errs.Invalid},
		{source.Request{Language: "c", Files: map[string]string{"main.c": strings.Repeat(" ", maxSource+1)}}, errs.TooLarge},
		{source.Request{Language: "c", Files: good, Stack: 17}, errs.Invalid},
		{source.Request{Language: "c", Files: good, Pages: 1000}, errs.Invalid},
	} {
		if _, err := f.Compile(t.Context(), c.r); !errs.Is(err, c.code) {
			t.Errorf("%+v: %v", c.r, err)
		}
	}
}

// TestHeaderIsTheABIs: the header that sources get is the one of the sample modules.
func TestHeaderIsTheABIs(t *testing.T) {
	want, err := os.ReadFile("../../firmware/modules/wasmbed.h")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range languages() {
		for name, text := range l.sdk {
			if text == "" {
				t.Errorf("%s: %s is empty", l.name, name)
			}
		}
	}
	if got := languageOf("c").sdk["wasmbed.h"]; got != string(want) {
		t.Error("functions/compile/sdk/wasmbed.h differs from firmware/modules/wasmbed.h: copy it")
	}
}

func FuzzFindings(f *testing.F) {
	f.Add("main.c:3:5: error: x\nwasm-ld: error: y\n")
	f.Add(`{"message":"m","level":"error","spans":[{"file_name":"main.rs","line_start":1,"column_start":2,"is_primary":true}]}`)
	f.Add("wasm-ld: error: \nmain.c:1:1: \n")
	f.Add("ERROR TS2304: Cannot find name 'x'.\n   :\n 2 | x\n   in main.ts(2,10)\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, l := range languages() {
			for _, d := range l.findings(s) {
				if d.Message == "" && d.Line == 0 {
					t.Errorf("%s: an empty finding in %q", l.name, s)
				}
			}
		}
	})
}
