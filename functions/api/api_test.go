package api

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
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
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

// matrix knows three tokens: "admin" may everything, "a-reader" may get and list in namespace a; "poster" may post events to it.
type matrix struct{}

func (matrix) Authenticate(_ context.Context, token string) (User, error) {
	switch token {
	case "admin", "a-reader", "poster":
		return User{Name: token}, nil
	}
	return User{}, errs.New(errs.Unauthenticated, "nobody")
}

func (matrix) Allowed(_ context.Context, u User, a Access) (bool, error) {
	if u.Name == "poster" {
		return a == Access{Verb: "create", Resource: "events.wasmbed", Namespace: "a"}, nil
	}
	return u.Name == "admin" || a.Namespace == "a" && (a.Verb == "get" || a.Verb == "list"), nil
}

type posted struct {
	mu     sync.Mutex
	events []ce.Event
}

func (p *posted) Post(_ context.Context, e ce.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
	return nil
}

// of returns what was posted of a type.
func (p *posted) of(typ string) []ce.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []ce.Event
	for _, e := range p.events {
		if e.Type() == typ {
			out = append(out, e)
		}
	}
	return out
}

type house struct {
	t      *testing.T
	api    *API
	url    string
	client *client.Set
	ledger *ledger.Ledger
	posted *posted
}

func newHouse(t *testing.T) *house {
	rdb := testredis.Start(t).Client(t)
	l := ledger.New(rdb, ledger.Options{})
	if _, _, err := l.Era(context.Background()); err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, client: client.NewMemory(), ledger: l, posted: &posted{}}
	a := New(Deps{Client: h.client, Ledger: l, Affinity: affinity.New(rdb, l.Keys(), affinity.Options{}), Auth: matrix{}, Events: h.posted,
		Recents: func(context.Context, string, int, time.Duration) ([]Recorded, string, error) { return nil, "", nil }})
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	h.api, h.url = a, s.URL
	return h
}

func (h *house) do(method, path, token, body string) (int, http.Header, string) {
	h.t.Helper()
	req, err := http.NewRequest(method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func TestNoDoorWithoutALock(t *testing.T) {
	h := newHouse(t)
	for _, rt := range (&API{}).routes() {
		path := strings.NewReplacer(":namespace", "b", ":name", "x").Replace(rt.path)
		for _, c := range []struct {
			token string
			want  int
		}{{"", 401}, {"wrong", 401}, {"a-reader", 403}} {
			if (rt.verb == "" || rt.verb == ownLock) && c.want == 403 {
				continue // open to every known user
			}
			if rt.verb == ownLock && strings.Contains(rt.path, ":token") { // the path is the key, and a wrong one opens nothing
				c.want = 404
			}
			got, head, body := h.do(rt.method, path, c.token, "")
			if got != c.want {
				t.Errorf("%s %s with token %q: %d %s, want %d", rt.method, path, c.token, got, body, c.want)
			}
			if ct := head.Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("%s %s: a refusal of type %q", rt.method, path, ct)
			}
		}
	}
	if got, _, body := h.do("GET", "/api/v1/namespaces/a/devices", "a-reader", ""); got != 200 {
		t.Errorf("a reader of namespace a: %d %s", got, body)
	}
	if got, _, _ := h.do("POST", "/api/v1/namespaces/a/applications/x/pause", "a-reader", ""); got != 403 {
		t.Errorf("a reader pauses: %d", got)
	}
}

func TestBadRequestsAreNamed(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		code, say          string
	}{
		{"GET", "/api/v1/nowhere", "", 404, "not-found", "nothing at"},
		{"DELETE", "/api/v1/status", "", 405, "unsupported", "does not take"},
		{"GET", "/api/v1/namespaces/a/devices?limit=0", "", 400, "invalid", "limit"},
		{"GET", "/api/v1/namespaces/a/devices?limit=501", "", 400, "invalid", "limit"},
		{"GET", "/api/v1/namespaces/a/devices/none", "", 404, "not-found", "none"},
		{"GET", "/api/v1/namespaces/a/telemetry?after=%21", "", 400, "invalid", "cursor"},
		{"PUT", "/api/v1/namespaces/a/applications/x", "{", 400, "invalid", "body"},
		{"PUT", "/api/v1/namespaces/a/applications/x", `{"specc":{}}`, 400, "invalid", "specc"},
		{"PUT", "/api/v1/namespaces/a/applications/x", `{"metadata":{"name":"y"}}`, 400, "invalid", "path says"},
		{"PUT", "/api/v1/namespaces/a/applications/x", `{"spec":{"module":{"inline":"` + strings.Repeat("A", maxBody) + `"}}}`, 413, "too-large", "larger"},
		{"POST", "/api/v1/namespaces/a/applications/none/rollback", "{}", 404, "not-found", "none"},
	} {
		got, _, body := h.do(c.method, c.path, "admin", c.body)
		var p Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Errorf("%s %s: %d, not a problem: %s", c.method, c.path, got, body)
			continue
		}
		if got != c.status || p.Code != c.code || !strings.Contains(p.Detail, c.say) {
			t.Errorf("%s %s: %d %+v, want %d %s …%s…", c.method, c.path, got, p, c.status, c.code, c.say)
		}
	}
}

func TestApplicationLife(t *testing.T) {
	h := newHouse(t)
	const path = "/api/v1/namespaces/a/applications/hello"
	body := `{"spec":{"module":{"name":"m"},"targets":{"all":true}}}`
	if got, _, b := h.do("PUT", path, "admin", body); got != 201 {
		t.Fatalf("create: %d %s", got, b)
	}
	if got, _, _ := h.do("PUT", path+"?ifAbsent=true", "admin", body); got != 409 {
		t.Errorf("create what is there: %d", got)
	}
	if got, _, _ := h.do("PUT", path, "admin", `{"spec":{"module":{"name":"m2"},"targets":{"all":true}}}`); got != 200 {
		t.Errorf("update: %d", got)
	}
	for range 2 {
		if got, _, _ := h.do("POST", path+"/pause", "admin", ""); got != 200 {
			t.Errorf("pause: %d", got)
		}
	}
	app, err := h.client.Applications.Get(context.Background(), "a", "hello")
	if err != nil || !app.Spec.Paused || app.Spec.Module.Name != "m2" {
		t.Fatalf("after pause: %+v %v", app, err)
	}
	rev := &v1alpha1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "other-1"}, Spec: v1alpha1.RevisionSpec{Application: "other"}}
	if _, err := h.client.Revisions.Create(context.Background(), rev); err != nil {
		t.Fatal(err)
	}
	if got, _, b := h.do("POST", path+"/rollback", "admin", `{"to":"other-1"}`); got != 400 {
		t.Errorf("rollback to another's revision: %d %s", got, b)
	}
	if got, _, b := h.do("POST", path+"/rollback", "admin", `{"reason":"it blinks"}`); got != 202 || len(h.posted.of(event.RollbackRequested)) != 1 {
		t.Fatalf("rollback: %d %s, %d events", got, b, len(h.posted.events))
	}
	want, err := event.Data[event.RollbackRequest](h.posted.of(event.RollbackRequested)[0])
	if err != nil || want.Application != "hello" || want.Namespace != "a" || want.By != "admin" || want.Reason != "it blinks" {
		t.Errorf("the event says %+v, %v", want, err)
	}
	if got, _, _ := h.do("DELETE", path, "admin", ""); got != 202 {
		t.Errorf("delete: %d", got)
	}
}

func TestApprovalWritesTheSpec(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	if _, err := h.client.Devices.Create(ctx, &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "d"}, Spec: v1alpha1.DeviceSpec{Board: "B"}}); err != nil {
		t.Fatal(err)
	}
	for verb, want := range map[string]v1alpha1.Approval{"approve": v1alpha1.ApprovalApproved, "reject": v1alpha1.ApprovalRejected, "revoke": v1alpha1.ApprovalRevoked} {
		if got, _, b := h.do("POST", "/api/v1/namespaces/a/devices/d/"+verb, "admin", ""); got != 200 {
			t.Fatalf("%s: %d %s", verb, got, b)
		}
		if d, err := h.client.Devices.Get(ctx, "a", "d"); err != nil || d.Spec.Approval != want {
			t.Errorf("after %s: %+v %v", verb, d.Spec, err)
		}
	}
}

func TestWatchStreamsOneNamespace(t *testing.T) {
	h := newHouse(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", h.url+"/api/v1/namespaces/a/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer a-reader")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, ns := range []string{"b", "a"} {
		if err := h.ledger.PutDevice(ctx, event.Device{Namespace: ns, Name: "d-" + ns}, ledger.DeviceFacts{Board: "B", Approved: true}, nil); err != nil {
			t.Fatal(err)
		}
	}
	sc := bufio.NewScanner(resp.Body)
	for sc.Scan() {
		if data, ok := strings.CutPrefix(sc.Text(), "data: "); ok {
			var e ledger.FeedEntry
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				t.Fatal(err)
			}
			if e.Device.Namespace != "a" || e.Device.Name != "d-a" {
				t.Fatalf("a watcher of namespace a sees %+v", e)
			}
			return
		}
	}
	t.Fatalf("the stream ended: %v", sc.Err())
}
