// Command told reads `go test -json` and prints what plain `go test` prints: a line for each package, and everything of
// what failed. What a passing test says it did not run ("not run: …") goes to the file that is named, because plain
// `go test` hides it. It exits 1 when a test failed or a package did not build.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// event is one line of go test -json (go doc test2json).
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "told FILE: for what was not run")
		os.Exit(2)
	}
	failed, err := tell(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "told:", err)
		os.Exit(1)
	}
	if failed {
		os.Exit(1)
	}
}

func tell(path string) (failed bool, err error) {
	var notRun []string
	said := map[string][]string{} // output by package and test
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	packages := 0
	for {
		line, rerr := in.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				os.Stdout.Write(line) // not of go test: the compiler's words
				continue
			}
			key := e.Package + "\x00" + e.Test
			switch e.Action {
			case "build-output":
				fmt.Print(e.Output)
			case "build-fail":
				failed = true
			case "output":
				said[key] = append(said[key], e.Output)
				if i := strings.Index(e.Output, "not run: "); i >= 0 {
					notRun = append(notRun, strings.TrimPrefix(e.Package, "wasmbed.io/wasmbed/")+" "+e.Test+": "+strings.TrimSpace(e.Output[i:]))
				}
			case "pass", "skip":
				if e.Test != "" {
					delete(said, key)
				} else {
					packages++
					fmt.Print(last(said[key]))
				}
			case "fail":
				failed = true
				for _, s := range said[key] {
					fmt.Print(s)
				}
				delete(said, key)
			}
		}
		if rerr != nil {
			break
		}
	}
	if packages == 0 && !failed {
		return true, fmt.Errorf("no package was tested")
	}
	return failed, os.WriteFile(path, []byte(strings.Join(notRun, "\n")+"\n"), 0o644)
}

// last is the line that go test prints of a package that passed.
func last(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(lines[i], "ok ") || strings.HasPrefix(lines[i], "? ") || strings.HasPrefix(lines[i], "\t") {
			return lines[i]
		}
	}
	return ""
}
