// Command compile makes modules of source code for the REST API of a cluster, in an image that has the toolchains.
package main

import (
	"os"

	"wasmbed.io/wasmbed/functions/compile"
	"wasmbed.io/wasmbed/internal/run"
)

func main() {
	os.Exit(run.Main("compile", "makes modules of source code", os.Args[1:], os.Stdout, new(compile.Config), compile.Run))
}
