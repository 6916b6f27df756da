package protocol

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// vector is one file of vectors/; vectors/README.md says what the keys mean.
type vector struct {
	name, comment, expect, direction, receiver, reencode, json string
	code                                                       Code
	typ                                                        Type
	cap                                                        int
	hex                                                        []byte
	steps                                                      []step
}

type step struct {
	fromDevice bool
	frame      []byte
}

func parseVector(text string) (v vector, err error) {
	v.cap = MaxFrame
	seen := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		if len(line) > 32768 {
			return v, fmt.Errorf("line %d is too long", i+1)
		}
		key, value, ok := strings.Cut(line, ": ")
		if !ok || seen[key] && key != "step" {
			return v, fmt.Errorf("line %d: not a key and a value, or the key is there twice", i+1)
		}
		seen[key] = true
		if err := v.set(key, value); err != nil {
			return v, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	for _, key := range []string{"name", "comment", "expect"} {
		if !seen[key] {
			return v, fmt.Errorf("no %s", key)
		}
	}
	if seen["hex"] == seen["step"] || seen["step"] != seen["receiver"] || seen["hex"] != seen["direction"] {
		return v, errors.New("either hex and direction, or receiver and step")
	}
	if (v.expect == "ok") == seen["code"] {
		return v, errors.New("a code goes with a refusal")
	}
	if ok := v.expect == "ok" && seen["hex"]; ok != seen["type"] || ok != seen["reencode"] || ok != seen["json"] {
		return v, errors.New("type, reencode and json go with a frame that is taken")
	}
	return v, nil
}

func (v *vector) set(key, value string) (err error) {
	number := func(max int) int {
		n, e := strconv.Atoi(value)
		if e != nil || n < 1 || n > max {
			err = fmt.Errorf("bad %s %q", key, value)
		}
		return n
	}
	oneOf := func(words ...string) string {
		for _, w := range words {
			if w == value {
				return value
			}
		}
		err = fmt.Errorf("bad %s %q", key, value)
		return ""
	}
	switch key {
	case "name":
		v.name = value
	case "comment":
		v.comment = value
	case "expect":
		v.expect = oneOf("ok", "frame", "cbor", "schema", "auth", "state")
	case "code":
		v.code = Code(number(255))
	case "direction":
		v.direction = oneOf("d2g", "g2d")
	case "type":
		v.typ = Type(number(255))
	case "cap":
		v.cap = number(MaxFrame)
	case "hex":
		v.hex, err = hex.DecodeString(value)
	case "reencode":
		v.reencode = value
	case "json":
		v.json = value
	case "receiver":
		v.receiver = oneOf("gateway", "device")
	case "step":
		direction, rest, _ := strings.Cut(value, " ")
		var frame []byte
		if direction != "d2g" && direction != "g2d" {
			return fmt.Errorf("bad step %q", value)
		}
		frame, err = hex.DecodeString(rest)
		v.steps = append(v.steps, step{direction == "d2g", frame})
	default:
		return fmt.Errorf("unknown key %q", key)
	}
	return err
}

// loadVectors reads all files and fails on an empty folder: nothing may pass by testing nothing.
func loadVectors(t testing.TB) []vector {
	t.Helper()
	files, err := filepath.Glob("vectors/*.txt")
	if err != nil || len(files) < 80 {
		t.Fatalf("%d vectors, want at least 80 (%v)", len(files), err)
	}
	var all []vector
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		v, err := parseVector(string(text))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if v.name+".txt" != filepath.Base(f) {
			t.Fatalf("%s has the name %q", f, v.name)
		}
		all = append(all, v)
	}
	return all
}

func TestVectors(t *testing.T) {
	for _, v := range loadVectors(t) {
		t.Run(v.name, func(t *testing.T) {
			if v.steps != nil {
				runScenario(t, v)
				return
			}
			m, err := readOne(v)
			if v.expect != "ok" {
				wantRefusal(t, v, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantMessage(t, v, m)
		})
	}
}

func readOne(v vector) (Message, error) {
	r := NewReader(iotestOneByte(bytes.NewReader(v.hex)))
	r.SetCap(v.cap)
	body, err := r.Next()
	if err != nil {
		return nil, err
	}
	m, err := Decode(body)
	if err != nil {
		return nil, err
	}
	if _, err := r.Next(); err != io.EOF {
		return nil, fmt.Errorf("behind the frame: %v", err)
	}
	return m, nil
}

func wantRefusal(t *testing.T, v vector, err error) {
	t.Helper()
	var w *WireError
	if !errors.As(err, &w) {
		t.Fatalf("got %v, want a refusal by layer %s", err, v.expect)
	}
	if string(w.Layer) != v.expect || w.Code != v.code {
		t.Fatalf("got layer %s code %d (%s), want layer %s code %d", w.Layer, w.Code, w.Text, v.expect, v.code)
	}
}

func wantMessage(t *testing.T, v vector, m Message) {
	t.Helper()
	if m.Type() != v.typ {
		t.Fatalf("type %v, want %v", m.Type(), v.typ)
	}
	if m.Type().FromDevice() != (v.direction == "d2g") && m.Type().FromGateway() != (v.direction == "g2d") {
		t.Fatalf("%v does not go %s", m.Type(), v.direction)
	}
	if got := renderJSON(m); got != v.json {
		t.Fatalf("json\n got %s\nwant %s", got, v.json)
	}
	frame, err := Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	want := v.reencode
	if want == "same" {
		want = hex.EncodeToString(v.hex)
	}
	if got := hex.EncodeToString(frame); got != want {
		t.Fatalf("encoded\n got %s\nwant %s", got, want)
	}
}

// runScenario walks through a session as its receiver sees it.
func runScenario(t *testing.T, v vector) {
	t.Helper()
	cap, phase := PreAuthFrame, PhaseHello
	gateway := v.receiver == "gateway"
	if !gateway {
		cap = MinFrame
	}
	for i, s := range v.steps {
		incoming := s.fromDevice == gateway
		m, err := takeFrame(s.frame, cap)
		if err == nil && incoming && gateway {
			err = phase.GatewayAccepts(m.Type())
		} else if err == nil && incoming {
			err = phase.DeviceAccepts(m.Type())
		}
		if last := i == len(v.steps)-1; last && v.expect != "ok" {
			if !incoming {
				t.Fatal("the last step is not one that the receiver gets")
			}
			wantRefusal(t, v, err)
			return
		}
		if err != nil {
			t.Fatalf("step %d: %v", i+1, err)
		}
		switch m := m.(type) {
		case *Hello:
			if !gateway {
				cap = int(m.Capabilities.Frame)
			}
		case *Welcome:
			phase = PhaseFirstContact
			if m.Enrolled {
				phase = PhaseEnrolled
				if gateway {
					cap = int(m.Frame)
				}
			}
		case *Goodbye:
			phase = PhaseClosing
		}
	}
}

func takeFrame(frame []byte, cap int) (Message, error) {
	r := NewReader(bytes.NewReader(frame))
	r.SetCap(cap)
	body, err := r.Next()
	if err != nil {
		return nil, err
	}
	return Decode(body)
}

// iotestOneByte gives a byte at a time, as the slowest link does.
func iotestOneByte(r io.Reader) io.Reader { return oneByte{r} }

type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) {
	if len(p) > 1 {
		p = p[:1]
	}
	return o.r.Read(p)
}

func TestVectorReaderIsStrict(t *testing.T) {
	good := "name: x\ncomment: c\nexpect: frame\ncode: 1\ndirection: d2g\nhex: 00\n"
	if _, err := parseVector(good); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		good + "colour: blue\n", good + "hex: 00\n", strings.Replace(good, "code: 1\n", "", 1),
		strings.Replace(good, "hex: 00\n", "", 1), strings.Replace(good, "frame", "maybe", 1),
		good + "step: d2g 00\n", strings.Replace(good, "hex: 00", "hex: 0", 1),
	} {
		if _, err := parseVector(bad); err == nil {
			t.Errorf("taken:\n%s", bad)
		}
	}
}
