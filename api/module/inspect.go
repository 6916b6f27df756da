package module

import (
	"fmt"
	"unicode/utf8"
)

// Section ids.
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
	sectionTag
)

// order is where a section must stand; the ids are not in order for the later ones.
var order = [...]int{
	sectionType: 1, sectionImport: 2, sectionFunction: 3, sectionTable: 4, sectionMemory: 5, sectionTag: 6,
	sectionGlobal: 7, sectionExport: 8, sectionStart: 9, sectionElement: 10, sectionDataCount: 11,
	sectionCode: 12, sectionData: 13,
}

// Inspect reads a module's sections. Its errors are errs.Invalid (reason NotWasm) and errs.TooLarge
// (ModuleTooLarge).
func Inspect(b []byte) (Info, error) {
	if len(b) > MaxSize {
		return Info{}, problem(ReasonModuleTooLarge, fmt.Sprintf("%d bytes; at most %d", len(b), MaxSize))
	}
	p := parser{info: Info{Digest: Digest(b), Size: len(b)}}
	if err := p.module(b); err != nil {
		return Info{}, problem(ReasonNotWasm, err.Error())
	}
	return p.info, nil
}

type parser struct {
	info     Info
	types    []FuncType
	funcs    []FuncType // imported, then defined
	globals  []int64    // constant initial value of each i32 global, -1: not constant
	memories int
	bodies   int
}

func (p *parser) module(b []byte) error {
	r := reader{b: b}
	head, err := r.bytes(8)
	if err != nil || string(head[:4]) != "\x00asm" {
		return fmt.Errorf("does not begin with \\0asm")
	}
	if v := string(head[4:]); v != "\x01\x00\x00\x00" {
		if head[6] == 1 {
			return fmt.Errorf("is a component; a core module is needed")
		}
		return fmt.Errorf("binary version % x; 1 is needed", v)
	}
	last := 0
	for n := 0; r.left() > 0; n++ {
		if n == maxSections {
			return fmt.Errorf("more than %d sections", maxSections)
		}
		id, err := r.byte()
		if err != nil {
			return err
		}
		size, err := r.u32()
		if err != nil {
			return fmt.Errorf("section %d: %w", id, err)
		}
		body, err := r.bytes(size)
		if err != nil {
			return fmt.Errorf("section %d: %w", id, err)
		}
		if id == sectionCustom {
			continue
		}
		if int(id) >= len(order) {
			return fmt.Errorf("unknown section %d", id)
		}
		if order[id] <= last {
			return fmt.Errorf("section %d is out of order", id)
		}
		last = order[id]
		if err := p.section(id, &reader{b: body}); err != nil {
			return fmt.Errorf("section %d: %w", id, err)
		}
	}
	if p.bodies != p.info.Functions {
		return fmt.Errorf("%d functions are declared, %d have a body", p.info.Functions, p.bodies)
	}
	return nil
}

func (p *parser) section(id byte, r *reader) error {
	var read func(*reader) error
	limit := uint32(0)
	switch id {
	case sectionType:
		read, limit = p.typ, maxTypes
	case sectionImport:
		read, limit = p.imp, maxImports
	case sectionFunction:
		read, limit = p.function, maxFuncs
	case sectionMemory:
		read, limit = p.memory, 1
	case sectionGlobal:
		read, limit = p.global, maxGlobals
	case sectionExport:
		read, limit = p.export, maxExports
	case sectionCode:
		n, err := r.u32()
		p.bodies = int(n)
		return err
	default:
		return nil
	}
	n, err := r.u32()
	if err != nil {
		return err
	}
	if n > limit {
		return fmt.Errorf("%d entries; at most %d", n, limit)
	}
	for range n {
		if err := read(r); err != nil {
			return err
		}
	}
	if r.left() > 0 {
		return fmt.Errorf("%d bytes too many", r.left())
	}
	return nil
}

func (p *parser) typ(r *reader) error {
	form, err := r.byte()
	if err != nil {
		return err
	}
	if form != 0x60 {
		return fmt.Errorf("type form 0x%02x is not a plain function", form)
	}
	var t FuncType
	for _, list := range []*string{&t.Params, &t.Results} {
		n, err := r.u32()
		if err != nil {
			return err
		}
		if n > maxParams {
			return fmt.Errorf("%d parameters or results; at most %d", n, maxParams)
		}
		letters := make([]byte, n)
		for i := range letters {
			if letters[i], err = r.valueType(); err != nil {
				return err
			}
		}
		*list = string(letters)
	}
	p.types = append(p.types, t)
	return nil
}

func (p *parser) imp(r *reader) error {
	var im Import
	var err error
	if im.Module, err = r.name(); err != nil {
		return err
	}
	if im.Name, err = r.name(); err != nil {
		return err
	}
	kind, err := r.byte()
	if err != nil {
		return err
	}
	im.Kind = Kind(kind)
	switch im.Kind {
	case KindFunc:
		if im.Type, err = p.funcType(r); err != nil {
			return err
		}
		p.funcs = append(p.funcs, im.Type)
	case KindTable:
		if _, err = r.valueType(); err == nil {
			_, _, err = r.limits()
		}
	case KindMemory:
		p.memories++
		p.info.MemoryPages, p.info.MaxPages, err = r.limits()
	case KindGlobal:
		if _, err = r.valueType(); err == nil {
			_, err = r.byte()
		}
		p.globals = append(p.globals, -1)
	case KindTag:
		if _, err = r.byte(); err == nil {
			_, err = r.u32()
		}
	default:
		return fmt.Errorf("import of unknown kind %d", kind)
	}
	if err != nil {
		return err
	}
	p.info.Imports = append(p.info.Imports, im)
	return nil
}

func (p *parser) funcType(r *reader) (FuncType, error) {
	i, err := r.u32()
	if err != nil {
		return FuncType{}, err
	}
	if int64(i) >= int64(len(p.types)) {
		return FuncType{}, fmt.Errorf("type %d does not exist", i)
	}
	return p.types[i], nil
}

func (p *parser) function(r *reader) error {
	t, err := p.funcType(r)
	if err != nil {
		return err
	}
	p.funcs = append(p.funcs, t)
	p.info.Functions++
	return nil
}

func (p *parser) memory(r *reader) error {
	p.memories++
	if p.memories > 1 {
		return fmt.Errorf("more than one memory")
	}
	var err error
	p.info.MemoryPages, p.info.MaxPages, err = r.limits()
	if err != nil {
		return err
	}
	if p.info.MemoryPages > maxPages || p.info.MaxPages > maxPages {
		return fmt.Errorf("memory of more than %d pages", maxPages)
	}
	if p.info.MaxPages > 0 && p.info.MaxPages < p.info.MemoryPages {
		return fmt.Errorf("memory maximum %d is below its minimum %d", p.info.MaxPages, p.info.MemoryPages)
	}
	return nil
}

// global reads a global with a constant initialiser; extended constant expressions are not needed by any
// compiler whose modules we take.
func (p *parser) global(r *reader) error {
	vt, err := r.valueType()
	if err != nil {
		return err
	}
	if _, err := r.byte(); err != nil { // mutability
		return err
	}
	op, err := r.byte()
	if err != nil {
		return err
	}
	value := int64(-1)
	switch op {
	case 0x41: // i32.const
		v, err := r.signed(32)
		if err != nil {
			return err
		}
		if vt == 'i' {
			value = int64(uint32(v))
		}
	case 0x42: // i64.const
		_, err = r.signed(64)
	case 0x43: // f32.const
		_, err = r.bytes(4)
	case 0x44: // f64.const
		_, err = r.bytes(8)
	case 0x23, 0xd2: // global.get, ref.func
		_, err = r.u32()
	case 0xd0: // ref.null
		_, err = r.byte()
	default:
		return fmt.Errorf("initialiser 0x%02x of a global is not a plain constant", op)
	}
	if err != nil {
		return err
	}
	if end, err := r.byte(); err != nil || end != 0x0b {
		return fmt.Errorf("initialiser of a global is not a plain constant")
	}
	p.globals = append(p.globals, value)
	return nil
}

func (p *parser) export(r *reader) error {
	var ex Export
	var err error
	if ex.Name, err = r.name(); err != nil {
		return err
	}
	kind, err := r.byte()
	if err != nil {
		return err
	}
	if ex.Kind = Kind(kind); ex.Kind > KindTag {
		return fmt.Errorf("export of unknown kind %d", kind)
	}
	i, err := r.u32()
	if err != nil {
		return err
	}
	switch {
	case ex.Kind == KindFunc && int64(i) >= int64(len(p.funcs)):
		return fmt.Errorf("export %q: function %d does not exist", ex.Name, i)
	case ex.Kind == KindFunc:
		ex.Type = p.funcs[i]
	case ex.Kind == KindMemory && int64(i) >= int64(p.memories):
		return fmt.Errorf("export %q: memory %d does not exist", ex.Name, i)
	case ex.Kind == KindGlobal && int64(i) >= int64(len(p.globals)):
		return fmt.Errorf("export %q: global %d does not exist", ex.Name, i)
	case ex.Kind == KindGlobal && ex.Name == "__heap_base" && p.globals[i] > 0:
		p.info.heapBase = uint32(p.globals[i])
	}
	for _, other := range p.info.Exports {
		if other.Name == ex.Name {
			return fmt.Errorf("two exports are named %q", ex.Name)
		}
	}
	p.info.Exports = append(p.info.Exports, ex)
	return nil
}

// reader reads the primitives of the binary format.
type reader struct{ b []byte }

var errShort = fmt.Errorf("is cut short")

func (r *reader) left() int { return len(r.b) }

func (r *reader) byte() (byte, error) {
	if len(r.b) == 0 {
		return 0, errShort
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c, nil
}

func (r *reader) bytes(n uint32) ([]byte, error) {
	if uint64(n) > uint64(len(r.b)) {
		return nil, errShort
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out, nil
}

// u32 reads an unsigned LEB128 of at most 32 bits.
func (r *reader) u32() (uint32, error) {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c, err := r.byte()
		if err != nil {
			return 0, err
		}
		v |= uint64(c&0x7f) << shift
		if c&0x80 == 0 {
			if v > 1<<32-1 {
				break
			}
			return uint32(v), nil
		}
	}
	return 0, fmt.Errorf("integer of more than 32 bits")
}

// signed reads a signed LEB128 of at most size bits.
func (r *reader) signed(size int) (int64, error) {
	var v int64
	for shift := 0; shift < size+6; shift += 7 {
		c, err := r.byte()
		if err != nil {
			return 0, err
		}
		v |= int64(c&0x7f) << shift
		if c&0x80 == 0 {
			if c&0x40 != 0 && shift+7 < 64 {
				v |= -1 << (shift + 7)
			}
			return v, nil
		}
	}
	return 0, fmt.Errorf("integer of more than %d bits", size)
}

func (r *reader) name() (string, error) {
	n, err := r.u32()
	if err != nil {
		return "", err
	}
	if n > maxName {
		return "", fmt.Errorf("name of %d bytes; at most %d", n, maxName)
	}
	b, err := r.bytes(n)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", fmt.Errorf("name is not UTF-8")
	}
	return string(b), nil
}

// valueType reads a value type as FuncType's letter.
func (r *reader) valueType() (byte, error) {
	c, err := r.byte()
	if err != nil {
		return 0, err
	}
	switch c {
	case 0x7f:
		return 'i', nil
	case 0x7e:
		return 'I', nil
	case 0x7d:
		return 'f', nil
	case 0x7c:
		return 'F', nil
	case 0x7b:
		return 'v', nil
	case 0x70, 0x6f:
		return 'r', nil
	}
	return 0, fmt.Errorf("unknown value type 0x%02x", c)
}

// limits reads the limits of a memory or table: min, and max or 0.
func (r *reader) limits() (minimum, maximum uint32, err error) {
	flags, err := r.byte()
	if err != nil {
		return 0, 0, err
	}
	if flags > 1 {
		return 0, 0, fmt.Errorf("shared or 64-bit memory")
	}
	if minimum, err = r.u32(); err != nil || flags == 0 {
		return minimum, 0, err
	}
	maximum, err = r.u32()
	return minimum, maximum, err
}
