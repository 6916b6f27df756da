// Package testkube runs the embedded Kubernetes API for a test: the real thing, in a process of its own.
package testkube

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/internal/apply"
)

// Server is an API server of one test, with Wasmbed's CRDs in it.
type Server struct {
	Kubeconfig string       // path; its default context may do everything
	Config     *rest.Config // the same, without a client-side rate limit
	Dir        string

	bin    string
	args   []string
	cmd    *exec.Cmd
	stderr *bytes.Buffer
}

// startTimeout is a generous ceiling: two to three seconds are usual.
const startTimeout = 2 * time.Minute

// Start starts an API server with an empty store and applies config/crd and the namespace wasmbed-system. It
// ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := StartBare(t)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	a, err := apply.New(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := apply.Files(os.DirFS(filepath.Join(Root(t), "config")), "crd")
	if err != nil {
		t.Fatal(err)
	}
	ns, err := apply.Decode([]byte(`{apiVersion: v1, kind: Namespace, metadata: {name: wasmbed-system}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(ctx, append(objects, ns...)...); err != nil {
		t.Fatal(err)
	}
	if err := a.Settle(ctx, objects...); err != nil {
		t.Fatal(err)
	}
	return s
}

// StartBare is Start without CRDs, with further arguments for the program.
func StartBare(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{bin: binary(t), args: args, Dir: t.TempDir()}
	s.start(t)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

// Stop ends the API server as Ctrl-C does; its store stays. It may be stopped already.
func (s *Server) Stop(t testing.TB) { s.end(t, syscall.SIGTERM) }

// Kill ends the API server with SIGKILL.
func (s *Server) Kill(t testing.TB) { s.end(t, syscall.SIGKILL) }

// Restart starts the API server again after Stop or Kill, with the same store, port and credentials.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.start(t)
}

func (s *Server) end(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	cmd := s.cmd
	s.cmd = nil
	if err := cmd.Process.Signal(sig); err != nil {
		t.Logf("testkube: %v", err)
	}
	timer := time.AfterFunc(20*time.Second, func() {
		t.Errorf("testkube: the API server did not end within 20 s")
		cmd.Process.Kill()
	})
	defer timer.Stop()
	cmd.Wait()
}

func (s *Server) start(t testing.TB) {
	t.Helper()
	s.stderr = &bytes.Buffer{}
	cmd := exec.Command(s.bin, append([]string{"--dir", s.Dir}, s.args...)...)
	cmd.Stderr = s.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that panics leaves nothing behind
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.cmd = cmd
	timer := time.AfterFunc(startTimeout, func() { cmd.Process.Kill() })
	defer timer.Stop()
	var endpoint struct{ URL, Kubeconfig string }
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &endpoint)
	}
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		s.cmd = nil
		t.Fatalf("testkube: the API server did not start: %v\n%s", err, tail(s.stderr.Bytes()))
	}
	s.Kubeconfig = endpoint.Kubeconfig
	if s.Config, err = clientcmd.BuildConfigFromFlags("", endpoint.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	s.Config.QPS = -1
}

// As returns a configuration for one of the kubeconfig's other users, such as "wasmbed-deploy".
func (s *Server) As(t testing.TB, user string) *rest.Config {
	t.Helper()
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: s.Kubeconfig},
		&clientcmd.ConfigOverrides{CurrentContext: user}).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1
	return cfg
}

func tail(b []byte) []byte { return b[max(0, len(b)-4000):] }

// Root returns the folder of go.mod.
func Root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if ok {
		if root := filepath.Join(filepath.Dir(file), "..", ".."); exists(filepath.Join(root, "go.mod")) {
			return root
		}
	}
	dir, err := os.Getwd() // built with -trimpath
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, "go.mod")) {
			return dir
		}
	}
	t.Fatal("testkube: no go.mod above the working directory")
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

var build sync.Mutex // one build per test binary; between test binaries it is a file lock

// binary returns the program to run: WASMBED_TEST_KUBEAPI, a kubeapi that somebody built, or
// one that it builds into the user's cache folder, where the next test finds it.
func binary(t testing.TB) string {
	t.Helper()
	if bin := os.Getenv("WASMBED_TEST_KUBEAPI"); bin != "" {
		return bin
	}
	build.Lock()
	defer build.Unlock()
	bin, err := buildServe(Root(t))
	if err != nil {
		t.Fatalf("testkube: %v", err)
	}
	return bin
}

// buildServe builds once: `go build` leaves a binary alone that is up to date.
func buildServe(root string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "wasmbed-test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "kubeapi")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", bin, "./cmd/standalone/kubeapi")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the embedded API: %w\n%s", err, out)
	}
	return bin, nil
}
