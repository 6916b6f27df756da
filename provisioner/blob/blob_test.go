package blob

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

func TestCutAnywhere(t *testing.T) {
	full := must(t, sample())
	for n := range full {
		want := Truncated
		if n == 0 {
			want = Missing
		}
		if _, err := Decode(full[:n]); ReasonOf(err) != want {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestAnyBitFlipped(t *testing.T) {
	full := must(t, sample())
	for i := range len(full) * 8 {
		if _, err := Decode(changed(full, i/8, full[i/8]^1<<(i%8))); err == nil {
			t.Errorf("bit %d flipped: taken", i)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for _, want := range []Blob{sample(), with(func(b *Blob) { b.Network, b.Claim, b.Name = nil, nil, "" }), with(func(b *Blob) { b.Network = &Network{} })} {
		want.Floor = want.Floor.UTC()
		got, err := Decode(must(t, want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v\n%+v %v", got, want, err)
		}
		if !bytes.Equal(must(t, got), must(t, want)) {
			t.Error("not the same bytes")
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		b    Blob
		want Reason
	}{
		"zero":        {Blob{}, Range},
		"ipv6":        {with(func(b *Blob) { b.Network.Address = netip.MustParseAddr("fe80::1") }), Range},
		"static bare": {with(func(b *Blob) { b.Network = &Network{Static: true} }), Field},
		"no seed":     {with(func(b *Blob) { b.Seed = nil }), Range},
		"large":       {with(func(b *Blob) { b.Trust = [][]byte{make([]byte, MaxBody)} }), TooLarge},
		"before 1970": {with(func(b *Blob) { b.Floor = time.UnixMilli(-1) }), Range},
		"utf-8":       {with(func(b *Blob) { b.Name = "\xff" }), Malformed},
	} {
		if _, err := c.b.Encode(); ReasonOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecode: what is taken encodes, and reads back as the same.
func FuzzDecode(f *testing.F) {
	for _, v := range loadVectors(f) {
		f.Add(v.blob, false)
		f.Add(v.blob[min(HeaderSize, len(v.blob)):], true)
	}
	f.Fuzz(func(t *testing.T, p []byte, body bool) {
		if body {
			p = Seal(p)
		}
		b, err := Decode(p)
		if err != nil {
			if ReasonOf(err) == "" {
				t.Fatal(err)
			}
			return
		}
		again, err := b.Encode()
		if err != nil {
			t.Fatal(err)
		}
		c, err := Decode(again)
		if err != nil || dump(b, 0) != dump(c, 0) {
			t.Fatalf("%s\n%s %v", dump(b, 0), dump(c, 0), err)
		}
	})
}
