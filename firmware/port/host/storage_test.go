package host

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"testing"
)

func openTest(t *testing.T) *directory {
	t.Helper()
	s, err := openDirectory(t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func TestBlobs(t *testing.T) {
	s := openTest(t)
	name := blobName(7)
	if _, err := s.get(name); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing: %v", err)
	}
	if err := s.remove(name); err != nil {
		t.Fatalf("remove what is missing: %v", err)
	}
	for _, want := range [][]byte{[]byte("first"), []byte("second one"), {}} {
		if err := s.put(name, want); err != nil {
			t.Fatal(err)
		}
		if got, err := s.get(name); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if err := s.remove(name); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(s.path)
	if err != nil || len(entries) != 0 {
		t.Fatalf("left over: %v, %v", entries, err)
	}
}

// A power cut inside of put leaves a temporary file at most, and the old content.
func TestPutIsAtomic(t *testing.T) {
	s := openTest(t)
	if err := s.put("x", []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.file("x.new"), []byte("half of the n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.get("x"); err != nil || string(got) != "old" {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := s.put("x", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.get("x"); err != nil || string(got) != "new" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestSlots(t *testing.T) {
	s := openTest(t)
	read := func(slot uint8, offset uint32, n int) string {
		t.Helper()
		b := make([]byte, n)
		if err := s.slotRead(0, slot, offset, b); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := read(0, 0, 2); got != "\xff\xff" {
		t.Fatalf("never written: %q", got)
	}
	for i, part := range []string{"abcd", "efgh", "ij"} {
		if err := s.slotWrite(0, 0, uint32(4*i), []byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.slotSync(0, 0); err != nil {
		t.Fatal(err)
	}
	if got := read(0, 2, 6); got != "cdefgh" {
		t.Fatalf("read %q", got)
	}
	if got := read(1, 0, 2); got != "\xff\xff" {
		t.Fatalf("the other slot: %q", got)
	}
	if err := s.slotErase(0, 0, 4, 4); err != nil { // a piece in the middle
		t.Fatal(err)
	}
	if got := read(0, 0, 12); got[:4] != "abcd" || got[4:8] == "efgh" || got[8:] != "ij\xff\xff" {
		t.Fatalf("after erasing the middle: %q", got)
	}
	if err := s.slotErase(0, 0, 4, 1000); err != nil { // to beyond the end
		t.Fatal(err)
	}
	if got := read(0, 0, 12); got != "abcd\xff\xff\xff\xff\xff\xff\xff\xff" {
		t.Fatalf("after erasing the end: %q", got)
	}
	if err := s.slotErase(3, 1, 0, 1000); err != nil { // what was never there
		t.Fatal(err)
	}
}
