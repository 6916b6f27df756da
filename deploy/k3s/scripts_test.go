package k3s

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// script runs one of the scripts, with only the programs that are named on PATH besides the system's.
func script(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("bash", args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// recorder is a kubectl that notes what it was asked, and answers that everything is there.
func recorder(t *testing.T) (path, log string) {
	t.Helper()
	dir := t.TempDir()
	log = filepath.Join(dir, "log")
	text := "#!/bin/sh\nprintf '%s\\n' \"$*\" >>'" + log + "'\n"
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, log
}

func kubeconfig(t *testing.T) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(p, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestDryRun: every step is printed, and nothing that would change anything is run.
func TestDryRun(t *testing.T) {
	dir, log := recorder(t)
	for name, args := range map[string][]string{
		"install k3s":     {"install.sh", "--dry-run"},
		"install":         {"install.sh", "--dry-run", "--kubeconfig", kubeconfig(t)},
		"without knative": {"install.sh", "--dry-run", "--without-knative", "--kubeconfig", kubeconfig(t), "--image-archive", "x.tar"},
		"uninstall":       {"uninstall.sh", "--dry-run", "--with-knative", "--kubeconfig", kubeconfig(t)},
		"uninstall, keep": {"uninstall.sh", "--dry-run", "--keep-data", "--kubeconfig", kubeconfig(t)},
	} {
		out, err := script(t, []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, args...)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if !strings.Contains(out, "\n== ") || !strings.Contains(out, "\n  + ") {
			t.Errorf("%s prints no steps or no commands:\n%s", name, out)
		}
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		verb := ""
		for f := strings.Fields(line); len(f) > 0 && verb == ""; f = f[1:] {
			switch {
			case f[0] == "--kubeconfig" || f[0] == "-n":
				f = f[1:]
			case !strings.HasPrefix(f[0], "-"):
				verb = f[0]
			}
		}
		if !slices.Contains([]string{"get", "version"}, verb) {
			t.Errorf("a dry run ran kubectl %s", line)
		}
	}
}

// TestErrors: what cannot go on says why, and what to do.
func TestErrors(t *testing.T) {
	values := func(text string) string {
		p := filepath.Join(t.TempDir(), "values.env")
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for want, args := range map[string][]string{
		"unknown argument --nonsense":    {"install.sh", "--nonsense"},
		"there is no value REPLICAS":     {"install.sh", "--dry-run", "--values", values("REPLICAS=2\n")},
		"characters that no value needs": {"install.sh", "--dry-run", "--values", values("TRUST_DOMAIN=$(touch x)\n")},
		"nowhere is not there":           {"install.sh", "--dry-run", "--kubeconfig", "nowhere"},
		"this deletes every Device":      {"uninstall.sh", "--kubeconfig", "nowhere"},
		"do not go together":             {"uninstall.sh", "--keep-data", "--with-k3s", "--dry-run"},
		"nowhere.json is not there":      {"restore.sh", "nowhere.json"},
	} {
		out, err := script(t, nil, args...)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v\n%s\nwant %q", args, err, out, want)
		}
	}
}

// TestDownloadsArePinned: each download names a version, and checksums.txt knows no others than those.
func TestDownloadsArePinned(t *testing.T) {
	out, err := script(t, nil, "-c", ". ./lib.sh; downloads")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	names := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		name, url, _ := strings.Cut(line, " ")
		names[name] = true
		if !strings.HasPrefix(url, "https://") || !regexp.MustCompile(`v1\.[0-9]+\.[0-9]+`).MatchString(url) || strings.Contains(url, "latest") {
			t.Errorf("%s is not pinned: %s", name, url)
		}
	}
	b, err := os.ReadFile("checksums.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if m := regexp.MustCompile(`^[0-9a-f]{64}  (\S+)$`).FindStringSubmatch(line); m == nil || !names[m[1]] {
			t.Errorf("checksums.txt: %q", line)
		}
	}
}

// TestFetch: a file with another digest is refused, and so is one that nobody has a digest of.
func TestFetch(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lib.sh"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, "deploy", "k3s"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "deploy", "k3s", name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := script(t, nil, "-c", ". ./lib.sh; downloads | head -3 | tail -1 | cut -d' ' -f1")
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSpace(out)
	cache := filepath.Join(dir, "cache")
	if err := os.Mkdir(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cache, name), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	fetch := func(checksums string) (string, error) {
		if err := os.WriteFile(filepath.Join(dir, "deploy", "k3s", "checksums.txt"), []byte(checksums), 0o600); err != nil {
			t.Fatal(err)
		}
		return script(t, []string{"WASMBED_CACHE=" + cache}, "-c", ". '"+dir+"/deploy/k3s/lib.sh'; fetch '"+name+"'")
	}
	if out, err := fetch("2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881  " + name + "\n"); err != nil || !strings.Contains(out, filepath.Join(cache, name)) {
		t.Errorf("the right digest: %v\n%s", err, out)
	}
	if out, err := fetch(strings.Repeat("0", 64) + "  " + name + "\n"); err == nil || !strings.Contains(out, "is not what it should be") {
		t.Errorf("another digest: %v\n%s", err, out)
	}
	if out, err := fetch("# none\n"); err == nil || !strings.Contains(out, "--update-checksums") {
		t.Errorf("no digest: %v\n%s", err, out)
	}
}
