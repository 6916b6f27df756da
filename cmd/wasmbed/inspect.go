package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// inspection is what `inspect` says of a module; its JSON is for scripts.
type inspection struct {
	File    string `json:"file"`
	Digest  string `json:"digest"`
	Size    int    `json:"size"`
	Refused string `json:"refused,omitempty"` // why no device runs it
	Linear  struct {
		Pages    uint32 `json:"pages"`
		MaxPages uint32 `json:"maxPages,omitempty"`
		DataEnd  uint32 `json:"dataEnd,omitempty"`
		HeapBase uint32 `json:"heapBase,omitempty"`
		Grows    bool   `json:"grows"` // memory.size or memory.grow
		Stack    uint32 `json:"stack,omitempty"`
	} `json:"memory"`
	Needs       module.Memory         `json:"needs"`
	Functions   int                   `json:"functions"`
	Largest     largest               `json:"largest"`
	Tables      int                   `json:"tables"`
	Entries     int                   `json:"tableEntries"`
	Start       bool                  `json:"startSection"`
	Permissions []v1alpha1.Permission `json:"permissions"`
	Imports     []importLine          `json:"imports"`
	Entry       []string              `json:"entryPoints"`
	Invocable   []string              `json:"invocable"`
	Exports     []string              `json:"exports"`
	Boards      []boardLine           `json:"boards"`
}

type largest struct {
	Index int    `json:"index"`
	Name  string `json:"name,omitempty"`
	Bytes int    `json:"bytes"`
}

type importLine struct {
	Name       string              `json:"name"`
	Type       string              `json:"type"`
	Permission v1alpha1.Permission `json:"permission,omitempty"`
	Problem    string              `json:"problem,omitempty"`
}

type boardLine struct {
	Board  string `json:"board"`
	Memory int64  `json:"moduleMemory"`
	Slot   int64  `json:"moduleSize"`
	Fits   bool   `json:"fits"`
	Reason string `json:"reason,omitempty"`
	Why    string `json:"why,omitempty"`
}

func (c *cli) inspectCmd() *cobra.Command {
	var board string
	var stack int32
	cmd := &cobra.Command{
		Use: "inspect FILE.wasm", Short: "Say what a module asks for, and on which boards it fits", Args: cobra.ExactArgs(1),
		Long: `Say what a module asks for: imports and the permissions they need, entry points, memory; what one instance of it takes of
a board's RAM, and on which boards it fits. The estimate is the one by which applications are planned; docs/spec/abi.md
says how it is made. Needs no server.

Exit code 2: it is not a module that a device runs, or it does not fit on the board that was named.`,
		Example: `  wasmbed inspect hello.wasm
  wasmbed inspect hello.wasm --board FrdmK64f --stack 8192 --json`,
		Annotations: offline(),
		RunE: func(_ *cobra.Command, args []string) error {
			return c.inspect(args[0], board, stack)
		},
	}
	cmd.Flags().StringVar(&board, "board", "", "this board only")
	cmd.Flags().Int32Var(&stack, "stack", v1alpha1.DefaultStackBytes, "manifest.limits.stackBytes")
	return cmd
}

func (c *cli) inspect(file, board string, stack int32) error {
	boards := provisioner.Boards()
	if board != "" {
		b, ok := provisioner.BoardNamed(board)
		if !ok {
			return errs.New(errs.NotFound, "no board is called %q", board).WithMend("without --board all are listed")
		}
		boards = []provisioner.Board{b}
	}
	info, err := readModule(file)
	if err != nil {
		return err
	}
	m := v1alpha1.Manifest{Permissions: module.Permissions(info)}
	m.Default()
	m.Limits.StackBytes, m.Limits.MemoryPages = stack, max(m.Limits.MemoryPages, int32(min(info.MemoryPages, 1<<16)))
	refused := module.Check(info, m)
	out := inspect(info, m, boards)
	out.File = file
	if refused != nil {
		out.Refused = refused.Error()
	}
	if err := c.show(out, func(w *tabwriter.Writer, _ bool) { out.table(w) }); err != nil {
		return err
	}
	if refused != nil {
		return errs.New(errs.Invalid, "no device runs %s: %w", file, refused)
	}
	if board != "" && !out.Boards[0].Fits {
		return errs.New(errs.Invalid, "%s does not fit on %s: %s", file, board, out.Boards[0].Why)
	}
	return nil
}

func readModule(file string) (module.Info, error) {
	f, err := os.Open(file)
	if err != nil {
		return module.Info{}, errs.New(errs.NotFound, "%w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, module.MaxSize+1))
	if err != nil {
		return module.Info{}, errs.New(errs.Invalid, "%w", err)
	}
	return module.Inspect(b)
}

func inspect(info module.Info, m v1alpha1.Manifest, boards []provisioner.Board) inspection {
	out := inspection{
		Digest: info.Digest, Size: info.Size, Needs: module.EstimateParts(info, m), Functions: info.Functions,
		Largest: largest{info.Largest.Index, info.Largest.Name, info.Largest.Size}, Start: info.StartIndex >= 0,
		Permissions: module.Permissions(info), Imports: []importLine{}, Entry: []string{}, Invocable: []string{}, Exports: []string{},
	}
	l := &out.Linear
	l.Pages, l.MaxPages, l.DataEnd, l.HeapBase, l.Grows, l.Stack = info.MemoryPages, info.MaxPages, info.DataEnd, info.HeapBase, info.Grows, info.StackSize
	out.Tables, out.Entries = info.Tables()
	for _, im := range info.Imports {
		line := importLine{Name: im.String(), Type: im.Type.String()}
		var err error
		if line.Permission, err = module.PermissionOf(im); err != nil {
			line.Problem = err.Error()
		}
		out.Imports = append(out.Imports, line)
	}
	for _, ex := range info.Exports {
		switch {
		case ex.Kind == module.KindFunc && strings.HasPrefix(ex.Name, "wasmbed_"):
			out.Entry = append(out.Entry, ex.Name)
		case ex.Kind == module.KindFunc && ex.Type == (module.FuncType{Params: "ii", Results: "I"}) && !strings.HasPrefix(ex.Name, "_"):
			out.Invocable = append(out.Invocable, ex.Name)
		default:
			out.Exports = append(out.Exports, ex.Kind.String()+" "+ex.Name)
		}
	}
	for _, b := range boards {
		line := boardLine{Board: b.Name, Memory: b.ModuleMemory, Slot: b.ModuleSize, Fits: true}
		room := module.Room{Name: b.Name, ModuleMemory: b.ModuleMemory, ModuleSize: b.ModuleSize}
		if b.Refused != "" {
			line.Fits, line.Reason, line.Why = false, "Unsupported", b.Refused
		} else if p := module.Fit(info, m, room); p != nil {
			line.Fits, line.Reason, line.Why = false, p.Reason, p.Message
		}
		out.Boards = append(out.Boards, line)
	}
	return out
}

func (i inspection) table(w io.Writer) {
	row(w, "digest", i.Digest)
	row(w, "size", fmt.Sprintf("%d bytes, %d without custom sections", i.Size, i.Needs.Code))
	row(w, "memory", i.memory())
	if i.Linear.Stack > 0 {
		row(w, "own stack", fmt.Sprintf("%d bytes of the memory", i.Linear.Stack))
	}
	row(w, "needs", fmt.Sprintf("%d bytes of RAM on a board: %d linear memory, %d stack, %d code, %d the runtime's",
		i.Needs.Total, i.Needs.Linear, i.Needs.Stack, i.Needs.Code, i.Needs.Engine))
	functions := fmt.Sprintf("%d, the largest is %d", i.Functions, i.Largest.Index)
	if i.Largest.Name != "" {
		functions += " (" + i.Largest.Name + ")"
	}
	row(w, "functions", fmt.Sprintf("%s with %d bytes", functions, i.Largest.Bytes))
	if i.Tables > 0 {
		row(w, "tables", fmt.Sprintf("%d with %d entries", i.Tables, i.Entries))
	}
	if i.Start {
		row(w, "start section", "yes")
	}
	row(w, "entry points", strings.Join(i.Entry, ", "))
	row(w, "can be invoked", strings.Join(i.Invocable, ", "))
	row(w, "other exports", strings.Join(i.Exports, ", "))
	var permissions []string
	for _, p := range i.Permissions {
		permissions = append(permissions, string(p))
	}
	row(w, "permissions", strings.Join(permissions, ", "))
	fmt.Fprintln(w)
	row(w, "IMPORT", "TYPE", "PERMISSION")
	for _, im := range i.Imports {
		needs := string(im.Permission)
		if needs == "" {
			needs = "none"
		}
		if im.Problem != "" {
			needs = im.Problem
		}
		row(w, im.Name, im.Type, needs)
	}
	fmt.Fprintln(w)
	row(w, "BOARD", "RAM FOR A MODULE", "SLOT", "FITS")
	for _, b := range i.Boards {
		fits := "yes"
		if !b.Fits {
			fits = "no, " + b.Reason + ": " + b.Why
		}
		row(w, b.Board, kib(b.Memory), kib(b.Slot), fits)
	}
}

func (i inspection) memory() string {
	out := fmt.Sprintf("%d pages of 64 KiB", i.Linear.Pages)
	if i.Linear.Pages == 1 {
		out = "1 page of 64 KiB"
	}
	if i.Linear.MaxPages > 0 {
		out += fmt.Sprintf(", at most %d", i.Linear.MaxPages)
	}
	switch {
	case i.Needs.Linear < int64(i.Linear.Pages)*module.PageSize:
		out += fmt.Sprintf("; a board gives it %d bytes, up to __heap_base", i.Needs.Linear)
	case i.Linear.Grows:
		out += "; all of it on a board: the module uses memory.size or memory.grow"
	case i.Linear.HeapBase == 0 || i.Linear.DataEnd == 0:
		out += "; all of it on a board: __heap_base and __data_end are not exported"
	}
	return out
}
