package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"sigs.k8s.io/yaml"

	"wasmbed.io/wasmbed/internal/errs"
)

// Budgets is firmware/boards/budgets.yaml: board → transport → bytes.
type Budgets struct {
	Boards map[string]map[string]Use `json:"boards"`
}

func readBudgets(name string) (Budgets, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return Budgets{}, errs.New(errs.NotFound, "budgets: %w", err)
	}
	var b Budgets
	if err := yaml.UnmarshalStrict(data, &b); err != nil {
		return Budgets{}, errs.New(errs.Invalid, "%s: %w", name, err)
	}
	for board, all := range b.Boards {
		for transport, u := range all {
			if (transport != "ethernet" && transport != "serial") || u.Flash <= 0 || u.RAM <= 0 {
				return Budgets{}, errs.New(errs.Invalid, "%s: %s %s: flash and ram must be positive", name, board, transport)
			}
		}
	}
	return b, nil
}

// judge compares a report with its budget. NotFound: there is none, which a build must not pass over.
func (b Budgets) judge(r *Report) error {
	u, ok := b.Boards[r.Board][r.Transport]
	if !ok {
		return errs.New(errs.NotFound, "no budget for board %q over %q", r.Board, r.Transport).
			WithMend("add it to firmware/boards/budgets.yaml")
	}
	r.Budget = &u
	r.Over = r.Flash > u.Flash || r.RAM > u.RAM
	return nil
}

// list writes "board transport" lines, sorted.
func (b Budgets) list(out io.Writer) error {
	for _, board := range slices.Sorted(maps.Keys(b.Boards)) {
		for _, transport := range slices.Sorted(maps.Keys(b.Boards[board])) {
			if _, err := fmt.Fprintln(out, board, transport); err != nil {
				return err
			}
		}
	}
	return nil
}
