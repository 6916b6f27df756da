// Package config carries the Kubernetes objects of this folder, for programs that install or read them.
package config

import (
	"embed"
	"io/fs"

	"wasmbed.io/wasmbed/internal/errs"
)

//go:generate go test . -run AreCurrent -update

//go:embed crd/*.yaml rbac/*.yaml samples/*.yaml knative/triggers/*.yaml
var files embed.FS

// Folders of the tree.
const (
	CRDs     = "crd"
	RBAC     = "rbac"
	Samples  = "samples"
	Triggers = "knative/triggers"
)

// FS returns the whole tree.
func FS() fs.FS { return files }

// Sub returns one folder of the tree.
func Sub(folder string) (fs.FS, error) {
	sub, err := fs.Sub(files, folder)
	if err != nil {
		return nil, errs.New(errs.Internal, "config: %w", err)
	}
	return sub, nil
}
