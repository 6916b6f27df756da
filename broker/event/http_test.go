package event_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	cetest "github.com/cloudevents/sdk-go/v2/test"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

func request(body string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

var binary = []string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"}

func TestReadRequestBinary(t *testing.T) {
	e, err := event.ReadRequest(request(`{"a":1}`, append(binary,
		"content-type", "application/json", "ce-subject", "a%20b%25%E2%82%AC", "ce-partitionkey", `"quoted \" one"`, "ce-namespace", "50% off")...), 0)
	if err != nil {
		t.Fatal(err)
	}
	cetest.AssertEvent(t, e, cetest.IsValid(), cetest.HasId("1"), cetest.HasSource("/s"), cetest.HasType("t"),
		cetest.HasSubject("a b%€"), cetest.HasExtension("partitionkey", `quoted " one`),
		cetest.HasExtension("namespace", "50% off"), cetest.HasData([]byte(`{"a":1}`)), cetest.HasDataContentType("application/json"))
}

func TestReadRequestStructured(t *testing.T) {
	for _, ct := range []string{"application/cloudevents+json", "application/cloudevents+json; charset=UTF-8"} {
		e, err := event.ReadRequest(request(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1},"n":5}`, "content-type", ct), 0)
		if err != nil {
			t.Fatal(ct, err)
		}
		cetest.AssertEvent(t, e, cetest.IsValid(), cetest.HasId("1"), cetest.HasData([]byte(`{"a":1}`)), cetest.HasExtension("n", int32(5)))
	}
}

func TestReadRequestsBatch(t *testing.T) {
	const ct = "application/cloudevents-batch+json"
	one := `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`
	es, err := event.ReadRequests(request("["+one+","+one+"]", "content-type", ct), 0)
	if err != nil || len(es) != 2 {
		t.Fatal(es, err)
	}
	if es, err := event.ReadRequests(request("[]", "content-type", ct), 0); err != nil || len(es) != 0 {
		t.Error("an empty batch is a batch:", es, err)
	}
	if _, err := event.ReadRequests(request("["+one+`,{"specversion":"1.0","id":"1","type":"t"}]`, "content-type", ct), 0); !errs.Is(err, errs.Invalid) {
		t.Error("an invalid event in a batch:", err)
	}
	if _, err := event.ReadRequest(request("["+one+"]", "content-type", ct), 0); !errs.Is(err, errs.Invalid) {
		t.Error("a batch where one event is expected:", err)
	}
	if _, err := event.ReadRequests(request("["+strings.Repeat(one+",", event.MaxBatch)+one+"]", "content-type", ct), 0); !errs.Is(err, errs.TooLarge) {
		t.Error("a batch of too many:", err)
	}
}

func TestReadRequestRefuses(t *testing.T) {
	for name, r := range map[string]*http.Request{
		"no CloudEvent":       request("hello", "content-type", "text/plain"),
		"nothing":             request(""),
		"no id":               request("", "ce-specversion", "1.0", "ce-source", "/s", "ce-type", "t"),
		"no source":           request("", "ce-specversion", "1.0", "ce-id", "1", "ce-type", "t"),
		"no type":             request("", "ce-specversion", "1.0", "ce-source", "/s", "ce-id", "1"),
		"version":             request("", "ce-specversion", "7.0", "ce-source", "/s", "ce-id", "1", "ce-type", "t"),
		"time":                request("", append(binary, "ce-time", "yesterday")...),
		"structured, no JSON": request("{", "content-type", "application/cloudevents+json"),
		"structured, no id":   request(`{"specversion":"1.0","source":"/s","type":"t"}`, "content-type", "application/cloudevents+json"),
		"unknown format":      request("<event/>", "content-type", "application/cloudevents+xml"),
	} {
		if e, err := event.ReadRequest(r, 0); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
	big := strings.Repeat("x", 101)
	if _, err := event.ReadRequest(request(big, binary...), 100); !errs.Is(err, errs.TooLarge) {
		t.Error("announced too large:", err)
	}
	r := request("", binary...)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(big)), -1
	if _, err := event.ReadRequest(r, 100); !errs.Is(err, errs.TooLarge) {
		t.Error("unannounced too large:", err)
	}
}

func TestReadResponse(t *testing.T) {
	if e, err := event.ReadResponse(http.Header{}, nil); e != nil || err != nil {
		t.Error("empty:", e, err)
	}
	h := http.Header{}
	in, _ := event.New("t", "/s", "x y", "1", map[string]int{"a": 1})
	event.SetHeader(h, event.Attributes(&in))
	if h.Get("Ce-Datacontenttype") != "" || h.Get("Content-Type") != "application/json" || h.Get("Ce-Subject") != "x%20y" {
		t.Error(h)
	}
	e, err := event.ReadResponse(h, in.Data())
	if err != nil || e == nil {
		t.Fatal(e, err)
	}
	cetest.AssertEvent(t, *e, cetest.HasSubject("x y"), cetest.HasData(in.Data()))
	if _, err := event.ReadResponse(http.Header{"Content-Type": {"text/plain"}}, []byte("ok")); !errs.Is(err, errs.Invalid) {
		t.Error("plain text is no answer:", err)
	}
}

func TestSinkPost(t *testing.T) {
	var got ce.Event
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if got, err = event.ReadRequest(r, 0); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer srv.Close()
	e, _ := event.New("t", "/s", "a b", "1", map[string]int{"a": 1}, event.Ext("num", 5))
	if err := event.NewSink(srv.URL, nil).Post(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	cetest.AssertEvent(t, got, cetest.HasId("1"), cetest.HasSubject("a b"), cetest.HasExtension("num", "5"), cetest.HasData(e.Data()), cetest.HasDataContentType("application/json"))
}

func TestSinkErrors(t *testing.T) {
	e, _ := event.New("t", "/s", "", "1", nil)
	for status, code := range map[int]errs.Code{
		400: errs.Invalid, 401: errs.Unauthenticated, 403: errs.Denied, 404: errs.NotFound, 408: errs.Deadline, 413: errs.TooLarge,
		429: errs.Exhausted, 500: errs.Unavailable, 503: errs.Unavailable, 504: errs.Deadline, 302: errs.Unavailable,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.Header().Set("Retry-After", "3")
			http.Error(w, "because", status)
		}))
		err := event.NewSink(srv.URL, nil).Post(t.Context(), e)
		srv.Close()
		if !errs.Is(err, code) {
			t.Errorf("%d: %v, want %s", status, err, code)
		}
	}
	sink := event.NewSink("http://127.0.0.1:1", nil)
	if err := sink.Post(t.Context(), e); !errs.Is(err, errs.Unavailable) {
		t.Error("nobody there:", err)
	}
	if err := sink.Post(t.Context(), ce.New()); !errs.Is(err, errs.Invalid) {
		t.Error("no event:", err)
	}
	big := e
	big.DataEncoded = make([]byte, event.MaxEvent+1)
	if err := sink.Post(t.Context(), big); !errs.Is(err, errs.TooLarge) {
		t.Error("too large:", err)
	}
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer srv.Close()
	defer close(hang)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := event.NewSink(srv.URL, nil).Post(ctx, e); !errs.Is(err, errs.Deadline) {
		t.Error("deadline:", err)
	}
}

func TestSinkPostBatch(t *testing.T) {
	for _, batches := range []bool{true, false} {
		t.Run(fmt.Sprintf("batches=%t", batches), func(t *testing.T) {
			var events, posts atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				posts.Add(1)
				read := event.ReadRequests
				if !batches {
					read = func(r *http.Request, n int64) ([]ce.Event, error) {
						e, err := event.ReadRequest(r, n)
						return []ce.Event{e}, err
					}
				}
				es, err := read(r, 0)
				if err != nil {
					http.Error(w, err.Error(), errs.HTTPStatus(err))
					return
				}
				events.Add(int64(len(es)))
				w.WriteHeader(http.StatusAccepted)
			}))
			defer srv.Close()
			sink := event.NewSink(srv.URL, nil)
			var es []ce.Event
			for i := range 2500 {
				e, _ := event.NewCBOR("t", "/s", "", fmt.Sprint(i), bytes.Repeat([]byte{'x'}, 900))
				es = append(es, e)
			}
			if err := sink.PostBatch(t.Context(), es); err != nil {
				t.Fatal(err)
			}
			if events.Load() != 2500 || batches && posts.Load() > 20 {
				t.Errorf("%d events in %d posts", events.Load(), posts.Load())
			}
			if err := sink.PostBatch(t.Context(), nil); err != nil {
				t.Error("nothing to say:", err)
			}
			if err := sink.PostBatch(t.Context(), es[:1]); err != nil {
				t.Error("one:", err)
			}
		})
	}
}

// One wrong event is named, and does not make the sink think that the broker takes no batches.
func TestSinkPostBatchNamesTheWrongOne(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		es, err := event.ReadRequests(r, 0)
		for _, e := range es {
			if e.ID() == "bad" {
				err = errs.New(errs.Invalid, "not this one: %s", e.ID())
			}
		}
		w.WriteHeader(max(202, errs.HTTPStatus(err)))
	}))
	defer srv.Close()
	good, _ := event.New("t", "/s", "", "1", nil)
	bad, _ := event.New("t", "/s", "", "bad", nil)
	if err := event.NewSink(srv.URL, nil).PostBatch(t.Context(), []ce.Event{good, bad, good}); !errs.Is(err, errs.Invalid) {
		t.Error(err)
	}
}

func FuzzReadRequests(f *testing.F) {
	f.Add("application/cloudevents+json", `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}`, "")
	f.Add("application/cloudevents-batch+json", `[{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"AAE="}]`, "")
	f.Add("application/json", `{}`, "a%20b")
	f.Add("text/plain", ``, `"\"`)
	f.Fuzz(func(t *testing.T, ct, body, subject string) {
		r := &http.Request{Method: http.MethodPost, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
		r.Header.Set("Content-Type", ct)
		for i := 0; i < len(binary); i += 2 {
			r.Header.Set(binary[i], binary[i+1])
		}
		r.Header.Set("ce-subject", subject)
		es, err := event.ReadRequests(r, 1<<16)
		if err != nil {
			if !errs.Is(err, errs.Invalid) && !errs.Is(err, errs.TooLarge) {
				t.Fatalf("code of %v", err)
			}
			return
		}
		// What was read can be written and read again, the same.
		for _, e := range es {
			h := http.Header{}
			event.SetHeader(h, event.Attributes(&e))
			back, err := event.ReadResponse(h, e.Data())
			if err != nil || back == nil {
				t.Fatalf("%s: %v", e, err)
			}
			if back.ID() != e.ID() || back.Subject() != e.Subject() || back.Type() != e.Type() || !bytes.Equal(back.Data(), e.Data()) {
				t.Fatalf("%s became %s", e, back)
			}
		}
	})
}
