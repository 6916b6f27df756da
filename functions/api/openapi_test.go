package api

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// deadlineOfOne is how long one request may take at most: generous, nothing is timed.
const deadlineOfOne = 30 * time.Second

// contract is the served OpenAPI document, able to judge answers.
type contract struct {
	t    *testing.T
	doc  map[string]any
	json *jsonschema.Compiler
}

func newContract(h *house) *contract {
	h.t.Helper()
	code, _, body := h.do("GET", "/api/v1/openapi.json", "admin", "")
	c := &contract{t: h.t, json: jsonschema.NewCompiler()}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil || code != 200 {
		h.t.Fatalf("%d %v", code, err)
	}
	c.doc = doc.(map[string]any)
	if err := c.json.AddResource("api.json", doc); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// judge compares an answer with what the contract says of it.
func (c *contract) judge(method, path string, status int, kind, body string) error {
	op, ok := c.doc["paths"].(map[string]any)[path].(map[string]any)[strings.ToLower(method)].(map[string]any)
	if !ok {
		return fmt.Errorf("the contract does not know %s %s", method, path)
	}
	word := fmt.Sprint(status)
	if _, ok := op["responses"].(map[string]any)[word]; !ok {
		if status < 400 {
			return fmt.Errorf("%s %s answers %d, which is not in the contract", method, path, status)
		}
		word = "default"
	}
	content, _ := op["responses"].(map[string]any)[word].(map[string]any)["content"].(map[string]any)
	if content == nil && kind == "" {
		return nil
	}
	if content[kind] == nil {
		return fmt.Errorf("%s %s answers %s, which is not in the contract", method, path, kind)
	}
	if !strings.HasSuffix(kind, "json") {
		return nil
	}
	esc := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	sch, err := c.json.Compile("api.json#/paths/" + esc.Replace(path) + "/" + strings.ToLower(method) + "/responses/" + word + "/content/" + esc.Replace(kind) + "/schema")
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		return err
	}
	return sch.Validate(v)
}

// TestContractKnowsEveryRoute: and nothing else, with all references leading somewhere.
func TestContractKnowsEveryRoute(t *testing.T) {
	h := newHouse(t)
	c := newContract(h)
	docs := routeDocs()
	for _, rt := range h.api.routes() {
		if docs[rt.method+" "+rt.path].summary == "" {
			t.Errorf("%s %s has no summary", rt.method, rt.path)
		}
		delete(docs, rt.method+" "+rt.path)
	}
	for left := range docs {
		t.Errorf("%s is documented and not there", left)
	}
	ids := map[string]bool{}
	for path, ops := range c.doc["paths"].(map[string]any) {
		for method, op := range ops.(map[string]any) {
			id := op.(map[string]any)["operationId"].(string)
			if ids[id] {
				t.Errorf("operationId %s twice", id)
			}
			ids[id] = true
			for status, r := range op.(map[string]any)["responses"].(map[string]any) {
				content, _ := r.(map[string]any)["content"].(map[string]any)
				for kind := range content {
					if err := c.judge(strings.ToUpper(method), path, statusOf(status), kind, "null"); err != nil && strings.Contains(err.Error(), "not found") {
						t.Errorf("%s %s: %v", method, path, err)
					}
				}
			}
		}
	}
	if len(ids) < 50 {
		t.Errorf("%d operations", len(ids))
	}
}

func statusOf(word string) int {
	var n int
	if _, err := fmt.Sscan(word, &n); err != nil {
		return 400
	}
	return n
}

// TestExamplesAreRead: an example of the contract is one that its route reads, and is there for a route that there is.
func TestExamplesAreRead(t *testing.T) {
	docs, used := routeDocs(), 0
	for _, rt := range (&API{}).routes() {
		text, ok := examples()[rt.method+" "+short(rt.path)]
		if !ok {
			continue
		}
		used++
		body := docs[rt.method+" "+rt.path].body
		if body == nil {
			t.Errorf("%s %s has an example and no body", rt.method, rt.path)
			continue
		}
		d := json.NewDecoder(strings.NewReader(text))
		if !strings.HasSuffix(rt.path, "/events") { // CloudEvents have a reader of their own
			d.DisallowUnknownFields()
		}
		if err := d.Decode(reflect.New(reflect.TypeOf(body)).Interface()); err != nil {
			t.Errorf("%s %s: %v", rt.method, rt.path, err)
		}
	}
	if used != len(examples()) {
		t.Errorf("%d of %d examples are of routes that there are", used, len(examples()))
	}
}

// TestAnswersKeepTheContract: what the routes answer on a small fleet is what the contract says.
func TestAnswersKeepTheContract(t *testing.T) {
	h := newHouse(t)
	h.fleet(5)
	h.device("d-0001")
	h.api.Boards = []Board{{Name: "FrdmK64f", Transports: []string{"Ethernet"}, Truth: "run"}}
	h.api.PartLogs = twoLogs{}
	h.api.Compiler = oneCompiler{[]byte("\x00asm\x01\x00\x00\x00")}
	c := newContract(h)
	for _, x := range []struct{ method, path, args, body string }{
		{"GET", "/api/v1/status", "", ""}, {"GET", "/api/v1/whoami", "", ""}, {"GET", "/api/v1/system", "", ""}, {"GET", "/api/v1/boards", "", ""},
		{"GET", "/api/v1/languages", "", ""}, {"GET", "/api/v1/templates", "", ""}, {"GET", "/api/v1/events", "", ""}, {"GET", "/api/v1/queues", "", ""},
		{"GET", "/api/v1/namespaces/{namespace}/overview", "", ""}, {"GET", "/api/v1/namespaces/{namespace}/alerts", "", ""},
		{"GET", "/api/v1/namespaces/{namespace}/devices", "?limit=2", ""}, {"GET", "/api/v1/namespaces/{namespace}/devices", "?online=maybe", ""},
		{"GET", "/api/v1/namespaces/{namespace}/devices/{name}", "", ""}, {"GET", "/api/v1/namespaces/{namespace}/devices/{name}/explain", "", ""},
		{"GET", "/api/v1/namespaces/{namespace}/devices/{name}/timeline", "", ""}, {"GET", "/api/v1/namespaces/{namespace}/devices/{name}/commands", "", ""},
		{"GET", "/api/v1/namespaces/{namespace}/devices/{name}/telemetry", "", ""},
		{"POST", "/api/v1/namespaces/{namespace}/devices/{name}/hold", "", ""}, {"POST", "/api/v1/namespaces/{namespace}/devices/{name}/approve", "", ""},
		{"PATCH", "/api/v1/namespaces/{namespace}/devices/{name}", "", `{"spec":{"hold":false}}`},
		{"POST", "/api/v1/namespaces/{namespace}/devices/{name}/invoke", "", `{"application":"x","function":"y"}`},
		{"POST", "/api/v1/namespaces/{namespace}/invoke", "", `{"application":"x","function":"y","all":true}`},
		{"POST", "/api/v1/namespaces/{namespace}/bulk/devices", "", `{"action":"hold","names":["d-0001","zz"]}`},
		{"POST", "/api/v1/namespaces/{namespace}/devices", "", `{"metadata":{"name":"made"},"spec":{"board":"FrdmK64f"}}`},
		{"PUT", "/api/v1/namespaces/{namespace}/applications/{name}", "", `{"spec":{"module":{"name":"m"},"targets":{"all":true},"manifest":{}}}`},
		{"POST", "/api/v1/namespaces/{namespace}/compile", "", `{"language":"c","files":{"main.c":""}}`},
		{"GET", "/api/v1/namespaces/{namespace}/applications", "", ""}, {"GET", "/api/v1/namespaces/{namespace}/gateways", "", ""},
		{"GET", "/api/v1/namespaces/{namespace}/modules", "", ""}, {"GET", "/api/v1/namespaces/{namespace}/revisions", "", ""},
		{"GET", "/api/v1/metrics/summary", "?minutes=5", ""}, {"GET", "/api/v1/metrics/summary", "?minutes=x", ""}, {"GET", "/api/v1/metrics/summary", "?fields=now,history.times", ""},
		{"GET", "/api/v1/parts", "", ""}, {"GET", "/api/v1/parts/{name}/logs", "", ""}, {"GET", "/api/v1/namespaces/{namespace}/revisions/{name}", "", ""},
		{"GET", "/api/v1/namespaces/{namespace}/devices", "?fields=device.name,online", ""}, {"GET", "/api/v1/namespaces/{namespace}/devices/{name}", "?fields=view.apps", ""},
		{"PUT", "/api/v1/namespaces/{namespace}/gateways/{name}", "", `{"spec":{"address":"h:1"}}`}, {"PATCH", "/api/v1/namespaces/{namespace}/gateways/{name}", "", `{"spec":{"heartbeat":"5s"}}`},
		{"POST", "/api/v1/namespaces/{namespace}/gateways/{name}/disable", "", ""}, {"POST", "/api/v1/namespaces/{namespace}/gateways/{name}/enable", "", ""},
		{"PATCH", "/api/v1/namespaces/{namespace}/webhooks/{name}", "", `{"spec":{"paused":true}}`}, {"PATCH", "/api/v1/namespaces/{namespace}/webhooksources/{name}", "", `{}`},
		{"POST", "/api/v1/namespaces/{namespace}/devices/{name}/disconnect", "", ""}, {"GET", "/api/v1/namespaces/{namespace}/tokens", "", ""},
		{"POST", "/api/v1/namespaces/{namespace}/tokens", "", `{"name":"x","role":"viewer"}`}, {"DELETE", "/api/v1/namespaces/{namespace}/tokens/{name}", "", ""},
		{"GET", "/api/v1/namespaces/{namespace}/enrollments", "", ""}, {"DELETE", "/api/v1/namespaces/{namespace}/devices/{name}", "", ""},
	} {
		at := strings.NewReplacer("{namespace}", "a", "{name}", "d-0001").Replace(x.path) + x.args
		status, head, body := h.do(x.method, at, "admin", x.body)
		if err := c.judge(x.method, x.path, status, head.Get("Content-Type"), body); err != nil {
			t.Errorf("%s %s: %d %v\n%s", x.method, at, status, err, body)
		}
	}
}

// TestAnything throws what people and programs get wrong at every route: no answer is a server's failure, and each is
// what the contract says of refusals.
func TestAnything(t *testing.T) {
	h := newHouse(t)
	h.fleet(3)
	h.device("d-0001")
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"a", "d-0001", "..", "%2e%2e", "ü", "x y", strings.Repeat("n", 300), "-", "A_B", "null", "0", "'", "\x00", "🙂", "a/b"}
	bodies := []string{"", "{}", "[]", "null", `"x"`, "{", `{"action":7}`, `{"names":null}`, `{"spec":{}}`, `{"spec":null}`, `{"for":"1h"}`, `{"metadata":{"name":"` + strings.Repeat("x", 400) + `"}}`,
		`{"application":"","function":"f"}`, `{"payload":"!!"}`, `{"files":{"a":1}}`, strings.Repeat("[", 5000), `{"to":"x"}`, `{"timeout":"-1s","application":"a","function":"b"}`, `{"all":true,"devices":["x"],"application":"a","function":"b"}`}
	queries := []string{"", "?limit=0", "?limit=x", "?limit=501", "?after=%00", "?after=" + strings.Repeat("z", 100), "?online=1", "?labelSelector=((", "?set=x&app=y", "?fields=a", "?trigger=x/y", "?q=%ff", "?tail=-1", "?application=%00"}
	tried := 0
	for _, rt := range h.api.routes() {
		if strings.HasSuffix(rt.path, "/ws") || strings.HasSuffix(rt.path, "/watch") {
			continue
		}
		for range 25 {
			word := func() string { return url.PathEscape(words[r.IntN(len(words))]) }
			path := rt.path
			ns, name := word(), word()
			if r.IntN(2) == 0 {
				ns = "a"
			}
			path = strings.NewReplacer(":namespace", ns, ":name", name, ":id", word()).Replace(path)
			body := ""
			if rt.method != "GET" {
				body = bodies[r.IntN(len(bodies))]
			}
			ctx, cancel := context.WithTimeout(t.Context(), deadlineOfOne)
			req, err := http.NewRequestWithContext(ctx, rt.method, h.url+path+queries[r.IntN(len(queries))], strings.NewReader(body))
			if err != nil {
				cancel()
				continue
			}
			req.Header.Set("Authorization", "Bearer admin")
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatalf("%s %q: %v", rt.method, path, err)
			}
			tried++
			if resp.StatusCode == 429 {
				h.api.rates = rates{}
			}
			var p Problem
			if resp.StatusCode >= 400 {
				if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || p.Detail == "" || p.Code == "" {
					t.Errorf("%s %q %q: %d without a problem: %+v %v", rt.method, path, body, resp.StatusCode, p, err)
				}
			}
			resp.Body.Close()
			cancel()
			if resp.StatusCode >= 500 && resp.StatusCode != 501 && resp.StatusCode != 503 {
				t.Errorf("%s %q %q: %d %s", rt.method, path, body, resp.StatusCode, p.Detail)
			}
		}
	}

	if tried < 500 {
		t.Errorf("only %d requests", tried)
	}
}

var update = flag.Bool("update", false, "write the table of routes to docs/spec/rest.md")

// TestRoutesAreInTheDocs keeps the table of routes of docs/spec/rest.md.
func TestRoutesAreInTheDocs(t *testing.T) {
	const path, begin, end = "../../docs/spec/rest.md", "-update -->\n", "<!-- /routes -->"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the marks are gone")
	}
	var table strings.Builder
	table.WriteString("\n| method and path | needs | what |\n|---|---|---|\n")
	docs := routeDocs()
	routes := newHouse(t).api.routes()
	slices.SortStableFunc(routes, func(a, b route) int { return strings.Compare(a.path, b.path) })
	for _, rt := range routes {
		d := docs[rt.method+" "+rt.path]
		shown := strings.Replace(strings.TrimPrefix(rt.path, "/api/v1"), "/namespaces/:namespace", "NS", 1)
		needs := "a known user"
		if rt.verb != "" {
			needs = rt.verb + " " + rt.resource
		}
		what := d.summary
		if d.stream {
			what += "; *stream*"
		}
		fmt.Fprintf(&table, "| `%s %s` | %s | %s |\n", rt.method, regexp.MustCompile(`:(\w+)`).ReplaceAllString(shown, "{$1}"), needs, what)
	}
	want := before + begin + table.String() + "\n" + end + after
	if want == string(b) {
		return
	}
	if !*update {
		t.Fatal("docs/spec/rest.md is not what the routes are: go test ./functions/api -run TestRoutesAreInTheDocs -update")
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
