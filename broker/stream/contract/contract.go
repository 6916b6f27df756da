// Package contract is the delivery contract of a broker as a test suite: Knative's data plane as HTTP, seen
// from outside. It needs an ingress URL and a way to make Triggers live, so the same suite runs against the
// embedded broker and against a Knative broker on a cluster.
//
//	s := contract.New(t, listener, "10.0.0.5")     // subscribers of the suite listen here; host as the broker sees it
//	apply(s.Triggers("namespace", "default"))      // kubectl apply, or stream.ParseTriggers
//	s.Run(t, "http://broker-ingress…/namespace/default")
package contract

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Wait is how long the suite waits for what must happen.
const Wait = 30 * time.Second

// Quiet is how long the suite watches for what must not happen.
const Quiet = 700 * time.Millisecond

// Delivery is what a subscriber of the suite got.
type Delivery struct {
	Path   string
	Header http.Header
	Body   []byte
	At     time.Time
}

// ID of the event.
func (d Delivery) ID() string { return d.Header.Get("Ce-Id") }

// Suite is a set of subscribers and Triggers.
type Suite struct {
	// Skip names cases that a broker is known not to keep, and why.
	Skip map[string]string

	host string // host:port of the subscribers as the broker reaches them
	dead string // host:port where nobody listens
	run  string // makes ids and types of this run unique

	mu      sync.Mutex
	got     map[string][]Delivery // by path
	answers map[string]answer     // by path
	changed chan struct{}
}

type answer func(n int, d Delivery, w http.ResponseWriter)

// New starts the suite's subscribers on l, which it closes when the test ends. host is the name or
// address under which the broker reaches them.
func New(t testing.TB, l net.Listener, host string) *Suite {
	t.Helper()
	closed, err := net.Listen("tcp", l.Addr().String()[:strings.LastIndex(l.Addr().String(), ":")]+":0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_, deadPort, _ := net.SplitHostPort(closed.Addr().String())
	closed.Close()
	s := &Suite{
		host: net.JoinHostPort(host, port), dead: net.JoinHostPort(host, deadPort), run: strconv.FormatInt(time.Now().UnixNano(), 36),
		got: map[string][]Delivery{}, answers: map[string]answer{}, changed: make(chan struct{}),
	}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return s
}

// ServeHTTP is the subscribers.
func (s *Suite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d := Delivery{Path: r.URL.Path, Header: r.Header.Clone(), Body: body, At: time.Now()}
	s.mu.Lock()
	s.got[d.Path] = append(s.got[d.Path], d)
	n := 0
	for _, x := range s.got[d.Path] {
		if x.ID() == d.ID() {
			n++
		}
	}
	a := s.answers[d.Path]
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if a != nil {
		a(n, d, w)
	}
}

// on sets what the subscriber at a path answers; n counts the deliveries of the same event, from 1.
func (s *Suite) on(path string, a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[path] = a
}

// of returns what the subscriber at a path got with an id ("" any).
func (s *Suite) of(path, id string) []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ds []Delivery
	for _, d := range s.got[path] {
		if id == "" || d.ID() == id {
			ds = append(ds, d)
		}
	}
	return ds
}

// await waits until the subscriber at a path has an id n times.
func (s *Suite) await(t *testing.T, path, id string, n int) []Delivery {
	t.Helper()
	deadline := time.After(Wait)
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if ds := s.of(path, id); len(ds) >= n {
			return ds
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s got event %q %d times, want %d", path, id, len(s.of(path, id)), n)
		}
	}
}

// exactly is await, and then nothing more comes.
func (s *Suite) exactly(t *testing.T, path, id string, n int) []Delivery {
	t.Helper()
	s.await(t, path, id, n)
	time.Sleep(Quiet)
	ds := s.of(path, id)
	if len(ds) != n {
		t.Fatalf("%s got event %q %d times, want exactly %d", path, id, len(ds), n)
	}
	return ds
}

// Triggers returns the manifests of the suite's Triggers, YAML.
func (s *Suite) Triggers(namespace, broker string) []byte {
	var b bytes.Buffer
	for _, t := range triggers {
		uri := "http://" + s.host + "/" + t.name
		if t.unreachable {
			uri = "http://" + s.dead + "/" + t.name
		}
		fmt.Fprintf(&b, "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata:\n  name: contract-%s\n  namespace: %s\nspec:\n  broker: %s\n", t.name, namespace, broker)
		fmt.Fprintf(&b, "%s  subscriber:\n    uri: %s\n", strings.ReplaceAll(t.filter, "RUN", s.run), uri)
		fmt.Fprintf(&b, "  delivery:\n    retry: %d\n    backoffPolicy: linear\n    backoffDelay: PT0.05S\n", t.retry)
		if t.sink {
			fmt.Fprintf(&b, "    deadLetterSink:\n      uri: http://%s/%s-sink\n", s.host, t.name)
		}
	}
	return b.Bytes()
}

type trigger struct {
	name        string
	filter      string // YAML of spec; RUN is replaced
	retry       int
	sink        bool
	unreachable bool
}

func exact(typ string) string { return "  filters:\n    - exact: {type: RUN." + typ + "}\n" }

var triggers = []trigger{
	{name: "plain", filter: exact("plain"), retry: 3},
	{name: "attributes", filter: "  filter:\n    attributes: {type: RUN.filter, color: red}\n", retry: 3},
	{name: "present", filter: "  filter:\n    attributes: {type: RUN.filter, shape: ''}\n", retry: 3},
	{name: "exact", filter: "  filters:\n    - exact: {type: RUN.filter, color: red}\n", retry: 3},
	{name: "prefix", filter: "  filters:\n    - prefix: {type: RUN.filt, color: re}\n", retry: 3},
	{name: "suffix", filter: "  filters:\n    - exact: {type: RUN.filter}\n    - suffix: {color: ed}\n", retry: 3},
	{name: "any", filter: "  filters:\n    - all:\n        - exact: {type: RUN.filter}\n        - any:\n            - exact: {color: red}\n            - exact: {color: blue}\n", retry: 3},
	{name: "not", filter: "  filters:\n    - exact: {type: RUN.filter}\n    - not:\n        exact: {color: red}\n", retry: 3},
	{name: "retry", filter: exact("retry"), retry: 5, sink: true},
	{name: "refuse", filter: exact("refuse"), retry: 5, sink: true},
	{name: "give-up", filter: exact("give-up"), retry: 2, sink: true},
	{name: "gone", filter: exact("gone"), retry: 2, sink: true, unreachable: true},
	{name: "ask", filter: exact("ask"), retry: 3},
	{name: "answer", filter: exact("answer"), retry: 3},
	{name: "answer-too", filter: exact("answer"), retry: 3},
	{name: "origin", filter: "  filters:\n    - prefix: {type: RUN.origin}\n", retry: 3},
	{name: "accepted", filter: exact("accepted"), retry: 3},
	{name: "mute", filter: exact("mute"), retry: 3},
	{name: "chatty", filter: exact("chatty"), retry: 3},
	{name: "loop", filter: exact("loop"), retry: 1},
	{name: "slow", filter: exact("together"), retry: 0},
	{name: "fast", filter: exact("together"), retry: 0},
	{name: "moved", filter: exact("moved"), retry: 3, sink: true},
}
