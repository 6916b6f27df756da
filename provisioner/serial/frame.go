package serial

// dle begins every control frame and doubles as payload.
const dle = 0x10

// Words of control frames. All but wordClosed have one argument byte. A decoder skips other capital letters
// with their argument, and any other byte after a DLE.
const (
	wordOpen   = 'O' // device: a fresh connection, please; nonce
	wordUp     = 'U' // bridge: it stands; nonce of the request
	wordFailed = 'F' // bridge: it could not be had; nonce of the request
	wordClosed = 'C' // either: it ended
	wordPing   = 'P' // device: nonce of the connection
	wordAnswer = 'A' // bridge: that connection stands
	wordWindow = 'W' // device: payload may reach up to this position, in units, modulo 256
)

// decoder splits the bytes of a line into payload and control frames. The zero value is ready.
type decoder struct {
	escape byte // 0 plain, 1 after DLE, else the word whose argument comes next
}

// feed calls payload with pieces of p or of a constant, and command, in the order of the line.
func (d *decoder) feed(p []byte, payload func([]byte), command func(word, arg byte)) {
	for len(p) > 0 {
		before := d.escape
		if before == 0 {
			n := 0
			for n < len(p) && p[n] != dle {
				n++
			}
			if n > 0 {
				payload(p[:n])
			}
			if n < len(p) {
				d.escape = 1
				n++
			}
			p = p[n:]
			continue
		}
		b := p[0]
		d.escape = 0
		switch {
		case before != 1:
			command(before, b)
		case b == dle:
			payload(p[:1])
		case b == wordClosed:
			command(b, 0)
		case b >= 'A' && b <= 'Z':
			d.escape = b
		}
		p = p[1:]
	}
}

// appendPayload appends p as line bytes.
func appendPayload(dst, p []byte) []byte {
	for _, b := range p {
		if b == dle {
			dst = append(dst, dle)
		}
		dst = append(dst, b)
	}
	return dst
}

// window is the device's leave to send.
type window struct {
	sent, limit int64 // payload bytes of this connection
}

// grant moves the limit to the position that w stands for: the one nearest to the limit so far. A limit never
// goes back.
func (w *window) grant(arg byte) {
	if d := int8(arg - byte(w.limit/unit)); d > 0 {
		w.limit += int64(d) * unit
	}
}
