package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

// house is the real REST API over a real Redis, objects in memory, and a network that a test can cut.
type house struct {
	*desk
	set    *client.Set
	ledger *ledger.Ledger
	letter *letterBox
	net    *network
	events []ce.Event
	mu     sync.Mutex
}

// Post implements api.Poster.
func (h *house) Post(_ context.Context, e ce.Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	return nil
}

// recents are the events that were posted; a cursor is how many were read.
func (h *house) recents(_ context.Context, from string, n int, _ time.Duration) ([]api.Recorded, string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := 0
	if from == "$" {
		at = len(h.events)
	} else if from != "" {
		if _, err := fmt.Sscan(from, &at); err != nil || at > len(h.events) {
			return nil, "", errs.New(errs.Invalid, "no cursor")
		}
	}
	var out []api.Recorded
	for ; at < len(h.events) && len(out) < n; at++ {
		out = append(out, api.Recorded{Cursor: fmt.Sprint(at + 1), Event: h.events[at]})
	}
	return out, fmt.Sprint(at), nil
}

// letterBox is a broker with one dead letter.
type letterBox struct{ letters []api.Letter }

func (b *letterBox) Queues(context.Context) ([]api.QueueLine, error) {
	return []api.QueueLine{{Trigger: "sys/deploy", Dead: int64(len(b.letters))}}, nil
}

func (b *letterBox) Letters(_ context.Context, _, _ string, _ int) ([]api.Letter, string, error) {
	return b.letters, "", nil
}

func (b *letterBox) Redeliver(context.Context, string, ...string) (int, error) {
	n := len(b.letters)
	b.letters = nil
	return n, nil
}

type person struct{}

func (person) Authenticate(_ context.Context, token string) (api.User, error) {
	if token != "right" && token != "reader" {
		return api.User{}, errs.New(errs.Unauthenticated, "nobody")
	}
	return api.User{Name: token}, nil
}

func (person) Allowed(_ context.Context, u api.User, a api.Access) (bool, error) {
	return u.Name == "right" || a.Verb == "get" || a.Verb == "list" && a.Resource != "events.wasmbed", nil
}

func newHome(t *testing.T) *house {
	d := newDesk(t)
	rdb := testredis.Start(t).Client(t)
	l := ledger.New(rdb, ledger.Options{})
	if _, _, err := l.Era(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := &house{desk: d, set: client.NewMemory(), ledger: l, letter: &letterBox{}}
	s := httptest.NewServer(api.New(api.Deps{Client: h.set, Ledger: l, Affinity: affinity.New(rdb, l.Keys(), affinity.Options{}), Auth: person{}, Events: h,
		Recents: h.recents, Broker: h.letter, Log: slog.New(slog.DiscardHandler), Boards: []api.Board{{Name: "FrdmK64f"}}}))
	t.Cleanup(s.Close)
	h.net = newNetwork(t, s.Listener.Addr().String())
	t.Setenv("WASMBED_SERVER", "http://"+h.net.Addr().String())
	t.Setenv("WASMBED_TOKEN", "right")
	return h
}

func (h *house) device(name string, labels map[string]string, approval v1alpha1.Approval) {
	h.Helper()
	d := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labels}, Spec: v1alpha1.DeviceSpec{Board: "FrdmK64f", Approval: approval}}
	if _, err := h.set.Devices.Create(h.Context(), d); err != nil {
		h.Fatal(err)
	}
	h.put(name, labels, approval == v1alpha1.ApprovalApproved)
}

func (h *house) put(name string, labels map[string]string, approved bool) {
	h.Helper()
	if err := h.ledger.PutDevice(h.Context(), event.Device{Namespace: "default", Name: name}, ledger.DeviceFacts{Board: "FrdmK64f", Approved: approved, Labels: labels}, nil); err != nil {
		h.Fatal(err)
	}
}

func (h *house) object(name string) *v1alpha1.Device {
	h.Helper()
	d, err := h.set.Devices.Get(h.Context(), "default", name)
	if err != nil {
		h.Fatal(err)
	}
	return d
}

func TestAgainstTheRealAPI(t *testing.T) {
	h := newHome(t)
	h.device("press-1", map[string]string{"line": "1"}, v1alpha1.ApprovalApproved)
	h.device("press-2", map[string]string{"line": "2"}, v1alpha1.ApprovalApproved)
	h.device("lathe-1", nil, v1alpha1.ApprovalPending)
	h.good("right", "whoami")
	h.good("3 devices", "overview")
	h.good("lathe-1 waits for approval", "alerts", "-o", "wide")
	h.good("lathe-1", "enrollments")
	if out := h.good("press-2", "devices", "-l", "line=2"); strings.Contains(out, "press-1") {
		t.Errorf("a filter lets through %s", out)
	}
	if out := h.good("lathe-1", "devices", "--pending", "--online=false"); strings.Contains(out, "press") {
		t.Errorf("a filter lets through %s", out)
	}
	h.bad(2, "work set", "devices", "--app", "x", "--set", "nothing")

	h.good("device press-1: labelled", "label", "press-1", "press-2", "site=lab", "line-")
	if d := h.object("press-1"); d.Labels["site"] != "lab" || len(d.Labels) != 1 {
		t.Errorf("labels %v", d.Labels)
	}
	h.good("on hold", "hold", "press-1")
	if !h.object("press-1").Spec.Hold {
		t.Error("no hold")
	}
	h.good("released", "release", "press-1")
	h.bad(5, "nowhere", "hold", "nowhere")
	h.good("rejected", "reject", "lathe-1")

	if _, err := h.set.Gateways.Create(t.Context(), &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}, Spec: v1alpha1.GatewaySpec{Address: "127.0.0.1:1"}}); err != nil {
		t.Fatal(err)
	}
	h.good("pairing is closed", "pairing", "status")
	h.good("is open for ", "pairing", "open", "--for", "5m", "--approval", "Automatic")
	h.good("admitted at once", "pairing", "status")
	h.bad(2, "24h", "pairing", "open", "--for", "48h")
	h.good("pairing is closed", "pairing", "close")

	if _, err := h.set.Applications.Create(t.Context(), &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello"}}); err != nil {
		t.Fatal(err)
	}
	for i := int64(1); i < 3; i++ {
		r := &v1alpha1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("hello-%d", i), Labels: map[string]string{v1alpha1.LabelApplication: "hello"}},
			Spec: v1alpha1.RevisionSpec{Application: "hello", Number: i, Module: v1alpha1.ResolvedModule{Digest: "sha256:" + strings.Repeat("a", 64), Size: i}}}
		if _, err := h.set.Revisions.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	h.good("hello-2", "revisions", "hello")
	h.good("module.size", "revisions", "hello", "--diff", "1", "2")
	h.good("deleted", "apps", "delete", "hello")
	h.bad(5, "hello", "revisions", "hello")

	e, err := event.New(event.RollbackRequested, "/test", "default/press-1", "e1", map[string]any{"reason": "it blinks"}, event.In("default"), event.At(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	h.letter.letters = []api.Letter{{ID: "1-0", Trigger: "sys/deploy", Reason: "Refused", Event: e}}
	h.good("Refused", "deadletters")
	h.good("1 events", "deadletters", "sys/deploy", "--redeliver", "all")
	h.good("no dead letters", "deadletters")

	_ = h.Post(t.Context(), e)
	h.good("reason=it blinks", "timeline", "press-1")
	h.good("COMMAND", "commands", "press-1")

	// A reader reads, and is told what it may not do.
	t.Setenv("WASMBED_TOKEN", "reader")
	h.good("press-1", "devices")
	h.bad(4, "may not", "hold", "press-1")
	h.bad(4, "may not", "queues")
	t.Setenv("WASMBED_TOKEN", "wrong")
	h.bad(4, "nobody", "watch")
}

func TestCompletion(t *testing.T) {
	h := newHome(t)
	h.device("press-1", nil, v1alpha1.ApprovalApproved)
	h.device("press-2", nil, v1alpha1.ApprovalApproved)
	h.device("old-press", nil, v1alpha1.ApprovalApproved)
	for _, c := range []struct{ args, want string }{
		{"hold pr", "press-1 press-2 :4"},
		{"hold press-1 pr", "press-2 :4"},
		{"timeline old", "old-press :4"},
		{"timeline press-1 ", ":4"},
		{"devices --board ", "FrdmK64f :4"},
		{"devices --set pen", "pending"},
		{"deadletters ", "sys/deploy\t0 dead :4"},
		{"context use ", ":4"},
		{"--server http://127.0.0.1:1 hold pr", ":4"},
	} {
		out, _, err := h.run(append([]string{"__complete"}, strings.Split(c.args, " ")...)...)
		if got := strings.Join(strings.Split(strings.TrimSpace(out), "\n"), " "); err != nil || !strings.Contains(got, c.want) || strings.HasPrefix(c.want, ":") && got != c.want {
			t.Errorf("%s offers %q, %v; want %q", c.args, got, err, c.want)
		}
	}
}

// A watcher sees every move once and in order, also those that were made while its connection was gone.
func TestWatchGoesOnAfterABreak(t *testing.T) {
	h := newHome(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, w := io.Pipe()
	var said lockedBuffer
	root := newRoot(w, &said)
	root.SetArgs([]string{"watch", "-o", "json"})
	end := make(chan error, 1)
	h.put("before", nil, true) // is not told
	go func() { end <- root.ExecuteContext(ctx); w.Close() }()
	moves := json.NewDecoder(r)
	next := func(want string) {
		t.Helper()
		var e ledger.FeedEntry
		if err := moves.Decode(&e); err != nil || e.Device.Name != want {
			t.Fatalf("told of %+v, %v; want %s; %s", e, err, want, said.String())
		}
	}
	// When it follows is not said: something moves until it is told.
	first := make(chan struct{})
	go func() {
		defer close(first)
		var e ledger.FeedEntry
		for e.Device.Name != "last" {
			if err := moves.Decode(&e); err != nil || e.Device.Name == "before" {
				t.Errorf("told of %+v, %v", e, err)
				return
			}
		}
	}()
	for i, told := 0, false; !told; i++ {
		h.put("last", map[string]string{"i": fmt.Sprint(i)}, true)
		select {
		case <-first:
			told = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	drain := func(name string) { // the marks that were on their way
		t.Helper()
		for {
			var e ledger.FeedEntry
			if err := moves.Decode(&e); err != nil {
				t.Fatal(err)
			}
			if e.Device.Name == name {
				return
			}
			if e.Device.Name != "last" {
				t.Fatalf("told of %+v", e)
			}
		}
	}
	h.put("a", nil, true)
	drain("a")
	for i := range 3 {
		h.net.cut()
		h.put(fmt.Sprintf("b-%d", i), nil, true)
		next(fmt.Sprintf("b-%d", i))
	}
	h.net.refuse(true)
	h.net.cut()
	h.put("c", nil, true)
	h.put("d", nil, true)
	h.net.refuse(false)
	got := map[string]bool{}
	for range 2 {
		var e ledger.FeedEntry
		if err := moves.Decode(&e); err != nil {
			t.Fatal(err)
		}
		got[e.Device.Name] = true
	}
	if !got["c"] || !got["d"] {
		t.Errorf("told of %v", got)
	}
	if s := said.String(); !strings.Contains(s, "connecting again") || !strings.Contains(s, "connected again") {
		t.Errorf("it said %q", s)
	}
	cancel()
	r.Close()
	if err := <-end; err != nil {
		t.Errorf("interrupted: %v", err)
	}
}

// Only what was asked for is shown, and one that may not follow is told so.
func TestWatchTopics(t *testing.T) {
	h := newHome(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, w := io.Pipe()
	root := newRoot(w, io.Discard)
	root.SetArgs([]string{"watch", "--moves=false", "--events"})
	end := make(chan error, 1)
	go func() { end <- root.ExecuteContext(ctx); w.Close() }()
	lines := make(chan string)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := r.Read(b)
			if err != nil {
				close(lines)
				return
			}
			lines <- string(b[:n])
		}
	}()
	for i := 0; ; i++ {
		e, err := event.New(event.RollbackRequested, "/test", "default/hello", fmt.Sprint(i), map[string]any{"reason": "it\x1bblinks"}, event.In("default"), event.At(time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		_ = h.Post(ctx, e)
		all := ""
		select {
		case l, ok := <-lines:
			if !ok {
				t.Fatal(<-end)
			}
			for all = l; !strings.Contains(all, "\n"); all += <-lines {
			}
		case <-time.After(50 * time.Millisecond):
			continue
		}
		if !strings.Contains(all, "default/hello") || !strings.Contains(all, "reason=it?blinks") {
			t.Errorf("%q", all)
		}
		break
	}
	cancel()
	for range lines { // until it has ended
	}
	<-end
	t.Setenv("WASMBED_TOKEN", "reader")
	h.bad(4, "may not follow events", "watch", "--events")
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// network carries connections to a server until it is cut.
type network struct {
	net.Listener
	mu      sync.Mutex
	conns   map[net.Conn]bool
	refused bool
}

func newNetwork(t *testing.T, to string) *network {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{Listener: l, conns: map[net.Conn]bool{}}
	var wait sync.WaitGroup
	wait.Add(1)
	go func() {
		defer wait.Done()
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil || !n.keep(in, out) {
				in.Close()
				continue
			}
			for _, p := range [][2]net.Conn{{in, out}, {out, in}} {
				wait.Add(1)
				go func() {
					defer wait.Done()
					_, _ = io.Copy(p[0], p[1])
					p[0].Close()
					p[1].Close()
				}()
			}
		}
	}()
	t.Cleanup(func() { l.Close(); n.cut(); wait.Wait() })
	return n
}

func (n *network) keep(a, b net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refused {
		b.Close()
		return false
	}
	n.conns[a], n.conns[b] = true, true
	return true
}

func (n *network) refuse(yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refused = yes
}

func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		c.Close()
	}
	clear(n.conns)
}

func TestModulesAndGateways(t *testing.T) {
	h := newHome(t)
	empty := string([]byte{0, 'a', 's', 'm', 1, 0, 0, 0})
	file := h.home + "/m.wasm"
	h.write(file, empty)
	h.bad(2, "", "modules", "add", file) // no entry point: no device runs it
	h.write(file, "no wasm")
	h.bad(2, "", "modules", "add", file)
	m := &v1alpha1.Module{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "m-1"}, Spec: v1alpha1.ModuleSpec{Bytes: []byte(empty)}}
	if _, err := h.set.Modules.Create(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	h.good("m-1", "modules")
	h.good("8 bytes", "modules", "m-1", "--out", file)
	if b := readLine(file); b != strings.TrimSpace(empty) {
		t.Errorf("%q", b)
	}
	h.good(`{"is":"deleted","kind":"module","name":"m-1"}`, "modules", "delete", "m-1", "-o", "json")
	h.bad(5, "m-1", "modules", "m-1")

	h.bad(5, "--address", "gateways", "set", "edge", "--heartbeat", "5s")
	h.good("edge", "gateways", "set", "edge", "--address", "127.0.0.1:8081")
	h.good(`"heartbeat": "5s"`, "gateways", "set", "edge", "--heartbeat", "5s", "-o", "json")
	g, err := h.set.Gateways.Get(t.Context(), "default", "edge")
	if err != nil || g.Spec.Address != "127.0.0.1:8081" || g.Spec.Heartbeat.Duration != 5*time.Second {
		t.Errorf("%+v %v", g, err)
	}
	h.good("deleted", "gateways", "delete", "edge")
	h.bad(5, "gateways lists them", "pairing", "status", "--gateway", "edge")
}
