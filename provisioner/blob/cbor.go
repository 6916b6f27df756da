package blob

import (
	"bytes"
	"encoding/binary"
	"iter"
	"math"
	"unicode/utf8"
)

// A board takes deterministic CBOR alone (RFC 8949 section 4.2.1), so this side refuses the rest too:
// fxamacker/cbor checks neither key order nor shortest forms when it reads.

// Major types.
const (
	majorUint = iota
	majorNint
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
)

// item is one data item: its head, and its string or what follows in it.
type item struct {
	major byte
	info  byte
	arg   uint64
	data  []byte // strings: the content; arrays and maps: everything behind the head, to the end of the input
}

// head reads the head of the item at the start of p, with a string's content; size is what it took.
func head(p []byte) (v item, size int, ok bool) {
	if len(p) == 0 {
		return v, 0, false
	}
	v.major, v.info, size = p[0]>>5, p[0]&31, 1
	switch {
	case v.info < 24:
		v.arg = uint64(v.info)
	case v.info > 27:
		return v, 0, false
	default:
		n := 1 << (v.info - 24)
		if len(p) < 1+n {
			return v, 0, false
		}
		var wide [8]byte
		copy(wide[8-n:], p[1:1+n])
		v.arg, size = binary.BigEndian.Uint64(wide[:]), 1+n
		least := []uint64{24, 1 << 8, 1 << 16, 1 << 32}[v.info-24]
		if v.major != majorSimple && v.arg < least {
			return v, 0, false
		}
	}
	switch v.major {
	case majorBytes, majorText:
		if v.arg > uint64(len(p)-size) {
			return v, 0, false
		}
		v.data = p[size : size+int(v.arg)]
		size += int(v.arg)
	case majorArray, majorMap:
		v.data = p[size:]
	}
	return v, size, true
}

// check reports whether p is exactly one well-formed, deterministic item inside the limits.
func check(p []byte) bool {
	n, ok := walk(p, 0)
	return ok && n == len(p)
}

// walk checks the item at the start of p, which lies in depth containers, and returns its size.
func walk(p []byte, depth int) (size int, ok bool) {
	v, size, ok := head(p)
	if !ok {
		return 0, false
	}
	switch v.major {
	case majorText:
		return size, utf8.Valid(v.data)
	case majorTag:
		return 0, false
	case majorSimple:
		return size, simple(v)
	case majorArray, majorMap:
		if depth == maxDepth || v.major == majorArray && v.arg > maxArray || v.major == majorMap && v.arg > maxMap {
			return 0, false
		}
		return walkItems(p, size, v, depth+1)
	}
	return size, true
}

func walkItems(p []byte, size int, v item, depth int) (int, bool) {
	var last []byte
	for range v.arg {
		n, ok := walk(p[size:], depth)
		if !ok {
			return 0, false
		}
		key := p[size : size+n]
		size += n
		if v.major == majorArray {
			continue
		}
		if last != nil && bytes.Compare(last, key) >= 0 {
			return 0, false // out of order, or twice
		}
		last = key
		if n, ok = walk(p[size:], depth); !ok {
			return 0, false
		}
		size += n
	}
	return size, true
}

// simple checks false, true and the floats: the shortest form that keeps the value, one form of NaN.
func simple(v item) bool {
	switch v.info {
	case 20, 21:
		return true
	case 25:
		return v.arg&0x7c00 != 0x7c00 || v.arg&0x3ff == 0 || v.arg == 0x7e00
	case 26:
		f := math.Float32frombits(uint32(v.arg))
		return f == f && !half(f)
	case 27:
		f := math.Float64frombits(v.arg)
		return f == f && float64(float32(f)) != f
	}
	return false
}

// half reports whether a half-precision float has the value f, which is no NaN.
func half(f float32) bool {
	bits := math.Float32bits(f)
	exp, mant := int(bits>>23&0xff)-127, bits&0x7fffff
	switch {
	case exp == 128 || exp == -127 && mant == 0: // infinity, zero
		return true
	case exp >= -14 && exp <= 15:
		return mant&0x1fff == 0
	case exp >= -24 && exp < -14: // a subnormal half
		return (mant|1<<23)&(1<<(-exp-1)-1) == 0
	}
	return false
}

// first, pairs and elements read what check has let pass.
func first(p []byte) item {
	v, _, _ := head(p)
	return v
}

func (v item) pairs() iter.Seq2[item, item] {
	return func(yield func(item, item) bool) {
		p := v.data
		for range v.arg {
			k, _ := walk(p, 0)
			n, _ := walk(p[k:], 0)
			if !yield(first(p), first(p[k:])) {
				return
			}
			p = p[k+n:]
		}
	}
}

func (v item) elements() iter.Seq[item] {
	return func(yield func(item) bool) {
		p := v.data
		for range v.arg {
			n, _ := walk(p, 0)
			if !yield(first(p)) {
				return
			}
			p = p[n:]
		}
	}
}
