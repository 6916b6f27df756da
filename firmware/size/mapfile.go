package main

import (
	"bufio"
	"io"
	"strconv"
	"strings"

	"wasmbed.io/wasmbed/internal/errs"
)

// piece is one input section that the linker placed.
type piece struct {
	output  string // the output section
	address uint64
	size    uint64
	section string // its own name
	object  string // archive(member), or a file
}

// readMap returns the placed input sections of a GNU ld map file. The gaps that the linker fills are pieces without object.
func readMap(r io.Reader) ([]piece, error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	var out []piece
	var output, wrapped string
	begun := false
	for in.Scan() {
		line := in.Text()
		if !begun {
			begun = strings.HasPrefix(line, "Linker script and memory map")
			continue
		}
		f := strings.Fields(line)
		if len(f) == 0 {
			wrapped = ""
			continue
		}
		switch indent := len(line) - len(strings.TrimLeft(line, " ")); {
		case indent == 0:
			// "text 0x08010188 0x2bbcc", or the name alone; what is in it follows.
			output, wrapped = f[0], ""
		case indent == 1 && len(f) == 1:
			wrapped = f[0] // a long name; the rest stands in the next line
		case indent == 1 && len(f) >= 3:
			p, ok := placed(output, f[0], f[1:])
			if ok {
				out = append(out, p)
			}
			wrapped = ""
		case wrapped != "" && len(f) >= 3:
			if p, ok := placed(output, wrapped, f); ok {
				out = append(out, p)
			}
			wrapped = ""
		default:
			wrapped = ""
		}
	}
	if err := in.Err(); err != nil {
		return nil, errs.New(errs.Invalid, "map file: %w", err)
	}
	if !begun {
		return nil, errs.New(errs.Invalid, "no map file of GNU ld: it has no memory map")
	}
	return out, nil
}

// placed reads "0xADDRESS 0xSIZE object…".
func placed(output, section string, f []string) (piece, bool) {
	address, err1 := strconv.ParseUint(f[0], 0, 64)
	size, err2 := strconv.ParseUint(f[1], 0, 64)
	if err1 != nil || err2 != nil || size == 0 || output == "" {
		return piece{}, false
	}
	p := piece{output: output, address: address, size: size, section: section}
	if section != "*fill*" {
		p.object = strings.Join(f[2:], " ")
	}
	return p, true
}
