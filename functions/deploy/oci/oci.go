// Package oci pulls WebAssembly modules from OCI registries.
package oci

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"wasmbed.io/wasmbed/internal/errs"
)

// Limits.
const (
	DefaultTimeout = 20 * time.Second // of one pull, all requests together
	maxLayers      = 16
	maxManifests   = 64 // of an index
)

// Media types of layers that hold a module: the CNCF's, its predecessors', and plain.
func mediaTypes() []string {
	return []string{
		"application/wasm",
		"application/vnd.wasm.content.layer.v1+wasm",
		"application/vnd.module.wasm.content.layer.v1+wasm",
	}
}

// Options are settings. Zero values are defaults.
type Options struct {
	MaxSize int64         // bytes of a module
	Timeout time.Duration // of a pull
	// Hosts, when not empty, are the only registries that are asked ("host" or "host:port"). References are
	// written by tenants, and this process may reach more than they do.
	Hosts     []string
	Transport http.RoundTripper
}

// Registry pulls anonymously. Safe for concurrent use.
type Registry struct{ o Options }

// New returns a registry client.
func New(o Options) *Registry {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Transport == nil {
		o.Transport = remote.DefaultTransport
	}
	return &Registry{o: o}
}

// Pull returns the module's bytes and the reference by digest under which they can be pulled again. Errors:
// Invalid (the reference, or what it names is not one module), NotFound, Denied, TooLarge, Unavailable,
// Deadline.
func (r *Registry) Pull(ctx context.Context, reference string) ([]byte, string, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, "", errs.New(errs.Invalid, "reference %q: %w", reference, err)
	}
	host := ref.Context().RegistryStr()
	if len(r.o.Hosts) > 0 && !slices.Contains(r.o.Hosts, host) {
		return nil, "", errs.New(errs.Denied, "registry %s is not one of the allowed: %s", host, strings.Join(r.o.Hosts, ", "))
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	opts := []remote.Option{remote.WithContext(ctx), remote.WithAuth(authn.Anonymous), remote.WithTransport(r.o.Transport),
		remote.WithRetryPredicate(func(error) bool { return false })} // the broker retries
	desc, err := remote.Get(ref, opts...)
	if err != nil {
		return nil, "", convert(reference, err)
	}
	img, err := image(desc)
	if err != nil {
		return nil, "", convert(reference, err)
	}
	b, err := r.module(img)
	if err != nil {
		return nil, "", convert(reference, err)
	}
	// The digest of what the tag named: an index stays an index.
	return b, ref.Context().Digest(desc.Digest.String()).String(), nil
}

// image returns the one image, or of an index the one for WebAssembly.
func image(desc *remote.Descriptor) (v1.Image, error) {
	if !desc.MediaType.IsIndex() {
		return desc.Image()
	}
	idx, err := desc.ImageIndex()
	if err != nil {
		return nil, err
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(m.Manifests) > maxManifests {
		return nil, errs.New(errs.Invalid, "an index of %d manifests, more than %d", len(m.Manifests), maxManifests)
	}
	var found []v1.Hash
	for _, d := range m.Manifests {
		if p := d.Platform; len(m.Manifests) == 1 || p != nil && (p.Architecture == "wasm" || p.Architecture == "wasm32" || p.OS == "wasi") {
			found = append(found, d.Digest)
		}
	}
	if len(found) != 1 {
		return nil, errs.New(errs.Invalid, "an index with %d manifests for WebAssembly where 1 is needed", len(found))
	}
	return idx.Image(found[0])
}

func (r *Registry) module(img v1.Image) ([]byte, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) > maxLayers {
		return nil, errs.New(errs.Invalid, "%d layers, more than %d", len(layers), maxLayers)
	}
	var found []v1.Layer
	for _, l := range layers {
		t, err := l.MediaType()
		if err != nil {
			return nil, err
		}
		if slices.Contains(mediaTypes(), string(t)) {
			found = append(found, l)
		}
	}
	if len(found) != 1 {
		return nil, errs.New(errs.Invalid, "%d layers of a module's media type (%s) where 1 is needed", len(found), strings.Join(mediaTypes(), ", "))
	}
	size, err := found[0].Size()
	if err != nil {
		return nil, err
	}
	if size > r.o.MaxSize {
		return nil, errs.New(errs.TooLarge, "a module of %d bytes, more than %d", size, r.o.MaxSize)
	}
	rc, err := found[0].Compressed() // as it is stored; its digest is verified while it is read
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	b, err := io.ReadAll(io.LimitReader(rc, r.o.MaxSize+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > r.o.MaxSize {
		return nil, errs.New(errs.TooLarge, "a module of more than %d bytes", r.o.MaxSize)
	}
	return b, nil
}

// convert gives an error of the library its code.
func convert(reference string, err error) error {
	var ours *errs.Error
	if errors.As(err, &ours) {
		return errs.New(ours.Code, "%s: %w", reference, err)
	}
	code := errs.Invalid
	var t *transport.Error
	var n net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		code = errs.Deadline
	case errors.As(err, &t):
		code = errs.FromHTTP(t.StatusCode)
		if code == errs.Unauthenticated {
			code = errs.Denied // we came without a name; a retry will not change it
		}
	case errors.As(err, &n), errors.Is(err, io.ErrUnexpectedEOF):
		code = errs.Unavailable
	}
	return errs.New(code, "%s: %w", reference, err)
}
