// Package blob writes and reads provisioning blobs: what makes one board of many that carry the same
// image. docs/spec/provisioning.md is the format; firmware/port/zephyr/provision.c reads it on the board,
// and both take and refuse the same bytes (testdata/vectors.txt and the differential test).
package blob

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"time"

	"github.com/fxamacker/cbor/v2"

	"wasmbed.io/wasmbed/internal/errs"
)

// Blob is what a blob says.
type Blob struct {
	Board      string    // as in the table of boards
	Name       string    // empty: the platform names the device
	Host       string    // the gateway: IPv4 literal or DNS name
	Port       uint16    // TCP
	ServerName string    // what the gateway's certificate must carry
	Trust      [][]byte  // trust anchors, DER X.509, 1…2
	Claim      []byte    // empty: none
	Seed       []byte    // entropy, 32…64 bytes
	Network    *Network  // nil: DHCP where the board has a network at all
	Floor      time.Time // the time of making, kept in milliseconds
}

// Network is how the board gets its address. All addresses are IPv4; the zero Addr: none given.
type Network struct {
	Static  bool // else DHCP, and the rest is not used
	Address netip.Addr
	Prefix  uint8 // bits, 1…30
	Router  netip.Addr
	DNS     netip.Addr
}

// Reason is why a blob was refused, in the words of the board's console.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	Missing   Reason = "missing"                   // nothing there: erased or zeroed memory
	Magic     Reason = "something else lies there" //
	Later     Reason = "later version"             // version or flags of a later format
	Header    Reason = "bad header"                // a header that no version writes
	TooLarge  Reason = "too large"                 // longer than MaxBody
	Truncated Reason = "truncated"                 //
	Checksum  Reason = "bad checksum"              //
	Malformed Reason = "malformed body"            // not one deterministic CBOR map
	Type      Reason = "a field of a wrong type"   //
	Range     Reason = "a field out of range"      //
	Field     Reason = "a field is missing"        //
)

// Error is the error of Encode and Decode; its code is errs.Invalid.
type Error struct {
	Reason Reason
	Detail string // which field, may be empty
}

func (e *Error) Error() string {
	s := "provisioning blob: " + string(e.Reason)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Unwrap gives the error its code.
func (e *Error) Unwrap() error { return errs.New(errs.Invalid, "%s", e.Reason) }

// ReasonOf returns the reason in err, "" when there is none.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

var magic = [4]byte{'W', 'B', 'E', 'D'}

// body and network are the CBOR forms. Key 9's address is a byte string of four.
type body struct {
	Board      string   `cbor:"1,keyasint"`
	Name       string   `cbor:"2,keyasint,omitempty"`
	Host       string   `cbor:"3,keyasint"`
	Port       uint16   `cbor:"4,keyasint"`
	ServerName string   `cbor:"5,keyasint"`
	Trust      [][]byte `cbor:"6,keyasint"`
	Claim      []byte   `cbor:"7,keyasint,omitempty"`
	Seed       []byte   `cbor:"8,keyasint"`
	Network    *network `cbor:"9,keyasint,omitempty"`
	Floor      uint64   `cbor:"10,keyasint"`
}

type network struct {
	Mode    uint8  `cbor:"1,keyasint"`
	Address []byte `cbor:"2,keyasint,omitempty"`
	Prefix  uint8  `cbor:"3,keyasint,omitempty"`
	Router  []byte `cbor:"4,keyasint,omitempty"`
	DNS     []byte `cbor:"5,keyasint,omitempty"`
}

// Encode returns header and body. What it returns, Decode and every board take: a value that they would
// refuse is an *Error.
func (b Blob) Encode() ([]byte, error) {
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty
	mode, err := options.EncMode()
	if err != nil {
		return nil, errs.New(errs.Internal, "provisioning blob: %w", err)
	}
	if b.Floor.UnixMilli() < 0 {
		return nil, &Error{Range, "floor"}
	}
	w := body{Board: b.Board, Name: b.Name, Host: b.Host, Port: b.Port, ServerName: b.ServerName, Trust: b.Trust,
		Claim: b.Claim, Seed: b.Seed, Floor: uint64(b.Floor.UnixMilli())}
	if b.Network != nil {
		if w.Network, err = b.Network.wire(); err != nil {
			return nil, err
		}
	}
	raw, err := mode.Marshal(w)
	if err != nil {
		return nil, errs.New(errs.Internal, "provisioning blob: %w", err)
	}
	if len(raw) > MaxBody {
		return nil, &Error{TooLarge, "certificates"}
	}
	out := Seal(raw)
	if _, err := Decode(out); err != nil {
		return nil, err
	}
	return out, nil
}

func (n *Network) wire() (*network, error) {
	w := &network{Prefix: n.Prefix}
	if n.Static {
		w.Mode = 1
	}
	for _, a := range []struct {
		name string
		from netip.Addr
		to   *[]byte
	}{{"address", n.Address, &w.Address}, {"router", n.Router, &w.Router}, {"dns", n.DNS, &w.DNS}} {
		if !a.from.IsValid() {
			continue
		}
		if !a.from.Is4() {
			return nil, &Error{Range, "network " + a.name}
		}
		*a.to = a.from.AsSlice()
	}
	return w, nil
}

// Seal puts a header before a body as it is. Encode is what to use; this is for tests of readers.
func Seal(body []byte) []byte {
	h := make([]byte, HeaderSize, HeaderSize+len(body))
	copy(h, magic[:])
	h[4] = Version
	binary.LittleEndian.PutUint16(h[6:], HeaderSize)
	binary.LittleEndian.PutUint32(h[8:], uint32(len(body)))
	binary.LittleEndian.PutUint32(h[12:], crc32.ChecksumIEEE(body))
	return append(h, body...)
}

// Decode reads the blob at the start of p; what follows it is not looked at. Errors are *Error, with the
// reason that the board gives for the same bytes.
func Decode(p []byte) (Blob, error) {
	raw, err := open(p)
	if err != nil {
		return Blob{}, err
	}
	return read(raw)
}

func open(p []byte) ([]byte, error) {
	head := p[:min(len(p), HeaderSize)]
	switch {
	case only(head, 0x00) || only(head, 0xff):
		return nil, &Error{Missing, ""}
	case string(head[:min(len(head), len(magic))]) != string(magic[:min(len(head), len(magic))]):
		return nil, &Error{Magic, ""}
	case len(p) < HeaderSize:
		return nil, &Error{Truncated, ""}
	case p[4] == 0:
		return nil, &Error{Header, "version 0"}
	case p[4] > Version || p[5] != 0:
		return nil, &Error{Later, ""}
	case binary.LittleEndian.Uint16(p[6:]) != HeaderSize:
		return nil, &Error{Header, "length"}
	}
	n := binary.LittleEndian.Uint32(p[8:])
	switch {
	case n > MaxBody:
		return nil, &Error{TooLarge, ""}
	case int(n) > len(p)-HeaderSize:
		return nil, &Error{Truncated, ""}
	}
	raw := p[HeaderSize : HeaderSize+int(n)]
	if crc32.ChecksumIEEE(raw) != binary.LittleEndian.Uint32(p[12:]) {
		return nil, &Error{Checksum, ""}
	}
	return raw, nil
}

// only reports whether p holds nothing but v; an empty p does.
func only(p []byte, v byte) bool {
	for _, b := range p {
		if b != v {
			return false
		}
	}
	return true
}
