// Package layout holds the house rules that can be checked from the sources: which folders there are, who
// may import whom, and what must not stand in a tracked file. The sources are parsed here rather than
// asked of `go list`, whose answer the test cache would not notice changing.
package layout

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "wasmbed.io/wasmbed"
	root   = "../.."
)

// folders are all that the root may hold, with what each is for.
var folders = map[string]string{
	"api": "Kubernetes types and client", "broker": "what outlives a request", "cmd": "commands", "config": "Kubernetes objects",
	"deploy": "places", "docs": "documentation", "firmware": "the device", "functions": "event handlers", "gateway": "device sessions",
	"internal": "no domain nouns", "protocol": "the wire", "provisioner": "boards", "webui": "dashboard",
}

// rule says what the packages below prefix may import of ours. Entries end in "/..." for a subtree. The
// packages below internal/ may be used by all but those marked pure.
type rule struct {
	prefix string
	may    []string
	pure   bool
}

var rules = []rule{
	{prefix: "protocol", pure: true},
	{prefix: "api/v1alpha1", pure: true},
	{prefix: "api", may: []string{"api/..."}},
	{prefix: "broker/event"},
	{prefix: "config", may: []string{"api/..."}},
	{prefix: "broker/stream", may: []string{"broker/event"}},
	{prefix: "broker/source", may: []string{"broker/event"}},
	{prefix: "broker/affinity", may: []string{"broker/event"}},
	{prefix: "broker/ledger", may: []string{"broker/event"}},
	{prefix: "gateway", may: []string{"gateway/...", "protocol", "broker/event", "broker/affinity", "broker/ledger"}},
	{prefix: "functions", may: []string{"broker/event", "broker/affinity", "broker/ledger", "api/..."}},
	{prefix: "provisioner", may: []string{"provisioner/...", "api/...", "broker/event"}},
	{prefix: "webui", may: []string{"webui/...", "broker/event", "broker/ledger", "broker/affinity"}},
	{prefix: "firmware", may: []string{"firmware/..."}},
	{prefix: "internal", may: []string{"internal/..."}},
	{prefix: "cmd", may: []string{"..."}},
	{prefix: "deploy", may: []string{"..."}}, // what packs and what tests an installation
}

// foreign dependencies that only one place may import, with the reason.
var confined = []struct{ dependency, place, why string }{
	{"k8s.io/kubernetes/", "cmd/standalone", "no image but standalone's carries an API server"},
	{"go.etcd.io/etcd/", "cmd/standalone", "no image but standalone's carries a store"},
	{"github.com/docker/docker", "provisioner/docker", "Docker's socket is root"},
	{"knative.dev/pkg", "cmd/admission", "its size, and its habit of registering whatever is imported"},
	{"github.com/google/go-containerregistry", "functions/deploy", "only deploy resolves registries"},
}

type file struct {
	dir, name string // dir is slash-separated, relative to the root
	imports   []string
	test      bool
}

func sources(t *testing.T) []file {
	t.Helper()
	var out []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(p, root), string(filepath.Separator)))
		if d.IsDir() {
			if n := d.Name(); n == "node_modules" || n == "testdata" || (strings.HasPrefix(n, ".") && len(n) > 2) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		src := file{dir: path.Dir(rel), name: rel, test: strings.HasSuffix(p, "_test.go")}
		for _, i := range f.Imports {
			s, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			src.imports = append(src.imports, s)
		}
		out = append(out, src)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("only %d Go files found below %s: the walk is wrong", len(out), root)
	}
	return out
}

func below(pkg, prefix string) bool { return pkg == prefix || strings.HasPrefix(pkg, prefix+"/") }

func allowed(pkg string, may []string) bool {
	return slices.ContainsFunc(may, func(m string) bool {
		if m == "..." {
			return true
		}
		if tree, ok := strings.CutSuffix(m, "/..."); ok {
			return below(pkg, tree)
		}
		return pkg == m
	})
}

func TestImports(t *testing.T) {
	for _, f := range sources(t) {
		i := slices.IndexFunc(rules, func(r rule) bool { return below(f.dir, r.prefix) })
		if i < 0 {
			t.Errorf("%s: no rule covers this folder", f.name)
			continue
		}
		r := rules[i]
		for _, imp := range f.imports {
			if imp == "C" && !below(f.dir, "firmware/port/host") {
				t.Errorf("%s has C in it; only firmware/port/host may", f.name)
			}
			for _, c := range confined {
				if strings.HasPrefix(imp, c.dependency) && !below(f.dir, c.place) {
					t.Errorf("%s imports %s, which only %s may: %s", f.name, imp, c.place, c.why)
				}
			}
			ours, ok := strings.CutPrefix(imp, module+"/")
			if !ok || ours == f.dir {
				continue
			}
			switch {
			case below(ours, "cmd") && !below(f.dir, "cmd/standalone"):
				t.Errorf("%s imports %s: nobody imports cmd", f.name, ours)
			case below(ours, "internal") && (!r.pure || f.test):
			case f.test && !r.pure && (below(ours, "protocol") || below(ours, "broker") || below(ours, "api")):
				// A test may stand the real neighbours around what it tests.
			case f.dir == "functions" && below(ours, "functions"):
				// The table of functions is the one package that knows them all.
			case below(f.dir, "functions") && below(ours, f.dir):
				// A function's own pure parts.
			case !allowed(ours, r.may):
				t.Errorf("%s imports %s, which the rule for %s does not allow", f.name, ours, r.prefix)
			}
		}
	}
}

func TestRootHoldsExactlyTheseFolders(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") || e.Name() == "bin" || e.Name() == "build" { // made, and not kept by git
			continue
		}
		if _, ok := folders[e.Name()]; !ok {
			t.Errorf("the root holds %q, which is none of the folders of the layout", e.Name())
		}
	}
	for f := range folders {
		if _, err := os.Stat(filepath.Join(root, f)); err != nil {
			t.Errorf("the layout's folder %q is not there", f)
		}
	}
}

func TestNoGrabBags(t *testing.T) {
	for _, f := range sources(t) {
		for _, part := range strings.Split(f.dir, "/") {
			switch part {
			case "util", "utils", "common", "helpers", "misc":
				t.Errorf("%s: a package says what it is about, not that it is %q", f.name, part)
			}
		}
	}
}

func TestMainsAreThin(t *testing.T) {
	for _, f := range sources(t) {
		if path.Base(f.name) != "main.go" || path.Dir(f.dir) != "cmd" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(root, f.name))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), "\n"); n > 60 {
			t.Errorf("%s has %d lines; a main reads its environment, constructs, runs, exits", f.name, n)
		}
	}
}
