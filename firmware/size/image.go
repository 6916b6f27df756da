package main

import (
	"bufio"
	"cmp"
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"wasmbed.io/wasmbed/internal/errs"
)

// Use is bytes of an image. What is initialized counts in both.
type Use struct {
	Flash int64 `json:"flash"`
	RAM   int64 `json:"ram"`
}

// Part is what one part of the image takes.
type Part struct {
	Name string `json:"name"`
	Use
}

// Report is what is known of one image.
type Report struct {
	Board     string `json:"board"`
	Transport string `json:"transport"`
	Use
	Budget *Use   `json:"budget,omitempty"`
	Over   bool   `json:"over"`
	Parts  []Part `json:"parts"`
	Top    []Part `json:"top,omitempty"`
}

// memory says where an image's RAM is.
type memory struct{ begin, end uint64 }

func (m memory) has(address uint64) bool { return address >= m.begin && address < m.end }

// readELF returns the totals: bytes that are programmed (without gaps), and RAM from its begin to the end of what is used.
func readELF(name string) (Use, memory, error) {
	f, err := elf.Open(name)
	if err != nil {
		return Use{}, memory{}, errs.New(errs.Invalid, "%s: %w", name, err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return Use{}, memory{}, errs.New(errs.Invalid, "%s: %w", name, err)
	}
	var m memory
	for _, s := range symbols {
		switch s.Name {
		case "_image_ram_start":
			m.begin = s.Value
		case "_image_ram_end":
			m.end = s.Value
		}
	}
	if m.end <= m.begin {
		return Use{}, m, errs.New(errs.Invalid, "%s is no image of Zephyr: it does not say where its RAM is", name)
	}
	use := Use{RAM: int64(m.end - m.begin)}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			use.Flash += int64(p.Filesz)
		}
	}
	return use, m, nil
}

// sections returns the output sections that are programmed or occupy RAM: the map names debugging ones too.
func sections(name string) (flash, ram map[string]bool, err error) {
	f, err := elf.Open(name)
	if err != nil {
		return nil, nil, errs.New(errs.Invalid, "%s: %w", name, err)
	}
	defer f.Close()
	flash, ram = map[string]bool{}, map[string]bool{}
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		flash[s.Name] = s.Type != elf.SHT_NOBITS
		ram[s.Name] = true
	}
	return flash, ram, nil
}

// measure makes the report of the image that stands at elfName, with its map beside it.
func measure(elfName, firmware string, top int) (Report, error) {
	use, mem, err := readELF(elfName)
	if err != nil {
		return Report{}, err
	}
	flash, alloc, err := sections(elfName)
	if err != nil {
		return Report{}, err
	}
	mapName := strings.TrimSuffix(elfName, ".elf") + ".map"
	in, err := os.Open(mapName)
	if err != nil {
		return Report{}, errs.New(errs.NotFound, "the map of %s: %w", elfName, err)
	}
	defer in.Close()
	pieces, err := readMap(in)
	if err != nil {
		return Report{}, err
	}
	s, err := newSorter(firmware)
	if err != nil {
		return Report{}, errs.New(errs.Invalid, "sources: %w", err)
	}
	if pieces, err = resolve(elfName, pieces); err != nil {
		return Report{}, err
	}
	r := Report{Use: use}
	parts, objects := map[string]*Use{}, map[string]*Use{}
	for _, p := range pieces {
		if !alloc[p.output] {
			continue
		}
		part := s.part(p.object)
		for key, m := range map[string]map[string]*Use{part: parts, part + " " + label(p): objects} {
			if m[key] == nil {
				m[key] = &Use{}
			}
			if mem.has(p.address) {
				m[key].RAM += int64(p.size)
			}
			if flash[p.output] {
				m[key].Flash += int64(p.size)
			}
		}
	}
	known := Use{}
	for _, name := range partNames {
		if u := parts[name]; u != nil && name != partRest {
			r.Parts = append(r.Parts, Part{name, *u})
			known.Flash += u.Flash
			known.RAM += u.RAM
		}
	}
	// Alignment, tables that the linker script makes, and what the map does not name.
	r.Parts = append(r.Parts, Part{partRest, Use{use.Flash - known.Flash, use.RAM - known.RAM}})
	r.Top = largest(objects, top)
	return r, nil
}

// resolve gives the pieces of link-time optimization the sources that they were made of.
func resolve(elfName string, pieces []piece) ([]piece, error) {
	if !slices.ContainsFunc(pieces, func(p piece) bool { return optimized(p.object) }) {
		return pieces, nil
	}
	symbols, err := readSymbols(elfName)
	if err != nil {
		return nil, err
	}
	out := make([]piece, 0, len(pieces))
	for _, p := range pieces {
		if optimized(p.object) {
			out = append(out, split(p, symbols)...)
		} else {
			out = append(out, p)
		}
	}
	return out, nil
}

func label(p piece) string {
	if p.object == "" {
		return p.section
	}
	_, source := object(p.object)
	return source
}

func largest(objects map[string]*Use, n int) []Part {
	all := make([]Part, 0, len(objects))
	for name, u := range objects {
		all = append(all, Part{name, *u})
	}
	slices.SortFunc(all, func(a, b Part) int {
		return cmp.Or(cmp.Compare(b.Flash+b.RAM, a.Flash+a.RAM), cmp.Compare(a.Name, b.Name))
	})
	return all[:min(n, len(all))]
}

// readConfig returns board name and transport of a Zephyr build's .config, "" where it does not say.
func readConfig(name string) (board, transport string) {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return "", ""
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		key, value, _ := strings.Cut(in.Text(), "=")
		switch key {
		case "CONFIG_WASMBED_BOARD_NAME":
			board = strings.Trim(value, `"`)
		case "CONFIG_WASMBED_TRANSPORT_ETHERNET":
			transport = "ethernet"
		case "CONFIG_WASMBED_TRANSPORT_SERIAL":
			transport = "serial"
		}
	}
	return board, transport
}
