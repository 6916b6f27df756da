// Command gateway holds the devices' connections of one Gateway object. Several may run on one Redis.
package main

import (
	"os"

	"wasmbed.io/wasmbed/gateway"
	"wasmbed.io/wasmbed/internal/run"
)

func main() {
	os.Exit(run.Main("gateway", "holds the devices' connections", os.Args[1:], os.Stdout, new(gateway.Config), gateway.Run))
}
