package wazero

import (
	"errors"
	"fmt"
)

// Bounds of a module beyond the manifest's. docs/spec/abi.md names them.
const (
	maxLocals = 1024 // of one function
	maxTable  = 4096 // entries at the start
)

// guard refuses a module whose counts would make wazero's decoder allocate more than the module can fill: it takes the
// counts of a binary at their word, and a module of 30 bytes may name 4 GiB. It returns the module without its
// custom sections. What it lets through is not yet valid: wazero validates.
func guard(b []byte) ([]byte, error) {
	if len(b) < 8 || string(b[:8]) != "\x00asm\x01\x00\x00\x00" {
		return nil, errors.New("not a WebAssembly 1 module")
	}
	out := append(make([]byte, 0, len(b)), b[:8]...)
	r := &reader{b: b[8:]}
	for len(r.b) > 0 {
		before := r.b
		id := r.byte()
		body := r.take(r.u32())
		if r.failed {
			return nil, fmt.Errorf("section %d is longer than the module", id)
		}
		if id == sectionCustom {
			continue
		}
		if why := guardSection(id, &reader{b: body}); why != "" {
			return nil, fmt.Errorf("section %d: %s", id, why)
		}
		out = append(out, before[:len(before)-len(r.b)]...)
	}
	return out, nil
}

// Section ids, in the order of the specification (core, 5.5.2).
const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
)

// guardSection reads one section as far as its counts reach, and says what is wrong with it.
func guardSection(id byte, r *reader) string {
	if id == sectionStart || id == sectionDataCount {
		return ""
	}
	count := r.count() // every element has at least one byte
	for n := uint32(0); n < count && !r.failed; n++ {
		switch id {
		case sectionType:
			r.byte()
			r.take(r.u32())
			r.take(r.u32())
		case sectionImport:
			r.take(r.u32())
			r.take(r.u32())
			if r.byte() != 0 {
				return "imports something else than a function"
			}
			r.u32()
		case sectionFunction:
			r.u32()
		case sectionTable:
			r.byte()
			flag, entries := r.byte(), r.u32()
			if flag&1 != 0 {
				r.u32()
			}
			if entries > maxTable {
				return fmt.Sprintf("a table of %d entries", entries)
			}
		case sectionMemory:
			if r.byte()&1 != 0 {
				r.u32()
			}
			r.u32()
		case sectionGlobal:
			r.take(2)
			r.constant()
		case sectionExport:
			r.take(r.u32())
			r.byte()
			r.u32()
		case sectionElement:
			r.element()
		case sectionCode:
			body := &reader{b: r.take(r.u32())}
			if body.locals() > maxLocals {
				return fmt.Sprintf("function %d has too many locals", n)
			}
			r.failed = r.failed || body.failed
		case sectionData:
			if flag := r.u32(); flag != 1 { // 1: passive, no memory and no offset
				if flag == 2 {
					r.u32()
				}
				r.constant()
			}
			r.take(r.u32())
		default:
			return "unknown"
		}
	}
	if r.failed {
		return "a count or length is longer than the section"
	}
	return ""
}

// reader reads a binary. After a read that did not fit, failed is set and everything reads as zero.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)) {
		r.failed, r.b = true, nil
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

// leb skips or reads one LEB128 number of at most limit bytes.
func (r *reader) leb(limit int) uint64 {
	var v uint64
	for n := range limit {
		b := r.byte()
		v |= uint64(b&0x7f) << (7 * n)
		if b&0x80 == 0 {
			return v
		}
	}
	r.failed, r.b = true, nil
	return 0
}

func (r *reader) u32() uint32 {
	v := r.leb(5)
	if v > 1<<32-1 {
		r.failed, r.b = true, nil
		return 0
	}
	return uint32(v)
}

// count reads how many elements follow, each of which has at least one byte.
func (r *reader) count() uint32 {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)) {
		r.failed, r.b = true, nil
		return 0
	}
	return n
}

// constant skips a constant expression: instructions until end.
func (r *reader) constant() {
	for !r.failed {
		switch r.byte() {
		case 0x0b: // end
			return
		case 0x41, 0x42: // i32.const, i64.const
			r.leb(10)
		case 0x43:
			r.take(4)
		case 0x44:
			r.take(8)
		case 0x23, 0xd2: // global.get, ref.func
			r.u32()
		case 0xd0: // ref.null
			r.byte()
		default:
			r.failed, r.b = true, nil
		}
	}
}

// element skips an element segment (core 2.0, 5.5.12).
func (r *reader) element() {
	flag := r.u32()
	passive, explicit, expressions := flag&1 != 0, flag&2 != 0, flag&4 != 0
	if flag > 7 {
		r.failed, r.b = true, nil
		return
	}
	if !passive {
		if explicit {
			r.u32()
		}
		r.constant()
	}
	if passive || explicit {
		r.byte() // element kind or type
	}
	for n := r.count(); n > 0 && !r.failed; n-- {
		if expressions {
			r.constant()
		} else {
			r.u32()
		}
	}
}

// locals counts the locals that a function body declares.
func (r *reader) locals() uint64 {
	var sum uint64
	for groups := r.count(); groups > 0 && !r.failed; groups-- {
		sum += uint64(r.u32())
		r.byte()
	}
	return sum
}
