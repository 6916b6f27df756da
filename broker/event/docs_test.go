package event_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"wasmbed.io/wasmbed/broker/event"
)

const page = "../../docs/spec/events.md"

func TestDocsAreCurrent(t *testing.T) {
	want := eventsPage(t)
	if *update {
		if err := os.MkdirAll(filepath.Dir(page), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(page, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/spec/events.md is not what the catalogue says: go test ./broker/event -update")
	}
}

// typeConstants returns the constants of types.go whose value is an event type.
func typeConstants(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	ast.Inspect(parse(t), func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if l, ok := v.Values[0].(*ast.BasicLit); ok && l.Kind == token.STRING {
				s, _ := strconv.Unquote(l.Value)
				if strings.HasPrefix(s, "io.wasmbed.") || strings.HasPrefix(s, "dev.knative.") {
					out[v.Names[0].Name] = s
				}
			}
		}
		return true
	})
	return out
}

func parse(t *testing.T) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "types.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// structDocs returns, per struct of types.go, its doc comment and those of its fields.
func structDocs(t *testing.T) (map[string]string, map[string]map[string]string) {
	docs, fields := map[string]string{}, map[string]map[string]string{}
	for _, d := range parse(t).Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, s := range g.Specs {
			ts := s.(*ast.TypeSpec)
			st, ok := ts.Type.(*ast.StructType)
			if !ok {
				continue
			}
			docs[ts.Name.Name] = strings.Join(strings.Fields(g.Doc.Text()), " ")
			fs := map[string]string{}
			for _, f := range st.Fields.List {
				for _, n := range f.Names {
					fs[n.Name] = strings.Join(strings.Fields(f.Doc.Text()+" "+f.Comment.Text()), " ")
				}
			}
			fields[ts.Name.Name] = fs
		}
	}
	return docs, fields
}

func eventsPage(t *testing.T) []byte {
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	cell := func(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
	p("# Events\n")
	p("<!-- Generated from broker/event: go test ./broker/event -update -->\n")
	p("Wasmbed's events are [CloudEvents 1.0](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md). Types only ever gain")
	p("fields: ignore what you do not know. What breaks becomes a new version of the type, emitted beside the old")
	p("one for a while. (`source`, `id`) names an event: the same pair is the same event, however often it comes.")
	p("Order is a help, never a promise. Any event may carry `traceparent` (W3C Trace Context). Data is JSON")
	p("unless the type says CBOR, whose keys are then the integers of the table. Bytes are base64 in JSON.\n")
	p("| type | data | from | to |\n|---|---|---|---|")
	for _, en := range event.Catalogue() {
		name := reflect.TypeOf(en.Example).Name()
		p("| [`%s`](#%s) | [%s](#%s) | %s | %s |", en.Type, anchor(en.Type), name, strings.ToLower(name), cell(strings.Join(en.Emitters, "; ")), cell(strings.Join(en.Consumers, "; ")))
	}
	p("\n## Types")
	for _, en := range event.Catalogue() {
		p("\n### `%s`\n", en.Type)
		p("%s\n", en.Description)
		p("- source: `%s`", en.Source)
		p("- subject: `%s`", en.Subject)
		for _, k := range sortedKeys(en.Extensions) {
			p("- `%s`: %s", k, en.Extensions[k])
		}
		name := reflect.TypeOf(en.Example).Name()
		p("- data: [%s](#%s), `%s`", name, strings.ToLower(name), en.Format)
		e, err := en.Event()
		if err != nil {
			t.Fatal(err)
		}
		p("\n```json\n%s```", pretty(t, e))
	}
	p("\n## Data")
	docs, fields := structDocs(t)
	seen := map[reflect.Type]bool{}
	var describe func(rt reflect.Type)
	describe = func(rt reflect.Type) {
		if seen[rt] {
			return
		}
		seen[rt] = true
		p("\n### %s\n\n%s\n", rt.Name(), docs[rt.Name()])
		p("| field | type | meaning |\n|---|---|---|")
		var nested []reflect.Type
		for i := range rt.NumField() {
			f := rt.Field(i)
			name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" {
				continue // not of the data
			}
			if k, _, ok := strings.Cut(f.Tag.Get("cbor"), ","); ok {
				name += "` (CBOR " + k + ")`"
				name = strings.TrimSuffix(name, "`")
				name = "`" + name
			} else {
				name = "`" + name + "`"
			}
			meaning := fields[rt.Name()][f.Name]
			if strings.Contains(opts, "omitempty") {
				meaning = strings.TrimSpace("optional. " + meaning)
			}
			typ, inner := typeName(f.Type)
			if inner != nil {
				nested = append(nested, inner)
			}
			p("| %s | %s | %s |", name, typ, cell(meaning))
		}
		for _, n := range nested {
			describe(n)
		}
	}
	for _, en := range event.Catalogue() {
		describe(reflect.TypeOf(en.Example))
	}
	return b.Bytes()
}

func anchor(typ string) string { return strings.ToLower(strings.ReplaceAll(typ, ".", "")) }

func typeName(rt reflect.Type) (string, reflect.Type) {
	switch {
	case rt.String() == "time.Time":
		return "time (RFC 3339)", nil
	case rt.String() == "[]uint8":
		return "bytes", nil
	}
	switch rt.Kind() {
	case reflect.Pointer:
		return typeName(rt.Elem())
	case reflect.Struct:
		return fmt.Sprintf("[%s](#%s)", rt.Name(), strings.ToLower(rt.Name())), rt
	case reflect.Slice:
		n, inner := typeName(rt.Elem())
		return "list of " + n, inner
	case reflect.Map:
		n, inner := typeName(rt.Elem())
		return "map of " + n, inner
	case reflect.Bool:
		return "boolean", nil
	case reflect.String:
		return "string", nil
	}
	return "integer", nil
}
