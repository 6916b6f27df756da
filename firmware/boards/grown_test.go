package boards_test

// grown returns a module with n bytes of padding (a custom section), of data (initialized memory) or of code (functions of about
// 400 bytes), whose start function does nothing. It exports what lets an engine shrink its memory.
func grown(kind string, n int) []byte {
	const (
		i32       = 0x7f
		stackTop  = 1024
		page      = 65536
		perBody   = 400
		dataBegin = stackTop
	)
	functions := 1
	if kind == "code" {
		functions += n / perBody
	}
	dataEnd := dataBegin
	if kind == "data" {
		dataEnd += n
	}
	types := append([]byte{2, 0x60, 0, 1, i32}, 0x60, 0, 0)
	index := leb(nil, functions)
	index = append(index, 0)
	for range functions - 1 {
		index = append(index, 1)
	}
	pages := dataEnd/page + 1
	memory := append([]byte{1, 1}, leb(leb(nil, pages), pages)...)
	constant := func(v int) []byte { return append(sleb([]byte{0x41}, v), 0x0b) }
	globals := []byte{2, i32, 0}
	globals = append(append(globals, constant(dataEnd)...), i32, 0)
	globals = append(globals, constant(dataEnd)...)
	exports := []byte{4}
	for _, e := range []struct {
		name string
		kind byte
		at   byte
	}{{"wasmbed_start", 0, 0}, {"memory", 2, 0}, {"__heap_base", 3, 0}, {"__data_end", 3, 1}} {
		exports = append(append(leb(exports, len(e.name)), e.name...), e.kind, e.at)
	}
	code := leb(nil, functions)
	code = append(code, 4, 0, 0x41, 0, 0x0b) // i32.const 0
	body := []byte{0}
	for len(body) < perBody-3 {
		body = append(body, 0x41, 7, 0x1a) // i32.const 7, drop
	}
	body = append(body, 0x0b)
	for range functions - 1 {
		code = append(leb(code, len(body)), body...)
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, content []byte) { out = append(leb(append(out, id), len(content)), content...) }
	section(1, types)
	section(3, index)
	section(5, memory)
	section(6, globals)
	section(7, exports)
	section(10, code)
	if kind == "data" && n > 0 {
		data := append([]byte{1, 0}, constant(dataBegin)...)
		data = leb(data, n)
		for i := range n {
			data = append(data, byte(i))
		}
		section(11, data)
	}
	if kind == "padding" {
		section(0, append([]byte("\x01p"), make([]byte, n)...))
	}
	return out
}

func leb(b []byte, v int) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func sleb(b []byte, v int) []byte {
	for v >= 0x40 {
		b = append(b, byte(v&0x7f)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}
