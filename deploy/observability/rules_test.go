package observability

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write prometheusrule.yaml")

type ruleFile struct {
	Groups []ruleGroup `json:"groups"`
}

type ruleGroup struct {
	Name     string `json:"name"`
	Interval string `json:"interval,omitempty"`
	Rules    []rule `json:"rules"`
}

type rule struct {
	Record      string            `json:"record,omitempty"`
	Alert       string            `json:"alert,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func rules(t *testing.T) []rule {
	t.Helper()
	var f ruleFile
	read(t, "rules.yaml", &f)
	var out []rule
	for _, g := range f.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) == 0 {
		t.Fatal("rules.yaml has no rules")
	}
	return out
}

// known are all metrics that may be asked for, with their labels: our processes', those made of our objects, those
// of others, and those that rules record.
func known(t *testing.T) map[string][]string {
	t.Helper()
	all := ours(t)
	for name, labels := range objects(t) {
		if _, twice := all[name]; twice {
			t.Errorf("objects.yaml: %s is a metric of a process, too", name)
		}
		all[name] = labels
	}
	for name, labels := range foreign(t) {
		all[name] = labels
	}
	for _, r := range rules(t) {
		if r.Record != "" {
			q, err := parse(r.Expr)
			if err != nil {
				t.Errorf("%s: %v", r.Record, err)
			}
			all[r.Record] = q.by // what it does not group by is gone
		}
	}
	return all
}

// check says what is wrong with an expression, and returns the labels that its result may have.
func check(expr string, all map[string][]string, words map[string]bool) (labels []string, wrong []string) {
	q, err := parse(expr)
	if err != nil {
		return nil, []string{err.Error()}
	}
	labels = slices.Clone(targets)
	for _, s := range q.selectors {
		of, ok := all[s.name]
		if !ok {
			wrong = append(wrong, fmt.Sprintf("nothing has the metric %s", s.name))
			continue
		}
		labels = append(labels, of...)
		for _, m := range s.matchers {
			if !slices.Contains(of, m.label) && !slices.Contains(targets, m.label) {
				wrong = append(wrong, fmt.Sprintf("%s has no label %s", s.name, m.label))
			}
			if !strings.HasPrefix(s.name, "wasmbed_") {
				continue
			}
			for v := range strings.SplitSeq(m.value, "|") {
				if plain := !strings.ContainsAny(v, ".*+?[0123456789"); plain && !words[v] {
					wrong = append(wrong, fmt.Sprintf("%s: no source says %q for %s", s.name, v, m.label))
				}
			}
		}
	}
	for _, l := range q.by {
		if !slices.Contains(labels, l) {
			wrong = append(wrong, fmt.Sprintf("no metric in it has the label %s", l))
		}
	}
	return labels, wrong
}

// words are the strings that our sources hold: what a label's value can be.
func words(t *testing.T) map[string]bool {
	t.Helper()
	out, quoted := map[string]bool{}, regexp.MustCompile(`"([A-Za-z0-9-]+)"`)
	for _, dir := range []string{"gateway", "broker/stream", "functions", "provisioner", "api/v1alpha1"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
				return err
			}
			b, err := os.ReadFile(p)
			for _, m := range quoted.FindAllSubmatch(b, -1) {
				out[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// Conditions and states are named in the texts of fields, too.
	for _, w := range []string{"Progressing", "Complete", "Failed"} {
		out[w] = true
	}
	return out
}

var (
	inText   = regexp.MustCompile(`\$labels\.([a-zA-Z_]+)`)
	inLegend = regexp.MustCompile(`\{\{\s*([a-zA-Z_]+)\s*\}\}`)
)

func TestRules(t *testing.T) {
	all, said := known(t), words(t)
	seen := map[string]bool{}
	for _, r := range rules(t) {
		name := r.Record + r.Alert
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
		labels, wrong := check(r.Expr, all, said)
		for _, w := range wrong {
			t.Errorf("%s: %s", name, w)
		}
		if r.Alert == "" {
			continue
		}
		if !strings.HasPrefix(r.Alert, "Wasmbed") {
			t.Errorf("%s: alerts begin with Wasmbed, so that they are told from others", name)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" && s != "info" {
			t.Errorf("%s: severity %q", name, s)
		}
		if r.For != "" {
			if _, err := time.ParseDuration(r.For); err != nil {
				t.Errorf("%s: for %q", name, r.For)
			}
		}
		for _, a := range []string{"summary", "description", "runbook"} {
			if r.Annotations[a] == "" {
				t.Errorf("%s has no %s", name, a)
			}
			for _, m := range inText.FindAllStringSubmatch(r.Annotations[a], -1) {
				if !slices.Contains(labels, m[1]) {
					t.Errorf("%s: its %s speaks of the label %s, which it does not have", name, a, m[1])
				}
			}
		}
	}
}

func TestWrongExpressionsAreFound(t *testing.T) {
	all, said := known(t), words(t)
	for _, expr := range []string{
		`wasmbed_gateway_device`, `sum by (trigger) (wasmbed_gateway_devices)`, `wasmbed_gateway_posts_total{kinds="events"}`,
		`wasmbed_gateway_posts_total{result="acceptable"}`, `rate(wasmbed_gateway_posts_total{result=~"accepted|acceptable"}[5m])`,
		`redis_memory_bytes`, `wasmbed:devices`, `wasmbed_object_application_ready`, `wasmbed_gateway_devices_bucket`,
	} {
		if _, wrong := check(expr, all, said); len(wrong) == 0 {
			t.Errorf("nothing is wrong with %s", expr)
		}
	}
}

// TestRunbooks: each alert has its page, each page its alert, and the page has what a page needs.
func TestRunbooks(t *testing.T) {
	dir := filepath.Join(root, "docs/runbooks")
	pages, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]bool{}
	index, err := os.ReadFile(filepath.Join(root, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		has[r.Alert] = true
		if want := "docs/runbooks/" + r.Alert + ".md"; r.Annotations["runbook"] != want {
			t.Errorf("%s: runbook is %q, want %q", r.Alert, r.Annotations["runbook"], want)
		}
		b, err := os.ReadFile(filepath.Join(dir, r.Alert+".md"))
		if err != nil {
			t.Errorf("%s has no runbook: %v", r.Alert, err)
			continue
		}
		for _, part := range []string{"# " + r.Alert, "**Means**", "**People see**", "## First look", "## Causes, likeliest first", "## It is over when"} {
			if !strings.Contains(string(b), part+"\n") && !strings.Contains(string(b), part+" ") && !strings.HasPrefix(string(b), part) {
				t.Errorf("docs/runbooks/%s.md has no %q", r.Alert, part)
			}
		}
		if !bytes.Contains(index, []byte("("+"runbooks/"+r.Alert+".md)")) {
			t.Errorf("docs/operations.md does not link to the runbook of %s", r.Alert)
		}
	}
	for _, p := range pages {
		if name := strings.TrimSuffix(filepath.Base(p), ".md"); !has[name] {
			t.Errorf("docs/runbooks/%s.md is of no alert", name)
		}
	}
}

// TestCommandsExist: what the pages for operators tell them to type, wasmbed knows.
func TestCommandsExist(t *testing.T) {
	cli, err := os.ReadFile(filepath.Join(root, "docs/cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs/runbooks/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	told := regexp.MustCompile("(?m)(?:^|`|\\$\\()wasmbed ([a-z-]+)(?: ([a-z-]+))?")
	n := 0
	for _, p := range append(pages, filepath.Join(root, "docs/operations.md")) {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range told.FindAllSubmatch(b, -1) {
			n++
			command := string(m[1])
			if !bytes.Contains(cli, []byte("\n## wasmbed "+command+"\n")) {
				t.Errorf("%s: there is no command wasmbed %s", filepath.Base(p), command)
			}
			// A group of commands needs one of its own behind it.
			group := bytes.Contains(cli, []byte("\n```sh\nwasmbed "+command+" COMMAND\n"))
			if sub := string(m[2]); group && !bytes.Contains(cli, []byte("\n### wasmbed "+command+" "+sub+"\n")) {
				t.Errorf("%s: there is no command wasmbed %s %s", filepath.Base(p), command, sub)
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d commands were found: the pattern is wrong", n)
	}
}

// TestPrometheusRule: the object for the operator is made of rules.yaml.
func TestPrometheusRule(t *testing.T) {
	var spec ruleFile
	read(t, "rules.yaml", &spec)
	type meta struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	}
	b, err := yaml.Marshal(struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Metadata   meta     `json:"metadata"`
		Spec       ruleFile `json:"spec"`
	}{"monitoring.coreos.com/v1", "PrometheusRule", meta{"wasmbed", "wasmbed-system", map[string]string{"app.kubernetes.io/part-of": "wasmbed"}}, spec})
	if err != nil {
		t.Fatal(err)
	}
	want := append([]byte("# Made of rules.yaml by go test ./deploy/observability -update. Do not edit.\n"), b...)
	if *update {
		if err := os.WriteFile("prometheusrule.yaml", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile("prometheusrule.yaml"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("prometheusrule.yaml is not of these rules (%v): go test ./deploy/observability -update", err)
	}
}

func TestBoard(t *testing.T) {
	all, said := known(t), words(t)
	var board struct {
		UID    string
		Title  string
		Panels []struct {
			ID      int
			Title   string
			Type    string
			GridPos struct{ H, W, X, Y int }
			Targets []struct{ RefID, Expr, LegendFormat string }
		}
	}
	b, err := os.ReadFile("board.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &board); err != nil {
		t.Fatal(err)
	}
	if board.UID != "wasmbed" || len(board.Panels) < 20 {
		t.Fatalf("board %q with %d panels", board.UID, len(board.Panels))
	}
	ids := map[int]bool{}
	place := map[[2]int]string{}
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("%s: id %d is there twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := place[[2]int{x, y}]; other != "" || x >= 24 {
					t.Errorf("%s lies on %q", p.Title, other)
				}
				place[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, q := range p.Targets {
			labels, wrong := check(q.Expr, all, said)
			for _, w := range wrong {
				t.Errorf("%s: %s", p.Title, w)
			}
			for _, m := range inLegend.FindAllStringSubmatch(q.LegendFormat, -1) {
				if !slices.Contains(labels, m[1]) {
					t.Errorf("%s: the legend speaks of the label %s", p.Title, m[1])
				}
			}
		}
	}
}
