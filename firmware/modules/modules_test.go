package modules

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The committed modules are those that digests.txt names, all of them and no others.
func TestDigests(t *testing.T) {
	text, err := Digests()
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]string{}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		digest, file, ok := strings.Cut(s.Text(), "  ")
		if !ok {
			t.Fatalf("digests.txt: %q", s.Text())
		}
		named[strings.TrimSuffix(file, ".wasm")] = digest
	}
	names, err := Names()
	if err != nil || len(names) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, name := range names {
		b, err := Get(name)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		if got := hex.EncodeToString(sum[:]); got != named[name] {
			t.Errorf("%s.wasm is %s, digests.txt says %q: make -C firmware/modules", name, got, named[name])
		}
		if len(b) > 4096 {
			t.Errorf("%s.wasm has %d bytes: a sample is small", name, len(b))
		}
		delete(named, name)
	}
	for name := range named {
		t.Errorf("digests.txt names %s.wasm, which is not there", name)
	}
}

// Where the clang is that built them, the sources still give the same bytes.
func TestRebuild(t *testing.T) {
	version, err := exec.Command("clang", "--version").Output()
	if err != nil || !strings.Contains(string(version), "clang version 14.") {
		t.Skip("needs the clang that built the samples, 14")
	}
	if _, err := exec.LookPath("wasm-ld"); err != nil {
		t.Skip("needs wasm-ld")
	}
	dir := t.TempDir()
	for _, name := range []string{"hello", "counter", "trapper", "conformance"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"wasmbed.h", "Makefile"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{"hello", "hello-v2", "hello-bad", "counter", "trapper", "conformance"}
	args := []string{"-B", "-s", "-C", dir}
	for _, name := range names {
		args = append(args, name+".wasm")
	}
	if out, err := exec.Command("make", args...).CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
	for _, name := range names {
		committed, err := Get(name)
		if err != nil {
			t.Fatal(err)
		}
		built, err := os.ReadFile(filepath.Join(dir, name+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(committed, built) {
			t.Errorf("%s.wasm is not what its source gives: make -C firmware/modules", name)
		}
	}
}

// The lock file names packages and their hashes, and no host to get them from: each place has its own registry.
func TestLockNamesNoHost(t *testing.T) {
	b, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Resolved, Integrity string }
	}
	if err := json.Unmarshal(b, &lock); err != nil || len(lock.Packages) < 2 {
		t.Fatalf("package-lock.json: %v, %d packages", err, len(lock.Packages))
	}
	for name, p := range lock.Packages {
		if p.Resolved != "" {
			t.Errorf("%s has a resolved URL", name)
		}
		if name != "" && p.Integrity == "" {
			t.Errorf("%s has no integrity", name)
		}
	}
}
