package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/source"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
)

// fleet puts n devices into namespace a; every second one is of another board.
func (h *house) fleet(n int) {
	h.t.Helper()
	for i := range n {
		d := event.Device{Namespace: "a", Name: fmt.Sprintf("d-%04d", i)}
		f := ledger.DeviceFacts{Approved: i%10 != 0, Board: []string{"Mps2An385", "FrdmK64f"}[i%2], Labels: map[string]string{"line": fmt.Sprint(i % 3)}}
		if err := h.ledger.PutDevice(context.Background(), d, f, nil); err != nil {
			h.t.Fatal(err)
		}
	}
}

func get[T any](h *house, path string) T {
	h.t.Helper()
	code, _, body := h.do("GET", path, "admin", "")
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil || code != 200 {
		h.t.Fatalf("%s: %d %s %v", path, code, body, err)
	}
	return v
}

func TestFilters(t *testing.T) {
	h := newHouse(t)
	h.fleet(60)
	for _, c := range []struct {
		query string
		want  int
	}{
		{"", 60}, {"q=d-000", 10}, {"q=frdm", 30}, {"board=FrdmK64f", 30}, {"online=true", 0}, {"online=false", 60}, {"pending=true", 6},
		{"labelSelector=line%3D1", 20}, {"labelSelector=line%20in%20(0,2)&board=Mps2An385", 20}, {"app=x", 0}, {"app=x&set=failed", 0},
	} {
		seen := map[string]bool{}
		for after := ""; ; {
			p := get[struct {
				Items []ledger.DeviceView
				Next  string
			}](h, "/api/v1/namespaces/a/devices?limit=7&after="+after+"&"+c.query)
			if len(p.Items) > 7 {
				t.Errorf("%s: a page of %d", c.query, len(p.Items))
			}
			for _, v := range p.Items {
				if seen[v.Device.Name] {
					t.Errorf("%s: %s twice", c.query, v.Device.Name)
				}
				seen[v.Device.Name] = true
			}
			if after = p.Next; after == "" {
				break
			}
		}
		if len(seen) != c.want {
			t.Errorf("%q finds %d, want %d", c.query, len(seen), c.want)
		}
	}
	for _, bad := range []string{"online=maybe", "set=done", "app=x&set=nothing", "labelSelector=a%20in", "q=" + strings.Repeat("x", 300)} {
		if code, _, body := h.do("GET", "/api/v1/namespaces/a/devices?"+bad, "admin", ""); code != 400 {
			t.Errorf("%s: %d %s", bad, code, body)
		}
	}
}

func TestOverview(t *testing.T) {
	h := newHouse(t)
	h.fleet(20)
	o := get[overviewAnswer](h, "/api/v1/namespaces/a/overview")
	if o.Devices.Known != 20 || o.Devices.Offline != 20 || o.Devices.Pending != 2 || o.Devices.Boards["FrdmK64f"] != 10 || o.Parts["redis"] != "ok" || o.Parts["gateway"] == "ok" {
		t.Errorf("%+v", o)
	}
	kinds := map[string]int{}
	for _, x := range o.Attention {
		kinds[x.Kind]++
		if x.ID == "" || x.Title == "" || x.Mend == "" {
			t.Errorf("%+v", x)
		}
	}
	if kinds["Part"] != 1 || kinds["Enrollment"] != 2 {
		t.Errorf("attention %v", kinds)
	}
	me := get[struct {
		Name       string
		Namespaces []string
	}](h, "/api/v1/whoami")
	if me.Name != "admin" || fmt.Sprint(me.Namespaces) != "[a]" {
		t.Errorf("%+v", me)
	}
}

func (h *house) device(name string) *v1alpha1.Device {
	h.t.Helper()
	d, err := h.client.Devices.Create(h.t.Context(), &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, Labels: map[string]string{"line": "1"}}, Spec: v1alpha1.DeviceSpec{Board: "FrdmK64f"}})
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

func TestPatch(t *testing.T) {
	h := newHouse(t)
	d := h.device("d")
	req := func(match, body string) (int, string) {
		r, err := http.NewRequest("PATCH", h.url+"/api/v1/namespaces/a/devices/d", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer admin")
		if match != "" {
			r.Header.Set("If-Match", match)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("ETag")
	}
	if code, _ := req(`"other"`, `{"spec":{"hold":true}}`); code != 409 {
		t.Errorf("a stale If-Match: %d", code)
	}
	code, tag := req(`"`+d.ResourceVersion+`"`, `{"metadata":{"labels":{"line":null,"site":"x"}},"spec":{"hold":true}}`)
	if code != 200 || tag == "" || tag == `"`+d.ResourceVersion+`"` {
		t.Errorf("%d %s", code, tag)
	}
	got, err := h.client.Devices.Get(t.Context(), "a", "d")
	if err != nil || !got.Spec.Hold || got.Labels["site"] != "x" || got.Labels["line"] != "" || got.Spec.Board != "FrdmK64f" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{`{"spec":{"nothing":1}}`, `{"status":{}}`, `{"metadata":{"name":"x"}}`, ``, `[]`} {
		if code, _ := req("", bad); code != 400 {
			t.Errorf("%s: %d", bad, code)
		}
	}
}

func TestBulkAndPairing(t *testing.T) {
	h := newHouse(t)
	h.device("d1")
	h.device("d2")
	code, _, body := h.do("POST", "/api/v1/namespaces/a/bulk/devices", "admin", `{"action":"approve","names":["d1","d2","d3"]}`)
	var ans bulkAnswer
	if err := json.Unmarshal([]byte(body), &ans); err != nil || code != 200 || len(ans.Done) != 2 || len(ans.Failed) != 1 || ans.Failed[0].Code != "not-found" {
		t.Errorf("%d %s", code, body)
	}
	if d, err := h.client.Devices.Get(t.Context(), "a", "d1"); err != nil || d.Spec.Approval != v1alpha1.ApprovalApproved {
		t.Errorf("%+v, %v", d, err)
	}
	for _, bad := range []string{`{"action":"fly","names":["d1"]}`, `{"action":"hold","names":[]}`} {
		if code, _, _ := h.do("POST", "/api/v1/namespaces/a/bulk/devices", "admin", bad); code != 400 {
			t.Errorf("%s: %d", bad, code)
		}
	}
	if n := len(h.posted.of(event.AuditRecorded)); n != 1 {
		t.Errorf("%d audit events", n)
	}

	if _, err := h.client.Gateways.Create(t.Context(), &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "g"}, Spec: v1alpha1.GatewaySpec{Address: "x:1"}}); err != nil {
		t.Fatal(err)
	}
	if code, _, body := h.do("POST", "/api/v1/namespaces/a/gateways/g/pairing", "admin", `{"for":"10m","approval":"Automatic"}`); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	g, err := h.client.Gateways.Get(t.Context(), "a", "g")
	if err != nil || g.Spec.Pairing.Until == nil || time.Until(g.Spec.Pairing.Until.Time) < 9*time.Minute || g.Spec.Pairing.Approval != "Automatic" {
		t.Errorf("%+v, %v", g.Spec.Pairing, err)
	}
	for _, bad := range []string{`{"for":"100h"}`, `{"for":"-1m"}`, `{"for":"10m","approval":"Sometimes"}`} {
		if code, _, _ := h.do("POST", "/api/v1/namespaces/a/gateways/g/pairing", "admin", bad); code != 400 {
			t.Errorf("%s: %d", bad, code)
		}
	}
	if code, _, _ := h.do("DELETE", "/api/v1/namespaces/a/gateways/g/pairing", "admin", ""); code != 200 {
		t.Error(code)
	}
	if g, _ = h.client.Gateways.Get(t.Context(), "a", "g"); g.Spec.Pairing.Until != nil {
		t.Error("the window is open")
	}
}

func TestIdempotencyKey(t *testing.T) {
	h := newHouse(t)
	post := func(token, key string) (int, string, string) {
		r, err := http.NewRequest("POST", h.url+"/api/v1/namespaces/a/devices", strings.NewReader(`{"metadata":{"name":"once"},"spec":{"board":"FrdmK64f"}}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Idempotency-Key", key)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var d v1alpha1.Device
		_ = json.NewDecoder(resp.Body).Decode(&d)
		return resp.StatusCode, resp.Header.Get("Idempotency-Replayed"), d.Name
	}
	if code, again, name := post("admin", "k1"); code != 201 || again != "" || name != "once" {
		t.Errorf("%d %q %q", code, again, name)
	}
	if code, again, name := post("admin", "k1"); code != 201 || again != "true" || name != "once" {
		t.Errorf("repeated: %d %q %q", code, again, name)
	}
	if code, _, _ := post("admin", "k2"); code != 409 {
		t.Errorf("under another key: %d", code)
	}
	if code, again, _ := post("admin", "k2"); code != 409 || again != "true" {
		t.Errorf("the refusal repeated: %d %q", code, again)
	}
	if code, _, _ := post("a-reader", "k1"); code != 403 {
		t.Errorf("another's key: %d", code)
	}
}

func TestRateLimit(t *testing.T) {
	h := newHouse(t)
	at := time.Now()
	h.api.Now = func() time.Time { return at } // no time passes, so nothing is given back meanwhile
	refused := 0
	for range rateBurst + 50 {
		if code, head, _ := h.do("GET", "/api/v1/boards", "a-reader", ""); code == 429 {
			refused++
			if head.Get("Retry-After") == "" {
				t.Fatal("no Retry-After")
			}
		}
	}
	if refused != 50 {
		t.Errorf("%d of %d were refused, want 50", refused, rateBurst+50)
	}
	if code, _, _ := h.do("GET", "/api/v1/boards", "admin", ""); code != 200 {
		t.Errorf("another user pays for it: %d", code)
	}
}

// TestLive: a WebSocket follows several topics, resumes behind a cursor, and keeps other tenants and other origins out.
func TestLive(t *testing.T) {
	h := newHouse(t)
	dial := func(token, origin string) (*websocket.Conn, error) {
		head := http.Header{"Authorization": {"Bearer " + token}}
		if origin != "" {
			head.Set("Origin", origin)
		}
		c, _, err := websocket.Dial(t.Context(), strings.Replace(h.url, "http", "ws", 1)+"/api/v1/ws", &websocket.DialOptions{HTTPHeader: head})
		return c, err
	}
	if _, err := dial("admin", "https://evil.example"); err == nil {
		t.Error("another origin was let in")
	}
	if _, err := dial("wrong", ""); err == nil {
		t.Error("a wrong token was let in")
	}
	c, err := dial("a-reader", h.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	say := func(s string) {
		t.Helper()
		if err := c.Write(t.Context(), websocket.MessageText, []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	hear := func() liveMessage {
		t.Helper()
		_, b, err := c.Read(t.Context())
		var m liveMessage
		if err == nil {
			err = json.Unmarshal(b, &m)
		}
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	say(`{"subscribe":[{"id":"1","topic":"devices","namespace":"a"}]}`)
	first := hear()
	if first.ID != "1" || first.Cursor == "" || len(first.Items) != 0 {
		t.Fatalf("%+v", first)
	}
	h.fleet(3)
	seen := 0
	for seen < 3 {
		seen += len(hear().Items)
	}
	say(`{"unsubscribe":["1"],"subscribe":[{"id":"2","topic":"devices","namespace":"a","after":"` + first.Cursor + `"}]}`)
	for seen = 0; seen < 3; {
		m := hear()
		if m.ID != "2" {
			continue
		}
		seen += len(m.Items)
	}
	for _, bad := range []string{
		`{"subscribe":[{"id":"3","topic":"devices","namespace":"b"}]}`, `{"subscribe":[{"id":"3","topic":"events"}]}`,
		`{"subscribe":[{"id":"3","topic":"nothing","namespace":"a"}]}`, `{"subscribe":[{"topic":"devices","namespace":"a"}]}`,
		`{"subscribe":[{"id":"3","topic":"devices","namespace":"a","after":"x,y"}]}`, `nonsense`,
	} {
		say(bad)
		m := hear()
		for m.Error == nil && m.ID == "2" {
			m = hear()
		}
		if m.Error == nil {
			t.Errorf("%s: %+v", bad, m)
		}
	}
}

// oneCompiler compiles everything to one module.
type oneCompiler struct{ module []byte }

func (c oneCompiler) Compile(context.Context, source.Request) (source.Result, error) {
	return source.Result{Module: c.module, Size: len(c.module), Diagnostics: []source.Diagnostic{}, Compiler: "one"}, nil
}
func (oneCompiler) Languages(context.Context) ([]source.Language, error) {
	return []source.Language{{Name: "c", Available: true}}, nil
}
func (oneCompiler) Templates(context.Context) ([]source.Template, error) { return nil, nil }

func TestCompile(t *testing.T) {
	h := newHouse(t)
	if code, _, _ := h.do("POST", "/api/v1/namespaces/a/compile", "admin", `{"language":"c","files":{"main.c":""}}`); code != 501 {
		t.Errorf("without a compiler: %d", code)
	}
	h.api.Compiler = oneCompiler{[]byte("\x00asm\x01\x00\x00\x00")}
	h.api.Boards = []Board{{Name: "Small", ModuleSize: 4, ModuleMemory: 1 << 20}, {Name: "Big", ModuleSize: 1 << 20, ModuleMemory: 1 << 20}, {Name: "None", Refused: "too small"}}
	code, _, body := h.do("POST", "/api/v1/namespaces/a/compile", "admin", `{"language":"c","files":{"main.c":""}}`)
	var ans compileAnswer
	if err := json.Unmarshal([]byte(body), &ans); err != nil || code != 200 || ans.Inspection == nil || len(ans.Inspection.Fits) != 3 {
		t.Fatalf("%d %s", code, body)
	}
	if ans.Inspection.Problem == "" { // a module without an entry point
		t.Errorf("%+v", ans.Inspection)
	}
}
