package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/testredis"
)

// anybody lets everybody in: what Kubernetes' reviews cost is cached by the real authority.
type anybody struct{}

func (anybody) Authenticate(_ context.Context, token string) (User, error) {
	return User{Name: token}, nil
}
func (anybody) Allowed(context.Context, User, Access) (bool, error) { return true, nil }

const benchFleet = 10_000

// benchAPI serves an API over a real Redis with a fleet of 10,000 devices, one application on all of them.
func benchAPI(b *testing.B) (*API, *httptest.Server, *ledger.Ledger) {
	rdb := testredis.Start(b).Client(b)
	l := ledger.New(rdb, ledger.Options{})
	ctx := b.Context()
	if _, _, err := l.Era(ctx); err != nil {
		b.Fatal(err)
	}
	app := ledger.App{Namespace: "a", Name: "app"}
	target := ledger.Target{Sequence: 1, Revision: "app-1", Digest: "sha256:" + strings.Repeat("0", 64), Size: 100, State: ledger.StateRunning}
	if _, err := l.SetTarget(ctx, app, target, ledger.Selection{All: true}); err != nil {
		b.Fatal(err)
	}
	work := make(chan int)
	var wg sync.WaitGroup
	for range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range work {
				d := event.Device{Namespace: "a", Name: fmt.Sprintf("d-%05d", i)}
				if err := l.PutDevice(ctx, d, ledger.DeviceFacts{Approved: true, Board: "FrdmK64f", Labels: map[string]string{"line": fmt.Sprint(i % 10)}}, []ledger.App{app}); err != nil {
					b.Error(err)
				}
			}
		}()
	}
	for i := range benchFleet {
		work <- i
	}
	close(work)
	wg.Wait()
	a := New(Deps{Client: client.NewMemory(), Ledger: l, Affinity: affinity.New(rdb, l.Keys(), affinity.Options{}), Auth: anybody{},
		Recents: func(context.Context, string, int, time.Duration) ([]Recorded, string, error) { return nil, "", nil }})
	s := httptest.NewServer(a)
	b.Cleanup(s.Close)
	return a, s, l
}

// BenchmarkReads asks 500 times a second, whatever comes back (an open loop), what dashboards and CLIs ask, of many users.
func BenchmarkReads(b *testing.B) {
	_, s, _ := benchAPI(b)
	const perSecond, seconds = 500, 4
	paths := []string{"/devices", "/devices?limit=50&after=d-05000", "/devices/d-00042/explain", "/devices?q=d-0123", "/devices?board=FrdmK64f&limit=20",
		"/applications/app/devices?set=away&limit=100", "/devices/d-09999/commands", "/devices/d-00042/telemetry", "/overview", "/devices/d-00042/logs"}
	hc := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	warm, err := http.NewRequestWithContext(b.Context(), "GET", s.URL+"/api/v1/namespaces/a/overview", nil)
	if err != nil {
		b.Fatal(err)
	}
	warm.Header.Set("Authorization", "Bearer first") // the index is made once, by whoever comes first
	if resp, err := hc.Do(warm); err != nil {
		b.Fatal(err)
	} else {
		resp.Body.Close()
	}
	for range b.N {
		var mu sync.Mutex
		var took []time.Duration
		var wg sync.WaitGroup
		tick := time.NewTicker(time.Second / perSecond)
		for i := range perSecond * seconds {
			<-tick.C
			wg.Add(1)
			go func() {
				defer wg.Done()
				begun := time.Now()
				req, err := http.NewRequestWithContext(b.Context(), "GET", s.URL+"/api/v1/namespaces/a"+paths[i%len(paths)], nil)
				if err != nil {
					b.Error(err)
					return
				}
				req.Header.Set("Authorization", fmt.Sprintf("Bearer user-%d", i%20))
				resp, err := hc.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				n, err := io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || n == 0 {
					if !strings.HasSuffix(paths[i%len(paths)], "/explain") || resp.StatusCode != 404 { // no Device object in this fleet
						b.Errorf("%s: %d %v", paths[i%len(paths)], resp.StatusCode, err)
					}
				}
				mu.Lock()
				took = append(took, time.Since(begun))
				mu.Unlock()
			}()
		}
		wg.Wait()
		tick.Stop()
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	}
}

// BenchmarkFirstPage asks for the first page of the list of devices.
func BenchmarkFirstPage(b *testing.B) {
	a, _, _ := benchAPI(b)
	for b.Loop() {
		a.rates = rates{}
		req := httptest.NewRequest("GET", "/api/v1/namespaces/a/devices", nil)
		req.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		a.ServeHTTP(w, req)
		if w.Code != 200 {
			b.Fatal(w.Body.String())
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/page")
}

// BenchmarkWatchers has 200 WebSockets follow the devices, and measures from a change until the last of them has it.
func BenchmarkWatchers(b *testing.B) {
	_, s, l := benchAPI(b)
	const watchers = 200
	heard := make(chan string, watchers*4)
	for i := range watchers {
		c, _, err := websocket.Dial(b.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/api/v1/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {fmt.Sprintf("Bearer user-%d", i)}}})
		if err != nil {
			b.Fatal(err)
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		if err := c.Write(b.Context(), websocket.MessageText, []byte(`{"subscribe":[{"id":"1","topic":"devices","namespace":"a"}]}`)); err != nil {
			b.Fatal(err)
		}
		if _, _, err := c.Read(b.Context()); err != nil { // where now is
			b.Fatal(err)
		}
		go func() {
			for {
				_, msg, err := c.Read(b.Context())
				if err != nil {
					return
				}
				var m struct {
					Items []struct {
						Device event.Device `json:"device"`
					} `json:"items"`
				}
				if json.Unmarshal(msg, &m) == nil {
					for _, it := range m.Items {
						heard <- it.Device.Name
					}
				}
			}
		}()
	}
	var worst time.Duration
	for i := range b.N {
		name := fmt.Sprintf("new-%06d", i)
		begun := time.Now()
		if err := l.PutDevice(b.Context(), event.Device{Namespace: "a", Name: name}, ledger.DeviceFacts{Approved: true}, nil); err != nil {
			b.Fatal(err)
		}
		for seen := 0; seen < watchers; {
			if <-heard == name {
				seen++
			}
		}
		worst = max(worst, time.Since(begun))
	}
	b.ReportMetric(float64(worst.Milliseconds()), "worst-ms")
}
