package stream

import (
	"bytes"
	"testing"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/broker/event"
)

// What is stored can be read again, whatever its attributes hold.
func FuzzRecord(f *testing.F) {
	f.Add("1", "/s", "t", "sub ject\n: %", "v", []byte("data\n\n"), int32(3))
	f.Add("ü", "/s", "t", "", "", []byte(nil), int32(0))
	f.Fuzz(func(t *testing.T, id, source, typ, subject, ext string, data []byte, hops int32) {
		e := ce.New()
		e.SetID(id)
		e.SetSource(source)
		e.SetType(typ)
		e.SetSubject(subject)
		e.SetExtension("ext", ext)
		e.SetExtension(extHops, hops)
		e.DataEncoded = data
		if e.Validate() != nil {
			return
		}
		r, err := newRecord(&e)
		if err != nil {
			if hops > 0 && len(id)+len(source)+len(typ)+len(subject)+len(ext) < event.MaxAttributes/2 {
				t.Fatal(err)
			}
			return
		}
		back, err := decodeRecord(r.encode(-1))
		if err != nil {
			t.Fatal(err)
		}
		if back.hops != int(hops) || !bytes.Equal(back.data, data) || len(back.attrs) != len(r.attrs) {
			t.Fatalf("%+v became %+v", r, back)
		}
		for i := range r.attrs {
			if back.attrs[i] != r.attrs[i] {
				t.Fatalf("%+v became %+v", r.attrs[i], back.attrs[i])
			}
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add("id:1\nsource:/s\ntype:t\n\ndata")
	f.Add("id:1\n")
	f.Add(extHops + ":x\n\n")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := decodeRecord(s)
		if err == nil {
			_, _ = r.event()
		}
	})
}
