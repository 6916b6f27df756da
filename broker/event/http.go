package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	ce "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"

	"wasmbed.io/wasmbed/internal/errs"
)

const (
	headerPrefix = "Ce-"
	contentType  = "Content-Type"
)

// ReadRequest reads the event of a request, binary or structured mode (CloudEvents HTTP binding 1.0 §3.1,
// §3.2). At most limit bytes of body are read (0: MaxEvent); then nothing is parsed and the error is
// errs.TooLarge. What does not parse or lacks a required attribute is errs.Invalid.
func ReadRequest(r *http.Request, limit int64) (ce.Event, error) {
	es, err := readRequest(r, limit, false)
	if err != nil {
		return ce.Event{}, err
	}
	return es[0], nil
}

// ReadRequests is ReadRequest that takes a batch too (application/cloudevents-batch+json, §3.3), which may
// be empty.
func ReadRequests(r *http.Request, limit int64) ([]ce.Event, error) {
	return readRequest(r, limit, true)
}

func readRequest(r *http.Request, limit int64, batch bool) ([]ce.Event, error) {
	if limit <= 0 {
		limit = MaxEvent
	}
	body, err := readBody(r, limit)
	if err != nil {
		return nil, err
	}
	return parse(r.Header, body, batch)
}

// readBody reads all of a request's body before anything looks at it.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errs.New(errs.TooLarge, "body of %d bytes, at most %d are taken", r.ContentLength, limit)
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > 0 {
		b := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, b); err != nil {
			return nil, errs.New(errs.Invalid, "body: %w", err)
		}
		return b, nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, errs.New(errs.Invalid, "body: %w", err)
	}
	if int64(len(b)) > limit {
		return nil, errs.New(errs.TooLarge, "at most %d bytes of body are taken", limit)
	}
	return b, nil
}

// ReadResponse reads the reply event of an answer whose body has been read already. It returns nil when
// the body is empty and there is no event in the header, and errs.Invalid when there is something else
// than an event: a subscriber must answer empty or with an event.
func ReadResponse(h http.Header, body []byte) (*ce.Event, error) {
	if h.Get("Ce-Specversion") == "" && len(body) == 0 {
		return nil, nil
	}
	es, err := parse(h, body, false)
	if err != nil {
		return nil, err
	}
	return &es[0], nil
}

func parse(h http.Header, body []byte, batch bool) ([]ce.Event, error) {
	media := h.Get(contentType)
	if m, _, err := mime.ParseMediaType(media); err == nil {
		media = m
	}
	switch {
	case media == ce.ApplicationCloudEventsBatchJSON:
		if !batch {
			return nil, errs.New(errs.Invalid, "a batch of events where one is expected")
		}
		var es []ce.Event
		if err := json.Unmarshal(body, &es); err != nil {
			return nil, errs.New(errs.Invalid, "batch: %w", err)
		}
		if len(es) > MaxBatch {
			return nil, errs.New(errs.TooLarge, "batch of %d events, at most %d are taken", len(es), MaxBatch)
		}
		for i := range es {
			if err := check(&es[i]); err != nil {
				return nil, errs.New(errs.Invalid, "event %d of the batch: %w", i, err)
			}
		}
		return es, nil
	case strings.HasPrefix(media, "application/cloudevents"):
		if media != ce.ApplicationCloudEventsJSON {
			return nil, errs.New(errs.Invalid, "event format %s is not spoken", media)
		}
	case h.Get("Ce-Specversion") == "":
		return nil, errs.New(errs.Invalid, "not a CloudEvent: no ce-specversion and content-type %q", media)
	default:
		h = decodeHeader(h)
	}
	e, err := cehttp.NewEventFromHTTPRequest(&http.Request{Header: h, Body: io.NopCloser(bytes.NewReader(body))})
	if err != nil {
		return nil, errs.New(errs.Invalid, "event: %w", err)
	}
	if err := check(e); err != nil {
		return nil, errs.New(errs.Invalid, "event: %w", err)
	}
	return []ce.Event{*e}, nil
}

// check validates e and brings it to version 1.0.
func check(e *ce.Event) error {
	if e.Context == nil {
		return fmt.Errorf("no attributes")
	}
	if err := e.Validate(); err != nil {
		return err
	}
	if e.SpecVersion() != ce.CloudEventsVersionV1 {
		e.Context = e.Context.AsV1()
	}
	return nil
}

// decodeHeader undoes quotes and percent encoding of the attributes (HTTP binding §3.1.3.2), which sdk-go
// leaves as they are. The header is copied only when there is something to undo.
func decodeHeader(h http.Header) http.Header {
	var out http.Header
	for k, vs := range h {
		if !strings.HasPrefix(k, headerPrefix) || len(vs) == 0 || !strings.ContainsAny(vs[0], `%"`) {
			continue
		}
		if v := decodeValue(vs[0]); v != vs[0] {
			if out == nil {
				out = h.Clone()
			}
			out[k] = []string{v}
		}
	}
	if out != nil {
		return out
	}
	return h
}

func decodeValue(v string) string {
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		var b strings.Builder
		for i := 1; i < len(v)-1; i++ {
			if v[i] == '\\' && i+1 < len(v)-1 {
				i++
			}
			b.WriteByte(v[i])
		}
		v = b.String()
	}
	if strings.IndexByte(v, '%') < 0 {
		return v
	}
	if d, err := url.PathUnescape(v); err == nil {
		return d
	}
	return v // not an encoding: a sender that writes a bare percent sign means it
}

// EncodeValue is the form of an attribute's value in an HTTP header: space, double quote, percent and all
// that is not printable ASCII are percent-encoded.
func EncodeValue(v string) string {
	clean := true
	for i := 0; i < len(v); i++ {
		if mustEncode(v[i]) {
			clean = false
			break
		}
	}
	if clean {
		return v
	}
	const hexdigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		if c := v[i]; mustEncode(c) {
			b.Write([]byte{'%', hexdigits[c>>4], hexdigits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// DecodeValue undoes EncodeValue.
func DecodeValue(v string) string { return decodeValue(v) }

func mustEncode(c byte) bool { return c <= ' ' || c == '"' || c == '%' || c >= 0x7f }

// Attribute is a context attribute with its canonical string.
type Attribute struct{ Name, Value string }

// Attributes lists the attributes of e, required ones first, without specversion (always 1.0) and in
// the order of the specification; extensions follow, unsorted.
func Attributes(e *ce.Event) []Attribute {
	ext := e.Extensions()
	as := make([]Attribute, 0, 8+len(ext))
	put := func(name, v string) {
		if v != "" {
			as = append(as, Attribute{name, v})
		}
	}
	put("id", e.ID())
	put("source", e.Source())
	put("type", e.Type())
	put("subject", e.Subject())
	if t := e.Time(); !t.IsZero() {
		put("time", types.FormatTime(t))
	}
	put("datacontenttype", e.DataContentType())
	put("dataschema", e.DataSchema())
	for k, v := range ext {
		if s, err := types.Format(v); err == nil {
			as = append(as, Attribute{k, s})
		}
	}
	return as
}

// SetHeader writes attributes as the header of a message in binary mode: datacontenttype becomes
// content-type and never ce-datacontenttype.
func SetHeader(h http.Header, as []Attribute) {
	h["Ce-Specversion"] = specVersion
	for _, a := range as {
		if a.Name == "datacontenttype" {
			h[contentType] = []string{a.Value}
			continue
		}
		h[headerName(a.Name)] = []string{EncodeValue(a.Value)}
	}
}

var specVersion = []string{ce.CloudEventsVersionV1}

func headerName(attribute string) string {
	switch attribute {
	case "id":
		return "Ce-Id"
	case "source":
		return "Ce-Source"
	case "type":
		return "Ce-Type"
	case "subject":
		return "Ce-Subject"
	case "time":
		return "Ce-Time"
	}
	return http.CanonicalHeaderKey(headerPrefix + attribute)
}
