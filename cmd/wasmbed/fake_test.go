package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

// fake is an API server that answers what it is told, and keeps what it was asked.
type fake struct {
	*desk
	answers map[string]string // by "METHOD path?query" below the namespace, or below /api/v1
	asked   []string          // the same, with the body behind
}

func newFake(t *testing.T, answers map[string]string) *fake {
	f := &fake{desk: newDesk(t), answers: answers}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(strings.TrimPrefix(r.URL.RequestURI(), "/api/v1"), "/namespaces/default")
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		key := strings.TrimSuffix(strings.NewReplacer("?limit=500&", "?", "&limit=500", "", "?limit=500", "").Replace(r.Method+" "+path), "?")
		f.asked = append(f.asked, strings.TrimSpace(key+" "+string(b)))
		ans, ok := f.answers[key]
		if code, problem, is := strings.Cut(ans, "!"); is || !ok {
			w.Header().Set("Content-Type", "application/problem+json")
			if !ok {
				code, problem = "not-found", "there is nothing at "+key
			}
			w.WriteHeader(map[string]int{"not-found": 404, "denied": 403, "unsupported": 501, "conflict": 409}[code])
			_ = json.NewEncoder(w).Encode(map[string]string{"code": code, "detail": problem, "mend": "mend it"})
			return
		}
		_, _ = io.WriteString(w, ans)
	}))
	t.Cleanup(s.Close)
	t.Setenv("WASMBED_SERVER", s.URL)
	t.Setenv("WASMBED_TOKEN", "x")
	return f
}

func (f *fake) sent(want ...string) {
	f.Helper()
	if !reflect.DeepEqual(f.asked, want) {
		f.Errorf("asked\n  %s\nwant\n  %s", strings.Join(f.asked, "\n  "), strings.Join(want, "\n  "))
	}
	f.asked = nil
}

func TestCommandsAgainstAFakeServer(t *testing.T) {
	const device = `{"metadata":{"name":"d1"},"spec":{"board":"FrdmK64f","gateway":"default","identity":{"publicKey":"AAEC"}},"status":{}}`
	const view = `{"device":{"namespace":"default","name":"d1"},"board":"FrdmK64f","online":true,"apps":[{"app":"hello","set":"failed","target":{"revision":"hello-2"},"reported":{"running":"hello-1"},"reason":"Trap"}]}`
	const rev = `{"metadata":{"name":"hello-%"},"spec":{"application":"hello","number":%,"module":{"digest":"sha256:%","size":100000%},"manifest":{"config":{"greeting":"hi %"},"timers":[{"id":1,"period":"1s"}]},"hash":"%"}}`
	revs := `{"items":[` + strings.ReplaceAll(rev, "%", "1") + "," + strings.ReplaceAll(rev, "%", "3") + "," + strings.ReplaceAll(rev, "%", "2") + `]}`
	open := `{"metadata":{"name":"default"},"spec":{"address":"a:1","pairing":{"until":"2999-01-01T00:00:00Z","approval":"Automatic"}}}`
	f := newFake(t, map[string]string{
		"GET /alerts": `{"items":[{"id":"a","severity":"critical","kind":"Part","name":"redis","title":"redis is not well","cause":"\u001b[31mred","mend":"look"},{"id":"b","severity":"info","kind":"Device","title":"fine"}]}`,
		"GET /overview": `{"time":"2026-01-02T03:04:05Z","devices":{"known":4,"online":3,"offline":1,"pending":1,"held":1,"boards":{"FrdmK64f":3,"Mps2An385":1}},
			"applications":[{"name":"hello","phase":"Progressing","revision":"hello-2","counts":{"desired":4,"ready":1,"failed":2,"inFlight":1}}],
			"gateways":[{"id":"gw-1","devices":3,"state":"Up"}],"attention":[{"severity":"warning","title":"d1 waits for approval","mend":"wasmbed approve d1"}],"parts":{}}`,
		"POST /gateways/default/pairing":   open,
		"DELETE /gateways/default/pairing": `{"metadata":{"name":"default"},"spec":{"address":"a:1"}}`,
		"GET /gateways/default":            open,
		"GET /enrollments":                 `{"items":[` + device + `]}`,
		"GET /queues":                      `{"items":[{"trigger":"sys/deploy","waiting":1,"dead":1},{"trigger":"sys/report"}]}`,
		"GET /deadletters?trigger=sys%2Fdeploy": `{"items":[{"id":"7-0","trigger":"sys/deploy","attempts":5,"status":500,"reason":"Refused","time":"2026-01-01T00:00:00Z",
			"event":{"specversion":"1.0","id":"e1","type":"io.wasmbed.x.v1","source":"/s","subject":"default/d1"}}]}`,
		"POST /deadletters":        `{"redelivered":1}`,
		"GET /devices/d1/timeline": `{"items":[{"time":"2026-01-01T00:00:00Z","type":"io.wasmbed.device.trap.v1","id":"1","subject":"default/d1","data":{"application":"hello","reason":"Trap","count":3}},{"time":"2026-01-01T00:00:00Z","type":"io.wasmbed.other.v1","id":"0","subject":"default/d1"}]}`,
		"GET /devices/d1/commands": `{"open":[{"id":"aa","kind":"invoke","app":"hello","function":"add","at":"2026-01-01T00:00:00Z","deadline":"2026-01-01T00:00:00Z"}],"results":[{"command":{"id":"bb","kind":"reboot"},"status":"Done","payload":"aGk=","at":"2026-01-01T00:00:00Z"}]}`,
		"POST /bulk/devices":       `{"done":["d1"],"failed":[]}`,
		"GET /applications/hello":  `{"object":{"metadata":{"name":"hello"},"status":{"revision":"hello-3","stableRevision":"hello-2"}}}`,
		"GET /revisions?labelSelector=wasmbed.io%2Fapplication%3Dhello": revs,
		"GET /devices": `{"items":[` + view + `]}`,
		"GET /devices?app=hello&board=FrdmK64f&labelSelector=site%3Dlab&online=false&pending=true&q=d&set=failed":          `{"items":[],"next":"d5"}`,
		"GET /devices?after=d5&app=hello&board=FrdmK64f&labelSelector=site%3Dlab&online=false&pending=true&q=d&set=failed": `{"items":[` + view + `]}`,
		"GET /devices?labelSelector=site%3Dlab":  `{"items":[` + view + `]}`,
		"GET /devices?labelSelector=site%3Dmoon": `{"items":[]}`,
		"GET /modules":                           `{"items":[{"metadata":{"name":"m1"},"spec":{},"status":{"digest":"sha256:0123456789abcdef0123","size":42}}]}`,
		"GET /languages":                         `{"items":[{"name":"c","available":true,"version":"clang 19"},{"name":"rust","why":"no rustc"}]}`,
		"GET /whoami":                            `{"name":"ann","groups":["ops"],"namespaces":["default"],"may":{"events":true}}`,
		"DELETE /applications/hello":             `{"status":"deleting"}`,
	})
	for _, c := range []struct {
		args string
		want []string // in what is printed
		sent []string // nil: not looked at
	}{
		{"alerts", []string{"critical", "redis is not well", "?[31mred", "look", "fine"}, nil},
		{"alerts --severity critical -o json", []string{`"id": "a"`}, nil},
		{"overview", []string{"4 devices", "online", "75%", "wait for approval", "1/4", "Progressing, 1 in flight, 2 failed, hello-2", "gw-1", "1 MATTERS", "(wasmbed approve d1)"}, nil},
		{"overview -o yaml", []string{"known: 4", "phase: Progressing"}, nil},
		{"pairing open --for 5m --approval automatic", []string{"is open for", "admitted at once"}, []string{`POST /gateways/default/pairing {"approval":"Automatic","for":"5m0s"}`}},
		{"pairing close", []string{"is closed"}, []string{"DELETE /gateways/default/pairing"}},
		{"pairing status -o json", []string{`"approval": "Automatic"`}, nil},
		{"enrollments", []string{"d1", "FrdmK64f", "sha256:ae4b3280e56e2faf", "wasmbed approve NAME"}, nil},
		{"queues", []string{"sys/deploy", "sys/report"}, nil},
		{"deadletters", []string{"7-0", "io.wasmbed.x.v1", "500", "Refused"}, []string{"GET /queues", "GET /deadletters?trigger=sys%2Fdeploy"}},
		{"deadletters sys/deploy -o json", []string{`"id": "7-0"`, `"specversion": "1.0"`}, nil},
		{"deadletters sys/deploy --redeliver all", []string{"1 events are delivered"}, []string{`POST /deadletters {"trigger":"sys/deploy"}`}},
		{"deadletters sys/deploy --redeliver 7-0", []string{"1 events"}, []string{`POST /deadletters {"ids":["7-0"],"trigger":"sys/deploy"}`}},
		{"timeline d1", []string{"device.trap.v1", "application=hello count=3 reason=Trap"}, nil},
		{"timeline d1 --limit 1 -o json", []string{`"count": 3`}, nil},
		{"commands d1", []string{"aa", "Open", "add", "bb", "Done", "hi"}, nil},
		{"hold d1", []string{"device d1: on hold"}, []string{`POST /bulk/devices {"action":"hold","names":["d1"]}`}},
		{"release -l site=lab", []string{"released"}, []string{"GET /devices?labelSelector=site%3Dlab", `POST /bulk/devices {"action":"release","names":["d1"]}`}},
		{"label d1 site=lab line-", []string{"labelled"}, []string{`POST /bulk/devices {"action":"label","labels":{"line":null,"site":"lab"},"names":["d1"]}`}},
		{"revisions hello", []string{"*   hello-3", "!   hello-2", "    hello-1"}, nil},
		{"revisions hello --diff", []string{"hello-2", "manifest.config.greeting", "hi 3", "module.size", "1000003"}, nil},
		{"revisions hello --diff 1 hello-2 -o json", []string{`"from": "hello-1"`, `"field": "manifest.config.greeting"`}, nil},
		{"revisions hello --diff 2 2", []string{"alike"}, nil},
		{"devices", []string{"NAME", "d1", "FrdmK64f"}, nil},
		{"devices --q d --board FrdmK64f --online=false --app hello --set failed -l site=lab --pending", []string{"failed", "hello-2", "hello-1", "Trap"}, nil},
		{"modules", []string{"m1", "42", "sha256:0123456789ab"}, nil},
		{"languages", []string{"clang 19", "no rustc"}, nil},
		{"whoami", []string{"ann", "ops", "MAY SEE EVENTS"}, nil},
		{"apps delete hello --no-wait", []string{"application hello: deleted"}, []string{"DELETE /applications/hello"}},
	} {
		f.asked = nil
		out, _, err := f.run(strings.Fields(c.args)...)
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
		}
		for _, w := range c.want {
			if !strings.Contains(out, w) {
				t.Errorf("%s says\n%s\nwithout %q", c.args, out, w)
			}
		}
		if c.sent != nil {
			f.sent(c.sent...)
		}
		if strings.Contains(c.args, "-o json") && !json.Valid([]byte(out)) {
			t.Errorf("%s: no JSON: %s", c.args, out)
		}
	}
}

// Wrong input is refused before anything is asked; what the server refuses comes with its code and mend.
func TestWrongInput(t *testing.T) {
	f := newFake(t, map[string]string{
		"GET /queues":                  "unsupported!the broker in use shows nothing",
		"GET /alerts":                  "denied!ann may not list devices",
		"POST /bulk/devices":           `{"done":["d1"],"failed":[{"name":"d2","error":"no device d2","code":"not-found"}]}`,
		"POST /deadletters":            `{"redelivered":1}`,
		"GET /devices?labelSelector=a": `{"items":[]}`,
		"GET /applications/hello":      `{"object":{"metadata":{"name":"hello"},"status":{"revision":"hello-1"}}}`,
		"GET /revisions?labelSelector=wasmbed.io%2Fapplication%3Dhello": `{"items":[{"metadata":{"name":"hello-1"},"spec":{"number":1}}]}`,
	})
	for _, c := range []struct {
		args string
		exit int
		say  string
	}{
		{"pairing opne", 2, "wasmbed pairing --help"},
		{"timeline", 2, "wasmbed timeline DEVICE"},
		{"context bogus", 2, "unknown command"},
		{"status -o xml", 2, "one of table"},
		{"status --bogus", 2, "bogus"},
		{"alerts --severity loud", 2, "critical"},
		{"overview --every 1ms", 2, "once a second"},
		{"pairing open --approval maybe", 2, "Manual or Automatic"},
		{"label d1", 2, "which label"},
		{"label d1 si te=x", 2, ""},
		{"label d1 bad!key=x", 2, "bad!key"},
		{"label d1 a=1 a-", 2, "twice"},
		{"label a=1", 2, "which devices"},
		{"hold", 2, "which devices"},
		{"hold d1 -l a=b", 2, "not both"},
		{"deadletters a/b c/d", 2, "one Trigger"},
		{"deadletters --redeliver all", 2, "which Trigger"},
		{"deadletters a/b x --redeliver all", 2, "not both"},
		{"revisions hello 1 2", 2, "--diff"},
		{"devices d1 --online", 2, "exclude"},
		{"devices --online -w", 2, "--watch"},
		{"watch --logs", 2, "whose"},
		{"watch --moves=false", 2, "nothing is left"},
	} {
		if c.say == "" {
			continue
		}
		f.bad(c.exit, c.say, strings.Fields(c.args)...)
	}
	if len(f.asked) > 0 {
		t.Errorf("asked %v", f.asked)
	}
	f.bad(2, "shows nothing (mend it)", "queues")
	f.bad(4, "may not list devices", "alerts")
	f.bad(5, "gateways lists them", "pairing", "status", "--gateway", "none")
	f.bad(5, "no device of namespace", "hold", "-l", "a")
	f.bad(5, "1 of 2 devices failed; d2", "hold", "d1", "d2")
	f.bad(5, "1 of 2 ids", "deadletters", "a/b", "--redeliver", "1-0", "2-0")
	f.bad(5, "not two revisions", "revisions", "hello", "--diff")
	f.bad(5, "no revision", "revisions", "hello", "--diff", "1", "9")
}

func TestBars(t *testing.T) {
	b := newBars(func(k string) string { return map[string]string{"LANG": "de_DE.UTF-8"}[k] })
	if b.full != "█" {
		t.Error(b)
	}
	if newBars(func(k string) string { return map[string]string{"LC_ALL": "C", "LANG": "de_DE.UTF-8"}[k] }).full != "#" {
		t.Error("LC_ALL goes before LANG")
	}
	b = newBars(func(string) string { return "" })
	for _, c := range []struct{ n, all, full int }{{0, 0, 0}, {0, 10, 0}, {1, 10000, 1}, {9999, 10000, barWidth - 1}, {5, 10, barWidth / 2}, {10, 10, barWidth}, {12, 10, barWidth}} {
		if got := b.bar(c.n, c.all); strings.Count(got, "#") != c.full || len(got) != barWidth {
			t.Errorf("%d of %d: %s", c.n, c.all, got)
		}
	}
}
