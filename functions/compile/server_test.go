package compile

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wasmbed.io/wasmbed/api/source"
	"wasmbed.io/wasmbed/internal/errs"
)

// stub answers what a test wants.
type stub struct {
	source.Compiler
	result source.Result
	err    error
}

func (s *stub) Compile(_ context.Context, r source.Request) (source.Result, error) {
	s.result.Log = r.Files["main.c"]
	return s.result, s.err
}

// TestService: what a compiler elsewhere says is what one in this process says: results, errors with code and mend, languages.
func TestService(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func() (string, error) { return readToken(token) }
	s := &stub{Compiler: New(Deps{})}
	srv := httptest.NewServer(Handler(s, read))
	defer srv.Close()
	c := NewClient(srv.URL+"/", token)

	s.result = source.Result{Module: []byte("\x00asm"), Digest: "sha256:x", Size: 4, Diagnostics: []source.Diagnostic{{File: "main.c", Line: 1, Column: 2, Severity: source.Warning, Message: "w"}}, Compiler: "clang"}
	out, err := c.Compile(t.Context(), source.Request{Language: "c", Files: map[string]string{"main.c": "int x;"}})
	if err != nil || string(out.Module) != "\x00asm" || out.Log != "int x;" || len(out.Diagnostics) != 1 || out.Diagnostics[0].Column != 2 {
		t.Errorf("%+v %v", out, err)
	}
	for _, code := range []errs.Code{errs.Invalid, errs.Unsupported, errs.Exhausted, errs.Deadline, errs.TooLarge, errs.Unavailable, errs.Internal} {
		s.err = errs.New(code, "no").WithMend("mend it")
		if _, err := c.Compile(t.Context(), source.Request{}); !errs.Is(err, code) || err.Error() != s.err.Error() {
			t.Errorf("%s became %v", code, err)
		}
	}
	s.err = nil
	here, err := s.Languages(t.Context())
	there, err2 := c.Languages(t.Context())
	if err != nil || err2 != nil || len(here) == 0 || len(here) != len(there) {
		t.Errorf("%d languages there, %d here: %v %v", len(there), len(here), err, err2)
	}
	for i := range there {
		if there[i] != here[i] {
			t.Errorf("%+v became %+v", here[i], there[i])
		}
	}
	templates, err := c.Templates(t.Context())
	if err != nil || len(templates) == 0 || len(templates[0].Files) == 0 {
		t.Errorf("%d templates: %v", len(templates), err)
	}

	if _, err := c.Compile(t.Context(), source.Request{Files: map[string]string{"main.c": strings.Repeat("x", maxRequest)}}); !errs.Is(err, errs.TooLarge) {
		t.Errorf("a large request: %v", err)
	}
	for what, req := range map[string]func() *http.Request{
		"no token":      func() *http.Request { return post(t, srv.URL, "", `{}`) },
		"a wrong one":   func() *http.Request { return post(t, srv.URL, "Bearer 0123456789abcdeg", `{}`) },
		"an empty one":  func() *http.Request { return post(t, srv.URL, "Bearer ", `{}`) },
		"no bearer":     func() *http.Request { return post(t, srv.URL, "0123456789abcdef", `{}`) },
		"unknown field": func() *http.Request { return post(t, srv.URL, "Bearer 0123456789abcdef", `{"shell":"sh"}`) },
		"no JSON":       func() *http.Request { return post(t, srv.URL, "Bearer 0123456789abcdef", `{`) },
	} {
		resp, err := http.DefaultClient.Do(req())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if want := map[bool]int{true: 400, false: 401}[what == "unknown field" || what == "no JSON"]; resp.StatusCode != want {
			t.Errorf("%s: %s", what, resp.Status)
		}
	}
	// The token is rotated; then it is gone.
	if err := os.WriteFile(token, []byte("another-token-of-some-length"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Compile(t.Context(), source.Request{}); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
	strangers := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(strangers, []byte("a-token-of-somebody-else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewClient(srv.URL, strangers).Languages(t.Context()); !errs.Is(err, errs.Unavailable) {
		t.Errorf("a token that the service does not know: %v", err)
	}
	if err := os.WriteFile(token, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Languages(t.Context()); err == nil {
		t.Error("a token of five bytes is enough")
	}
	srv.Close()
	if _, err := NewClient(srv.URL, strangers).Languages(t.Context()); !errs.Is(err, errs.Unavailable) {
		t.Errorf("a service that is away: %v", err)
	}
}

func post(t *testing.T, url, auth, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/compile", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	return r
}
