package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"wasmbed.io/wasmbed/internal/errs"
)

func main() {
	over, err := run(os.Args[1:], os.Stdout)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "size:", err)
		os.Exit(2)
	case over:
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) (over bool, err error) {
	set := flag.NewFlagSet("size", flag.ContinueOnError)
	board := set.String("board", "", "name in the table of boards")
	transport := set.String("transport", "", "ethernet or serial")
	firmware := set.String("firmware", "firmware", "the folder firmware of the sources")
	asJSON := set.Bool("json", false, "print JSON")
	top := set.Int("top", 0, "print the N largest objects too")
	list := set.Bool("list", false, "print the boards and transports that have a budget, and nothing else")
	if err := set.Parse(args); err != nil {
		return false, errs.New(errs.Invalid, "%w", err)
	}
	budgets, err := readBudgets(filepath.Join(*firmware, "boards", "budgets.yaml"))
	if err != nil {
		return false, err
	}
	if *list {
		return false, budgets.list(out)
	}
	build := set.Arg(0)
	switch {
	case set.NArg() > 1 || build == "" && *board == "":
		return false, errs.New(errs.Invalid, "a build folder or ELF file, or --board, is needed")
	case build == "":
		if build, err = locate(*board, strings.ToLower(*transport)); err != nil {
			return false, err
		}
	}
	r, err := report(build, *firmware, *top)
	if err != nil {
		return false, err
	}
	if r.Board == "" { // an ELF file alone
		r.Board, r.Transport = *board, strings.ToLower(*transport)
	}
	if err := budgets.judge(&r); err != nil {
		return false, err
	}
	if *asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return r.Over, e.Encode(r)
	}
	return r.Over, text(out, r)
}

// locate returns the build folder that firmware/build keeps of a board's image; transport "": the board's own.
func locate(board, transport string) (string, error) {
	out := os.Getenv("WASMBED_FIRMWARE")
	if out == "" {
		out = filepath.Join("build", "firmware")
	}
	for _, image := range []string{board, board + "-" + transport} {
		folder := filepath.Join(out, "work", image)
		if _, has := readConfig(filepath.Join(folder, "zephyr", ".config")); has != "" && (transport == "" || has == transport) {
			return folder, nil
		}
	}
	return "", errs.New(errs.NotFound, "%s has no build of board %q over %q", out, board, transport).
		WithMend("build it: make firmware BOARD=NAME")
}

// report measures a build folder or an ELF file.
func report(name, firmware string, top int) (Report, error) {
	elfName, config := name, ""
	if info, err := os.Stat(name); err != nil {
		return Report{}, errs.New(errs.NotFound, "%w", err)
	} else if info.IsDir() {
		elfName, config = filepath.Join(name, "zephyr", "zephyr.elf"), filepath.Join(name, "zephyr", ".config")
	}
	r, err := measure(elfName, firmware, top)
	if err != nil {
		return r, err
	}
	r.Board, r.Transport = readConfig(config)
	return r, nil
}

func text(out io.Writer, r Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n\n%-10s %9s %9s\n", r.Board, r.Transport, "part", "flash", "RAM")
	for _, p := range r.Parts {
		fmt.Fprintf(&b, "%-10s %9d %9d\n", p.Name, p.Flash, p.RAM)
	}
	fmt.Fprintf(&b, "%-10s %9d %9d\n", "all", r.Flash, r.RAM)
	fmt.Fprintf(&b, "%-10s %9d %9d\n", "budget", r.Budget.Flash, r.Budget.RAM)
	if len(r.Top) > 0 {
		b.WriteByte('\n')
	}
	for _, p := range r.Top {
		fmt.Fprintf(&b, "%-44s %9d %9d\n", p.Name, p.Flash, p.RAM)
	}
	switch {
	case r.Flash > r.Budget.Flash:
		fmt.Fprintf(&b, "\nover budget: flash by %d bytes\n", r.Flash-r.Budget.Flash)
	case r.RAM > r.Budget.RAM:
		fmt.Fprintf(&b, "\nover budget: RAM by %d bytes\n", r.RAM-r.Budget.RAM)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
