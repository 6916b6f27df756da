// Package k3s installs Wasmbed by shell scripts; there is no Go in it but their tests.
package k3s
