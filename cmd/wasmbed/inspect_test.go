package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// offlineRun runs the command where no platform is.
func offlineRun(t *testing.T, args ...string) (string, error) {
	t.Helper()
	t.Setenv("WASMBED_SERVER", "")
	t.Setenv("WASMBED_DIR", t.TempDir())
	var out bytes.Buffer
	root := newRoot(&out, &out)
	root.SetArgs(args)
	err := root.Execute()
	return out.String(), err
}

const helloModule = "../../firmware/modules/hello.wasm"

func TestInspectTable(t *testing.T) {
	out, err := offlineRun(t, "inspect", helloModule)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"358 bytes", "up to __heap_base", "wasmbed_start, wasmbed_timer", "wasmbed.telemetry", "12223 bytes of RAM",
		"Stm32Vldiscovery", "no, Unsupported: 8 KiB of RAM",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	for _, b := range provisioner.Boards() {
		if !strings.Contains(out, b.Name) {
			t.Errorf("board %s is missing", b.Name)
		}
	}
}

func TestInspectJSON(t *testing.T) {
	out, err := offlineRun(t, "inspect", helloModule, "--board", "FrdmK64f", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var got inspection
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(got.Boards) != 1 || !got.Boards[0].Fits || got.Needs.Total != 12223 || len(got.Imports) != 2 || got.Refused != "" || got.Linear.HeapBase == 0 {
		t.Errorf("%+v", got)
	}
}

func TestInspectRefuses(t *testing.T) {
	for name, x := range map[string]struct {
		args []string
		code errs.Code
		want string
	}{
		"does not fit": {[]string{helloModule, "--board", "FrdmK64f", "--stack", "1048576"}, errs.Invalid, "does not fit on FrdmK64f"},
		"no board":     {[]string{helloModule, "--board", "Abacus"}, errs.NotFound, "no board"},
		"no file":      {[]string{"missing.wasm"}, errs.NotFound, "missing.wasm"},
		"no module":    {[]string{"inspect.go"}, errs.Invalid, "NotWasm"},
	} {
		_, err := offlineRun(t, append([]string{"inspect"}, x.args...)...)
		if !errs.Is(err, x.code) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A module that asks for what does not exist is shown whole, and refused.
func TestInspectUnknownImport(t *testing.T) {
	b, err := os.ReadFile(helloModule)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.wasm")
	if err := os.WriteFile(file, bytes.Replace(b, []byte("telemetry"), []byte("teleporty"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := offlineRun(t, "inspect", file)
	if !errs.Is(err, errs.Invalid) || !strings.Contains(out, "wasmbed.teleporty, which does not exist") || !strings.Contains(out, "BOARD") {
		t.Errorf("%v\n%s", err, out)
	}
}

// What is said of a board is what planning decides by.
func TestInspectAgreesWithPlanning(t *testing.T) {
	b, err := os.ReadFile("../../firmware/modules/hello-as.wasm")
	if err != nil {
		t.Fatal(err)
	}
	info, err := module.Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	m := v1alpha1.Manifest{}
	m.Default()
	for _, line := range inspect(info, m, provisioner.Boards()).Boards {
		need := module.EstimateMemory(info, m)
		if board, _ := provisioner.BoardNamed(line.Board); board.Refused == "" && line.Fits != (need <= board.ModuleMemory) {
			t.Errorf("%+v, needs %d", line, need)
		}
	}
}
