package module

import (
	"fmt"
	"unicode/utf8"
)

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

// constant reads a constant expression: one instruction and end. The value is that of an i32.const, as unsigned; -1 for
// anything else. Extended constant expressions are not needed by any compiler whose modules we take.
func (r *reader) constant() (int64, error) {
	op, err := r.byte()
	if err != nil {
		return -1, err
	}
	value := int64(-1)
	switch op {
	case 0x41: // i32.const
		var v int64
		v, err = r.signed(32)
		value = int64(uint32(v))
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
		return -1, fmt.Errorf("initialiser 0x%02x is not a plain constant", op)
	}
	if err != nil {
		return -1, err
	}
	if end, err := r.byte(); err != nil || end != 0x0b {
		return -1, fmt.Errorf("initialiser is not a plain constant")
	}
	return value, nil
}
