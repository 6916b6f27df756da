package main

import (
	"cmp"
	"debug/dwarf"
	"debug/elf"
	"slices"
	"strings"

	"wasmbed.io/wasmbed/internal/errs"
)

// Link-time optimization makes a few anonymous objects of many sources. The map then says nothing of who takes what, but the
// symbol table has every function and variable with its size, and the debugging information the source of each.

// symbol is a function or variable of the image and the source file that it was compiled from, "" when that is not known.
type symbol struct {
	address, size uint64
	name, source  string
}

// readSymbols returns what the image holds, by address.
func readSymbols(name string) ([]symbol, error) {
	f, err := elf.Open(name)
	if err != nil {
		return nil, errs.New(errs.Invalid, "%s: %w", name, err)
	}
	defer f.Close()
	all, err := f.Symbols()
	if err != nil {
		return nil, errs.New(errs.Invalid, "%s: %w", name, err)
	}
	sources, err := readSources(f)
	if err != nil {
		return nil, errs.New(errs.Invalid, "%s: %w", name, err)
	}
	var out []symbol
	for _, s := range all {
		kind := elf.ST_TYPE(s.Info)
		if s.Size == 0 || (kind != elf.STT_FUNC && kind != elf.STT_OBJECT) {
			continue
		}
		address := s.Value
		if kind == elf.STT_FUNC {
			address &^= 1 // Thumb
		}
		out = append(out, symbol{address, s.Size, s.Name, sources[plain(s.Name)]})
	}
	slices.SortFunc(out, func(a, b symbol) int { return cmp.Compare(a.address, b.address) })
	// Two names of one thing: the first of a known source counts.
	out = slices.CompactFunc(out, func(a, b symbol) bool { return a.address == b.address })
	return out, nil
}

// plain takes off what the optimizer puts behind a name.
func plain(name string) string {
	for _, suffix := range []string{".constprop", ".isra", ".part", ".lto_priv", ".cold"} {
		if i := strings.Index(name, suffix); i > 0 {
			name = name[:i]
		}
	}
	return name
}

// readSources returns the source of each function and variable that is defined somewhere.
func readSources(f *elf.File) (map[string]string, error) {
	data, err := f.DWARF()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	r := data.Reader()
	unit := ""
	for {
		e, err := r.Next()
		if err != nil {
			return nil, err
		}
		if e == nil {
			return out, nil
		}
		switch e.Tag {
		case dwarf.TagCompileUnit:
			unit, _ = e.Val(dwarf.AttrName).(string)
		case dwarf.TagSubprogram, dwarf.TagVariable:
			r.SkipChildren()
			name, _ := e.Val(dwarf.AttrName).(string)
			declared, _ := e.Val(dwarf.AttrDeclaration).(bool)
			external, _ := e.Val(dwarf.AttrExternal).(bool)
			if name == "" || declared || unit == "" || strings.HasPrefix(unit, "<") {
				continue
			}
			// What only one file sees may be called the same in two; what all see counts more.
			if _, known := out[name]; !known || external {
				out[name] = unit
			}
		default:
			if e.Children {
				r.SkipChildren()
			}
		}
	}
}

// split cuts a piece that holds many sources' things into one for each; what no symbol covers stays as a piece without object.
func split(p piece, symbols []symbol) []piece {
	i, _ := slices.BinarySearchFunc(symbols, p.address, func(s symbol, at uint64) int { return cmp.Compare(s.address, at) })
	var out []piece
	at, end := p.address, p.address+p.size
	gap := func(to uint64) {
		if to > at {
			out = append(out, piece{output: p.output, address: at, size: to - at, section: "*strings*"})
		}
	}
	for ; i < len(symbols) && symbols[i].address < end; i++ {
		s := symbols[i]
		if s.address < at {
			continue
		}
		gap(s.address)
		size := min(s.size, end-s.address)
		out = append(out, piece{output: p.output, address: s.address, size: size, section: s.name, object: s.source})
		at = s.address + size
	}
	gap(end)
	return out
}

// optimized reports whether an object is one of link-time optimization.
func optimized(object string) bool { return strings.Contains(object, ".ltrans") }
