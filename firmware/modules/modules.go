// Package modules holds the sample modules: small WebAssembly programs with their sources beside them, committed so
// that running Wasmbed needs no wasm toolchain. `make -C firmware/modules` rebuilds them.
package modules

import (
	"embed"
	"io/fs"
	"strings"

	"wasmbed.io/wasmbed/internal/errs"
)

//go:embed *.wasm digests.txt
var files embed.FS

// Get returns the bytes of a sample: hello, hello-v2, hello-bad, hello-as, counter, trapper, conformance. The error is
// errs.NotFound.
func Get(name string) ([]byte, error) {
	b, err := files.ReadFile(name + ".wasm")
	if err != nil {
		return nil, errs.New(errs.NotFound, "no sample module %q", name)
	}
	return b, nil
}

// Names returns the names of all samples, sorted.
func Names() ([]string, error) {
	paths, err := fs.Glob(files, "*.wasm")
	if err != nil {
		return nil, errs.New(errs.Internal, "sample modules: %w", err)
	}
	for i, p := range paths {
		paths[i] = strings.TrimSuffix(p, ".wasm")
	}
	return paths, nil
}

// Digests returns digests.txt: one line "<hex SHA-256>  <file>" for each sample.
func Digests() ([]byte, error) { return files.ReadFile("digests.txt") }
