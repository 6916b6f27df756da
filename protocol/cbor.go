package protocol

import (
	"bytes"
	"math"
	"unicode/utf8"
)

// CBOR major types (RFC 8949 §3.1), already shifted down.
const (
	majorUint   = 0
	majorNegint = 1
	majorBytes  = 2
	majorText   = 3
	majorArray  = 4
	majorMap    = 5
	majorTag    = 6
	majorSimple = 7
)

// Initial bytes of the simple values and floats that may appear.
const (
	initFalse = 0xf4
	initTrue  = 0xf5
	initF16   = 0xf9
	initF32   = 0xfa
	initF64   = 0xfb
)

// appendHead appends the shortest head of a major type with its argument.
func appendHead(b []byte, major byte, n uint64) []byte {
	m := major << 5
	switch {
	case n < 24:
		return append(b, m|byte(n))
	case n <= math.MaxUint8:
		return append(b, m|24, byte(n))
	case n <= math.MaxUint16:
		return append(b, m|25, byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		return append(b, m|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, m|27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// readHead reads the head at b[i] and demands its shortest form. It does not take major type 7 (readSimple
// does) and refuses tags.
func readHead(b []byte, i int) (major byte, arg uint64, next int, err *WireError) {
	if i >= len(b) {
		return 0, 0, i, cborError("truncated at byte %d", i)
	}
	major = b[i] >> 5
	ai := b[i] & 31
	i++
	if ai < 24 {
		if major == majorTag {
			return 0, 0, i, cborError("tag at byte %d", i-1)
		}
		return major, uint64(ai), i, nil
	}
	return readLongHead(b, i, major, ai)
}

func readLongHead(b []byte, i int, major, ai byte) (byte, uint64, int, *WireError) {
	if major == majorTag {
		return 0, 0, i, cborError("tag at byte %d", i-1)
	}
	if ai == 31 {
		return 0, 0, i, cborError("indefinite length at byte %d", i-1)
	}
	if ai > 27 {
		return 0, 0, i, cborError("reserved additional information at byte %d", i-1)
	}
	n := 1 << (ai - 24)
	if len(b)-i < n {
		return 0, 0, i, cborError("truncated at byte %d", len(b))
	}
	var arg uint64
	for _, c := range b[i : i+n] {
		arg = arg<<8 | uint64(c)
	}
	// The smallest value that needs n bytes.
	least := [...]uint64{24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}
	if arg < least[ai] {
		return 0, 0, i, cborError("not the shortest form at byte %d", i-1)
	}
	return major, arg, i + n, nil
}

// skip checks the data item at b[i] against every rule of the CBOR layer and returns what follows it. depth
// counts the arrays and maps around it.
func skip(b []byte, i, depth int) (int, *WireError) {
	if i < len(b) && b[i]>>5 == majorSimple {
		return skipSimple(b, i)
	}
	major, n, j, err := readHead(b, i)
	if err != nil {
		return i, err
	}
	switch major {
	case majorUint, majorNegint:
		return j, nil
	case majorBytes, majorText:
		if n > uint64(len(b)-j) {
			return i, cborError("truncated at byte %d", len(b))
		}
		end := j + int(n)
		if major == majorText && !utf8.Valid(b[j:end]) {
			return i, cborError("text at byte %d is not UTF-8", i)
		}
		return end, nil
	case majorArray:
		return skipArray(b, i, j, n, depth+1)
	}
	return skipMap(b, i, j, n, depth+1)
}

func skipArray(b []byte, at, i int, n uint64, depth int) (int, *WireError) {
	if depth > MaxDepth {
		return at, cborError("nested deeper than %d at byte %d", MaxDepth, at)
	}
	if n > MaxArray {
		return at, cborError("array of %d elements at byte %d", n, at)
	}
	var err *WireError
	for ; n > 0; n-- {
		if i, err = skip(b, i, depth); err != nil {
			return i, err
		}
	}
	return i, nil
}

func skipMap(b []byte, at, i int, n uint64, depth int) (int, *WireError) {
	if depth > MaxDepth {
		return at, cborError("nested deeper than %d at byte %d", MaxDepth, at)
	}
	if n > MaxMap {
		return at, cborError("map of %d pairs at byte %d", n, at)
	}
	var prev []byte
	for ; n > 0; n-- {
		j, err := skip(b, i, depth)
		if err != nil {
			return i, err
		}
		key := b[i:j]
		if err := keyOrder(prev, key, i); err != nil {
			return i, err
		}
		prev = key
		if i, err = skip(b, j, depth); err != nil {
			return i, err
		}
	}
	return i, nil
}

// keyOrder demands the bytewise lexicographic order of encoded keys (RFC 8949 §4.2.1).
func keyOrder(prev, key []byte, at int) *WireError {
	if prev == nil {
		return nil
	}
	switch c := bytes.Compare(prev, key); {
	case c == 0:
		return cborError("duplicate key at byte %d", at)
	case c > 0:
		return cborError("keys not sorted at byte %d", at)
	}
	return nil
}

// skipSimple takes false, true and floats in their shortest form; null, undefined and all other simple
// values have no use here and are refused.
func skipSimple(b []byte, i int) (int, *WireError) {
	switch b[i] {
	case initFalse, initTrue:
		return i + 1, nil
	case initF16, initF32, initF64:
		_, j, err := readFloat(b, i)
		return j, err
	}
	return i, cborError("simple value 0x%02x at byte %d", b[i], i)
}

// readFloat reads the float at b[i] in its shortest form. Of the NaNs only 0xf97e00 is deterministic.
func readFloat(b []byte, i int) (v float64, next int, err *WireError) {
	n := 2 << (b[i] - initF16)
	at := i
	i++
	if len(b)-i < n {
		return 0, at, cborError("truncated at byte %d", len(b))
	}
	var bits uint64
	for _, c := range b[i : i+n] {
		bits = bits<<8 | uint64(c)
	}
	short := true
	switch n {
	case 2:
		if v = fromHalf(uint16(bits)); v != v {
			short = bits == 0x7e00
		}
	case 4:
		f := math.Float32frombits(uint32(bits))
		v = float64(f)
		if _, half := toHalf(f); half || f != f {
			short = false
		}
	default:
		v = math.Float64frombits(bits)
		short = v == v && float64(float32(v)) != v
	}
	if !short {
		return 0, at, cborError("float at byte %d not in its shortest form", at)
	}
	return v, i + n, nil
}

// appendFloat appends v in the shortest form that keeps its value.
func appendFloat(b []byte, v float64) []byte {
	if v != v {
		return append(b, initF16, 0x7e, 0x00)
	}
	f := float32(v)
	if float64(f) != v {
		n := math.Float64bits(v)
		return append(b, initF64, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	if h, ok := toHalf(f); ok {
		return append(b, initF16, byte(h>>8), byte(h))
	}
	n := math.Float32bits(f)
	return append(b, initF32, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// toHalf converts f to binary16 when that keeps its value. NaN is not ok.
func toHalf(f float32) (h uint16, ok bool) {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	exp := int(bits>>23&0xff) - 127
	frac := bits & 0x7fffff
	switch {
	case exp == -127 && frac == 0: // zero
		return sign, true
	case exp == 128: // infinity, NaN
		return sign | 0x7c00, frac == 0
	case exp >= -14 && exp <= 15: // normal
		return sign | uint16(exp+15)<<10 | uint16(frac>>13), frac&0x1fff == 0
	case exp >= -24 && exp < -14: // subnormal: value = m · 2⁻²⁴
		full := frac | 0x800000
		drop := uint(-exp - 1) // 23 fraction bits, minus 24+exp that stay
		return sign | uint16(full>>drop), full&(1<<drop-1) == 0
	}
	return 0, false
}

// fromHalf converts binary16.
func fromHalf(h uint16) float64 {
	sign := 1.0
	if h&0x8000 != 0 {
		sign = -1
	}
	exp, frac := int(h>>10&31), float64(h&0x3ff)
	switch exp {
	case 0:
		return math.Copysign(frac*0x1p-24, sign)
	case 31:
		if frac != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * (1 + frac/1024) * math.Float64frombits(uint64(exp-15+1023)<<52)
}
