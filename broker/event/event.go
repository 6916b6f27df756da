package event

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"mime"
	"reflect"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/fxamacker/cbor/v2"

	"wasmbed.io/wasmbed/internal/errs"
)

// Media types of the data.
const (
	JSON = "application/json"
	CBOR = "application/cbor"
)

// Ping is the type of what Knative's PingSource sends: a backstop, at a steady pace, for what nobody was told. It is none
// of the catalogue's, for it is Knative's own, has no data that anybody reads, and need not be there.
const Ping = "dev.knative.sources.ping"

// Secret reports whether the data of a type must not be shown to people: an enrollment request's have the device's claim in
// them, which whoever reads it could use. Feeds for people keep such an event without its data.
func Secret(typ string) bool { return typ == DeviceEnrollmentRequested }

// Option sets one more attribute of a new event.
type Option func(*ce.Event)

// Ext sets an extension attribute. The name is lower-case letters and digits; the value a string, bool,
// integer, time or bytes.
func Ext(name string, value any) Option { return func(e *ce.Event) { e.SetExtension(name, value) } }

// At sets the time of the event.
func At(t time.Time) Option { return func(e *ce.Event) { e.SetTime(t) } }

// In sets the namespace extension.
func In(namespace string) Option { return Ext(ExtNamespace, namespace) }

// About makes a device the subject of the event: subject, namespace and partition key.
func About(d Device) Option {
	return func(e *ce.Event) {
		e.SetSubject(d.String())
		e.SetExtension(ExtNamespace, d.Namespace)
		e.SetExtension(ExtPartitionKey, d.String())
	}
}

// After carries the trace of the event that caused this one.
func After(cause ce.Event) Option {
	return func(e *ce.Event) {
		if t, ok := cause.Extensions()[ExtTraceParent]; ok {
			e.SetExtension(ExtTraceParent, t)
		}
	}
}

// New makes an event whose data is JSON; data nil means none. An empty id is replaced by a random one:
// right for what happened now, wrong for what may be said again (ReplyID, or an id made of the fact
// itself). The error is errs.Invalid: a missing attribute, or data that JSON cannot carry.
func New(typ, source, subject, id string, data any, opts ...Option) (ce.Event, error) {
	return newEvent(typ, source, subject, id, JSON, data, opts)
}

// NewCBOR is New with CBOR as the data's format, for batches of records that are CBOR anyway.
func NewCBOR(typ, source, subject, id string, data any, opts ...Option) (ce.Event, error) {
	return newEvent(typ, source, subject, id, CBOR, data, opts)
}

func newEvent(typ, source, subject, id, format string, data any, opts []Option) (ce.Event, error) {
	e := ce.New(ce.CloudEventsVersionV1)
	if id == "" {
		id = NewID()
	}
	e.SetType(typ)
	e.SetSource(source)
	e.SetSubject(subject)
	e.SetID(id)
	for _, o := range opts {
		o(&e)
	}
	if data != nil {
		var b []byte
		var err error
		if format == CBOR {
			b, err = cbor.Marshal(data)
		} else {
			b, err = json.Marshal(data)
		}
		if err != nil {
			return ce.Event{}, errs.New(errs.Invalid, "data of %s: %w", typ, err)
		}
		e.SetDataContentType(format)
		e.DataEncoded = b
		// JSON's envelope (structured mode, batches) carries other formats as base64.
		e.DataBase64 = format != JSON
	}
	if err := e.Validate(); err != nil {
		return ce.Event{}, errs.New(errs.Invalid, "event %s: %w", typ, err)
	}
	return e, nil
}

// NewID returns 128 random bits as hex.
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand since Go 1.24)
	return hex.EncodeToString(b[:])
}

// ReplyID is the id of what a function says because of the event in. It is the same for every delivery of
// the same event, so a replay gives the same (source, id), which consumers know already. A function that
// says several things adds what tells them apart to its name.
func ReplyID(in ce.Event, function string) string {
	return DeriveID(in.Source(), in.ID(), function)
}

// DeriveID makes an id of the facts that it stands for: equal parts, equal id.
func DeriveID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Namespace returns the namespace extension of e, or "".
func Namespace(e ce.Event) string { return Extension(e, ExtNamespace) }

// Extension returns a string extension of e, or "".
func Extension(e ce.Event, name string) string {
	s, _ := e.Extensions()[name].(string)
	return s
}

var strictCBOR = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  8,
		MaxArrayElements: 65536, // devices in a batch; their records stay raw here
		MaxMapPairs:      64,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
	}.DecMode()
	if err != nil {
		return nil // Data then reports it; the options are constants, a test decodes with them
	}
	return m
}()

// Data decodes the data of e, JSON or CBOR as its datacontenttype says. Fields that T does not have are
// ignored, for types only ever gain fields. A type of the catalogue must be decoded as the catalogue's
// type. The error is errs.Invalid, and then the value is zero.
func Data[T any](e ce.Event) (T, error) {
	var v, zero T
	if want, ok := dataTypes[e.Type()]; ok && want != reflect.TypeFor[T]() {
		return zero, errs.New(errs.Invalid, "data of %s is %s, not %s", e.Type(), want, reflect.TypeFor[T]())
	}
	format := JSON
	if ct := e.DataContentType(); ct != "" {
		m, _, err := mime.ParseMediaType(ct)
		if err != nil {
			return zero, errs.New(errs.Invalid, "datacontenttype %q of %s: %w", ct, e.Type(), err)
		}
		format = m
	}
	switch format {
	case JSON, "text/json":
		if b := bytes.TrimSpace(e.Data()); len(b) == 0 || bytes.Equal(b, []byte("null")) {
			return zero, errs.New(errs.Invalid, "%s without data", e.Type())
		}
		if err := json.Unmarshal(e.Data(), &v); err != nil {
			return zero, errs.New(errs.Invalid, "data of %s: %w", e.Type(), err)
		}
	case CBOR:
		if strictCBOR == nil {
			return zero, errs.New(errs.Internal, "no CBOR decoder")
		}
		if err := strictCBOR.Unmarshal(e.Data(), &v); err != nil {
			return zero, errs.New(errs.Invalid, "data of %s: %w", e.Type(), err)
		}
	default:
		return zero, errs.New(errs.Invalid, "datacontenttype %q of %s", format, e.Type())
	}
	return v, nil
}
