// Command provisioner makes emulated boards for the Devices that ask for them, and follows them.
package main

import (
	"os"

	"wasmbed.io/wasmbed/internal/run"
)

func main() {
	os.Exit(run.Main("provisioner", "makes emulated boards for Devices", os.Args[1:], os.Stdout, &Config{}, serve))
}
