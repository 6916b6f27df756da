package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A frame on the wire:
//
//	byte 0…3   length of the body, big endian, 1 to the receiver's cap
//	byte 4…    body: one deterministic CBOR map

func putHeader(b []byte, n int) { binary.BigEndian.PutUint32(b, uint32(n)) }

// Reader reads frames from a byte stream. It holds no memory between frames after Release, so that an idle
// session waits with four bytes. Not for concurrent use.
type Reader struct {
	r      io.Reader
	cap    int
	header [HeaderSize]byte
	got    int // bytes of header that are there
	body   []byte
	filled int // bytes of body that are there
	inBody bool
}

// NewReader returns a Reader with the cap PreAuthFrame.
func NewReader(r io.Reader) *Reader { return &Reader{r: r, cap: PreAuthFrame} }

// SetCap changes the largest body that is taken, from the next header on.
func (r *Reader) SetCap(n int) { r.cap = n }

// Next returns the body of the next frame; it is valid until the next call of Next or Release. The length is
// checked before anything behind the header is read or a buffer made. io.EOF means that the stream ended
// between frames. A *WireError of layer frame means that the stream cannot be followed any more: length zero,
// over the cap, or an end inside a frame. Any other error is the stream's own; after a timeout Next may be
// called again and goes on where it was.
func (r *Reader) Next() ([]byte, error) {
	if !r.inBody {
		for r.got < HeaderSize {
			n, err := r.r.Read(r.header[r.got:])
			r.got += n
			if err != nil && r.got < HeaderSize {
				return nil, r.ended(err)
			}
		}
		n := binary.BigEndian.Uint32(r.header[:])
		if n == 0 {
			return nil, &WireError{LayerFrame, CodeFrame, "empty frame"}
		}
		if uint64(n) > uint64(r.cap) {
			return nil, &WireError{LayerFrame, CodeFrame, fmt.Sprintf("frame of %d bytes over the cap of %d", n, r.cap)}
		}
		r.grow(int(n))
		r.inBody, r.filled = true, 0
	}
	for r.filled < len(r.body) {
		n, err := r.r.Read(r.body[r.filled:])
		r.filled += n
		if err != nil && r.filled < len(r.body) {
			return nil, r.ended(err)
		}
	}
	r.inBody, r.got = false, 0
	return r.body, nil
}

func (r *Reader) grow(n int) {
	if cap(r.body) < n {
		// Rounded up, so that frames of slowly growing size do not allocate each time.
		r.body = make([]byte, n, min(max(n+n/2, 256), max(r.cap, n)))
	}
	r.body = r.body[:n]
}

func (r *Reader) ended(err error) error {
	if errors.Is(err, io.EOF) && (r.inBody || r.got > 0) {
		return &WireError{LayerFrame, CodeFrame, "the stream ends inside a frame"}
	}
	return err
}

// Release forgets the buffer. Call it when the session goes idle.
func (r *Reader) Release() {
	if !r.inBody {
		r.body = nil
	}
}
