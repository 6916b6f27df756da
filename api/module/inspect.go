package module

import "fmt"

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
	p := parser{info: Info{Digest: Digest(b), Size: len(b), StartIndex: -1}}
	if err := p.module(b); err != nil {
		return Info{}, problem(ReasonNotWasm, err.Error())
	}
	p.finish()
	return p.info, nil
}

type parser struct {
	info     Info
	types    []FuncType
	funcs    []FuncType // imported, then defined
	globals  []global   // imported, then defined
	imported int        // functions
	exported map[uint32]string
	base     int // index + 1 of the global __heap_base, 0: none
	end      int // of __data_end
	memories int
	bodies   int
}

// global is what matters of a global: value is its constant initial value when it is an i32, else -1.
type global struct {
	value   int64
	mutable bool
}

// finish draws the conclusions that need the whole module.
func (p *parser) finish() {
	constant := func(index int) uint32 {
		if index == 0 || p.globals[index-1].mutable || p.globals[index-1].value < 0 {
			return 0
		}
		return uint32(p.globals[index-1].value)
	}
	i := &p.info
	i.HeapBase, i.DataEnd = constant(p.base), constant(p.end)
	i.Largest.Name = p.exported[uint32(i.Largest.Index)]
	if i.HeapBase == 0 || i.DataEnd == 0 {
		return
	}
	// The linker's stack pointer is the first mutable i32 that lies in the memory below the heap. The stack stands
	// before the data (--stack-first) or behind it.
	for _, g := range p.globals {
		if !g.mutable || g.value < 0 || g.value > int64(i.HeapBase) {
			continue
		}
		i.StackSize = uint32(g.value)
		if end := (i.DataEnd + 15) &^ 15; i.StackSize > end {
			i.StackSize -= end
		}
		return
	}
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
	p.info.shape.kept = len(b)
	last := 0
	for n := 0; r.left() > 0; n++ {
		before := r.left()
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
			p.info.shape.kept -= before - r.left()
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
	case sectionTable:
		read, limit = p.table, maxTables
	case sectionMemory:
		read, limit = p.memory, 1
	case sectionGlobal:
		read, limit = p.global, maxGlobals
	case sectionExport:
		read, limit = p.export, maxExports
	case sectionStart:
		i, err := r.u32()
		p.info.StartIndex = int(i)
		return err
	case sectionElement:
		read, limit = p.element, maxFuncs
	case sectionCode:
		read, limit = p.body, maxFuncs
	case sectionData:
		read, limit = p.data, maxFuncs
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
	p.info.shape.types++
	p.info.shape.typeValues += len(t.Params) + len(t.Results)
	if len(t.Results) > 1 {
		p.unsupported("functions with several results")
	}
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
		p.imported++
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
		p.globals = append(p.globals, global{value: -1})
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

func (p *parser) table(r *reader) error {
	if _, err := r.valueType(); err != nil {
		return err
	}
	n, _, err := r.limits()
	p.info.shape.tables++
	p.info.shape.tableEntries += int(n)
	p.info.shape.mostEntries = max(p.info.shape.mostEntries, int(n))
	return err
}

func (p *parser) global(r *reader) error {
	vt, err := r.valueType()
	if err != nil {
		return err
	}
	mutable, err := r.byte()
	if err != nil {
		return err
	}
	value, err := r.constant()
	if err != nil {
		return err
	}
	if vt != 'i' {
		value = -1
	}
	p.globals = append(p.globals, global{value: value, mutable: mutable != 0})
	p.info.shape.globals++
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
		if p.exported == nil {
			p.exported = map[uint32]string{}
		}
		p.exported[i] = ex.Name
	case ex.Kind == KindMemory && int64(i) >= int64(p.memories):
		return fmt.Errorf("export %q: memory %d does not exist", ex.Name, i)
	case ex.Kind == KindGlobal && int64(i) >= int64(len(p.globals)):
		return fmt.Errorf("export %q: global %d does not exist", ex.Name, i)
	case ex.Kind == KindGlobal && ex.Name == "__heap_base":
		p.base = int(i) + 1
	case ex.Kind == KindGlobal && ex.Name == "__data_end":
		p.end = int(i) + 1
	}
	for _, other := range p.info.Exports {
		if other.Name == ex.Name {
			return fmt.Errorf("two exports are named %q", ex.Name)
		}
	}
	p.info.Exports = append(p.info.Exports, ex)
	return nil
}
