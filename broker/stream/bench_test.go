package stream_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/testredis"
)

// BenchmarkDelivery measures what matters to a site: events accepted durably and delivered to a local
// subscriber, 256 B of data, 32 posts under way. The broker is a process of its own, so its CPU time is
// known apart from the load's and the subscriber's; Redis' is counted too.
//
//	events/core-s   per CPU-second of broker and Redis together
//	broker/core-s   per CPU-second of the broker alone
//	p99-ms          from before the post to the subscriber
//	accept-p99-ms   of the post
//
// Knative's multi-tenant broker, in memory and not durable, gave about 3,000 events per core-second and a
// p99 of 18 to 26 ms in the same setting.
func BenchmarkDelivery(b *testing.B) {
	for _, fsync := range []string{"always", "everysec"} {
		b.Run("fsync="+fsync, func(b *testing.B) {
			r := testredis.Start(b, "--appendonly", "yes", "--appendfsync", fsync)
			bench(b, r, 32, 256)
		})
	}
}

func bench(b *testing.B, r *testredis.Server, inFlight, size int) {
	started := make([]atomic.Int64, b.N)
	took := make([]atomic.Int64, b.N)
	var arrived atomic.Int64
	all := make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	sub := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		i, _ := strconv.Atoi(req.Header.Get("Ce-Id"))
		if took[i].CompareAndSwap(0, time.Now().UnixNano()-started[i].Load()) && arrived.Add(1) == int64(b.N) {
			close(all)
		}
	})}
	go sub.Serve(l)
	defer sub.Close()

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STREAM_TEST_BROKER="+r.URL, "STREAM_TEST_TRIGGERS="+one("bench", "t", "http://"+l.Addr().String()+"/", ""))
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil {
		b.Fatal(err)
	}
	url := strings.TrimSpace(string(line[:n]))

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inFlight, DisableCompression: true}}
	data := bytes.Repeat([]byte("x"), size)
	accept := make([]int64, b.N)
	var next atomic.Int64
	var wg sync.WaitGroup
	brokerBefore, redisBefore := cpuTime(b, cmd.Process.Pid), cpuTime(b, pidOf(b, r))
	b.ResetTimer()
	for range inFlight {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				req, _ := http.NewRequest(http.MethodPost, url, bytes.NewReader(data))
				req.Header = http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {strconv.Itoa(i)}, "Ce-Source": {"/bench"}, "Ce-Type": {"t"},
					"Ce-Subject": {"plant/press-7"}, "Ce-Namespace": {"plant"}, "Ce-Partitionkey": {"plant/press-7"}, "Content-Type": {"application/octet-stream"}}
				start := time.Now()
				started[i].Store(start.UnixNano())
				resp, err := client.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusAccepted {
					b.Error(resp.Status)
				}
				accept[i] = int64(time.Since(start))
			}
		})
	}
	wg.Wait()
	select {
	case <-all:
	case <-time.After(patience):
		b.Fatalf("%d of %d arrived", arrived.Load(), b.N)
	}
	b.StopTimer()
	broker, redis := cpuTime(b, cmd.Process.Pid)-brokerBefore, cpuTime(b, pidOf(b, r))-redisBefore
	total := make([]int64, b.N)
	for i := range took {
		total[i] = took[i].Load()
	}
	if s := (broker + redis).Seconds(); s > 0 {
		b.ReportMetric(float64(b.N)/s, "events/core-s")
		b.ReportMetric(float64(b.N)/broker.Seconds(), "broker/core-s")
	}
	b.ReportMetric(p99(total), "p99-ms")
	b.ReportMetric(p99(accept), "accept-p99-ms")
}

func pidOf(b *testing.B, r *testredis.Server) int {
	info := r.Client(b).Info(b.Context(), "server").Val()
	_, rest, _ := strings.Cut(info, "process_id:")
	pid, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]))
	if err != nil {
		b.Fatal(err)
	}
	return pid
}

func p99(ns []int64) float64 {
	sort.Slice(ns, func(i, j int) bool { return ns[i] < ns[j] })
	return float64(ns[len(ns)*99/100]) / 1e6
}

// cpuTime is what a process has used, user and system.
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	s, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("needs /proc: ", err)
	}
	f := strings.Fields(string(s[bytes.LastIndexByte(s, ')')+1:]))
	u, _ := strconv.ParseInt(f[11], 10, 64)
	k, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(u+k) * 10 * time.Millisecond // USER_HZ is 100
}
