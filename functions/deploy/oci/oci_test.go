package oci

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"wasmbed.io/wasmbed/internal/errs"
)

func made(t *testing.T, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestPull(t *testing.T) {
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	wasm := []byte("\x00asm\x01\x00\x00\x00")
	layer := func(b []byte, t types.MediaType) v1.Layer { return static.NewLayer(b, t) }
	push := func(ref string, img v1.Image) string {
		t.Helper()
		r, err := name.ParseReference(host + "/" + ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(r, img); err != nil {
			t.Fatal(err)
		}
		return r.String()
	}
	plain := push("plain:1", made(t, layer([]byte("{}"), "application/json"), layer(wasm, "application/wasm")))
	other := push("other:1", made(t, layer(wasm, "application/vnd.wasm.content.layer.v1+wasm")))
	none := push("none:1", made(t, layer(wasm, types.OCILayer)))
	two := push("two:1", made(t, layer(wasm, "application/wasm"), layer(append(bytes.Clone(wasm), 0), "application/wasm")))
	big := push("big:1", made(t, layer(make([]byte, 5000), "application/wasm")))

	idx := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: made(t, layer([]byte("x"), types.OCILayer)), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: made(t, layer(wasm, "application/wasm")), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "wasi", Architecture: "wasm"}}})
	index, err := name.ParseReference(host + "/index:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(index, idx); err != nil {
		t.Fatal(err)
	}

	r := New(Options{MaxSize: 4096})
	for _, ref := range []string{plain, other, index.String()} {
		b, byDigest, err := r.Pull(t.Context(), ref)
		if err != nil || !bytes.Equal(b, wasm) || !strings.Contains(byDigest, "@sha256:") {
			t.Errorf("%s: %d bytes, %s, %v", ref, len(b), byDigest, err)
			continue
		}
		again, same, err := r.Pull(t.Context(), byDigest)
		if err != nil || !bytes.Equal(again, wasm) || same != byDigest {
			t.Errorf("%s by digest: %s, %v", ref, same, err)
		}
	}
	for _, x := range []struct {
		ref  string
		code errs.Code
	}{
		{none, errs.Invalid}, {two, errs.Invalid}, {big, errs.TooLarge}, {host + "/missing:1", errs.NotFound}, {"not a reference", errs.Invalid},
		{"127.0.0.1:1/nobody:1", errs.Unavailable},
	} {
		if _, _, err := r.Pull(t.Context(), x.ref); !errs.Is(err, x.code) {
			t.Errorf("%s: %v (%s), want %s", x.ref, err, errs.CodeOf(err), x.code)
		}
	}
	strict := New(Options{MaxSize: 4096, Hosts: []string{"registry.example"}})
	if _, _, err := strict.Pull(t.Context(), plain); !errs.Is(err, errs.Denied) {
		t.Errorf("a registry that is not allowed: %v", err)
	}

	stuck := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer stuck.Close()
	slow := New(Options{MaxSize: 4096, Timeout: 100 * time.Millisecond})
	if _, _, err := slow.Pull(t.Context(), strings.TrimPrefix(stuck.URL, "http://")+"/x:1"); !errs.Is(err, errs.Deadline) {
		t.Errorf("a registry that does not answer: %v", err)
	}
}
