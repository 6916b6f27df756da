package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wasmbed.io/wasmbed/internal/errs"
)

// TestPartLogs: a part in our process has its own lines of the file that they share; a process has its whole file; only
// parts are named.
func TestPartLogs(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", maxLogTail) + "\n"
	for name, text := range map[string]string{
		"standalone.log": long + "t=1 of=gateway a\nt=2 of=broker b\nt=3 msg=\"of=gateway-not\"\nt=4 of=gateway c\n", "redis.log": "one\ntwo\nthree\n", "redis.log.old": "old\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, "log", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := partLogs{&state{dir: dir}}
	for _, c := range []struct {
		part string
		n    int
		want []string
	}{
		{"gateway", 10, []string{"t=1 of=gateway a", "t=4 of=gateway c"}}, {"gateway", 1, []string{"t=4 of=gateway c"}}, {"redis", 2, []string{"two", "three"}}, {"webui", 5, nil},
	} {
		got, err := l.Tail(t.Context(), c.part, c.n)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q %v, want %q", c.part, got, err, c.want)
		}
	}
	for _, bad := range []string{"../token", "redis.log.old", "", "/etc/passwd"} {
		if _, err := l.Tail(t.Context(), bad, 1); !errs.Is(err, errs.NotFound) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestOIDCSettings(t *testing.T) {
	for _, bad := range []OIDC{{Issuer: "http://id.example"}, {Issuer: "x"}, {Issuer: "https://id.example"}, {Issuer: "https://id.example", ClientID: "w", CA: "/nowhere/ca.pem"}} {
		if err := bad.check(); !errs.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	good := OIDC{Issuer: "https://id.example", ClientID: "w", UsernameClaim: "sub", GroupsClaim: "groups"}
	if err := good.check(); err != nil || !slices.Contains(good.args(), "https://id.example") {
		t.Error(err, good.args())
	}
	if none := (&OIDC{}); none.check() != nil || none.args() != nil {
		t.Error("without an issuer nothing is said")
	}
}
