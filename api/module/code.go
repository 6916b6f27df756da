package module

import "fmt"

// This file reads the sections that say how much there is: code, elements and data (core specification, 5.5.12 to
// 5.5.14). Bodies are not validated. Their instructions are stepped over (5.4) to see whether the memory can grow, and
// whether there is one that no device runs.

// unsupported notes the first thing that no device runs.
func (p *parser) unsupported(what string) {
	if p.info.Unsupported == "" {
		p.info.Unsupported = what
	}
}

func (p *parser) element(r *reader) error {
	flag, err := r.u32()
	if err != nil {
		return err
	}
	if flag > 7 {
		return fmt.Errorf("element segment of kind %d", flag)
	}
	passive, explicit, expressions := flag&1 != 0, flag&2 != 0, flag&4 != 0
	if !passive && explicit {
		if _, err = r.u32(); err != nil {
			return err
		}
	}
	if !passive {
		if _, err = r.constant(); err != nil {
			return err
		}
	}
	if passive || explicit {
		if _, err = r.byte(); err != nil {
			return err
		}
	}
	n, err := r.u32()
	if err != nil {
		return err
	}
	p.info.shape.elements++
	p.info.shape.elementValues += int(min(n, maxFuncs))
	for range n { // each takes at least one byte
		if expressions {
			_, err = r.constant()
		} else {
			_, err = r.u32()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) data(r *reader) error {
	flag, err := r.u32()
	if err != nil {
		return err
	}
	if flag > 2 {
		return fmt.Errorf("data segment of kind %d", flag)
	}
	if flag == 2 {
		if _, err = r.u32(); err != nil {
			return err
		}
	}
	if flag != 1 { // 1: passive
		if _, err = r.constant(); err != nil {
			return err
		}
	}
	n, err := r.u32()
	if err != nil {
		return err
	}
	p.info.shape.data++
	_, err = r.bytes(n)
	return err
}

func (p *parser) body(r *reader) error {
	size, err := r.u32()
	if err != nil {
		return err
	}
	b, err := r.bytes(size)
	if err != nil {
		return err
	}
	index := p.imported + p.bodies
	p.bodies++
	if int(size) > p.info.Largest.Size {
		p.info.Largest = Function{Index: index, Size: int(size)}
	}
	code := &reader{b: b}
	locals, err := code.locals()
	if err != nil {
		return fmt.Errorf("function %d: %w", index, err)
	}
	s := &p.info.shape
	s.locals += locals
	s.mostLocals = max(s.mostLocals, locals)
	for code.left() > 0 {
		what, err := p.instruction(code)
		if err != nil {
			return fmt.Errorf("function %d: %w", index, err)
		}
		if what != "" {
			p.unsupported(fmt.Sprintf("%s in function %d", what, index))
			return nil // what its instructions look like is not known
		}
	}
	return nil
}

// locals reads the declarations at the start of a body. More than a function can have counts as one more.
func (r *reader) locals() (int, error) {
	groups, err := r.u32()
	if err != nil {
		return 0, err
	}
	sum := 0
	for range groups { // each takes at least two bytes
		n, err := r.u32()
		if err != nil {
			return 0, err
		}
		if _, err := r.valueType(); err != nil {
			return 0, err
		}
		sum = min(sum+int(min(n, maxLocals+1)), maxLocals+1)
	}
	return sum, nil
}

// instruction steps over one instruction, and says what it belongs to when no device runs it.
func (p *parser) instruction(r *reader) (what string, err error) {
	op, err := r.byte()
	if err != nil {
		return "", err
	}
	switch {
	case op <= 0x01 || op == 0x05 || op == 0x0b || op == 0x0f || op == 0x1a || op == 0x1b || op >= 0x45 && op <= 0xc4:
		return "", nil
	case op >= 0x02 && op <= 0x04: // a block's type: none, a value type, or the index of a function type
		t, err := r.signed(33)
		if t >= 0 {
			what = "a block with parameters or several results"
		}
		return what, err
	case op == 0x0c || op == 0x0d || op == 0x10 || op >= 0x20 && op <= 0x24:
		_, err = r.u32()
	case op == 0x0e: // br_table
		n, err := r.u32()
		for i := uint32(0); i <= n && err == nil; i++ { // each takes at least one byte
			_, err = r.u32()
		}
		return "", err
	case op == 0x11 || op >= 0x28 && op <= 0x3e: // call_indirect, load, store
		return "", r.twice()
	case op == 0x3f || op == 0x40:
		p.info.Grows = true
		_, err = r.byte()
	case op == 0x41:
		_, err = r.signed(32)
	case op == 0x42:
		_, err = r.signed(64)
	case op == 0x43:
		_, err = r.bytes(4)
	case op == 0x44:
		_, err = r.bytes(8)
	case op == 0xfc:
		return r.prefixed()
	default:
		return feature(op), nil
	}
	return "", err
}

func (r *reader) twice() error {
	if _, err := r.u32(); err != nil {
		return err
	}
	_, err := r.u32()
	return err
}

// prefixed steps over what follows 0xfc: saturating conversions, and the memory part of bulk memory.
func (r *reader) prefixed() (what string, err error) {
	sub, err := r.u32()
	if err != nil {
		return "", err
	}
	switch {
	case sub <= 7:
		return "", nil
	case sub == 8 || sub == 10: // memory.init, memory.copy
		return "", r.twice()
	case sub == 9 || sub == 11: // data.drop, memory.fill
		_, err = r.u32()
		return "", err
	}
	return fmt.Sprintf("a table instruction (0xfc %d)", sub), nil
}

// feature names what an instruction belongs to that ABI 1 does not have.
func feature(op byte) string {
	switch op {
	case 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f:
		return "exception handling"
	case 0x12, 0x13, 0x15:
		return "a tail call"
	case 0x1c, 0x25, 0x26, 0xd0, 0xd1, 0xd2:
		return "reference types"
	case 0xfb:
		return "garbage collection"
	case 0xfd:
		return "SIMD"
	case 0xfe:
		return "threads"
	}
	return fmt.Sprintf("instruction 0x%02x", op)
}
