package scenario

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wasmbed.io/wasmbed/api/source"
)

// TestDev: in each language that can be compiled here, a template becomes a folder, runs on a device by the very command that
// was printed with it, and runs anew when its source changes; what does not compile is said with its place, and mended.
func TestDev(t *testing.T) {
	p := newPlatform(t, "devices")
	p.env = append(p.env, "WASMBED_SAMPLE=false")
	if as, err := filepath.Abs("../../../firmware/modules/node_modules/assemblyscript"); err == nil {
		if _, err := os.Stat(as); err == nil {
			p.env = append(p.env, "WASMBED_COMPILE_ASSEMBLYSCRIPT="+as)
		}
	}
	p.start()
	p.devices("d", 1, p.at.Address)
	p.online("d")
	var languages []source.Language
	var templates []source.Template
	for what, into := range map[string]any{"languages": &languages, "templates": &templates} {
		out, stderr, code := p.cli(what, "-o", "json")
		if err := json.Unmarshal([]byte(out), into); code != 0 || err != nil {
			t.Fatalf("%s: %d %v %s", what, code, err, stderr)
		}
	}
	tried := 0
	for _, l := range languages {
		if !l.Available {
			if l.Why == "" {
				t.Errorf("%s cannot be compiled, and it is not said why", l.Title)
			}
			t.Logf("%s: %s", l.Title, l.Why)
			continue
		}
		for _, tpl := range templates {
			if tpl.Language == l.Name && strings.Contains(tpl.Files[l.Main], "hello") {
				tried++
				t.Run(l.Name, func(t *testing.T) { develop(t, p, l, tpl) })
				break
			}
		}
	}
	if tried == 0 {
		t.Error("nothing can be compiled here: clang and lld, or wabt, are needed, and bubblewrap")
	}
}

func develop(t *testing.T, p *platform, l source.Language, tpl source.Template) {
	dir := filepath.Join(t.TempDir(), "my-"+tpl.Name)
	out, stderr, code := p.cli("templates", tpl.Name, "--out", dir)
	_, next, ok := strings.Cut(out, "  wasmbed ")
	if code != 0 || !ok {
		t.Fatalf("templates: %d %s%s", code, out, stderr)
	}
	dev := p.spawn("dev-"+l.Name, filepath.Join(p.bin, "wasmbed"), os.Environ(), append([]string{"--state", p.dir}, strings.Fields(next)...)...)
	said := func() string {
		b, err := os.ReadFile(dev.log)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	main := filepath.Join(dir, l.Main)
	slow := 0
	again := func() { // a busy machine may need longer for a compilation than it may take
		if n := strings.Count(said(), "took longer than"); n > slow {
			slow = n
			at := time.Now().Add(time.Duration(n) * 2 * time.Hour)
			if err := os.Chtimes(main, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	runs := func(n int) {
		t.Helper()
		until(t, fmt.Sprintf("version %d runs", n), func() error {
			select {
			case <-dev.done:
				t.Fatalf("it ended:\n%s", said())
			default:
			}
			again()
			if s := said(); strings.Count(s, "bytes run after") < n {
				return fmt.Errorf("said\n%s", s)
			}
			return nil
		})
	}
	runs(1)
	b, err := os.ReadFile(main)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(main, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Hour) // a file system's clock may be too coarse to tell two writes apart
		if err := os.Chtimes(main, at, at); err != nil {
			t.Fatal(err)
		}
	}
	text := string(b)
	changed := strings.Replace(text, "hello", "howdy", 1)
	if changed == text {
		t.Fatalf("the template %s does not say hello", tpl.Name)
	}
	write("this is of no language at all (\n" + text)
	until(t, "what is wrong is said with its place", func() error {
		again()
		if s := said(); !strings.Contains(s, l.Main+":") || !strings.Contains(s, "does not compile") {
			return fmt.Errorf("said\n%s", s)
		}
		return nil
	})
	write(changed)
	runs(2)
	if out, stderr, code := p.cli("compile", dir, "--out", filepath.Join(t.TempDir(), "m.wasm"), "-o", "json"); code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("compile -o json: %d %s%s", code, out, stderr)
	}
	if err := dev.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-dev.done
	if code := dev.cmd.ProcessState.ExitCode(); code != 0 && code != 130 {
		t.Errorf("Ctrl-C ends it with %d:\n%s", code, said())
	}
	if out, stderr, code := p.cli("apps", "delete", "my-"+tpl.Name); code != 0 {
		t.Errorf("apps delete: %d %s%s", code, out, stderr)
	}
}
