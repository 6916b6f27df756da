// Command admission serves the admission webhooks of a cluster: it tells whoever writes a Wasmbed object at once what
// the functions would find out later.
package main

import (
	"os"

	"wasmbed.io/wasmbed/internal/run"
)

func main() {
	os.Exit(run.Main("admission", "serves the Kubernetes admission webhooks of Wasmbed's objects", os.Args[1:], os.Stdout, &Config{}, serve))
}
