package ledger

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// same fails the test when two values differ as JSON, and shows the lines that do, with some before them.
func same(t testing.TB, what string, got, want any) {
	t.Helper()
	g, _ := json.MarshalIndent(got, "", " ")
	w, _ := json.MarshalIndent(want, "", " ")
	if string(g) == string(w) {
		return
	}
	gl, wl := strings.Split(string(g), "\n"), strings.Split(string(w), "\n")
	i := 0
	for i < len(gl) && i < len(wl) && gl[i] == wl[i] {
		i++
	}
	part := func(l []string) string {
		return fmt.Sprintf("from line %d:\n%s", max(0, i-60)+1, strings.Join(l[max(0, i-60):min(len(l), i+12)], "\n"))
	}
	t.Fatalf("%s: line %d differs\ngot  %s\nwant %s", what, i+1, part(gl), part(wl))
}
