package journal

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger/testcluster"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

func said(t *testing.T, id string, data any, opts ...event.Option) ce.Event {
	t.Helper()
	e, err := event.New("io.wasmbed.test.happened.v1", "/test", "plant/d", id, data, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func put(t *testing.T, f *Function, es ...ce.Event) {
	t.Helper()
	for _, e := range es {
		if reply, err := f.Handle(t.Context(), e); reply != nil || err != nil {
			t.Fatal(reply, err)
		}
	}
}

func ids(es []Entry) string {
	var out []string
	for _, e := range es {
		out = append(out, e.Event.ID())
	}
	return strings.Join(out, " ")
}

func TestOneServer(t *testing.T) { run(t, testredis.Start(t).Client(t)) }
func TestCluster(t *testing.T)   { run(t, testcluster.Start(t)) }

func run(t *testing.T, rdb redis.UniversalClient) {
	f := New(Deps{Redis: rdb, Log: slog.New(slog.DiscardHandler)})
	read := func(ns, from string, n int) ([]Entry, string) {
		t.Helper()
		es, next, err := Recent(t.Context(), rdb, ns, from, n, 0)
		if err != nil {
			t.Fatal(err)
		}
		return es, next
	}
	_, begin := read("", "$", 10)
	put(t, f, said(t, "1", "x", event.In("a")), said(t, "2", "x", event.In("b")), said(t, "3", "x"), said(t, "4", "x", event.In("a")))
	put(t, f, said(t, "2", "x", event.In("b")), said(t, "4", "x", event.In("a"))) // delivered again
	for _, c := range []struct{ ns, want string }{{"", "1 2 3 4"}, {"a", "1 4"}, {"b", "2"}, {"c", ""}} {
		es, next := read(c.ns, "", 10)
		if ids(es) != c.want {
			t.Errorf("namespace %q: %s", c.ns, ids(es))
		}
		if es, _ := read(c.ns, next, 10); len(es) != 0 {
			t.Errorf("namespace %q after the end: %s", c.ns, ids(es))
		}
		if es, _ := read(c.ns, begin, 10); ids(es) != c.want {
			t.Errorf("namespace %q since the beginning: %s", c.ns, ids(es))
		}
	}
	page, next := read("", "", 2)
	if ids(page) != "1 2" {
		t.Errorf("first page %s", ids(page))
	}
	// A cursor of all is good for one.
	if es, _ := read("a", next, 10); ids(es) != "4" {
		t.Errorf("after the page, namespace a: %s", ids(es))
	}
	if _, _, err := Recent(t.Context(), rdb, "a:b", "", 1, 0); !errs.Is(err, errs.Invalid) {
		t.Error(err)
	}
	if _, _, err := Recent(t.Context(), rdb, "", "x", 1, 0); !errs.Is(err, errs.Invalid) {
		t.Error(err)
	}
	// Redelivered by hand: told again.
	put(t, f, said(t, "4", "x", event.In("a"), event.Ext(extRedelivered, "1")))
	if es, _ := read("a", "", 10); ids(es) != "1 4 4" {
		t.Errorf("%s", ids(es))
	}
	// Somebody waits.
	got := make(chan string)
	_, end := read("", "$", 1)
	go func() {
		es, _, err := Recent(t.Context(), rdb, "b", end, 10, time.Minute)
		got <- fmt.Sprint(ids(es), err)
	}()
	put(t, f, said(t, "5", "x", event.In("a")), said(t, "6", map[string]int{"n": 7}, event.In("b"), event.Ext("other", "o")))
	if s := <-got; s != "6<nil>" {
		t.Errorf("who waits hears %s", s)
	}
	es, _ := read("b", end, 1)
	if e := es[0].Event; e.Type() != "io.wasmbed.test.happened.v1" || e.Source() != "/test" || e.Subject() != "plant/d" || string(e.Data()) != `{"n":7}` || event.Extension(e, "other") != "o" || es[0].Time.IsZero() {
		t.Errorf("%v", e)
	}
	keysAreKnown(t, rdb)
}

// TestBounds: large events are kept without their data, or not at all; the streams are bounded.
func TestBounds(t *testing.T) {
	rdb := testredis.Start(t).Client(t)
	f := New(Deps{Redis: rdb, Log: slog.New(slog.DiscardHandler)})
	bin := said(t, "bin", nil, event.In("a"))
	if err := bin.SetData("application/cbor", []byte{0xa1, 0xff}); err != nil {
		t.Fatal(err)
	}
	bad := said(t, "bad", nil, event.In("a"))
	bad.SetDataContentType("application/json")
	bad.DataEncoded = []byte("{not json")
	put(t, f, said(t, "large", strings.Repeat("x", MaxData), event.In("a")), said(t, "huge", nil, event.In("a"), event.Ext("much", strings.Repeat("x", MaxStored))), bin, bad, said(t, "odd", "x", event.In("no/such namespace")))
	es, _, err := Recent(t.Context(), rdb, "a", "", 10, 0)
	if err != nil || ids(es) != "large bin bad" || !es[0].Truncated || len(es[0].Event.Data()) != 0 || es[1].Truncated || string(es[1].Event.Data()) != "\xa1\xff" || !es[2].Truncated {
		t.Errorf("%+v %v", es, err)
	}
	claim := said(t, "claim", map[string]string{"claim": "c2VjcmV0"}, event.In("d"))
	claim.SetType(event.DeviceEnrollmentRequested)
	put(t, f, claim)
	if es, _, _ := Recent(t.Context(), rdb, "d", "", 10, 0); ids(es) != "claim" || len(es[0].Event.Data()) != 0 {
		t.Errorf("a claim can be read: %v", es)
	}
	if all, _, _ := Recent(t.Context(), rdb, "", "", 10, 0); ids(all) != "large bin bad odd claim" {
		t.Errorf("%s", ids(all))
	}
	p := rdb.Pipeline()
	for i := range Length + 1000 {
		keep.Eval(t.Context(), p, []string{fmt.Sprint(seenPrefix, i), allKey, namespaceKey("b")}, "{}", "", 1, Length, NamespaceLength, NamespaceTTL.Milliseconds())
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for key, most := range map[string]int64{allKey: Length, namespaceKey("b"): NamespaceLength} {
		if n := rdb.XLen(t.Context(), key).Val(); n < most || n > most+200 {
			t.Errorf("%s has %d", key, n)
		}
	}
	// What is not of ours in a stream harms nobody.
	rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: namespaceKey("c"), Values: []any{"e", "{"}})
	rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: namespaceKey("c"), Values: []any{"z", "1"}})
	if es, next, err := Recent(t.Context(), rdb, "c", "", 10, 0); len(es) != 0 || next == "" || err != nil {
		t.Errorf("%v %q %v", es, next, err)
	}
}

func TestRedisAway(t *testing.T) {
	s := testredis.Start(t)
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, DialerRetries: 1})
	defer rdb.Close()
	s.Kill()
	f := New(Deps{Redis: rdb, Log: slog.New(slog.DiscardHandler)})
	if _, err := f.Handle(t.Context(), said(t, "1", "x")); !errs.Is(err, errs.Unavailable) {
		t.Error(err)
	}
	if _, _, err := Recent(t.Context(), rdb, "", "", 1, 0); !errs.Is(err, errs.Unavailable) {
		t.Error(err)
	}
}

// keysAreKnown: what is in Redis is described.
func keysAreKnown(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	var known []*regexp.Regexp
	for _, k := range Keys() {
		known = append(known, regexp.MustCompile("^"+strings.NewReplacer("<ns>", "[a-z0-9-]+", "<hash>", "[0-9a-f]{32}").Replace(regexp.QuoteMeta(k[0]))+"$"))
	}
	for _, key := range testcluster.Keys(t, rdb) {
		if !slices.ContainsFunc(known, func(r *regexp.Regexp) bool { return r.MatchString(key) }) {
			t.Errorf("the key %s is not described", key)
		}
	}
}
