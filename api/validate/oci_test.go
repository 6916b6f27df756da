package validate_test

import (
	"strings"
	"testing"

	"wasmbed.io/wasmbed/api/validate"
)

func TestParseReference(t *testing.T) {
	d := "sha256:" + strings.Repeat("0a", 32)
	for text, want := range map[string]validate.Reference{
		"ghcr.io/team/app":                {Registry: "ghcr.io", Repository: "team/app"},
		"ghcr.io/team/app:1.2":            {Registry: "ghcr.io", Repository: "team/app", Tag: "1.2"},
		"ghcr.io/team/app@" + d:           {Registry: "ghcr.io", Repository: "team/app", Digest: d},
		"localhost:5000/team/app:v1@" + d: {Registry: "localhost:5000", Repository: "team/app", Tag: "v1", Digest: d},
		"app":                             {Repository: "app"},
		"team/app:1":                      {Repository: "team/app", Tag: "1"},
		"10.0.0.1:5000/a__b/c-d/e.f":      {Registry: "10.0.0.1:5000", Repository: "a__b/c-d/e.f"},
	} {
		if got, err := validate.ParseReference(text); err != nil || got != want {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "a", "/", "ghcr.io/", "ghcr.io/A/b", "ghcr.io/a//b", "ghcr.io/a/b:", "ghcr.io/a/b@", "ghcr.io/a/b@sha256:00", "ghcr.io/a/b@sha512:" + strings.Repeat("0", 128),
		"ghcr.io/a/b@" + strings.ToUpper(d), "ghcr.io/a/b:t@" + d + "@" + d, "https://ghcr.io/a", "ghcr.io/a/b:-x", "ghcr.io/-a/b", "ghcr.io/a/../b", "ghcr.io:x/ab", "ghcr.io/a b", "ghcr.io/" + strings.Repeat("a", 256), ":1", "-.io/ab"} {
		if r, err := validate.ParseReference(bad); err == nil {
			t.Errorf("%q is %+v", bad, r)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"ghcr.io/team/app:1.2", "localhost:5000/a/b@sha256:", "a:b:c", "@", "//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := validate.ParseReference(text)
		if err != nil {
			return
		}
		again := r.Repository
		if r.Registry != "" {
			again = r.Registry + "/" + again
		}
		if r.Tag != "" {
			again += ":" + r.Tag
		}
		if r.Digest != "" {
			again += "@" + r.Digest
		}
		if again != text {
			t.Fatalf("%q was read as %q", text, again)
		}
	})
}
