package wazero

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/api"
)

// The table of imports in docs/spec/abi.md is the one that this engine has. (The core has its own: the conformance module,
// which imports all of it, is loaded by both.)
func TestSpecifiedImports(t *testing.T) {
	b, err := os.ReadFile("../../../docs/spec/abi.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "\n## Imports\n")
	if !ok {
		t.Fatal("no section Imports")
	}
	text, _, _ = strings.Cut(text, "\n## ")
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| `\\((.*)\\) -> (\\(\\)|i32|i64)` \\| `?([a-z]+)`? \\|$")
	types := map[string]api.ValueType{"i32": i32, "i64": i64, "f64": f64}
	seen := map[string]bool{}
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		name, result := m[1], m[3]
		f, ok := imports[name]
		if !ok {
			t.Errorf("%s is specified and not there", name)
			continue
		}
		seen[name] = true
		var params []api.ValueType
		if m[2] != "" {
			for _, p := range strings.Split(m[2], ", ") {
				_, typ, _ := strings.Cut(p, ": ")
				params = append(params, types[typ])
			}
		}
		if string(params) != string(f.params) || (result == "()") != (len(f.results) == 0) || len(f.results) == 1 && f.results[0] != types[result] {
			t.Errorf("%s: specified as %s, is %v -> %v", name, m[0], f.params, f.results)
		}
	}
	for name := range imports {
		if !seen[name] {
			t.Errorf("%s is there and not specified", name)
		}
	}
}
