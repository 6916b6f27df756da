// Package v1alpha1 holds the Kubernetes API types of group wasmbed.io.
//
// The comments here are what `kubectl explain` says, and the markers are what the API server enforces: the
// CRDs of config/crd are generated from them (`go generate ./api/v1alpha1`). Each kind has its page under
// docs/spec/crds.
//
// Fields of bytes carry the marker Format="" and a pattern of base64: with the format "byte", which
// controller-gen gives them, the API server's CEL decodes the URL alphabet of base64 and refuses any object
// with a + or / in such a field as soon as a rule looks near it (seen with Kubernetes 1.37).
package v1alpha1
