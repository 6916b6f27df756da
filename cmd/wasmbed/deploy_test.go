package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wasmbed.io/wasmbed/api/source"
	"wasmbed.io/wasmbed/internal/errs"
)

const (
	deployed = `{"object":{"metadata":{"name":"hello","namespace":"default","generation":2},"spec":{"targets":{"all":true},"manifest":{"permissions":["log"]}},
		"status":{"observedGeneration":2,"revision":"hello-2","desired":3,"ready":3,"rollout":{"generation":2,"sequence":7,"to":"hello-2","state":"Complete","reason":"SpecChanged"},
		"conditions":[{"type":"Ready","status":"True","reason":"Ready","message":"","lastTransitionTime":null}]}}}`
	applied = `{"metadata":{"name":"hello","namespace":"default","generation":2}}`
)

// TestDeployAKeptModule: a module that the platform keeps is deployed by its name; what else the Application says stays.
func TestDeployAKeptModule(t *testing.T) {
	f := newFake(t, map[string]string{
		"GET /modules/m-1": `{"metadata":{"name":"m-1"}}`, "GET /applications/hello": deployed, "PUT /applications/hello": applied,
	})
	f.good("revision hello-2 runs on 3 of 3 devices", "deploy", "--module", "m-1", "--name", "hello")
	put := ""
	for _, a := range f.asked {
		if strings.HasPrefix(a, "PUT ") {
			put = a
		}
	}
	if !strings.Contains(put, `"module":{"name":"m-1"}`) || !strings.Contains(put, `"all":true`) || !strings.Contains(put, `"permissions":["log"]`) {
		t.Errorf("asked %s", put)
	}
	f.asked = nil
	f.bad(5, "nothing at", "deploy", "--module", "m-2", "--name", "hello")
	f.sent("GET /modules/m-2") // and nothing was changed
	file := filepath.Join(t.TempDir(), "m.wasm")
	if err := os.WriteFile(file, []byte("\x00asm\x01\x00\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.bad(2, "which module", "deploy", "--name", "hello")
	f.bad(2, "which module", "deploy", file, "--module", "m-1")
	f.bad(2, "--name", "deploy", "--module", "m-1")
	f.sent()
}

// TestEndsInJSON: deploy, rollback and compile end with one JSON value on standard output when they are asked to, and with
// words otherwise; how they got there is on standard error.
func TestEndsInJSON(t *testing.T) {
	f := newFake(t, map[string]string{
		"GET /modules/m-1": `{"metadata":{"name":"m-1"}}`, "GET /applications/hello": deployed, "PUT /applications/hello": applied,
		"POST /applications/hello/rollback": `{"event":"e1"}`,
		"POST /compile":                     `{"module":"AGFzbQEAAAA=","digest":"sha256:x","size":8,"diagnostics":[],"compiler":"clang","seconds":1,"inspection":{"memory":1,"permissions":["log"],"fits":[]}}`,
	})
	dir := t.TempDir()
	main := filepath.Join(dir, "main.c")
	if err := os.WriteFile(main, []byte("int x;"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "m.wasm")
	for args, want := range map[string]string{
		"deploy --module m-1 --name hello":           "hello-2",
		"deploy --module m-1 --name hello --no-wait": "hello",
		"rollback hello --no-wait":                   "e1",
		"compile " + main + " --out " + out:          "sha256:x",
	} {
		words, _, err := f.run(strings.Fields(args)...)
		if err != nil || json.Valid([]byte(words)) && strings.TrimSpace(words) != "" {
			t.Errorf("%s: %v\n%s", args, err, words)
		}
		got, _, err := f.run(append(strings.Fields(args), "-o", "json")...)
		var v map[string]any
		if err != nil || json.Unmarshal([]byte(got), &v) != nil || !strings.Contains(got, want) {
			t.Errorf("%s -o json: %v\n%s", args, err, got)
		}
	}
	// What does not compile is JSON, too, and the exit code says that it does not.
	bad, err := json.Marshal(source.Result{Diagnostics: []source.Diagnostic{{File: "main.c", Line: 3, Column: 1, Severity: source.Error, Message: "no"}}, Compiler: "clang"})
	if err != nil {
		t.Fatal(err)
	}
	f.answers["POST /compile"] = string(bad)
	got, said, err := f.run("compile", main, "--out", out, "-o", "json")
	var r source.Result
	if exitCode(err) != 2 || json.Unmarshal([]byte(got), &r) != nil || len(r.Diagnostics) != 1 || r.Diagnostics[0].Line != 3 || !strings.Contains(said, "main.c:3:1: error: no") {
		t.Errorf("%v\n%s%s", err, got, said)
	}
}

// TestGatewaySetSendsWhatItRead: a change that somebody made in between is not undone.
func TestGatewaySetSendsWhatItRead(t *testing.T) {
	d := newDesk(t)
	version, conflict := "41", false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPut:
			var g struct {
				Metadata struct{ Name string } `json:"metadata"`
			}
			if err := json.NewDecoder(r.Body).Decode(&g); err != nil || g.Metadata.Name != "default" || r.Header.Get("If-Match") != `"41"` {
				t.Errorf("%+v, If-Match %s, %v", g, r.Header.Get("If-Match"), err)
			}
			if conflict {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusConflict)
				_, _ = io.WriteString(w, `{"code":"conflict","detail":"it was changed since you read it"}`)
				return
			}
			version = "42"
		}
		fmt.Fprintf(w, `{"metadata":{"name":"default","namespace":"default","resourceVersion":"%s"},"spec":{"address":"a:1"}}`, version)
	}))
	t.Cleanup(s.Close)
	t.Setenv("WASMBED_SERVER", s.URL)
	t.Setenv("WASMBED_TOKEN", "x")
	d.good("default", "gateways", "set", "default", "--heartbeat", "5s")
	version, conflict = "41", true
	d.bad(6, "changed since you read it", "gateways", "set", "default", "--heartbeat", "5s")
}

// TestExitCodes: each kind of error has the exit code that the help and docs/cli.md promise.
func TestExitCodes(t *testing.T) {
	root := newRoot(io.Discard, io.Discard)
	promised := map[int]string{0: "done", 1: "failed", 2: "wrong input", 4: "not allowed", 5: "not found", 6: "conflict", 7: "try later", 8: "too slow", 130: "interrupted"}
	help := strings.Join(strings.Fields(root.Long), " ")
	for code, what := range promised {
		if !strings.Contains(help, fmt.Sprintf("%d %s", code, what)) {
			t.Errorf("the help does not say %d %s", code, what)
		}
	}
	for status, want := range map[string]struct{ http, exit int }{
		"invalid": {400, 2}, "unauthenticated": {401, 4}, "denied": {403, 4}, "not-found": {404, 5}, "already-exists": {409, 6}, "conflict": {409, 6},
		"too-large": {413, 2}, "exhausted": {429, 7}, "unavailable": {503, 7}, "deadline": {504, 8}, "unsupported": {501, 2}, "internal": {500, 1},
	} {
		if got := errs.HTTPStatus(&errs.Error{Code: errs.Code(status)}); got != want.http {
			t.Errorf("%s is HTTP %d, not %d", status, got, want.http)
		}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(want.http)
			fmt.Fprintf(w, `{"code":%q,"detail":"no"}`, status)
		}))
		d := newDesk(t)
		t.Setenv("WASMBED_SERVER", s.URL)
		t.Setenv("WASMBED_TOKEN", "x")
		_, _, err := d.run("devices")
		s.Close()
		if err == nil || exitCode(err) != want.exit {
			t.Errorf("%s ends with %d, not %d: %v", status, exitCode(err), want.exit, err)
		}
		if promised[want.exit] == "" {
			t.Errorf("%d is not promised", want.exit)
		}
	}
	d := newDesk(t)
	t.Setenv("WASMBED_SERVER", "http://127.0.0.1:1")
	t.Setenv("WASMBED_TOKEN", "x")
	if _, _, err := d.run("devices"); exitCode(err) != 7 {
		t.Errorf("nobody answers: %d %v", exitCode(err), err)
	}
	if _, _, err := d.run("bogus"); exitCode(err) != 2 {
		t.Errorf("no such command: %d %v", exitCode(err), err)
	}
}
