package stream_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/stream"
	"wasmbed.io/wasmbed/internal/testredis"
)

// The test binary is also a broker process, so that one can be killed.
func TestMain(m *testing.M) {
	if url := os.Getenv("STREAM_TEST_BROKER"); url != "" {
		if err := child(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	redis.SetLogger(silent{})
	os.Exit(m.Run())
}

// silent keeps go-redis from saying for every dial what the tests do on purpose.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func child(redisURL string) error {
	o, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	ts, err := stream.ParseTriggers([]byte(os.Getenv("STREAM_TEST_TRIGGERS")))
	if err != nil {
		return err
	}
	b, err := stream.New(redis.NewClient(o), ts, stream.Options{})
	if err != nil {
		return err
	}
	s := stream.NewServer(b, "127.0.0.1:0", nil)
	if err := s.Listen(); err != nil {
		return err
	}
	debug.SetGCPercent(400) // as cmd/broker does
	fmt.Println(s.URL())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return s.Serve(ctx)
}

type process struct {
	URL string
	cmd *exec.Cmd
}

func startProcess(t *testing.T, r *testredis.Server, manifest string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), "STREAM_TEST_BROKER="+r.URL, "STREAM_TEST_TRIGGERS="+manifest)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	p.URL = strings.TrimSpace(line)
	return p
}

// kill is kill -9.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// flood posts events until stopped and returns the ids that were accepted.
func flood(t *testing.T, url, typ string) (stop func() []string) {
	t.Helper()
	var mu sync.Mutex
	var accepted []string
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	sink := event.NewSink(url, nil)
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", w, i)
				// Its own context: whether the last one is accepted must be known.
				if sink.Post(t.Context(), ev(t, typ, id)) == nil {
					mu.Lock()
					accepted = append(accepted, id)
					mu.Unlock()
				}
			}
		})
	}
	return func() []string { cancel(); wg.Wait(); return accepted }
}

func awaitAll(t *testing.T, sub *subscriber, ids []string) {
	t.Helper()
	missing := func() (n int) {
		counts := sub.counts()
		for _, id := range ids {
			if counts[id] == 0 {
				n++
			}
		}
		return n
	}
	await(t, func() bool { return missing() == 0 }, func() string { return fmt.Sprintf("%d of %d accepted events did not come", missing(), len(ids)) })
}

var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

// kill -9 of the broker in the middle of everything: every accepted event is delivered after a restart.
func TestKillBroker(t *testing.T) {
	var stuck atomic.Bool
	var held atomic.Int64
	stuck.Store(true)
	release := make(chan struct{})
	once := sync.OnceFunc(func() { close(release) })
	defer once()
	sub := subscribe(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case stuck.Load() && strings.HasPrefix(r.Header.Get("Ce-Id"), "0-") && held.Add(1) <= 10:
			<-release // under way when the broker dies
		case stuck.Load() && strings.HasPrefix(r.Header.Get("Ce-Id"), "1-"):
			w.WriteHeader(http.StatusServiceUnavailable) // parked when the broker dies
		}
	})
	r := testredis.Start(t, durable...)
	manifest := one("a", "t", sub.URL, "{retry: 20, backoffDelay: PT0.2S}")
	p := startProcess(t, r, manifest)
	stop := flood(t, p.URL, "t")
	await(t, func() bool { return len(sub.counts()) > 500 }, "a flood")
	p.kill()
	accepted := stop()
	if len(accepted) < 300 {
		t.Fatalf("%d accepted", len(accepted))
	}
	before := len(sub.counts())
	stuck.Store(false)
	once()
	startProcess(t, r, manifest)
	awaitAll(t, sub, accepted)
	// And those that were under way or parked have been delivered for good: nothing is left over.
	rdb := r.Client(t)
	await(t, func() bool { return empty(t, rdb) }, func() string { s, _ := stream.Queues(t.Context(), rdb); return fmt.Sprint(s) })
	t.Logf("%d accepted, %d delivered before the kill", len(accepted), before)
}

func empty(t *testing.T, rdb redis.UniversalClient) bool {
	states, err := stream.Queues(t.Context(), rdb)
	if err != nil || len(states) == 0 {
		return false
	}
	for _, s := range states {
		if s.Waiting+s.Parked > 0 {
			return false
		}
	}
	return true
}

// A broker that lives takes over what a killed one left, within seconds.
func TestTakeOver(t *testing.T) {
	release := make(chan struct{})
	once := sync.OnceFunc(func() { close(release) })
	defer once()
	sub := subscribe(t, func(http.ResponseWriter, *http.Request) { <-release })
	r := testredis.Start(t, durable...)
	manifest := one("a", "t", sub.URL, "")
	p := startProcess(t, r, manifest)
	var es []ce.Event
	for i := range 200 { // more than are under way or in memory
		es = append(es, ev(t, "t", fmt.Sprint(i)))
	}
	if err := event.NewSink(p.URL, nil).PostBatch(t.Context(), es); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return len(sub.counts()) >= 32 }, "deliveries under way")
	b := startOn(t, r, []byte(manifest), stream.Options{})
	p.kill()
	killed := time.Now()
	once()
	sub.awaitIDs(t, 200)
	t.Logf("all after %s", time.Since(killed))
	await(t, func() bool { return empty(t, b.rdb) }, "nothing left")
	await(t, func() bool { return len(b.rdb.SMembers(t.Context(), "{broker}:consumers").Val()) == 1 }, "the dead one is forgotten")
	b.queueKey(t, "plant/a")
}

// Redis takes an event and its answer is lost: the post is refused, and the event is delivered all the same
// (the sender says it again, so twice; never not at all).
func TestLostAnswer(t *testing.T) {
	sub := subscribe(t, nil)
	r := testredis.Start(t)
	proxy := startProxy(t, r.Addr)
	ts, err := stream.ParseTriggers([]byte(one("a", "t", sub.URL, "")))
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: proxy.addr, MaxRetries: -1})
	defer rdb.Close()
	b, err := stream.New(rdb, ts, stream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	defer func() { cancel(); <-done }()
	if err := b.Accept(t.Context(), []ce.Event{ev(t, "t", "0")}); err != nil {
		t.Fatal(err)
	}
	sub.awaitIDs(t, 1)
	proxy.swallow.Store(true)
	if err := b.Accept(t.Context(), []ce.Event{ev(t, "t", "1")}); err == nil {
		t.Fatal("accepted without an answer")
	}
	await(t, func() bool { return sub.counts()["1"] == 1 }, "the event whose answer was lost")
}

// proxy stands between the broker and Redis. Once swallow is set it forwards the next transaction, and cuts
// the connection instead of giving the answer.
type proxy struct {
	addr    string
	swallow atomic.Bool
}

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &proxy{addr: l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.forward(c, to)
		}
	}()
	return p
}

func (p *proxy) forward(client net.Conn, to string) {
	server, err := net.Dial("tcp", to)
	if err != nil {
		client.Close()
		return
	}
	var cut atomic.Bool
	go func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil || cut.Load() {
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	defer server.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		// The transaction that stores, not one that takes the event before it away.
		sent := bytes.ToUpper(buf[:n])
		if bytes.Contains(sent, []byte("\r\nEXEC\r\n")) && bytes.Contains(sent, []byte("\r\nXADD\r\n")) && p.swallow.CompareAndSwap(true, false) {
			cut.Store(true)
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// kill -9 of Redis (appendfsync always): nothing accepted is lost, and the broker goes on by itself.
func TestKillRedis(t *testing.T) {
	sub := subscribe(t, nil)
	r := testredis.Start(t, durable...)
	b := startOn(t, r, []byte(one("a", "t", sub.URL, "")), stream.Options{})
	stop := flood(t, b.URL, "t")
	await(t, func() bool { return len(sub.counts()) > 300 }, "a flood")
	r.Kill()
	if status, h := rawPost(t, b.URL, "", "ce-specversion", "1.0", "ce-id", "x", "ce-source", "/s", "ce-type", "t"); status != 503 || h.Get("Retry-After") == "" {
		t.Errorf("without Redis: %d, Retry-After %q", status, h.Get("Retry-After"))
	}
	if err := b.Ready(t.Context()); err == nil {
		t.Error("ready without Redis")
	}
	r.Restart(t)
	n := len(sub.counts())
	await(t, func() bool { return len(sub.counts()) > n+300 }, "going on")
	awaitAll(t, sub, stop())
}

// Redis may come later than the broker.
func TestRedisAwayAtStart(t *testing.T) {
	sub := subscribe(t, nil)
	r := testredis.Start(t)
	r.Kill()
	b := startOn(t, r, []byte(one("a", "t", sub.URL, "")), stream.Options{})
	if status, _ := rawPost(t, b.URL, "", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"); status != 503 {
		t.Errorf("%d", status)
	}
	r.Restart(t)
	await(t, func() bool {
		status, _ := rawPost(t, b.URL, "", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t")
		return status == 202
	}, "accepted")
	sub.awaitIDs(t, 1)
}

// FLUSHALL in the middle: queues are made again, events accepted afterwards are delivered within a second.
func TestFlushAll(t *testing.T) {
	sub := subscribe(t, nil)
	b := start(t, []byte(one("a", "t", sub.URL, "")), stream.Options{})
	for round := range 5 {
		b.post(t, ev(t, "t", fmt.Sprintf("before %d", round)))
		await(t, func() bool { return sub.counts()[fmt.Sprintf("before %d", round)] == 1 }, "delivery")
		if err := b.rdb.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		b.post(t, ev(t, "t", fmt.Sprintf("after %d", round)))
		await(t, func() bool { return sub.counts()[fmt.Sprintf("after %d", round)] == 1 }, "delivery after FLUSHALL")
		if took := time.Since(start); took > time.Second {
			t.Errorf("it took %s", took)
		}
	}
	// Also under load: what was accepted after the last FLUSHALL comes.
	stop := flood(t, b.URL, "t")
	for range 5 {
		n := len(sub.counts())
		await(t, func() bool { return len(sub.counts()) > n+50 }, "going on")
		b.rdb.FlushAll(t.Context())
	}
	stop()
	b.post(t, ev(t, "t", "the last"))
	await(t, func() bool { return sub.counts()["the last"] >= 1 }, "the last")
}

// A retry that waits survives the broker, and is made when its time has come, by whoever is there.
func TestRetrySurvives(t *testing.T) {
	var n atomic.Int64
	sub := subscribe(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	manifest := []byte(one("a", "t", sub.URL, "{retry: 1, backoffDelay: PT1S}"))
	r := testredis.Start(t)
	b := startOn(t, r, manifest, stream.Options{})
	b.post(t, ev(t, "t", "1"))
	await(t, func() bool { s, _ := stream.Queues(t.Context(), b.rdb); return len(s) == 1 && s[0].Parked == 1 }, "parked")
	b.stop()
	if n.Load() != 1 {
		t.Fatal(n.Load())
	}
	startOn(t, r, manifest, stream.Options{})
	await(t, func() bool { return n.Load() == 2 }, "the second attempt")
}

// Attempts are counted across brokers: a dead letter after retry+1 attempts, however many brokers made them.
func TestAttemptsAreCountedDurably(t *testing.T) {
	sub := subscribe(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	manifest := []byte(one("a", "t", sub.URL, "{retry: 3, backoffDelay: PT0.3S, backoffPolicy: linear}"))
	r := testredis.Start(t)
	b := startOn(t, r, manifest, stream.Options{})
	b.post(t, ev(t, "t", "1"))
	for i := range 3 {
		await(t, func() bool { return sub.counts()["1"] == i+1 }, "an attempt")
		await(t, func() bool { s, _ := stream.Queues(t.Context(), b.rdb); return s[0].Parked == 1 }, "parked")
		b.stop()
		b = startOn(t, r, manifest, stream.Options{})
	}
	l := b.awaitDead(t, "plant/a", 1)
	if l[0].Attempts != 4 || sub.counts()["1"] != 4 {
		t.Errorf("%+v, %v", l, sub.counts())
	}
}

// Two brokers on one Redis share the work: every event is delivered once.
func TestTwoBrokers(t *testing.T) {
	sub := subscribe(t, nil)
	manifest := []byte(one("a", "t", sub.URL, ""))
	r := testredis.Start(t)
	a, b := startOn(t, r, manifest, stream.Options{}), startOn(t, r, manifest, stream.Options{})
	for i := range 400 {
		to := a
		if i%2 == 1 {
			to = b
		}
		to.post(t, ev(t, "t", fmt.Sprint(i)))
	}
	for id, n := range sub.awaitIDs(t, 400) {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

// At the end deliveries under way come to their end, and what was not begun stays for the next.
func TestGracefulEnd(t *testing.T) {
	release := make(chan struct{})
	sub := subscribe(t, func(http.ResponseWriter, *http.Request) { <-release })
	manifest := []byte(one("a", "t", sub.URL, ""))
	r := testredis.Start(t)
	b := startOn(t, r, manifest, stream.Options{Concurrency: 4})
	var es []ce.Event
	for i := range 50 {
		es = append(es, ev(t, "t", fmt.Sprint(i)))
	}
	b.post(t, es...)
	sub.awaitIDs(t, 4)
	time.AfterFunc(100*time.Millisecond, func() { close(release) })
	b.stop()
	if n := len(sub.counts()); n < 4 || n > 8 {
		t.Errorf("%d deliveries begun", n)
	}
	s, err := stream.Queues(t.Context(), b.rdb)
	if err != nil || s[0].Waiting != int64(50-len(sub.counts())) {
		t.Errorf("%+v, %v", s, err)
	}
	startOn(t, r, manifest, stream.Options{})
	for id, n := range sub.awaitIDs(t, 50) {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

// A subscriber that never answers does not keep the broker from ending; its delivery is made again.
func TestEndWithAStuckSubscriber(t *testing.T) {
	release := make(chan struct{})
	once := sync.OnceFunc(func() { close(release) })
	sub := subscribe(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer once()
	manifest := []byte(one("a", "t", sub.URL, "{retry: 0}"))
	r := testredis.Start(t)
	b := startOn(t, r, manifest, stream.Options{Grace: 100 * time.Millisecond})
	b.post(t, ev(t, "t", "1"))
	sub.awaitIDs(t, 1)
	b.stop()
	once()
	startOn(t, r, manifest, stream.Options{})
	await(t, func() bool { return sub.counts()["1"] == 2 }, "the delivery again, though retry is 0: the end was no attempt")
}

// What is said at start about durability.
func TestDurability(t *testing.T) {
	for _, x := range []struct {
		args   []string
		strong bool
		says   string
	}{
		{durable, true, "kill -9 and power cuts"},
		{[]string{"--appendonly", "yes", "--appendfsync", "everysec"}, false, "last second"},
		{[]string{"--appendonly", "yes", "--appendfsync", "no"}, false, "kernel"},
		{nil, false, "lost when redis ends"},
		{append([]string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, durable...), false, "evict"},
		{[]string{"--rename-command", "CONFIG", ""}, false, "does not tell"},
	} {
		r := testredis.Start(t, x.args...)
		var log bytes.Buffer
		var mu sync.Mutex
		b := startOn(t, r, nil, stream.Options{Log: slog.New(slog.NewTextHandler(&locked{&mu, &log}, nil))})
		d, err := stream.GetDurability(t.Context(), b.rdb)
		if err != nil || d.Strong() != x.strong || !strings.Contains(d.String(), x.says) {
			t.Errorf("%v: %s, strong %t, %v", x.args, d, d.Strong(), err)
		}
		await(t, func() bool { mu.Lock(); defer mu.Unlock(); return strings.Contains(log.String(), x.says) }, "said in the log")
		b.stop()
		r.Kill()
	}
}

type locked struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// The Server says its real port, ends in order, and has health, readiness and metrics.
func TestServer(t *testing.T) {
	sub := subscribe(t, nil)
	r := testredis.Start(t)
	ts, _ := stream.ParseTriggers([]byte(one("a", "t", sub.URL, "")))
	b, err := stream.New(r.Client(t), ts, stream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := stream.NewServer(b, "127.0.0.1:0", nil)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	if err := event.NewSink(s.URL(), nil).Post(t.Context(), ev(t, "t", "1")); err != nil {
		t.Fatal(err)
	}
	sub.awaitIDs(t, 1)
	get := func(path string) int {
		resp, err := http.Get(s.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/": 405, "/else": 405} {
		if got := get(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	r.Kill()
	if got := get("/readyz"); got != 503 && got != 504 {
		t.Errorf("/readyz without Redis: %d", got)
	}
	r.Restart(t)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	other, err := net.Listen("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Error("the port is still taken:", err)
	} else {
		other.Close()
	}
}

// subscribeAt listens at an address that was somebody's.
func subscribeAt(t testing.TB, addr string) *subscriber {
	t.Helper()
	s := &subscriber{}
	s.Server = httptest.NewUnstartedServer(s.serve())
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.Server.Listener.Close()
	s.Server.Listener = l
	s.Server.Start()
	t.Cleanup(s.Server.Close)
	return s
}
