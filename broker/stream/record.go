package stream

import (
	"bytes"
	"strconv"
	"strings"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// extHops counts down how many more times an event may pass a broker. The name is Knative's, so that the
// count goes on when brokers are chained. It is never shown to a subscriber.
const extHops = "knativebrokerttl"

// Extensions of an event that goes to a dead letter sink, as Knative names them.
const (
	extErrorDest = "knativeerrordest"
	extErrorCode = "knativeerrorcode"
	extErrorData = "knativeerrordata"
)

// record is an event as the broker keeps it: attributes as strings, data as bytes. Its stored form reads
// like an HTTP message: a line "name:value" per attribute, values percent-encoded as in HTTP headers, an
// empty line, then the data.
type record struct {
	attrs []event.Attribute // without extHops
	data  []byte
	hops  int // left; 0: not counted yet
}

// newRecord makes a record of an event, errs.TooLarge when its attributes are.
func newRecord(e *ce.Event) (record, error) {
	r := record{attrs: event.Attributes(e), data: e.Data()}
	size := 0
	for i := 0; i < len(r.attrs); i++ {
		a := r.attrs[i]
		size += len(a.Name) + len(a.Value) + 2
		if a.Name == extHops {
			n, err := strconv.Atoi(a.Value)
			if err != nil || n < 1 {
				return r, errs.New(errs.Invalid, "hops exhausted: %s %q", extHops, a.Value)
			}
			r.hops = n
			r.attrs = append(r.attrs[:i], r.attrs[i+1:]...)
			i--
		}
	}
	if size > event.MaxAttributes {
		return r, errs.New(errs.TooLarge, "attributes of %d bytes, at most %d are taken", size, event.MaxAttributes)
	}
	return r, nil
}

// get is a getter.
func (r *record) get(name string) (string, bool) {
	for i := range r.attrs {
		if r.attrs[i].Name == name {
			return r.attrs[i].Value, true
		}
	}
	if name == "specversion" {
		return ce.CloudEventsVersionV1, true
	}
	return "", false
}

// encode gives the stored form, with at most maxData bytes of data (-1: all).
func (r *record) encode(maxData int) string {
	data := r.data
	if maxData >= 0 && len(data) > maxData {
		data = nil
	}
	n := len(data) + 32
	for _, a := range r.attrs {
		n += len(a.Name) + len(a.Value) + 2
	}
	var b strings.Builder
	b.Grow(n)
	for _, a := range r.attrs {
		b.WriteString(a.Name)
		b.WriteByte(':')
		b.WriteString(event.EncodeValue(a.Value))
		b.WriteByte('\n')
	}
	if r.hops > 0 {
		b.WriteString(extHops)
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(r.hops))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.Write(data)
	return b.String()
}

// decodeRecord reads the stored form.
func decodeRecord(b string) (record, error) {
	var r record
	r.attrs = make([]event.Attribute, 0, 12)
	for {
		line, rest, ok := strings.Cut(b, "\n")
		if !ok {
			return record{}, errs.New(errs.Internal, "a stored event without an end of its attributes")
		}
		b = rest
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return record{}, errs.New(errs.Internal, "a stored event with the line %q", line)
		}
		if name == extHops {
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return record{}, errs.New(errs.Internal, "a stored event with %s %q", name, value)
			}
			r.hops = n
			continue
		}
		if strings.IndexByte(value, '%') >= 0 {
			value = event.DecodeValue(value)
		}
		r.attrs = append(r.attrs, event.Attribute{Name: name, Value: value})
	}
	if len(b) > 0 {
		r.data = []byte(b)
	}
	return r, nil
}

// event makes a CloudEvent of the record, without the hops.
func (r *record) event() (ce.Event, error) {
	e := ce.New()
	for _, a := range r.attrs {
		switch a.Name {
		case "id":
			e.SetID(a.Value)
		case "source":
			e.SetSource(a.Value)
		case "type":
			e.SetType(a.Value)
		case "subject":
			e.SetSubject(a.Value)
		case "datacontenttype":
			e.SetDataContentType(a.Value)
			e.DataBase64 = !strings.Contains(a.Value, "json") && !strings.HasPrefix(a.Value, "text/")
		case "dataschema":
			e.SetDataSchema(a.Value)
		case "time":
			t, err := types.ParseTime(a.Value)
			if err != nil {
				return e, errs.New(errs.Internal, "a stored event: %w", err)
			}
			e.SetTime(t)
		default:
			e.SetExtension(a.Name, a.Value)
		}
	}
	if r.data != nil {
		e.DataEncoded = bytes.Clone(r.data)
	}
	if err := e.Validate(); err != nil {
		return e, errs.New(errs.Internal, "a stored event: %w", err)
	}
	return e, nil
}
