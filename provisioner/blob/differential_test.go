package blob

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// reader compiles the board's reader into a program.
func reader(t *testing.T) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("not run: no C compiler (cc)")
	}
	const firmware = "../../firmware/"
	out := filepath.Join(t.TempDir(), "reader")
	args := []string{"-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-o", out,
		"-I" + firmware + "tests", "-I" + firmware + "port/zephyr", "-I" + firmware + "core/include", "-I" + firmware + "core/src",
		firmware + "tests/tool_provision.c", firmware + "tests/provision_dump.c", firmware + "port/zephyr/provision.c", firmware + "core/src/cbor.c"}
	if msg, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
	return out
}

// TestBoardReadsTheSame: thousands of blobs, damaged with the checksum made right again, get the same verdict
// and say the same in C and in Go.
func TestBoardReadsTheSame(t *testing.T) {
	program := reader(t)
	vectors := loadVectors(t)
	rng := rand.New(rand.NewPCG(3, 5))
	var blobs [][]byte
	for _, v := range vectors {
		blobs = append(blobs, v.blob)
	}
	for range 20000 {
		blobs = append(blobs, mutate(rng, vectors[rng.IntN(len(vectors))].blob))
	}
	var in bytes.Buffer
	for _, b := range blobs {
		binary.Write(&in, binary.LittleEndian, uint32(len(b)))
		in.Write(b)
	}
	cmd := exec.Command(program)
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, err.(*exec.ExitError).Stderr)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(blobs) {
		t.Fatalf("%d answers to %d blobs", len(lines), len(blobs))
	}
	verdicts := map[string]int{}
	for i, p := range blobs {
		b, err := Decode(p)
		want := verdict(err) + "\t"
		if err == nil {
			want += dump(b, sizeOf(p))
		}
		verdicts[verdict(err)]++
		if lines[i] != want {
			t.Fatalf("%x\nC:  %s\nGo: %s", p, lines[i], want)
		}
	}
	for _, r := range []Reason{"ok", Malformed, Type, Range, Field, Truncated} {
		if verdicts[string(r)] < 20 {
			t.Errorf("only %d blobs are %q: the mutants are poor", verdicts[string(r)], r)
		}
	}
	t.Log(verdicts)
}

// mutate damages a blob, most often its body, whose checksum it then makes right.
func mutate(rng *rand.Rand, p []byte) []byte {
	if len(p) <= HeaderSize || rng.IntN(10) == 0 {
		p = bytes.Clone(p)
		if len(p) > 0 {
			p[rng.IntN(len(p))] = byte(rng.UintN(256))
		}
		return p[:len(p)-rng.IntN(min(len(p), 3)+1)]
	}
	body := bytes.Clone(p[HeaderSize:])
	for range 1 + rng.IntN(3) {
		if len(body) == 0 {
			break
		}
		at := rng.IntN(len(body))
		if rng.IntN(2) == 0 {
			at = rng.IntN(min(len(body), 12)) // near the heads
		}
		switch rng.IntN(6) {
		case 0:
			body[at] ^= 1 << rng.IntN(8)
		case 1:
			body[at] = byte(rng.UintN(256))
		case 2:
			body = append(body[:at:at], body[min(len(body), at+1+rng.IntN(4)):]...)
		case 3:
			body = append(body[:at:at], append([]byte{byte(rng.UintN(256))}, body[at:]...)...)
		case 4:
			body[at] += byte(rng.IntN(3)) - 1
		case 5: // one more key behind, of any sort
			body[0]++
			tail := [][]byte{{0x0b, 0xf5}, {0x18, 0x2a, 0xf9, 0x3c, 0x00}, {0x61, 0x61, 0xfa, 0x47, 0xc3, 0x50, 0x00}, {0x18, 0x63, 0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a},
				{0x20, 0xf9, 0x7e, 0x00}, {0x40, 0xa1, 0x00, 0x80}, {0x0a, 0x00}, {0x1b, 0, 0, 0, 0, 0, 0, 0, 1, 0}, {0x19, 0x01, 0x00, 0xfa, 0x33, 0x80, 0x00, 0x00}}
			body = append(body, tail[rng.IntN(len(tail))]...)
		}
	}
	if rng.IntN(4) == 0 && len(body) > 9 { // floats of every kind behind the last key
		body[0]++
		f := make([]byte, 9)
		for i := range f {
			f[i] = []byte{0, 0xff, 0x7f, 0x80, 0x3f, byte(rng.UintN(256))}[rng.IntN(6)]
		}
		n := 1 << (1 + rng.IntN(3))
		f[0] = map[int]byte{2: 0xf9, 4: 0xfa, 8: 0xfb}[n]
		body = append(append(body, 0x19, 0xff, 0xff), f[:1+n]...)
	}
	return Seal(body)
}
