// Command gen makes the Helm chart out of the kustomize base, so that the two cannot drift: go generate ./deploy/helm/gen.
package main

import (
	"fmt"
	"os"

	"wasmbed.io/wasmbed/internal/errs"
)

//go:generate go run . ../../.. ../wasmbed

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "gen ROOT CHART: ROOT is the repository, CHART the folder of the chart")
		os.Exit(2)
	}
	files, err := chart(os.DirFS(os.Args[1]))
	if err == nil {
		err = write(os.Args[2], files)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(max(1, errs.ExitCode(err)))
	}
}
