// Command kubeapi is the embedded Kubernetes API of standalone: a process of its own beside it, so that what
// it carries (116 MB of program, 70 MB of memory before its first line of main) is in no other process.
package main

import (
	"os"

	"wasmbed.io/wasmbed/cmd/standalone/kubeapi/server"
)

func main() { os.Exit(server.Command(os.Args[1:], os.Stdout)) }
