package blob

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

var update = flag.Bool("update", false, "write testdata/vectors.txt anew")

const vectorFile = "testdata/vectors.txt"

const vectorHead = `# Provisioning blobs, written by "go test ./provisioner/blob -update", read by Go and by firmware/tests.
# One a block: name, what a reader must say ("ok" or the reason), what it must have read, the bytes.
`

type vector struct {
	name, expect, dump string
	blob               []byte
}

// dump is what a blob says in one line; firmware/tests/provision_dump.c writes the same.
func dump(b Blob, size int) string {
	var trust []string
	for _, der := range b.Trust {
		trust = append(trust, hex.EncodeToString(der))
	}
	text := func(a netip.Addr) string {
		if !a.IsValid() {
			return "0.0.0.0"
		}
		return a.String()
	}
	network := "-"
	if n := b.Network; n != nil {
		mode := "dhcp"
		if n.Static {
			mode = "static"
		}
		network = fmt.Sprintf("%s,%s/%d,%s,%s", mode, text(n.Address), n.Prefix, text(n.Router), text(n.DNS))
	}
	return fmt.Sprintf("board=%s name=%s gateway=%s:%d server=%s trust=%s claim=%x seed=%x network=%s floor=%d size=%d",
		b.Board, b.Name, b.Host, b.Port, b.ServerName, strings.Join(trust, ","), b.Claim, b.Seed, network, b.Floor.UnixMilli(), size)
}

func sizeOf(p []byte) int { return HeaderSize + int(binary.LittleEndian.Uint32(p[8:])) }

func fill(n int, first byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func sample() Blob {
	return Blob{Board: "Mps2An385", Name: "press-7", Host: "10.0.2.2", Port: 8081, ServerName: "gateway.example", Trust: [][]byte{fill(40, 0x30)},
		Claim: fill(32, 1), Seed: fill(32, 0x40), Network: &Network{Static: true, Address: netip.MustParseAddr("10.0.2.15"), Prefix: 24,
			Router: netip.MustParseAddr("10.0.2.2"), DNS: netip.MustParseAddr("10.0.2.3")}, Floor: time.UnixMilli(1767225600000)}
}

func must(t testing.TB, b Blob) []byte {
	t.Helper()
	out, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func with(change func(*Blob)) Blob {
	b := sample()
	change(&b)
	return b
}

// raw builds a body out of hex pieces, each a key with its value; what is missing in pieces comes from the
// smallest body that is taken.
func raw(pieces map[int]string) []byte {
	smallest := map[int]string{1: "01" + "6142", 3: "03" + "6167", 4: "04" + "191f91", 5: "05" + "6173", 6: "06" + "814130",
		8: "08" + "5820" + strings.Repeat("ab", 32), 10: "0a" + "1b0000019b76daac00"}
	for k, v := range pieces {
		smallest[k] = v
	}
	var body strings.Builder
	n := 0
	for k := range 100 {
		if smallest[k] != "" {
			body.WriteString(smallest[k])
			n++
		}
	}
	b, err := hex.DecodeString(body.String())
	if err != nil {
		panic(err)
	}
	return Seal(append([]byte{0xa0 + byte(n)}, b...))
}

func one(key int, piece string) []byte { return raw(map[int]string{key: piece}) }

func changed(p []byte, at int, to byte) []byte {
	p = bytes.Clone(p)
	p[at] = to
	return p
}

func makeVectors(t testing.TB) []vector {
	full := must(t, sample())
	var out []vector
	add := func(name string, expect Reason, p []byte) {
		v := vector{name: name, expect: string(expect), blob: p}
		if expect == "" {
			b, err := Decode(p)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			v.expect, v.dump = "ok", dump(b, sizeOf(p))
		}
		out = append(out, v)
	}
	add("full", "", full)
	add("smallest", "", raw(nil))
	add("more-room-than-blob", "", append(bytes.Clone(full), fill(100, 0xff)...))
	add("dhcp", "", must(t, with(func(b *Blob) { b.Network = &Network{} })))
	add("two-anchors", "", must(t, with(func(b *Blob) { b.Trust = append(b.Trust, fill(300, 0x30)) })))
	add("longest-texts", "", must(t, with(func(b *Blob) {
		b.Board, b.Name, b.Host, b.ServerName = strings.Repeat("B", MaxBoard), strings.Repeat("n", MaxName), strings.Repeat("h", MaxHost), strings.Repeat("s", MaxHost)
		b.Claim, b.Seed, b.Floor = fill(MaxClaim, 0), fill(MaxSeed, 0), time.UnixMilli(1<<63-1)
	})))
	const fixed = HeaderSize + 1 + 3 + 3 + 4 + 3 + 35 + 10 + 5 // everything but the anchor's bytes
	add("largest", "", must(t, Blob{Board: "B", Host: "g", Port: 8081, ServerName: "s", Trust: [][]byte{fill(MaxSize-fixed, 0)},
		Seed: fill(32, 0), Floor: time.UnixMilli(1767225600000)}))
	add("unknown-key", "", one(42, "182a"+"a101f5"))
	add("unknown-text-key", "", one(42, "6161"+"f97e00"))
	add("unknown-network-key", "", one(9, "09"+"a20100"+"1863"+"80"))
	add("serial-board-without-network", "", must(t, with(func(b *Blob) { b.Network = nil })))

	add("nothing", Missing, nil)
	add("erased", Missing, fill(0, 0))
	add("erased-flash", Missing, bytes.Repeat([]byte{0xff}, 64))
	add("zeroed-memory", Missing, make([]byte, 64))
	add("one-byte", Truncated, full[:1])
	add("half-header", Truncated, full[:8])
	add("header-only", Truncated, full[:HeaderSize])
	add("last-byte-cut", Truncated, full[:len(full)-1])
	add("cut-and-filled-up", Checksum, append(bytes.Clone(full[:200]), bytes.Repeat([]byte{0xff}, len(full)-200)...))
	add("elf", Magic, append([]byte("\x7fELF\x01\x01\x01"), make([]byte, 40)...))
	add("magic-lower-case", Magic, changed(full, 0, 'w'))
	add("version-0", Header, changed(full, 4, 0))
	add("version-2", Later, changed(full, 4, 2))
	add("version-255", Later, changed(full, 4, 255))
	add("flags", Later, changed(full, 5, 1))
	add("header-length-17", Header, changed(full, 6, 17))
	add("header-length-272", Header, changed(full, 7, 1))
	add("length-4081", TooLarge, append(changed(changed(full, 8, 0xf1), 9, 0x0f), make([]byte, 5000)...))
	add("length-4g", TooLarge, changed(full, 11, 0xff))
	add("bad-crc", Checksum, changed(full, 12, full[12]^1))
	add("bad-body", Checksum, changed(full, len(full)-1, full[len(full)-1]^0x80))
	add("empty-body", Malformed, Seal(nil))
	add("body-is-an-array", Malformed, Seal([]byte{0x80}))
	add("empty-map", Field, Seal([]byte{0xa0}))
	add("bytes-behind-map", Malformed, Seal([]byte{0xa0, 0x00}))
	add("duplicate-key", Malformed, one(2, "01"+"6142"))
	add("duplicate-unknown-key", Malformed, raw(map[int]string{42: "182a00", 43: "182a00"}))
	add("duplicate-network-key", Malformed, one(9, "09"+"a201000100"))
	add("keys-out-of-order", Malformed, one(99, "02"+"6142"))
	add("long-form-integer", Malformed, one(4, "04"+"1a00001f91"))
	add("indefinite-map", Malformed, Seal([]byte{0xbf, 0xff}))
	add("tag", Malformed, one(4, "04"+"c0191f91"))
	add("null", Malformed, one(2, "02"+"f6"))
	add("bad-utf8", Malformed, one(2, "02"+"61ff"))
	add("nested-too-deep", Malformed, one(42, "182a"+strings.Repeat("81", 8)+"00"))
	add("nested-as-deep-as-may-be", "", one(42, "182a"+strings.Repeat("81", 7)+"00"))
	add("float-not-shortest", Malformed, one(42, "182a"+"fa3f800000"))
	for k, piece := range map[string]string{"board": "0102", "name": "0202", "host": "034167", "port": "046138", "server": "05f5",
		"trust": "064130", "trust-of-text": "06816130", "claim": "076161", "seed": "087820" + strings.Repeat("61", 32),
		"network": "0980", "floor": "0a20", "floor-float": "0af93c00"} {
		var key int
		fmt.Sscanf(piece[:2], "%x", &key)
		add("type-"+k, Type, one(key, piece))
	}
	for k, piece := range map[string]string{"board-empty": "0160", "board-long": "017821" + strings.Repeat("61", 33), "board-space": "016120",
		"board-nul": "016100", "name-underscore": "02615f", "name-long": "027840" + strings.Repeat("61", 64), "host-slash": "03612f",
		"host-colon": "03613a", "host-empty": "0360", "host-non-ascii": "0362c3a4", "port-0": "0400", "port-65536": "041a00010000", "trust-none": "0680",
		"trust-three": "0683413041304130", "trust-empty": "068140", "claim-empty": "0740", "claim-long": "075841" + strings.Repeat("00", 65),
		"seed-31": "08581f" + strings.Repeat("00", 31), "seed-65": "085841" + strings.Repeat("00", 65), "floor-beyond": "0a1b8000000000000000",
		"network-mode": "09a10102", "network-address-3": "09a1024300" + "0000", "network-prefix-0": "09a1" + "0300", "network-prefix-31": "09a1" + "03181f",
		"network-router-16": "09a10450" + strings.Repeat("00", 16)} {
		var key int
		fmt.Sscanf(piece[:2], "%x", &key)
		add("range-"+k, Range, one(key, piece))
	}
	for k, name := range map[int]string{1: "board", 3: "host", 4: "port", 5: "server", 6: "trust", 8: "seed", 10: "floor"} {
		add("without-"+name, Field, one(k, ""))
	}
	add("network-without-mode", Field, one(9, "09a0"))
	add("network-static-without-address", Field, one(9, "09a201010318"+"18"))
	add("network-static-without-prefix", Field, one(9, "09a2010102440a00020f"))
	return out
}

func loadVectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var out []vector
	for _, line := range strings.Split(string(text), "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" || line[0] == '#':
		case key == "name":
			out = append(out, vector{name: value})
		case key == "expect":
			out[len(out)-1].expect = value
		case key == "says":
			out[len(out)-1].dump = value
		case key == "hex":
			if out[len(out)-1].blob, err = hex.DecodeString(value); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("%s: %q", vectorFile, line)
		}
	}
	if len(out) < 60 {
		t.Fatalf("%d vectors", len(out))
	}
	return out
}

// TestVectorsAreCurrent: the file holds what Encode and the makers above give today.
func TestVectorsAreCurrent(t *testing.T) {
	vectors := makeVectors(t)
	// Ranging over maps above gives no order.
	byName := map[string]vector{}
	for _, v := range vectors {
		if _, twice := byName[v.name]; twice {
			t.Fatalf("%s twice", v.name)
		}
		byName[v.name] = v
	}
	if *update {
		var w bytes.Buffer
		w.WriteString(vectorHead)
		for _, v := range sorted(vectors) {
			fmt.Fprintf(&w, "\nname: %s\nexpect: %s\n", v.name, v.expect)
			if v.dump != "" {
				fmt.Fprintf(&w, "says: %s\n", v.dump)
			}
			fmt.Fprintf(&w, "hex: %x\n", v.blob)
		}
		if err := os.MkdirAll(filepath.Dir(vectorFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorFile, w.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, got := range loadVectors(t) {
		want := byName[got.name]
		if got.expect != want.expect || got.dump != want.dump || !bytes.Equal(got.blob, want.blob) {
			t.Errorf("%s: %s holds something else (go test ./provisioner/blob -update)", got.name, vectorFile)
		}
		delete(byName, got.name)
	}
	for name := range byName {
		t.Errorf("%s is not in %s", name, vectorFile)
	}
}

func TestVectors(t *testing.T) {
	for _, v := range loadVectors(t) {
		b, err := Decode(v.blob)
		if got := verdict(err); got != v.expect {
			t.Errorf("%s: %s (%v), want %s", v.name, got, err, v.expect)
		}
		if err == nil && dump(b, sizeOf(v.blob)) != v.dump {
			t.Errorf("%s: says\n%s, want\n%s", v.name, dump(b, sizeOf(v.blob)), v.dump)
		}
		if err != nil && (!reflect.DeepEqual(b, Blob{}) || !errs.Is(err, errs.Invalid)) {
			t.Errorf("%s: %+v %s", v.name, b, errs.CodeOf(err))
		}
	}
}

func verdict(err error) string {
	if err == nil {
		return "ok"
	}
	return string(ReasonOf(err))
}

func sorted(v []vector) []vector {
	return slices.SortedFunc(slices.Values(v), func(a, b vector) int { return strings.Compare(a.name, b.name) })
}
