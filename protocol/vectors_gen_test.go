package protocol

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write vectors/ anew")

// TestVectorsCurrent compares the files with their sources in this package; with -update it writes them.
// It does not stand in for TestVectors, which reads the files alone.
func TestVectorsCurrent(t *testing.T) {
	want := map[string]string{}
	for _, v := range allVectors(t) {
		if want[v.name] != "" {
			t.Fatalf("two vectors %q", v.name)
		}
		want[v.name] = v.text
	}
	files, _ := filepath.Glob("vectors/*.txt")
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		got, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case want[name] == "" && *update:
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		case want[name] == "":
			t.Errorf("%s has no source", f)
		case want[name] == string(got):
			delete(want, name)
		}
	}
	for name, text := range want {
		if !*update {
			t.Errorf("%s is not current: run with -update and read the difference", name)
		} else if err := os.WriteFile("vectors/"+name+".txt", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type source struct{ name, text string }

type sources struct {
	t   *testing.T
	all []source
}

func allVectors(t *testing.T) []source {
	s := &sources{t: t}
	s.messages()
	s.lenient()
	s.frames()
	s.cbor()
	s.schema()
	s.schemaRules()
	s.sessions()
	return s.all
}

func (s *sources) add(name, comment string, lines ...string) {
	text := "name: " + name + "\ncomment: " + comment + "\n" + strings.Join(lines, "\n") + "\n"
	s.all = append(s.all, source{name, text})
}

// ok adds a message that is taken and encodes to the same bytes.
func (s *sources) ok(name, comment string, m Message) {
	frame := s.frame(m)
	s.okFrame(name, comment, frame, "same", m)
}

// lenient adds a body which is taken, though m, which it means, encodes differently.
func (s *sources) means(name, comment, body string, m Message) {
	s.okFrame(name, comment, frameOf(body), hex.EncodeToString(s.frame(m)), m)
}

func (s *sources) okFrame(name, comment string, frame []byte, reencode string, m Message) {
	s.add(name, comment, "expect: ok", "direction: "+direction(m.Type()), fmt.Sprintf("type: %d", m.Type()),
		"hex: "+hex.EncodeToString(frame), "reencode: "+reencode, "json: "+renderJSON(m))
}

func direction(t Type) string {
	if t.FromDevice() {
		return "d2g"
	}
	return "g2d"
}

func (s *sources) frame(m Message) []byte {
	s.t.Helper()
	frame, err := Append(nil, m)
	if err != nil {
		s.t.Fatalf("%T: %v", m, err)
	}
	return frame
}

// bad adds a body that the layer refuses.
func (s *sources) bad(layer Layer, code Code, name, comment, body string) {
	way := "d2g"
	if t, _, _ := PeekType(unhex(body)); t.FromGateway() && !t.FromDevice() {
		way = "g2d"
	}
	s.add(name, comment, "expect: "+string(layer), fmt.Sprintf("code: %d", code), "direction: "+way, "hex: "+hex.EncodeToString(frameOf(body)))
}

func (s *sources) badCBOR(name, comment, body string) {
	s.bad(LayerCBOR, CodeCBOR, "cbor-"+name, comment, body)
}

func (s *sources) badSchema(name, comment, body string) {
	s.bad(LayerSchema, CodeSchema, "schema-"+name, comment, body)
}

// frameOf makes a frame of a body in hex; blanks are for the reader.
func frameOf(body string) []byte {
	b := unhex(body)
	frame := append(make([]byte, HeaderSize), b...)
	putHeader(frame, len(b))
	return frame
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err) // a constant of this package's tests
	}
	return b
}

// patched encodes m and replaces bytes in it: pairs of old and new in hex. An old one has to be there once.
func (s *sources) patched(m Message, oldNew ...string) string {
	s.t.Helper()
	body := s.frame(m)[HeaderSize:]
	for i := 0; i < len(oldNew); i += 2 {
		old, new := unhex(oldNew[i]), unhex(oldNew[i+1])
		if n := bytes.Count(body, old); n != 1 {
			s.t.Fatalf("%x is %d times in %x", old, n, body)
		}
		body = bytes.Replace(body, old, new, 1)
	}
	return hex.EncodeToString(body)
}

// grow adds n to the count of the body's map.
func grow(n int, body string) string {
	b := unhex(body)
	b[0] += byte(n)
	return hex.EncodeToString(b)
}

// with adds n pairs in hex at the end of m's map.
func (s *sources) with(m Message, n int, pairs string) string {
	return grow(n, hex.EncodeToString(s.frame(m)[HeaderSize:])+strings.ReplaceAll(pairs, " ", ""))
}

func rep(b string, n int) string { return strings.Repeat(b, n) }
