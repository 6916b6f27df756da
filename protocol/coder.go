package protocol

import "unicode/utf8"

// coder writes or reads the fields of one message. A message describes its fields once, in ascending key
// order, in its walk method (walk.go); the same walk encodes (enc) and decodes. Deterministic CBOR sorts
// the keys, so decoding is one pass: a smaller key than the one asked for is unknown and skipped, a larger
// one means that the asked one is absent.
//
// After the first error all methods do nothing.
type coder struct {
	b   []byte // enc: what is written so far; dec: the whole body
	i   int    // dec: next byte
	enc bool
	m   fields
	err *WireError
}

// fields is the place in the map that is being written or read.
type fields struct {
	at    int    // enc: where its head is; it holds at most 23 pairs
	n     int    // enc: pairs written; dec: pairs left, the peeked one included
	major byte   // dec: peeked key
	key   uint64 // dec: peeked key
	depth int
}

func (c *coder) fail(err *WireError) {
	if c.err == nil {
		c.err = err
	}
}

// check is for rules between fields.
func (c *coder) check(ok bool, text string) {
	if !ok && c.err == nil {
		c.err = schemaError("%s", text)
	}
}

// open begins a map and returns the one around it, for close.
func (c *coder) open() (outer fields) {
	outer = c.m
	if c.err != nil {
		return outer
	}
	c.m = fields{at: len(c.b), depth: outer.depth + 1}
	if c.enc {
		c.b = append(c.b, majorMap<<5)
		return outer
	}
	n := c.count(majorMap, MaxMap, "map")
	c.m.n = n
	c.peek(true)
	return outer
}

// close ends the map: unknown keys behind the last known one are skipped.
func (c *coder) close(outer fields) {
	if c.enc {
		if c.err == nil {
			c.b[c.m.at] = majorMap<<5 | byte(c.m.n)
		}
	} else {
		for c.err == nil && c.m.n > 0 {
			c.skipField()
		}
	}
	c.m = outer
}

// count reads the head of an array or map of at most limit elements.
func (c *coder) count(major byte, limit uint64, what string) int {
	n := c.head(major, what)
	if c.err == nil && n > limit {
		c.fail(cborError("%s of %d elements", what, n))
		return 0
	}
	return int(n)
}

// head reads a head of the major type.
func (c *coder) head(major byte, what string) uint64 {
	if c.err != nil {
		return 0
	}
	if c.i < len(c.b) && c.b[c.i]>>5 != major {
		c.fail(schemaError("expected %s at byte %d", what, c.i))
		return 0
	}
	_, n, j, err := readHead(c.b, c.i)
	if err != nil {
		c.fail(err)
		return 0
	}
	c.i = j
	return n
}

// peek reads the next key of the map.
func (c *coder) peek(first bool) {
	if c.err != nil || c.m.n == 0 {
		return
	}
	if c.i < len(c.b) && c.b[c.i]>>5 > majorNegint {
		c.fail(schemaError("key at byte %d is not an integer", c.i))
		return
	}
	major, key, j, err := readHead(c.b, c.i)
	if err != nil {
		c.fail(err)
		return
	}
	if !first && (major < c.m.major || major == c.m.major && key <= c.m.key) {
		c.fail(cborError("keys not sorted or not unique at byte %d", c.i))
		return
	}
	c.m.major, c.m.key, c.i = major, key, j
}

func (c *coder) skipField() {
	j, err := skip(c.b, c.i, c.m.depth)
	if err != nil {
		c.fail(err)
		return
	}
	c.i = j
	c.next()
}

// next goes to the next pair after a value was read.
func (c *coder) next() {
	if c.err == nil && !c.enc {
		c.m.n--
		c.peek(false)
	}
}

// field writes the key when set, or finds it. When it returns true the value is to be written or read, and
// next to be called.
func (c *coder) field(key uint64, set, required bool) bool {
	if c.err != nil {
		return false
	}
	if c.enc {
		if !set && !required {
			return false
		}
		c.b = appendHead(c.b, majorUint, key)
		c.m.n++
		return true
	}
	for c.err == nil && c.m.n > 0 && c.m.major == majorUint && c.m.key < key {
		c.skipField()
	}
	if c.err != nil {
		return false
	}
	if c.m.n > 0 && c.m.major == majorUint && c.m.key == key {
		return true
	}
	if required {
		c.fail(schemaError("key %d is missing", key))
	}
	return false
}

const (
	required = true
	optional = false // absent means zero, empty or false
)

// number is a field of an unsigned integer in least…most. An optional one may also be 0.
func number[T ~uint8 | ~uint32 | ~uint64](c *coder, key uint64, v *T, req bool, least, most uint64) {
	if !c.field(key, *v != 0, req) {
		return
	}
	n := uint64(*v)
	if c.enc {
		c.b = appendHead(c.b, majorUint, n)
	} else {
		n = c.head(majorUint, "unsigned integer")
	}
	if (n < least || n > most) && (req || n != 0) {
		c.fail(schemaError("key %d: %d is not in %d to %d", key, n, least, most))
		return
	}
	*v = T(n)
	c.next()
}

func (c *coder) flag(key uint64, v *bool, req bool) {
	if !c.field(key, *v, req) {
		return
	}
	if c.enc {
		c.b = appendBool(c.b, *v)
		return
	}
	switch {
	case c.i >= len(c.b):
		c.fail(cborError("truncated at byte %d", c.i))
	case c.b[c.i] == initFalse, c.b[c.i] == initTrue:
		*v = c.b[c.i] == initTrue
		c.i++
	default:
		c.fail(schemaError("key %d: expected a boolean", key))
	}
	c.next()
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, initTrue)
	}
	return append(b, initFalse)
}

// raw reads n bytes that stand in the body.
func (c *coder) raw(n uint64) []byte {
	if c.err != nil {
		return nil
	}
	if n > uint64(len(c.b)-c.i) {
		c.fail(cborError("truncated at byte %d", len(c.b)))
		return nil
	}
	b := c.b[c.i : c.i+int(n)]
	c.i += int(n)
	return b
}

// textValue reads a text of least…most bytes; it stays part of the body.
func (c *coder) textValue(what string, least, most int) []byte {
	s := c.raw(c.head(majorText, "text"))
	if c.err != nil {
		return nil
	}
	if !utf8.Valid(s) {
		c.fail(cborError("%s is not UTF-8", what))
	}
	if len(s) < least || len(s) > most {
		c.fail(schemaError("%s has %d bytes, not %d to %d", what, len(s), least, most))
	}
	return s
}

func (c *coder) putText(what, s string, least, most int) {
	if len(s) < least || len(s) > most {
		c.fail(schemaError("%s has %d bytes, not %d to %d", what, len(s), least, most))
	}
	if !utf8.ValidString(s) {
		c.fail(schemaError("%s is not UTF-8", what))
	}
	c.b = append(appendHead(c.b, majorText, uint64(len(s))), s...)
}

// text is a field of a text. An optional one may also be empty.
func (c *coder) text(key uint64, what string, v *string, req bool, least, most int) {
	if !req {
		least = 0
	}
	if !c.field(key, *v != "", req) {
		return
	}
	if c.enc {
		c.putText(what, *v, least, most)
		return
	}
	*v = string(c.textValue(what, least, most))
	c.next()
}

// name is a field of a name; see validName.
func (c *coder) name(key uint64, what string, v *string, req bool, most int) {
	c.text(key, what, v, req, 1, most)
	if *v != "" && c.err == nil && !validName(*v) {
		c.fail(schemaError("%s is not a name", what))
	}
}

// validName reports whether s consists of a-z, 0-9, "-" and ".", and begins and ends with a letter or digit.
// Such a name is safe as a file name and in a URI.
func validName[S ~string | ~[]byte](s S) bool {
	for i := 0; i < len(s); i++ {
		switch ch := s[i]; {
		case ch >= 'a' && ch <= 'z', ch >= '0' && ch <= '9':
		case (ch == '-' || ch == '.') && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return len(s) > 0
}

// bytes is a field of a byte string of least…most bytes. An optional one may also be empty. A decoded one is
// a copy.
func (c *coder) bytes(key uint64, v *[]byte, req bool, least, most int) {
	if !c.field(key, len(*v) > 0, req) {
		return
	}
	b := *v
	if c.enc {
		c.b = append(appendHead(c.b, majorBytes, uint64(len(b))), b...)
	} else {
		b = c.raw(c.head(majorBytes, "byte string"))
	}
	if c.err != nil {
		return
	}
	if (len(b) < least || len(b) > most) && (req || len(b) > 0) {
		c.fail(schemaError("key %d: %d bytes, not %d to %d", key, len(b), least, most))
		return
	}
	if !c.enc {
		if *v = nil; len(b) > 0 {
			*v = append(make([]byte, 0, len(b)), b...)
		}
		c.next()
	}
}

// list is a field of an array of at most most elements. each writes or reads element i; grow makes room for
// n of them before reading.
func (c *coder) list(key uint64, n int, req bool, least, most int, grow func(n int), each func(i int)) {
	if !c.field(key, n > 0, req) {
		return
	}
	if c.enc {
		c.b = appendHead(c.b, majorArray, uint64(n))
	} else {
		n = c.count(majorArray, MaxArray, "array")
	}
	if c.err != nil {
		return
	}
	if (n < least || n > most) && (req || n > 0) {
		c.fail(schemaError("key %d: %d elements, not %d to %d", key, n, least, most))
		return
	}
	if !c.enc {
		if len(c.b)-c.i < n { // an element is at least a byte: allocate nothing for what cannot be there
			c.fail(cborError("truncated at byte %d", len(c.b)))
			return
		}
		if n > 0 {
			grow(n)
		}
	}
	depth := c.m.depth
	c.m.depth++
	for i := 0; i < n && c.err == nil; i++ {
		each(i)
	}
	c.m.depth = depth
	c.next()
}

// texts is a field of an array of texts.
func (c *coder) texts(key uint64, what string, v *[]string, most, mostBytes int) {
	c.list(key, len(*v), optional, 0, most, func(n int) { *v = make([]string, n) }, func(i int) {
		if c.enc {
			c.putText(what, (*v)[i], 1, mostBytes)
		} else {
			(*v)[i] = string(c.textValue(what, 1, mostBytes))
		}
	})
}
