package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/invopop/jsonschema"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/run"
)

// doc is what the contract says of a route beside what the route itself says.
type doc struct {
	summary string
	query   []string // parameters: "name: what it is"
	body    any      // a value of the request's type; nil: none
	// bodyMayLack: a request without a body is fine.
	bodyMayLack bool
	answer      any  // a value of the answer's type; nil: none that is JSON
	status      int  // of success; 0: 200
	also        int  // another one of success, with the same answer; 0: none
	stream      bool // with follow=true (or Accept: text/event-stream) server-sent events without end
}

var pageParameters = []string{"limit: entries of a page, 1 to 500, default 100", "after: cursor, the next of the page before"}

var streamParameters = append(slices.Clone(pageParameters), "follow: true for server-sent events without end")

// openAPI makes the contract (OpenAPI 3.1) of the routes and of the types of what they take and answer, so that it
// cannot say something else than they do.
func (a *API) openAPI() ([]byte, error) {
	docs := routeDocs()
	s := newSchemas()
	paths := map[string]map[string]any{}
	for _, rt := range a.routes() {
		d, ok := docs[rt.method+" "+rt.path]
		if !ok {
			return nil, errs.New(errs.Internal, "%s %s has no documentation", rt.method, rt.path)
		}
		path := regexp.MustCompile(`:(\w+)`).ReplaceAllString(rt.path, "{$1}")
		if paths[path] == nil {
			paths[path] = map[string]any{}
		}
		paths[path][strings.ToLower(rt.method)] = operation(rt, d, s, path)
	}
	return json.Marshal(map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "Wasmbed", "version": run.Version, "license": map[string]string{"name": "AGPL-3.0-only", "identifier": "AGPL-3.0-only"},
			"description": "Deploy, run, watch and roll back WebAssembly on microcontrollers. Errors are problem details (RFC 9457) with a code and, where there is one, the mend.",
		},
		"servers":    []any{map[string]string{"url": "/"}},
		"security":   []any{map[string]any{"token": []string{}}},
		"paths":      paths,
		"components": map[string]any{"schemas": s.all, "securitySchemes": map[string]any{"token": map[string]string{"type": "http", "scheme": "bearer", "description": "a Kubernetes token"}}},
	})
}

var notWord = regexp.MustCompile(`[^A-Za-z0-9]+`)

func operation(rt route, d doc, s *schemas, path string) map[string]any {
	op := map[string]any{"summary": d.summary, "tags": []string{tagOf(path)}, "operationId": strings.Trim(notWord.ReplaceAllString(strings.ToLower(rt.method)+"_"+strings.TrimPrefix(rt.path, "/api/v1/"), "_"), "_")}
	if rt.verb == ownLock {
		op["security"] = []any{}
		op["description"] = "Needs no token: the request proves itself by a signature or a secret (docs/spec/webhooks.md)."
	} else if rt.verb != "" {
		op["description"] = "Needs: " + rt.verb + " " + rt.resource + " in API group wasmbed.io."
	}
	var params []any
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
		params = append(params, map[string]any{"name": m[1], "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
	}
	for _, q := range d.query {
		name, what, _ := strings.Cut(q, ": ")
		params = append(params, map[string]any{"name": name, "in": "query", "description": what, "schema": map[string]any{"type": "string"}})
	}
	if rt.method == http.MethodPost {
		params = append(params, map[string]any{"name": "Idempotency-Key", "in": "header", "description": "a repeated request with the same key is answered from what was answered before, for a day", "schema": map[string]any{"type": "string"}})
	}
	if rt.method == http.MethodGet && d.answer != nil {
		params = append(params, map[string]any{"name": "fields", "in": "query", "description": "only these fields, of the object or of each item, like metadata.name,spec.board", "schema": map[string]any{"type": "string"}})
	}
	if matches(rt, path) {
		params = append(params, map[string]any{"name": "If-Match", "in": "header", "description": "the ETag that was read; another version is refused", "schema": map[string]any{"type": "string"}})
	}
	if params != nil {
		op["parameters"] = params
	}
	if d.body != nil {
		body := map[string]any{"schema": s.of(d.body)}
		if x := exampleOf(rt); x != nil {
			body["example"] = x
		}
		op["requestBody"] = map[string]any{"required": !d.bodyMayLack, "content": map[string]any{"application/json": body}}
	}
	status := d.status
	if status == 0 {
		status = http.StatusOK
	}
	good := map[string]any{"description": http.StatusText(status)}
	content := map[string]any{}
	if d.answer != nil {
		content["application/json"] = map[string]any{"schema": s.of(d.answer)}
	}
	if d.stream {
		content["text/event-stream"] = map[string]any{"schema": map[string]any{"type": "string"}}
	}
	if len(content) > 0 {
		good["content"] = content
	}
	bad := map[string]any{"description": "A problem.", "content": map[string]any{"application/problem+json": map[string]any{"schema": s.of(Problem{})}}}
	responses := map[string]any{statusText(status): good, "default": bad}
	if d.also != 0 {
		responses[statusText(d.also)] = map[string]any{"description": http.StatusText(d.also), "content": content}
	}
	op["responses"] = responses
	return op
}

// tagOf groups operations by what they are about.
func tagOf(path string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(path, "/api/v1"), "/namespaces/{namespace}")
	word, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	switch word {
	case "devices", "bulk", "enrollments", "boards", "telemetry", "logs", "watch":
		return "devices"
	case "invoke", "message", "reboot", "operations":
		return "commands"
	case "applications", "revisions":
		return "applications"
	case "modules", "compile", "inspect", "languages", "templates":
		return "modules"
	case "gateways":
		return "gateways"
	case "events", "queues", "deadletters":
		return "events"
	case "webhooks", "webhooksources", "hooks":
		return "webhooks"
	case "tokens", "whoami":
		return "access"
	}
	return "platform"
}

// matches reports whether a route writes an object whose version the caller may name.
func matches(rt route, path string) bool {
	switch rt.method {
	case http.MethodPut, http.MethodPatch:
		return true
	case http.MethodDelete:
		return strings.HasSuffix(path, "{name}") && !strings.Contains(path, "/tokens/")
	}
	return false
}

func statusText(status int) string {
	b, _ := json.Marshal(status) // a number
	return string(b)
}

// schemas makes JSON Schemas of Go types.
type schemas struct {
	r   *jsonschema.Reflector
	all map[string]any
}

func newSchemas() *schemas {
	s := &schemas{all: map[string]any{}}
	s.r = &jsonschema.Reflector{
		AllowAdditionalProperties:  true, // fields are only ever added (docs/spec/rest.md)
		RequiredFromJSONSchemaTags: true,
		Anonymous:                  true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			switch t {
			case reflect.TypeFor[metav1.Time](), reflect.TypeFor[time.Time]():
				return &jsonschema.Schema{Type: "string", Format: "date-time"}
			case reflect.TypeFor[*metav1.Time](), reflect.TypeFor[*time.Time]():
				return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string", Format: "date-time"}, {Type: "null"}}}
			case reflect.TypeFor[maybe]():
				return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "number"}, {Type: "null"}}}
			case reflect.TypeFor[metav1.Duration]():
				return &jsonschema.Schema{Type: "string", Description: "a duration like 10s"}
			case reflect.TypeFor[intstr.IntOrString]():
				return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "integer"}, {Type: "string"}}}
			case reflect.TypeFor[ce.Event]():
				return &jsonschema.Schema{Type: "object", Description: "a CloudEvent, structured"}
			case reflect.TypeFor[json.RawMessage]():
				return &jsonschema.Schema{Description: "any JSON"}
			case reflect.TypeFor[time.Duration]():
				return &jsonschema.Schema{}
			}
			return nil
		},
		Namer: func(t reflect.Type) string { return strings.Trim(notWord.ReplaceAllString(typeName(t), "_"), "_") },
	}
	return s
}

// typeName is a type's name without where it is from; those of one name in two packages are told apart.
func typeName(t reflect.Type) string {
	name := t.Name()
	if i := strings.LastIndex(t.PkgPath(), "/"); i >= 0 && !strings.HasSuffix(t.PkgPath(), "/api") && !strings.HasSuffix(t.PkgPath(), "v1alpha1") {
		name = t.PkgPath()[i+1:] + "_" + name
	}
	return regexp.MustCompile(`[\w.-]+/`).ReplaceAllString(name, "")
}

// of returns a reference to the schema of v's type.
func (s *schemas) of(v any) any {
	sch := s.r.Reflect(v)
	for name, def := range sch.Definitions {
		s.all[name] = moved(def)
	}
	sch.Definitions, sch.Version = nil, ""
	return moved(sch)
}

// moved has the references point to where OpenAPI keeps schemas.
func moved(sch *jsonschema.Schema) any {
	b, err := json.Marshal(sch)
	if err != nil {
		return true // the schema that takes everything; a test finds it
	}
	var v any
	if json.Unmarshal([]byte(strings.ReplaceAll(string(b), `"#/$defs/`, `"#/components/schemas/`)), &v) != nil {
		return true
	}
	return v
}

func (a *API) specRoutes() []route {
	return []route{{"GET", "/api/v1/openapi.json", "", "", a.serveOpenAPI}}
}

// serveOpenAPI answers the contract.
func (a *API) serveOpenAPI(w http.ResponseWriter, _ *request) error {
	b, err := a.contract()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // the client may be gone
	return nil
}

func (a *API) makeContract() func() ([]byte, error) { return sync.OnceValues(a.openAPI) }
