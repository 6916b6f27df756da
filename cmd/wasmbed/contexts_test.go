package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"wasmbed.io/wasmbed/internal/errs"
)

// desk is a person's machine: a home, no environment, nothing that runs.
type desk struct {
	*testing.T
	home, file string
	in         string // standard input
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	for _, v := range []string{"WASMBED_SERVER", "WASMBED_TOKEN", "WASMBED_NAMESPACE", "WASMBED_DIR", "WASMBED_CONTEXT"} {
		t.Setenv(v, "")
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("KUBECONFIG", filepath.Join(home, "kubeconfig"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Chdir(home)
	return &desk{T: t, home: home, file: filepath.Join(home, ".config/wasmbed/config.yaml")}
}

func (d *desk) run(args ...string) (string, string, error) {
	var out, errw bytes.Buffer
	root := newRoot(&out, &errw)
	root.SetIn(strings.NewReader(d.in))
	root.SetArgs(args)
	err := root.ExecuteContext(d.Context())
	return out.String(), errw.String(), err
}

func (d *desk) good(want string, args ...string) string {
	d.Helper()
	out, _, err := d.run(args...)
	if err != nil || !strings.Contains(out, want) {
		d.Errorf("%v: %q, %v; want …%s…", args, out, err, want)
	}
	return out
}

func (d *desk) bad(exit int, want string, args ...string) {
	d.Helper()
	out, _, err := d.run(args...)
	if err == nil || errs.ExitCode(err) != exit || !strings.Contains(err.Error(), want) {
		d.Errorf("%v: %q, exit %d %v; want %d …%s…", args, out, errs.ExitCode(err), err, exit, want)
	}
}

func (d *desk) write(path, text string) {
	d.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
}

// gate is a server that knows one token and says who came.
func gate(t *testing.T, token string, start func(http.Handler) *httptest.Server) *httptest.Server {
	s := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(401)
			_, _ = w.Write([]byte(`{"detail":"nobody knows this token","code":"unauthenticated","mend":"make a new one"}`))
			return
		}
		_, _ = w.Write([]byte(`{"name":"ann","groups":["ops"],"namespaces":["press"],"may":{"events":true}}`))
	}))
	t.Cleanup(s.Close)
	return s
}

func TestContextsRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config.yaml")
	s := &contexts{Current: "b"}
	for _, n := range []string{"c", "a", "b"} {
		s.put(account{Name: n, Server: "https://" + n + ".example", Namespace: "press", Token: "t-" + n})
	}
	s.put(account{Name: "c", Server: "http://127.0.0.1:3001", KubeconfigContext: "kind kind"})
	if err := s.save(path); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if st, err := os.Stat(p); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v %v, want %v", p, st.Mode(), err, want)
		}
	}
	got, err := loadContexts(path)
	if err != nil || !reflect.DeepEqual(got, s) || got.Contexts[0].Name != "a" {
		t.Errorf("%+v %v, want %+v", got, err, s)
	}
	if err := os.Chmod(path, 0o644); err != nil { // somebody was careless
		t.Fatal(err)
	}
	if err := got.save(path); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".config-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if none, err := loadContexts(filepath.Join(t.TempDir(), "none")); err != nil || len(none.Contexts) != 0 {
		t.Errorf("%+v %v", none, err)
	}
}

func TestBadContextsAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"contexts: 5": "cannot unmarshal",
		"currant: x":  "currant",
		"contexts: [{name: a, server: 'http://lab.example'}]":                        "in the clear",
		"contexts: [{name: a, server: 'https://u:p@x.example'}]":                     "not the URL",
		"contexts: [{name: 'a b', server: 'https://x'}]":                             "no name",
		"contexts: [{name: a, server: 'https://x'}, {name: a, server: 'https://y'}]": "twice",
		"contexts: [{name: a, server: 'https://x', token: \"a\\nb\"}]":               "characters",
		"contexts: [{name: a, server: 'https://x', token: t, kubeconfigContext: k}]": "exclude",
		"contexts: [{name: a, server: 'https://x', ca: hello}]":                      "no certificate",
		"contexts: [{name: a, server: 'https://x', namespace: '../b'}]":              "no namespace",
		"{": "yaml",
	} {
		if s, err := readContexts([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v %v, want …%s…", text, s, err, want)
		}
	}
	d := newDesk(t)
	d.write(d.file, "currant: x\n")
	d.bad(2, "config.yaml", "status")
	d.bad(2, "config.yaml", "login", "--server", "http://127.0.0.1:1", "--token", "x") // and it is not written over
	if b, err := os.ReadFile(d.file); err != nil || string(b) != "currant: x\n" {
		t.Errorf("%q %v", b, err)
	}
	d.bad(7, "does not answer", "status", "--server", "http://127.0.0.1:1", "--token", "x") // who names a server needs no file
}

func TestLoginAndContexts(t *testing.T) {
	d := newDesk(t)
	a := gate(t, "a-token", httptest.NewServer)
	b := gate(t, "b-token", httptest.NewServer)
	d.bad(2, "which server", "login")
	d.bad(4, "which token", "login", "--server", a.URL)
	d.bad(4, "nobody knows", "login", "--server", a.URL, "--token", "wrong")
	if _, err := os.Stat(d.file); err == nil {
		t.Error("a token that was refused is kept")
	}
	d.bad(2, "exclude", "login", "--server", a.URL, "--token", "x", "--token-stdin")
	d.in = "a-token\n"
	d.good("as ann; context lab, namespace press", "login", "--server", a.URL, "--token-stdin", "--name", "lab")
	d.in = ""
	t.Setenv("WASMBED_TOKEN", "b-token")
	host := strings.TrimPrefix(b.URL, "http://")
	d.good("context "+host+", namespace other", "login", "--server", b.URL, "-n", "other")
	t.Setenv("WASMBED_TOKEN", "")
	out := d.good(host, "context", "-o", "json")
	var lines []contextLine
	if err := json.Unmarshal([]byte(out), &lines); err != nil || len(lines) != 2 || strings.Contains(out, "token\":\"a-token") || strings.Contains(out, "b-token") {
		t.Errorf("%s %v", out, err)
	}
	d.good("ann", "whoami")
	d.good(`"namespace": "other"`, "whoami", "-o", "json")
	d.good(`"namespace": "press"`, "whoami", "-o", "json", "--context", "lab")
	d.good(`"namespace": "mine"`, "whoami", "-o", "json", "--context", "lab", "-n", "mine")
	d.good("lab is selected", "context", "use", "lab")
	d.good("context lab (selected)", "context", "show")
	d.bad(5, "there are", "context", "use", "nowhere")
	d.bad(5, "nowhere", "whoami", "--context", "nowhere")
	d.bad(2, "exclude", "whoami", "--context", "lab", "--server", a.URL)
	d.bad(4, "no token", "whoami", "--server", b.URL) // a context's token goes to no other server

	// A selected context goes before the state folder; a flag, the environment, or selecting none brings that back.
	d.write(filepath.Join(d.home, ".wasmbed/server"), b.URL+"\n")
	d.write(filepath.Join(d.home, ".wasmbed/token"), "b-token\n")
	d.good(a.URL, "whoami")
	d.good(b.URL, "whoami", "--state", ".wasmbed")
	d.good("state folder .wasmbed", "whoami", "--server", b.URL, "-o", "wide") // it is the same server: its token is used
	t.Setenv("WASMBED_DIR", ".wasmbed")
	d.good(b.URL, "whoami")
	d.good(a.URL, "whoami", "--context", "lab")
	t.Setenv("WASMBED_CONTEXT", "lab")
	d.good(a.URL, "whoami")
	t.Setenv("WASMBED_SERVER", b.URL)
	d.good(b.URL, "whoami")
	for _, v := range []string{"WASMBED_DIR", "WASMBED_CONTEXT", "WASMBED_SERVER"} {
		t.Setenv(v, "")
	}
	d.good("no context", "context", "use", "--none")
	d.good(b.URL, "whoami")
	d.good("", "login", "--name", "here") // the platform of this folder, with its token
	d.good("context here (selected)", "context", "show")

	d.good("logged out of lab", "logout", "lab")
	d.bad(4, "wasmbed login --name lab", "whoami", "--context", "lab")
	d.good("none", "context", "list")
	d.good("as ann; context lab", "login", "--name", "lab", "--token", "a-token") // the server is known still
	d.good("forgotten", "context", "delete", "lab", "here")
	d.good(b.URL, "whoami")
	d.good("logged out of", "logout", "--all")
	d.bad(2, "no context is selected", "logout")
}

func TestExpiredTokenSaysHowToGoOn(t *testing.T) {
	d := newDesk(t)
	s := gate(t, "new", httptest.NewServer)
	d.write(d.file, "current: lab\ncontexts: [{name: lab, server: '"+s.URL+"', token: old}]\n")
	d.bad(4, "wasmbed login --name lab", "whoami")
	if err := os.Chmod(d.file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, errw, _ := d.run("whoami"); !strings.Contains(errw, "chmod 600") {
		t.Errorf("nothing is said of a file that all may read: %q", errw)
	}
}

func TestLoginByTLSAndKubeconfig(t *testing.T) {
	d := newDesk(t)
	s := gate(t, "kube-token", func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of handshakes that fail as they should
		s.StartTLS()
		return s
	})
	d.bad(7, "--ca FILE", "login", "--server", s.URL, "--token", "kube-token")
	ca := filepath.Join(d.home, "ca.pem")
	d.write(ca, "no certificate")
	d.bad(2, "CA", "login", "--server", s.URL, "--token", "kube-token", "--ca", ca)
	d.write(ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	d.write(filepath.Join(d.home, "kubeconfig"), `apiVersion: v1
kind: Config
current-context: other
clusters: [{name: k, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: u, user: {tokenFile: "`+filepath.Join(d.home, "tok")+`"}}, {name: cert, user: {}}]
contexts: [{name: lab, context: {cluster: k, user: u}}, {name: other, context: {cluster: k, user: cert}}]
`)
	d.write(filepath.Join(d.home, "tok"), "kube-token")
	d.bad(4, "no bearer token", "login", "--server", s.URL, "--ca", ca, "--kubeconfig-context", "other")
	d.bad(4, "kubeconfig", "login", "--server", s.URL, "--ca", ca, "--kubeconfig-context", "nowhere")
	d.good("context k8s", "login", "--server", s.URL, "--ca", ca, "--kubeconfig-context", "lab", "--name", "k8s")
	if err := os.Remove(ca); err != nil { // its content is kept
		t.Fatal(err)
	}
	d.good("kubeconfig context lab", "whoami", "-o", "wide")
	if b, err := os.ReadFile(d.file); err != nil || strings.Contains(string(b), "kube-token") {
		t.Errorf("%s %v", b, err)
	}
	d.write(filepath.Join(d.home, "tok"), "expired")
	d.bad(4, "nobody knows", "whoami")
}

func TestSameServer(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"http://127.0.0.1:3001", "http://localhost:3001/", true},
		{"http://[::1]:3001", "http://127.0.0.1:3001", true},
		{"https://x.example", "https://X.example:443", true},
		{"https://x.example", "http://x.example:443", false},
		{"http://127.0.0.1:3001", "http://127.0.0.1:3002", false},
		{"https://x.example", "https://y.example", false},
		{"", "", false}, {"http://x", "", false}, {"%", "%", false},
	} {
		if got := sameServer(c.a, c.b); got != c.want {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
}

// What can be read can be written, and is then the same.
func FuzzContexts(f *testing.F) {
	for _, s := range []string{"", "current: a\ncontexts: [{name: a, server: 'https://x', token: t}]", "contexts: [{name: a, server: 'http://127.0.0.1:1', kubeconfigContext: 'x y', namespace: n}]", "a: &a [*a]", "{", "contexts: [{}]"} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "config.yaml")
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readContexts(b)
		if err != nil {
			return
		}
		if err := s.save(path); err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		again, err := loadContexts(path)
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		if len(s.Contexts) == 0 {
			s.Contexts, again.Contexts = nil, nil
		}
		if !reflect.DeepEqual(s, again) {
			t.Fatalf("%+v became %+v", s, again)
		}
	})
}
