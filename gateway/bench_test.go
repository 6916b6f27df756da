package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/protocol"
)

// The benchmarks run the gateway in a child process (this test binary again), so that its CPU time and memory
// are its own: the load, the broker's ingress and Redis are elsewhere. Figures are per second of the child's
// CPU ("core-s").
//
//	go test ./gateway -run - -bench . -benchtime 1x
const serverEnv = "WASMBED_TEST_SERVER"

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{}) // Redis is away on purpose
	if spec := os.Getenv(serverEnv); spec != "" {
		if err := serveBench(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// benchSpec tells the child what to serve.
type benchSpec struct{ Redis, Sink, CA, Key string }

// benchStat is what the child answers to every line on its standard input.
type benchStat struct {
	Addr       string
	CPU        time.Duration // user and system, so far
	RSS        int64         // bytes
	Heap       uint64
	Stack      uint64
	Goroutines int
	Devices    int
}

func serveBench(spec string) error {
	var s benchSpec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return err
	}
	c, err := tls.X509KeyPair([]byte(s.CA), []byte(s.Key))
	if err != nil {
		return err
	}
	g, err := New(Config{Namespace: testNS, Gateway: testGateway, ListenTLS: "127.0.0.1:0", ListenHTTP: "127.0.0.1:0", Sink: s.Sink},
		Deps{Redis: redis.NewClient(&redis.Options{Addr: s.Redis}), Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &c, nil }})
	if err != nil {
		return err
	}
	if err := g.Listen(); err != nil {
		return err
	}
	go g.Serve(context.Background())
	if name := os.Getenv("WASMBED_TEST_PROFILE"); name != "" { // of the server: go tool pprof
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "gc" {
			debug.FreeOSMemory()
		}
		st := benchStat{Addr: g.TLSAddr().String(), CPU: cpuTime(), RSS: rss(), Goroutines: runtime.NumGoroutine(), Devices: g.Counts().Devices}
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		st.Heap, st.Stack = ms.HeapInuse, ms.StackInuse
		json.NewEncoder(os.Stdout).Encode(st)
	}
	return nil
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func rss() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	n, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return n * int64(os.Getpagesize())
}

// server is the child.
type server struct {
	b   *testing.B
	w   *world
	in  io.Writer
	out *json.Decoder
}

func startServer(b *testing.B) *server {
	w := newWorld(b)
	w.broker.on = nil
	w.broker.srv.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		rw.WriteHeader(http.StatusAccepted)
	})
	if err := w.ledger.PutGateway(b.Context(), ledger.GatewaySettings{Namespace: testNS, Name: testGateway, Heartbeat: time.Hour, PreAuthPerAddress: 1 << 20}); err != nil {
		b.Fatal(err)
	}
	k, err := w.ca.server()(nil)
	if err != nil {
		b.Fatal(err)
	}
	cert, key := pemPair(b, k)
	spec, err := json.Marshal(benchSpec{Redis: w.redis.Addr, Sink: w.broker.srv.URL,
		CA: string(cert), Key: string(key)})
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverEnv+"="+string(spec))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close() // it ends by itself, so that a profile is written
		cmd.Wait()
	})
	return &server{b: b, w: w, in: in, out: json.NewDecoder(out)}
}

func (s *server) stat(line string) (st benchStat) {
	s.b.Helper()
	fmt.Fprintln(s.in, line)
	if err := s.out.Decode(&st); err != nil {
		s.b.Fatal(err)
	}
	return st
}

// redisCPU is the CPU time of the Redis server.
func (s *server) redisCPU() time.Duration {
	info, err := s.w.rdb.Info(s.b.Context(), "cpu").Result()
	if err != nil {
		s.b.Fatal(err)
	}
	var sum float64
	for _, line := range strings.Split(info, "\r\n") {
		k, v, _ := strings.Cut(line, ":")
		if k == "used_cpu_sys" || k == "used_cpu_user" {
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				s.b.Fatal(err)
			}
			sum += f
		}
	}
	return time.Duration(sum * float64(time.Second))
}

// client is a device that costs little.
type client struct {
	conn *tls.Conn
	r    *protocol.Reader
	buf  []byte
}

func (s *server) certs(n int) []tls.Certificate {
	out := make([]tls.Certificate, n)
	key := newKey(s.b) // one for all: making keys is not what is measured
	for i := range out {
		der := s.w.ca.issue(spiffe(testDomain, testNS, fmt.Sprintf("press-%d", i)), &key.PublicKey, time.Now().Add(time.Hour))
		out[i] = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	return out
}

func (s *server) dial(addr string, cert tls.Certificate, cache tls.ClientSessionCache) (*client, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn: tls.Client(nc, &tls.Config{ServerName: "localhost", RootCAs: s.w.ca.pool(), NextProtos: []string{alpn}, Certificates: []tls.Certificate{cert},
		ClientSessionCache: cache, CurvePreferences: []tls.CurveID{tls.CurveP256}, MinVersion: tls.VersionTLS13})}
	c.r = protocol.NewReader(c.conn)
	c.r.SetCap(protocol.MaxFrame)
	return c, c.conn.Handshake()
}

func (s *server) connect(addr string, cert tls.Certificate) (*client, error) {
	c, err := s.dial(addr, cert, nil)
	if err == nil {
		err = c.open()
	}
	return c, err
}

// open says hello and reports, and returns when both are answered.
func (c *client) open() error {
	err := c.say(&protocol.Hello{ID: 1, Versions: []byte{1}, Features: features, BootID: []byte("boot0001"), Board: "Host", Firmware: "1",
		Capabilities: protocol.Capabilities{ModuleMemory: 1, ModuleSize: 1, Chunk: 1024, Frame: 4096, Apps: 1, ABI: 1}})
	if err != nil {
		return err
	}
	if _, err := c.until(protocol.TypeWelcome); err != nil {
		return err
	}
	sum := protocol.StateDigest(nil)
	if err := c.say(&protocol.Report{ID: 2, Version: 1, Full: true, StateDigest: sum[:]}); err != nil {
		return err
	}
	_, err = c.until(protocol.TypeAck)
	return err
}

func (c *client) say(m protocol.Message) (err error) {
	if c.buf, err = protocol.Append(c.buf[:0], m); err != nil {
		return err
	}
	_, err = c.conn.Write(c.buf)
	return err
}

func (c *client) until(want protocol.Type) ([]byte, error) {
	for {
		body, err := c.r.Next()
		if err != nil {
			return nil, err
		}
		if t, _, err := protocol.PeekType(body); err != nil || t == want {
			return body, err
		}
	}
}

// each runs f for 0…n-1 in p goroutines.
func each(b *testing.B, n, p int, f func(i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range p {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
}

// BenchmarkHandshake connects 2,000 devices. tls: full handshakes of known devices and no more. The others go on:
// hello, lease, welcome, report, acknowledged, gone; of devices never seen before (first), seen before (known), and
// with a session ticket (resumed).
func BenchmarkHandshake(b *testing.B) {
	const n = 2000
	for _, kind := range []string{"tls", "first", "known", "resumed"} {
		b.Run(kind, func(b *testing.B) {
			s := startServer(b)
			certs := s.certs(n)
			caches := make([]tls.ClientSessionCache, n)
			for i := range caches {
				if kind == "resumed" {
					caches[i] = tls.NewLRUClientSessionCache(1)
				}
			}
			addr := s.stat("").Addr
			connect := func() {
				each(b, n, 32, func(i int) error {
					c, err := s.dial(addr, certs[i], caches[i])
					if err == nil && kind != "tls" {
						err = c.open()
					}
					if err != nil {
						return err
					}
					return c.conn.Close()
				})
			}
			if kind != "first" {
				connect()
			}
			for range b.N {
				before, redis := s.stat("").CPU, s.redisCPU()
				connect()
				took, redisTook := s.stat("").CPU-before, s.redisCPU()-redis
				b.ReportMetric(n/took.Seconds(), "sessions/core-s")
				b.ReportMetric(float64(redisTook.Microseconds())/n, "redis-µs/session")
			}
		})
	}
}

// BenchmarkIdle holds 2,000 idle sessions.
func BenchmarkIdle(b *testing.B) {
	const n = 2000
	for range b.N {
		s := startServer(b)
		certs := s.certs(n)
		before := s.stat("gc")
		clients := make([]*client, n)
		each(b, n, 32, func(i int) (err error) {
			clients[i], err = s.connect(before.Addr, certs[i])
			return err
		})
		for range 3 {
			s.stat("gc")
		}
		after := s.stat("gc")
		time.Sleep(3 * time.Second) // what an idle gateway costs: ticks, timers, leases
		b.ReportMetric(float64((s.stat("").CPU-after.CPU).Milliseconds())/3, "cpu-ms/s")
		if after.Devices != n {
			b.Fatalf("%d devices", after.Devices)
		}
		b.ReportMetric(float64(after.RSS-before.RSS)/n/1024, "KiB/session")
		b.ReportMetric(float64(after.Heap-before.Heap)/n/1024, "heap-KiB/session")
		b.ReportMetric(float64(after.Stack-before.Stack)/n/1024, "stack-KiB/session")
		b.ReportMetric(float64(after.Goroutines-before.Goroutines)/n, "goroutines/session")
		for _, c := range clients {
			c.conn.Close()
		}
	}
}

// BenchmarkTelemetry sends records of 64 devices, each with as many frames under way as SPEC allows, until each
// was acknowledged.
func BenchmarkTelemetry(b *testing.B) {
	for _, records := range []int{1, 8, 32, 128} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			const devices = 64
			frames := 40_000 / records * 2
			s := startServer(b)
			certs := s.certs(devices)
			addr := s.stat("").Addr
			clients := make([]*client, devices)
			each(b, devices, 8, func(i int) (err error) {
				clients[i], err = s.connect(addr, certs[i])
				return err
			})
			m := &protocol.Telemetry{ID: 7, Seq: 1}
			for i := range records {
				m.Records = append(m.Records, protocol.TelemetryRecord{Time: 1.7e12, App: "hello", Name: "temperature", Value: float64(i) + 0.125})
			}
			frame, err := protocol.Append(nil, m)
			if err != nil {
				b.Fatal(err)
			}
			per := max(frames/devices, 64)
			b.ResetTimer()
			for range b.N {
				before, redis, start := s.stat("").CPU, s.redisCPU(), time.Now()
				each(b, devices, devices, func(i int) error {
					c := clients[i]
					sent, acked := 0, 0
					for acked < per {
						for ; sent < per && sent-acked < protocol.MaxInFlight; sent++ {
							if _, err := c.conn.Write(frame); err != nil {
								return err
							}
						}
						if _, err := c.until(protocol.TypeAck); err != nil {
							return err
						}
						acked++
					}
					return nil
				})
				took := s.stat("").CPU - before
				total := float64(devices * per * records)
				b.ReportMetric(total/took.Seconds(), "records/core-s")
				b.ReportMetric(total/float64(records)/took.Seconds(), "frames/core-s")
				b.ReportMetric(total/time.Since(start).Seconds(), "records/s")
				b.ReportMetric(float64((s.redisCPU() - redis).Microseconds()), "redis-µs")
			}
		})
	}
}
