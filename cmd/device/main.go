// Command device is a host device: the real firmware core on this machine, or a fleet of it.
package main

import (
	"os"

	"wasmbed.io/wasmbed/internal/run"
)

func main() {
	var cfg Config
	os.Exit(run.Main("device", "a device on this machine, or many of them in one process", os.Args[1:], os.Stdout, &cfg, serve))
}
