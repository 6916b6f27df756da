// Command functions serves Wasmbed's functions as CloudEvents subscribers: one of them, as a Knative Service
// does, or all in one process.
package main

import (
	"os"

	"wasmbed.io/wasmbed/functions"
	"wasmbed.io/wasmbed/internal/run"
)

func main() {
	os.Exit(run.Main("functions", "serves Wasmbed's functions", os.Args[1:], os.Stdout, &functions.Config{}, functions.Run))
}
