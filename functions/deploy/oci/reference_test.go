package oci_test

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"wasmbed.io/wasmbed/api/validate"
)

// FuzzReference: what admission takes for a reference, the client that pulls takes too, and for the same one.
func FuzzReference(f *testing.F) {
	for _, s := range []string{"ghcr.io/team/app:1.2", "localhost:5000/a/bb", "app", "team/app@sha256:" + strings.Repeat("0a", 32), "10.0.0.1/a__b/c-d/e.f:v_1", "localhost/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ours, err := validate.ParseReference(text)
		if err != nil {
			return
		}
		ref, err := name.ParseReference(text)
		if err != nil {
			t.Fatalf("%q is %+v, and to the client: %v", text, ours, err)
		}
		if ours.Registry != "" && ref.Context().RegistryStr() != ours.Registry && ours.Registry != "docker.io" {
			t.Errorf("%q: registry %q, to the client %q", text, ours.Registry, ref.Context().RegistryStr())
		}
		if id := ref.Identifier(); ours.Digest != "" && id != ours.Digest || ours.Digest == "" && ours.Tag != "" && id != ours.Tag {
			t.Errorf("%q: %+v, to the client %q", text, ours, id)
		}
	})
}
