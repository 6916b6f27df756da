package docker

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// Another life of the provisioner takes over what runs, knows what it must remove, and carries boards to their gateway again.
func TestAdoption(t *testing.T) {
	r := newReal(t)
	wire := r.start(r.spec("wire", provisioner.Serial))
	net := r.spec("net", provisioner.Ethernet)
	net.Relay.Address = echo(t)
	n := r.start(net)
	r.booted(wire.ID).Close()
	r.booted(n.ID).Close()
	if _, err := New(t.Context(), r.e.o); !errs.Is(err, errs.Conflict) {
		t.Errorf("a second provisioner: %v", err)
	}
	if got := r.relayed("net"); got != "hello" {
		t.Errorf("%q came back", got)
	}
	r.e.Close()
	r.open()
	all, err := r.e.List(t.Context())
	if err != nil || len(all) != 2 || all[0].Life != n.Life || all[1].Life != wire.Life || !all[0].Running || !all[1].Running || all[0].Broken+all[1].Broken != "" {
		t.Fatalf("%+v %v", all, err)
	}
	if got := r.relayed("net"); got != "hello" {
		t.Errorf("%q came back", got)
	}
	r.reset(wire.ID).Close()

	// Its record is damaged; its folder is gone.
	r.e.Close()
	if err := os.WriteFile(filepath.Join(r.dir, "plant", "wire", recordFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(r.dir, "plant", "net")); err != nil {
		t.Fatal(err)
	}
	r.open()
	all, err = r.e.List(t.Context())
	if err != nil || len(all) != 2 || all[0].Broken == "" || all[1].Broken == "" || all[0].UID != "uid-net" {
		t.Fatalf("%+v %v", all, err)
	}
	for _, i := range all {
		if err := r.e.Remove(t.Context(), i.ID); err != nil {
			t.Error(err)
		}
	}
	if left := r.containers(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	// A record and no container: killed between the two.
	s := r.spec("wire", provisioner.Serial)
	b := r.e.board(s.Key)
	if err := os.MkdirAll(b.folder(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.writeRecord(record{Spec: s, Life: "LIFE"}); err != nil {
		t.Fatal(err)
	}
	r.start(s)
}

// relayed says hello to the gateway from inside the board's container's place, as its QEMU does.
func (r *real) relayed(name string) string {
	r.t.Helper()
	cmd := exec.Command("docker", "run", "--rm", "-i", "--network", "none", "--cap-drop", "ALL", "--user", r.e.o.User, "--mount", "type=bind,source="+filepath.Join(r.dir, "plant", name, boardDir)+",target="+inside,
		"--entrypoint", Socat, testImage, "-t10", "-", "UNIX-CONNECT:gateway.sock")
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+host(r.t))
	cmd.Stdin = strings.NewReader("hello\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Errorf("socat: %v\n%s", err, out)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// An engine that goes away, comes back, and refuses what it is asked: errors are named, nothing is forgotten.
func TestTroubles(t *testing.T) {
	r := newReal(t)
	path, _ := strings.CutPrefix(r.host, "unix://")
	var refuse atomic.Value // method and path suffix
	refuse.Store("")
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: "http", Host: "docker"}) },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}},
		FlushInterval: -1, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	sock := filepath.Join(t.TempDir(), "d.sock")
	serve := func() *http.Server {
		l, err := net.Listen("unix", sock)
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if no := refuse.Load().(string); no != "" && strings.HasPrefix(no, req.Method) && strings.HasSuffix(req.URL.Path, strings.TrimPrefix(no, req.Method)) {
				http.Error(w, `{"message":"driver failed to remove root filesystem"}`, http.StatusInternalServerError)
				return
			}
			proxy.ServeHTTP(w, req)
		})}
		go srv.Serve(l)
		return srv
	}
	srv := serve()
	r.e.Close()
	direct := r.host
	r.host = "unix://" + sock
	r.open()
	s := r.spec("press", provisioner.Serial)
	i := r.start(s)
	r.booted(i.ID).Close()

	refuse.Store("DELETE")
	if err := r.e.Remove(t.Context(), i.ID); !errs.Is(err, errs.Internal) || !strings.Contains(err.Error(), "driver failed to remove") {
		t.Errorf("a removal that fails: %v", err)
	}
	if all, err := r.e.List(t.Context()); err != nil || len(all) != 1 || all[0].Broken != "" {
		t.Errorf("%+v %v", all, err)
	}
	refuse.Store("POST/start")
	if err := r.e.Stop(t.Context(), i.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, err := r.e.Start(t.Context(), s); !errs.Is(err, errs.Internal) {
		t.Errorf("a start that fails: %v", err)
	}
	if all, err := r.e.List(t.Context()); err != nil || len(all) != 1 || all[0].Running || all[0].Exit.Reason != provisioner.ExitLost {
		t.Errorf("%+v %v", all, err)
	}
	refuse.Store("")
	i = r.start(s)

	waited := make(chan error, 1)
	go func() { _, err := r.e.Wait(t.Context(), i.ID); waited <- err }()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := r.e.Usage(t.Context(), i.ID); err == nil {
			break
		}
	}
	srv.Close()
	if err := <-waited; !errs.Is(err, errs.Unavailable) {
		t.Errorf("wait: %v", err)
	}
	r.e.changed()
	_, list := r.e.List(t.Context())
	_, start := r.e.Start(t.Context(), s)
	_, usage := r.e.Usage(t.Context(), i.ID)
	for what, err := range map[string]error{"list": list, "start": start, "usage": usage, "stop": r.e.Stop(t.Context(), i.ID, true), "remove": r.e.Remove(t.Context(), i.ID)} {
		if !errs.Is(err, errs.Unavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	os.Remove(sock)
	srv = serve()
	defer srv.Close()
	if all, err := r.e.List(t.Context()); err != nil || len(all) != 1 || !all[0].Running || all[0].Life != i.Life {
		t.Errorf("%+v %v", all, err)
	}
	r.e.Close()
	r.host = direct
	r.open()
}
