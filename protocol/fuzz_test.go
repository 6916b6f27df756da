package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"testing"
)

// seeds gives the bodies and the streams of all vectors.
func seeds(f *testing.F, add func(frame []byte)) {
	n := 0
	for _, v := range loadVectors(f) {
		if v.hex != nil {
			add(v.hex)
			n++
		}
		for _, s := range v.steps {
			add(s.frame)
			n++
		}
	}
	if n < 80 {
		f.Fatalf("%d seeds", n)
	}
}

// FuzzDecode: what is taken is valid CBOR, is read alike by another codec, encodes to something that means
// the same, and encodes to the same bytes unless those hold unknown keys or explicit zeros.
func FuzzDecode(f *testing.F) {
	seeds(f, func(frame []byte) { f.Add(frame[min(HeaderSize, len(frame)):]) })
	o := newOracle(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Decode(body)
		if len(body) < 2048 {
			rawAgrees(t, body)
		}
		if err != nil {
			var w *WireError
			if !errors.As(err, &w) || w.Text == "" {
				t.Fatalf("%T %v", err, err)
			}
			if verr := Validate(body); (w.Layer == LayerCBOR) != (verr != nil) {
				t.Fatalf("refused with %v, Validate says %v", err, verr)
			}
			return
		}
		if err := Validate(body); err != nil {
			t.Fatalf("taken, but %v", err)
		}
		frame, err := Append(nil, m)
		if err != nil {
			if errors.Is(err, ErrFrame) && len(body) > MaxFrame-16 {
				return
			}
			t.Fatalf("%+v does not encode: %v", m, err)
		}
		again := frame[HeaderSize:]
		if len(again) > len(body) || len(again) == len(body) && !bytes.Equal(again, body) {
			t.Fatalf("%x encodes to %x", body, again)
		}
		if m2, err := Decode(again); err != nil || len(again) == len(body) && !reflect.DeepEqual(m, m2) {
			t.Fatalf("%+v becomes %+v, %v", m, m2, err)
		}
		other := New(m.Type())
		if err := o.dec.Unmarshal(again, other); err != nil {
			t.Fatalf("the oracle refuses %x: %v", again, err)
		}
		if !bytes.Equal(o.body(t, other), again) {
			t.Fatalf("the oracle encodes %x to %x", again, o.body(t, other))
		}
	})
}

// FuzzReader: any way to cut a stream gives the frames that a plain reading gives, and nothing over the cap
// is allocated.
func FuzzReader(f *testing.F) {
	seeds(f, func(frame []byte) { f.Add(append(frame, 0, 0, 0, 2, 1, 2), uint16(4096), uint8(3)) })
	f.Fuzz(func(t *testing.T, stream []byte, limit uint16, step uint8) {
		r := NewReader(&stuttering{stream, int(step)%7 + 1})
		r.SetCap(int(limit))
		rest := stream
		for {
			body, err := r.Next()
			if cap(r.body) > max(int(limit), 0) {
				t.Fatalf("a buffer of %d bytes with a cap of %d", cap(r.body), limit)
			}
			want, tail, end := plainFrame(rest, int(limit))
			if end != nil {
				if err == nil || (end == io.EOF) != (err == io.EOF) || end != io.EOF && !errors.Is(err, ErrFrame) {
					t.Fatalf("got %v, want %v", err, end)
				}
				return
			}
			if err != nil || !bytes.Equal(body, want) {
				t.Fatalf("got %x, %v; want %x", body, err, want)
			}
			rest = tail
		}
	})
}

func plainFrame(b []byte, limit int) (body, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, io.EOF
	}
	if len(b) < HeaderSize {
		return nil, nil, ErrFrame
	}
	n := int64(binary.BigEndian.Uint32(b))
	if n == 0 || n > int64(limit) || n > int64(len(b)-HeaderSize) {
		return nil, nil, ErrFrame
	}
	return b[HeaderSize : HeaderSize+n], b[HeaderSize+n:], nil
}

type stuttering struct {
	b    []byte
	step int
}

func (s *stuttering) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.step)], s.b)
	s.b = s.b[n:]
	if len(s.b) == 0 {
		return n, io.EOF // with the last bytes, as some streams do
	}
	return n, nil
}
