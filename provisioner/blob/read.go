package blob

import (
	"bytes"
	"math"
	"net/netip"
	"strings"
	"time"
)

// field is what a known key needs: how to read it, and whether it must be there.
type field struct {
	name     string
	required bool
	read     func(b *Blob, v item) Reason
}

// fields are the keys of the body.
var fields = map[uint64]field{
	1: {"board", true, func(b *Blob, v item) Reason { return v.word(&b.Board, MaxBoard, "-_") }},
	2: {"name", false, func(b *Blob, v item) Reason { return v.word(&b.Name, MaxName, "-.") }},
	3: {"host", true, func(b *Blob, v item) Reason { return v.word(&b.Host, MaxHost, "-._") }},
	4: {"port", true, func(b *Blob, v item) Reason {
		n, r := v.number(1, math.MaxUint16)
		b.Port = uint16(n)
		return r
	}},
	5: {"server name", true, func(b *Blob, v item) Reason { return v.word(&b.ServerName, MaxHost, "-._") }},
	6: {"trust", true, readTrust},
	7: {"claim", false, func(b *Blob, v item) Reason { return v.octets(&b.Claim, 1, MaxClaim) }},
	8: {"seed", true, func(b *Blob, v item) Reason { return v.octets(&b.Seed, MinSeed, MaxSeed) }},
	9: {"network", false, readNetwork},
	10: {"floor", true, func(b *Blob, v item) Reason {
		n, r := v.number(0, math.MaxInt64)
		b.Floor = time.UnixMilli(int64(n)).UTC()
		return r
	}},
}

// read reads a whole body.
func read(raw []byte) (Blob, error) {
	if !check(raw) {
		return Blob{}, &Error{Malformed, ""}
	}
	top := first(raw)
	if top.major != majorMap {
		return Blob{}, &Error{Malformed, ""}
	}
	var b Blob
	seen := map[uint64]bool{}
	for key, value := range top.pairs() {
		f, ok := fields[key.arg]
		if key.major != majorUint || !ok {
			continue
		}
		if r := f.read(&b, value); r != "" {
			return Blob{}, &Error{r, f.name}
		}
		seen[key.arg] = true
	}
	for k := uint64(1); k <= uint64(len(fields)); k++ {
		if fields[k].required && !seen[k] {
			return Blob{}, &Error{Field, fields[k].name}
		}
	}
	return b, nil
}

func readTrust(b *Blob, v item) Reason {
	if v.major != majorArray {
		return Type
	}
	if v.arg < 1 || v.arg > MaxTrust {
		return Range
	}
	for e := range v.elements() {
		var der []byte
		if r := e.octets(&der, 1, MaxBody); r != "" {
			return r
		}
		b.Trust = append(b.Trust, der)
	}
	return ""
}

func readNetwork(b *Blob, v item) Reason {
	if v.major != majorMap {
		return Type
	}
	n := &Network{}
	seen := map[uint64]bool{}
	for key, value := range v.pairs() {
		if key.major != majorUint {
			continue
		}
		var r Reason
		var k uint64
		switch key.arg {
		case 1:
			k, r = value.number(0, 1)
			n.Static = k == 1
		case 2:
			r = value.address(&n.Address)
		case 3:
			k, r = value.number(1, MaxPrefix)
			n.Prefix = uint8(k)
		case 4:
			r = value.address(&n.Router)
		case 5:
			r = value.address(&n.DNS)
		}
		if r != "" {
			return r
		}
		seen[key.arg] = true
	}
	if !seen[1] || n.Static && (!seen[2] || !seen[3]) {
		return Field
	}
	b.Network = n
	return ""
}

// word reads 1…most letters, digits and what also lists: such texts go to logs, DNS and C strings.
func (v item) word(out *string, most int, also string) Reason {
	if v.major != majorText {
		return Type
	}
	if len(v.data) < 1 || len(v.data) > most {
		return Range
	}
	for _, c := range v.data {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && (c == 0 || strings.IndexByte(also, c) < 0) {
			return Range
		}
	}
	*out = string(v.data)
	return ""
}

func (v item) number(least, most uint64) (uint64, Reason) {
	if v.major != majorUint {
		return 0, Type
	}
	if v.arg < least || v.arg > most {
		return 0, Range
	}
	return v.arg, ""
}

func (v item) octets(out *[]byte, least, most int) Reason {
	if v.major != majorBytes {
		return Type
	}
	if len(v.data) < least || len(v.data) > most {
		return Range
	}
	*out = bytes.Clone(v.data)
	return ""
}

func (v item) address(out *netip.Addr) Reason {
	var b []byte
	if r := v.octets(&b, 4, 4); r != "" {
		return r
	}
	*out, _ = netip.AddrFromSlice(b)
	return ""
}
