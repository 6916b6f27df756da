package v1alpha1_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// TestDefaultsAreAsGoWritesThem: a default of a duration in other words than Go's would be put into Go's by the first function
// that writes the object, and that would look like a change of its spec.
func TestDefaultsAreAsGoWritesThem(t *testing.T) {
	files, err := filepath.Glob("../../config/crd/wasmbed.io_*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	seen := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^\s+default: "?(\d[0-9a-z.]*[a-z])"?$`).FindAllSubmatch(b, -1) {
			d, err := time.ParseDuration(string(m[1]))
			if err != nil {
				continue // another kind of value
			}
			if seen++; d.String() != string(m[1]) {
				t.Errorf("%s: the default %s is written %s by Go", filepath.Base(f), m[1], d)
			}
		}
	}
	if seen < 8 {
		t.Errorf("%d durations found", seen)
	}
}
