package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"
)

// watched fails when more is read than a frame's header.
type watched struct {
	t     *testing.T
	r     io.Reader
	limit int
}

func (w *watched) Read(p []byte) (int, error) {
	if len(p) > w.limit {
		w.t.Errorf("%d bytes asked for, %d may be", len(p), w.limit)
	}
	n, err := w.r.Read(p)
	w.limit -= n
	return n, err
}

func TestReaderChecksLengthBeforeBody(t *testing.T) {
	stream := append([]byte{0, 0, 0x10, 1}, make([]byte, 4097)...)
	r := NewReader(&watched{t, bytes.NewReader(stream), HeaderSize})
	for range 2 { // and goes on refusing
		if body, err := r.Next(); !errors.Is(err, ErrFrame) {
			t.Fatal(body, err)
		}
	}
	if r.body != nil {
		t.Error("a buffer was made")
	}
}

func TestReaderReusesAndReleases(t *testing.T) {
	var stream []byte
	for _, n := range []int{100, 50, 100} {
		stream = binary.BigEndian.AppendUint32(stream, uint32(n))
		stream = append(stream, bytes.Repeat([]byte{byte(n)}, n)...)
	}
	r := NewReader(bytes.NewReader(stream))
	first, err := r.Next()
	if err != nil || len(first) != 100 {
		t.Fatal(len(first), err)
	}
	second, err := r.Next()
	if err != nil || len(second) != 50 || &first[0] != &second[0] {
		t.Fatal("the buffer was not used again", err)
	}
	r.Release()
	if r.body != nil {
		t.Error("the buffer was not released")
	}
	if third, err := r.Next(); err != nil || len(third) != 100 {
		t.Error(len(third), err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
}

// halting gives some bytes, then a timeout, and goes on.
type halting struct {
	stream []byte
	halt   bool
}

func (h *halting) Read(p []byte) (int, error) {
	h.halt = !h.halt
	if h.halt {
		return 0, os.ErrDeadlineExceeded
	}
	if len(h.stream) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:1], h.stream)
	h.stream = h.stream[n:]
	return n, nil
}

func TestReaderGoesOnAfterTimeout(t *testing.T) {
	frame, err := Append(nil, &Ack{ID: 1, Refers: 2})
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(&halting{stream: frame})
	for range 100 {
		body, err := r.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil || !bytes.Equal(body, frame[HeaderSize:]) {
			t.Fatalf("%x %v", body, err)
		}
		return
	}
	t.Fatal("no frame")
}

func TestReaderCaps(t *testing.T) {
	frame := append([]byte{0, 0, 0x10, 1}, make([]byte, 4097)...)
	r := NewReader(bytes.NewReader(frame))
	r.SetCap(4097)
	if body, err := r.Next(); err != nil || len(body) != 4097 {
		t.Error(len(body), err)
	}
}
