package validate

import (
	"regexp"
	"strings"

	"wasmbed.io/wasmbed/internal/errs"
)

// Reference is what an OCI reference says.
type Reference struct {
	Registry   string // host or host:port; empty: Docker Hub's
	Repository string
	Tag        string // may be empty
	Digest     string // sha256:<hex>, may be empty
}

// The grammar of the OCI distribution specification, chapter "Pulling manifests", and of Docker's references, which
// adds the registry. It is written out here because only deploy speaks to registries and has their client.
var (
	repositoryPart = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)
	tagText        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	digestText     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	hostText       = regexp.MustCompile(`^([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])(\.([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*(:[0-9]{1,5})?$`)
)

// Characters of a repository's name, as the client that deploy pulls with has it.
const (
	minRepository = 2
	maxRepository = 255
)

// ParseReference reads the reference of an OCI artifact. Errors: Invalid.
func ParseReference(text string) (Reference, error) {
	var r Reference
	rest, digest, has := strings.Cut(text, "@")
	if has {
		if !digestText.MatchString(digest) {
			return r, errs.New(errs.Invalid, "what stands behind @ is not sha256: and 64 hex digits in lower case")
		}
		r.Digest = digest
	}
	// The last colon begins a tag when no slash comes after it; else it is that of a port.
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.Contains(rest[i:], "/") {
		r.Tag = rest[i+1:]
		rest = rest[:i]
		if !tagText.MatchString(r.Tag) {
			return r, errs.New(errs.Invalid, "%q is not a tag", r.Tag)
		}
	}
	// What stands before the first slash is a registry when it looks like a host: ghcr.io/x, host:5000/x.
	// localhost/x, as deploy's client has it, is a repository of Docker Hub.
	if first, behind, ok := strings.Cut(rest, "/"); ok && strings.ContainsAny(first, ".:") {
		if !hostText.MatchString(first) {
			return r, errs.New(errs.Invalid, "%q is not a registry's host", first)
		}
		r.Registry, rest = first, behind
	}
	r.Repository = rest
	if len(rest) < minRepository || len(rest) > maxRepository {
		return r, errs.New(errs.Invalid, "a repository's name of %d characters; it has %d to %d", len(rest), minRepository, maxRepository)
	}
	for _, part := range strings.Split(rest, "/") {
		if !repositoryPart.MatchString(part) {
			return r, errs.New(errs.Invalid, "%q is not a part of a repository's name: lower-case letters, digits, and single . _ - between them", part)
		}
	}
	return r, nil
}
