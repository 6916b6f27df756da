package main

import (
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/cli.md anew")

const docPath = "../../docs/cli.md"

func TestDocIsCurrent(t *testing.T) {
	want := markdown(newRoot(io.Discard, io.Discard))
	if *update {
		if err := os.WriteFile(docPath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Fatalf("%s is not what the commands say: go generate ./cmd/wasmbed", docPath)
	}
}

// What is in the environment of who makes the reference, secrets above all, is not in it.
func TestDocIsAlikeEverywhere(t *testing.T) {
	before := markdown(newRoot(io.Discard, io.Discard))
	for _, v := range []string{"WASMBED_SERVER", "WASMBED_TOKEN", "WASMBED_NAMESPACE", "WASMBED_DIR", "WASMBED_CONTEXT"} {
		t.Setenv(v, "s3cret")
	}
	if after := markdown(newRoot(io.Discard, io.Discard)); after != before || strings.Contains(after, "s3cret") {
		t.Error("the reference depends on the environment")
	}
}

func TestEveryCommandHelps(t *testing.T) {
	names := map[string]bool{}
	walk(newRoot(io.Discard, io.Discard), func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: what is it for? %q", way(cmd), cmd.Short)
		}
		if cmd.Runnable() == cmd.HasAvailableSubCommands() && !cmd.Runnable() {
			t.Errorf("%s does nothing", way(cmd))
		}
		if names[way(cmd)] {
			t.Errorf("%s is there twice", way(cmd))
		}
		names[way(cmd)] = true
	})
	for _, g := range groups {
		for _, n := range g.names {
			if !names["wasmbed "+n] && !strings.HasPrefix(n, "webhook") {
				t.Errorf("group %s: there is no command %s", g.id, n)
			}
		}
	}
}

func TestManPages(t *testing.T) {
	dir := t.TempDir()
	root := newRoot(io.Discard, io.Discard)
	root.SetArgs([]string{"docs", "--out", dir, "--man", filepath.Join(dir, "man")})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "cli.md")); err != nil || !strings.HasPrefix(string(b), "# The command line") {
		t.Errorf("cli.md: %.40s %v", b, err)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "man", "*.1"))
	if err != nil || len(pages) < 40 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	tool, err := exec.LookPath("mandoc")
	if err != nil {
		t.Log("mandoc is not here: the pages are not looked at with it")
		return
	}
	if out, err := exec.Command(tool, append([]string{"-Tlint", "-Werror"}, pages...)...).CombinedOutput(); err != nil {
		t.Errorf("%s", out)
	}
}
