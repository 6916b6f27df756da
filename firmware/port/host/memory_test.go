package host

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wasmbed.io/wasmbed/protocol"
)

// resident returns the resident memory of this process in bytes.
func resident(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("needs /proc")
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A fleet in one process: what an idle, connected device costs. WASMBED_TEST_FLEET is its size.
func TestFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of handshakes")
	}
	n := 200
	if s := os.Getenv("WASMBED_TEST_FLEET"); s != "" {
		n = must(strconv.Atoi(s))
	}
	address, roots := gatewayProcess(t)
	shared, dir := newShared(t), t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	devices := make([]*Device, n)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		wg.Wait()
	}()
	debug.FreeOSMemory()
	before := resident(t)
	for i := range devices {
		name := fmt.Sprintf("fleet-%04d", i)
		d, err := New(Config{
			Gateway: address, Roots: roots, Name: name, Board: "Host", Dir: filepath.Join(dir, name), Shared: shared, NoSync: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		devices[i] = d
		wg.Go(func() {
			if err := d.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for _, d := range devices {
		eventually(t, "session", func() bool { return d.State().Enrolled })
	}
	debug.FreeOSMemory()
	used := (resident(t) - before) / n
	start, from := processorTime(t), time.Now()
	time.Sleep(time.Second) // a measurement, not a wait
	load := float64(processorTime(t)-start) / float64(time.Since(from)) / float64(n)
	t.Logf("%d idle devices: %d KiB each, %.4f %% of a processor each, %d goroutines, %d threads",
		n, used>>10, 100*load, runtime.NumGoroutine(), threads(t))
	if used > 100<<10 && !raceEnabled {
		t.Errorf("%d KiB for an idle device", used>>10)
	}
	if load > 0.001 && !raceEnabled {
		t.Errorf("an idle device takes %.4f %% of a processor", 100*load)
	}
}

func threads(t testing.TB) int {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip("needs /proc")
	}
	return len(entries)
}

// What a directory holds is what a device needs, and nothing of it grows with its age.
func TestDirectoryStaysSmall(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	start(t, g, newShared(t), dir, nil)
	for i := range 6 {
		name := []string{"hello", "hello-v2"}[i%2]
		revision := fmt.Sprintf("hello-%d", i)
		g.deploy(protocol.VerbUpdate, "hello", revision, uint64(i+1), sample(t, name), func(m *protocol.Manifest) { m.HealthWindow = 20 })
		g.waitRunning("hello", revision)
	}
	var files, size int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		files, size = files+1, size+info.Size()
		return nil
	})
	if err != nil || files > 40 || size > 64<<10 {
		t.Errorf("%d files, %d bytes, %v", files, size, err)
	}
}
