package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"wasmbed.io/wasmbed/functions"
	"wasmbed.io/wasmbed/internal/testredis"
)

// starts is how many starts the median is of.
const starts = 15

// TestStart measures how long a function takes from exec until it is ready, which is what a device waits for when the
// function was scaled to zero. It prints figures and judges none: they depend on the machine. With
// WASMBED_FUNCTIONS_BIN=<binary> go test ./cmd/functions -run TestStart -v.
func TestStart(t *testing.T) {
	bin := os.Getenv("WASMBED_FUNCTIONS_BIN")
	if bin == "" {
		t.Skip("WASMBED_FUNCTIONS_BIN names no binary to measure")
	}
	redis := testredis.Start(t)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig") // of an API that is not there: nothing is asked at start
	if err := os.WriteFile(kubeconfig, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: c\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(bin); err == nil {
		t.Logf("binary: %.1f MiB", float64(st.Size())/(1<<20))
	}
	for _, name := range slices.Concat(functions.Names(), functions.Sinks(), []string{functions.APIName}) {
		var wall, cpu []time.Duration
		var rss int64
		for range starts {
			w, c, m := start(t, bin, name, "WASMBED_REDIS_URL="+redis.URL, "WASMBED_SINK=http://127.0.0.1:1", "WASMBED_KUBECONFIG="+kubeconfig)
			wall, cpu, rss = append(wall, w), append(cpu, c), max(rss, m)
		}
		slices.Sort(wall)
		slices.Sort(cpu)
		t.Logf("%-10s exec to ready: %v (p50), %v (max); CPU %v (p50), %v (max); at most %.0f MiB resident", name,
			wall[starts/2].Round(100*time.Microsecond), wall[starts-1].Round(100*time.Microsecond), cpu[starts/2].Round(100*time.Microsecond), cpu[starts-1].Round(100*time.Microsecond), float64(rss)/1024)
	}
}

// start starts a function with what its container has, waits until it is ready, and ends it.
func start(t *testing.T, bin, name string, env ...string) (wall, cpu time.Duration, rss int64) {
	t.Helper()
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), append(env, "WASMBED_FUNCTION="+name, "WASMBED_LISTEN=127.0.0.1:0", "GOMEMLIMIT=100MiB")...)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`msg=serves.* address=(\S+)`)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := address.FindStringSubmatch(lines.Text()); m != nil {
			resp, err := http.Get(fmt.Sprintf("http://%s/readyz", m[1]))
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s is not ready: %v %v", name, resp, err)
			} else {
				resp.Body.Close()
			}
			wall = time.Since(began)
			break
		}
	}
	if wall == 0 {
		t.Errorf("%s does not start", name)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	for lines.Scan() {
	}
	_ = cmd.Wait() // its times count, however it ends
	if use, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		rss = use.Maxrss
	}
	return wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), rss
}
