package deadletter

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger/testcluster"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

var ours = Places{Namespace: "wasmbed-system", Domain: "cluster.local", Functions: []string{"deploy", "report"}}

const toDeploy = "http://deploy.wasmbed-system.svc.cluster.local"

// office is the function with the redelivery beside it, a broker and functions that answer as the test says.
type office struct {
	*testing.T
	rdb redis.UniversalClient
	f   *Function
	r   *Redeliverer

	mu     sync.Mutex
	now    time.Time
	broker []ce.Event
	calls  []string // "host type id redelivered" of posts to functions
	answer func(w http.ResponseWriter, e ce.Event)
	refuse error // of the broker
}

func (o *office) Post(_ context.Context, e ce.Event) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuse != nil {
		return o.refuse
	}
	o.broker = append(o.broker, e)
	return nil
}

func newOffice(t *testing.T, rdb redis.UniversalClient) *office {
	o := &office{T: t, rdb: rdb, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	clock := func() time.Time { o.mu.Lock(); defer o.mu.Unlock(); return o.now }
	log := slog.New(slog.DiscardHandler)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, err := event.ReadRequest(r, 0)
		if err != nil {
			t.Errorf("a function got %v", err)
			return
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.calls = append(o.calls, strings.Join([]string{r.Host, r.URL.Path, e.Type(), e.ID(), extension(e, ExtRedelivered)}, " "))
		if o.answer != nil {
			o.answer(w, e)
		}
	}))
	t.Cleanup(srv.Close)
	// Whatever host is asked for: it is this server. Which one was asked for, the server sees.
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
	}
	o.f = New(Deps{Redis: rdb, Places: ours, Now: clock, Log: log})
	o.r = &Redeliverer{Redis: rdb, Places: ours, Sink: o, Now: clock, Log: log, HTTP: &http.Client{Transport: &http.Transport{DialContext: dial}}}
	return o
}

// dead makes a letter as Knative does.
func dead(t *testing.T, id, dest, code, body string, opts ...event.Option) ce.Event {
	t.Helper()
	e, err := event.New("io.wasmbed.rollout.failed.v1", "/wasmbed/functions/deploy", "plant/app", id, map[string]string{"namespace": "plant"}, append(opts, event.In("plant"))...)
	if err != nil {
		t.Fatal(err)
	}
	e.SetExtension("knativebrokerttl", "254")
	for name, v := range map[string]string{extDest: dest, extCode: code} {
		if v != "" {
			e.SetExtension(name, v)
		}
	}
	if body != "" {
		e.SetExtension(extData, base64.StdEncoding.EncodeToString([]byte(body)))
	}
	return e
}

func (o *office) keep(es ...ce.Event) {
	o.Helper()
	for _, e := range es {
		if reply, err := o.f.Handle(o.Context(), e); reply != nil || err != nil {
			o.Fatal(reply, err)
		}
	}
}

func (o *office) letters(name string) []Letter {
	o.Helper()
	ls, _, err := Letters(o.Context(), o.rdb, "wasmbed-system/"+name, "", 100)
	if err != nil {
		o.Fatal(err)
	}
	return ls
}

func (o *office) ids(name string) string {
	var out []string
	for _, l := range o.letters(name) {
		out = append(out, l.Event.ID())
	}
	return strings.Join(out, " ")
}

func (o *office) redeliver(name string, want int, ids ...string) {
	o.Helper()
	if n, err := o.r.Redeliver(o.Context(), "wasmbed-system/"+name, ids...); n != want || err != nil {
		o.Fatalf("%d were taken, want %d; %v", n, want, err)
	}
}

func TestOneServer(t *testing.T) { run(t, testredis.Start(t).Client(t)) }
func TestCluster(t *testing.T)   { run(t, testcluster.Start(t)) }

func run(t *testing.T, rdb redis.UniversalClient) {
	o := newOffice(t, rdb)
	o.keep(dead(t, "1", toDeploy, "503", "redis: connection refused"), dead(t, "2", toDeploy+"/", "500", ""), dead(t, "1", toDeploy, "503", "again"),
		dead(t, "3", "http://receiver.example.com/hook", "404", "no"), dead(t, "4", "", "", ""))
	for name, want := range map[string]string{"deploy": "1 2", Elsewhere: "3", Unknown: "4", "report": ""} {
		if got := o.ids(name); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	l := o.letters("deploy")[0]
	if l.Status != 503 || l.Message != "redis: connection refused" || l.Dest != toDeploy || l.Redelivered != 0 || !l.Time.Equal(o.now) || l.Trigger != "wasmbed-system/deploy" {
		t.Errorf("%+v", l)
	}
	if e := l.Event; extension(e, "knativebrokerttl")+extension(e, extDest)+extension(e, extCode)+extension(e, extData) != "" || event.Namespace(e) != "plant" || string(e.Data()) != `{"namespace":"plant"}` {
		t.Errorf("kept: %v", e)
	}
	lines, err := Lines(t.Context(), rdb, ours)
	if err != nil || fmt.Sprint(names(lines)) != "[wasmbed-system/deploy:2 wasmbed-system/elsewhere:1 wasmbed-system/report:0 wasmbed-system/unknown:1]" {
		t.Errorf("%v %v", names(lines), err)
	}
	keysAreKnown(t, rdb)

	// To the function alone, marked, and its reply to the broker.
	reply, err := event.New("io.wasmbed.rollback.decided.v1", "/wasmbed/functions/rollback", "plant/app", "r", map[string]int{"n": 1})
	if err != nil {
		t.Fatal(err)
	}
	o.answer = func(w http.ResponseWriter, e ce.Event) {
		event.SetHeader(w.Header(), event.Attributes(&reply))
		_, _ = w.Write(reply.Data())
	}
	o.redeliver("deploy", 1, l.ID)
	if fmt.Sprint(o.calls) != "[deploy.wasmbed-system.svc.cluster.local / io.wasmbed.rollout.failed.v1 1 1]" {
		t.Errorf("%q", o.calls)
	}
	if len(o.broker) != 1 || o.broker[0].ID() != "r" || o.ids("deploy") != "2" {
		t.Errorf("broker %v, letters %s", o.broker, o.ids("deploy"))
	}
	o.redeliver("deploy", 0, l.ID) // it is no letter any more

	// The same event may die again: it was taken, so that is another letter.
	o.keep(dead(t, "1", toDeploy, "503", "once more"))
	if o.ids("deploy") != "2 1" {
		t.Errorf("letters %s", o.ids("deploy"))
	}
	// Not taken: it stays, with what was answered.
	o.answer = func(w http.ResponseWriter, e ce.Event) { http.Error(w, "still not", http.StatusServiceUnavailable) }
	o.calls = nil
	if n, err := o.r.Redeliver(t.Context(), "wasmbed-system/deploy"); n != 0 || !errs.Is(err, errs.Unavailable) {
		t.Errorf("%d %v", n, err)
	}
	ls := o.letters("deploy")
	if len(ls) != 2 || len(o.calls) != 2 || ls[0].Redelivered != 1 || ls[0].Status != 503 || !strings.Contains(ls[0].Message, "still not") {
		t.Errorf("%+v %q", ls, o.calls)
	}
	o.keep(dead(t, "2", toDeploy, "503", "the same letter")) // still there
	if len(o.letters("deploy")) != 2 {
		t.Errorf("letters %s", o.ids("deploy"))
	}
	// What is no event as a reply is no success; one is.
	o.answer = func(w http.ResponseWriter, e ce.Event) {
		if e.ID() == "1" {
			_, _ = w.Write([]byte("hello"))
		}
	}
	o.redeliver("deploy", 1)
	o.answer = nil
	o.redeliver("deploy", 1)
	if o.ids("deploy") != "" || !strings.HasSuffix(o.calls[len(o.calls)-1], " 1 3") {
		t.Errorf("letters %s, last call %q", o.ids("deploy"), o.calls[len(o.calls)-1])
	}

	// Anybody else's goes to the broker, and never to what the letter says.
	o.calls, o.broker = nil, nil
	o.refuse = errs.New(errs.Unavailable, "away")
	if n, err := o.r.Redeliver(t.Context(), "wasmbed-system/"+Elsewhere); n != 0 || err == nil {
		t.Error(n, err)
	}
	o.refuse = nil
	o.redeliver(Elsewhere, 1)
	o.redeliver(Unknown, 1)
	if len(o.calls) != 0 || len(o.broker) != 2 || extension(o.broker[0], ExtRedelivered) != "2" || extension(o.broker[0], "knativebrokerttl") != "" {
		t.Errorf("calls %q, broker %v", o.calls, o.broker)
	}
	// It dies again, marked: that is another letter, not the same again.
	o.keep(dead(t, "3", "http://receiver.example.com/hook", "404", "no", event.Ext(ExtRedelivered, "2")))
	if ls := o.letters(Elsewhere); len(ls) != 1 || ls[0].Redelivered != 2 {
		t.Errorf("%+v", ls)
	}
	if lines, err = Lines(t.Context(), rdb, ours); err != nil || fmt.Sprint(names(lines)) != "[wasmbed-system/deploy:0 wasmbed-system/elsewhere:1 wasmbed-system/report:0]" {
		t.Errorf("%v %v", names(lines), err)
	}
	keysAreKnown(t, rdb)
	for _, bad := range []string{"", "x", "a/b/c", "wasmbed-system/*", "{x}/y"} {
		if _, _, err := Letters(t.Context(), rdb, bad, "", 1); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
		if _, err := o.r.Redeliver(t.Context(), bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := o.r.Redeliver(t.Context(), "a/b", "+"); !errs.Is(err, errs.Invalid) {
		t.Error(err)
	}
}

func names(ls []Line) (out []string) {
	for _, l := range ls {
		out = append(out, fmt.Sprintf("%s:%d", l.Trigger, l.Dead))
	}
	return out
}

// TestTogether: two who deliver the same letters again deliver each once.
func TestTogether(t *testing.T) {
	o := newOffice(t, testredis.Start(t).Client(t))
	for i := range 40 {
		o.keep(dead(t, fmt.Sprint(i), toDeploy, "503", "x"))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for range 4 {
		wg.Go(func() {
			n, err := o.r.Redeliver(t.Context(), "wasmbed-system/deploy")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			taken += n
		})
	}
	wg.Wait()
	if taken != 40 || len(o.calls) != 40 || o.ids("deploy") != "" {
		t.Errorf("%d taken, %d calls, left %q", taken, len(o.calls), o.ids("deploy"))
	}
}

// TestBounds: letters are bounded in number and size, whatever they say.
func TestBounds(t *testing.T) {
	rdb := testredis.Start(t).Client(t)
	o := newOffice(t, rdb)
	big := strings.Repeat("x", 200<<10)
	for i := range 2 * MaxBytes / len(big) {
		e := dead(t, fmt.Sprint(i), toDeploy, "500", strings.Repeat("é\x00", 900))
		if err := e.SetData("text/plain", big); err != nil {
			t.Fatal(err)
		}
		o.keep(e)
	}
	ls, err := Lines(t.Context(), rdb, ours)
	if err != nil || ls[0].Bytes > MaxBytes || ls[0].Bytes < MaxBytes/2 {
		t.Errorf("%+v %v", ls, err)
	}
	if l := o.letters("deploy")[0]; len(l.Message) > MaxMessage || strings.ContainsRune(l.Message, 0) {
		t.Errorf("%q", l.Message)
	}
	p := rdb.Pipeline()
	for i := range MaxLetters + 50 {
		keep.Eval(t.Context(), p, []string{fmt.Sprint(seenPrefix, i), lettersKey("wasmbed-system/report"), bytesKey}, "wasmbed-system/report", "{}", "", 0, "", 0, 0, 1000, MaxLetters, MaxBytes)
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := rdb.XLen(t.Context(), lettersKey("wasmbed-system/report")).Val(); n != MaxLetters {
		t.Errorf("%d letters", n)
	}
}

// TestPlaces: an address is ours only when it is exactly that of a function of ours.
func TestPlaces(t *testing.T) {
	for dest, want := range map[string]string{
		toDeploy: "deploy", toDeploy + "/": "deploy", "https://deploy.wasmbed-system.svc": "deploy", "http://REPORT.wasmbed-system": "report",
		"http://deploy.other.svc.cluster.local": "", "http://deploy.wasmbed-system.svc.cluster.local.evil.example": "", "http://evil.example/deploy.wasmbed-system.svc": "",
		"http://x@deploy.wasmbed-system.svc": "", "http://deploy.wasmbed-system.svc:6379": "", "http://deploy.wasmbed-system.svc/admin": "", "http://deploy.wasmbed-system.svc/?a=b": "",
		"http://deploy.wasmbed-system.svc/#f": "", "file://deploy.wasmbed-system.svc": "", "http://api.wasmbed-system.svc": "", "http://169.254.169.254/": "", "deploy.wasmbed-system": "", "http://deploy": "", "%": "", "": "",
	} {
		if got := ours.function(dest); got != want {
			t.Errorf("%q is %q, want %q", dest, got, want)
		}
	}
}

// FuzzLetter: whatever stands in the extensions, a letter is bounded, belongs to a line that we know, and goes to a
// place of ours.
func FuzzLetter(f *testing.F) {
	f.Add(toDeploy, "503", "cmVkaXM=")
	f.Add("http://[::1%25x]/", "-1", "\xff")
	f.Add("http://deploy.wasmbed-system\x00.svc/", "999999999999999999999", "====")
	fn := New(Deps{Places: ours, Now: time.Now})
	f.Fuzz(func(t *testing.T, dest, code, data string) {
		e := ce.New()
		for name, v := range map[string]string{extDest: dest, extCode: code, extData: data} {
			e.SetExtension(name, v)
		}
		l := fn.letter(e)
		if !slices.Contains([]string{"deploy", "report", Elsewhere, Unknown}, strings.TrimPrefix(l.Trigger, "wasmbed-system/")) || !isTrigger(l.Trigger) {
			t.Fatalf("line %q", l.Trigger)
		}
		if len(l.Message) > MaxMessage || len(l.Dest) > MaxDest || l.Status != 0 && (l.Status < 100 || l.Status > 599) {
			t.Fatalf("%+v", l)
		}
		if name := ours.function(l.Dest); name != "" && !slices.Contains(ours.Functions, name) {
			t.Fatalf("goes to %q", name)
		}
	})
}

func keysAreKnown(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	var known []*regexp.Regexp
	for _, k := range Keys() {
		known = append(known, regexp.MustCompile("^"+strings.NewReplacer("<ns>", "[a-z0-9-]+", "<name>", "[a-z0-9-]+", "<hash>", "[0-9a-f]{32}", "<id>", "[0-9-]+").Replace(regexp.QuoteMeta(k[0]))+"$"))
	}
	for _, key := range testcluster.Keys(t, rdb) {
		if !slices.ContainsFunc(known, func(r *regexp.Regexp) bool { return r.MatchString(key) }) {
			t.Errorf("the key %s is not described", key)
		}
	}
}
