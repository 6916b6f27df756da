package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// ceiling is the generous end of every wait here; the figures belong to the benchmarks.
const ceiling = 2 * time.Minute

// programs returns the folder of the built commands.
func programs(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("WASMBED_TEST_BIN")
	if bin == "" {
		bin = filepath.Join("..", "..", "bin")
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"standalone", "kubeapi", "device"} {
		if _, err := os.Stat(filepath.Join(bin, p)); err != nil {
			t.Fatalf("%v: make build makes it, WASMBED_TEST_BIN says where it is", err)
		}
	}
	return bin
}

// running is a standalone process of a test.
type running struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *os.File
	err  *bytes.Buffer
	done chan struct{}
	dir  string
}

// environment moves everything away from its default, so that tests stand beside whatever runs here.
func environment(dir string, more ...string) []string {
	env := append(os.Environ(), "WASMBED_DIR="+dir, "REDIS_URL=")
	for _, l := range []string{"DASHBOARD", "API", "HTTP", "TLS"} {
		env = append(env, "WASMBED_LISTEN_"+l+"=127.0.0.1:0")
	}
	return append(env, more...)
}

func launch(t *testing.T, bin, dir string, env []string, args ...string) *running {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, out: out, err: &bytes.Buffer{}, done: make(chan struct{}), dir: dir}
	r.cmd = exec.Command(filepath.Join(bin, "standalone"), args...)
	r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr = env, out, r.err
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(func() { r.end(syscall.SIGTERM) })
	return r
}

func (r *running) end(sig syscall.Signal) time.Duration {
	begun := time.Now()
	_ = r.cmd.Process.Signal(sig)
	select {
	case <-r.done:
	case <-time.After(30 * time.Second):
		r.t.Errorf("standalone does not end at %v", sig)
		_ = r.cmd.Process.Kill()
		<-r.done
	}
	return time.Since(begun)
}

func (r *running) said() string {
	b, err := os.ReadFile(r.out.Name())
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

func eventually(t *testing.T, what string, fn func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ceiling)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := fn()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

func (r *running) ready() {
	r.t.Helper()
	eventually(r.t, "ready", func() error {
		select {
		case <-r.done:
			r.t.Fatalf("it ended:\n%s%s", r.said(), r.err)
		default:
		}
		if s := r.said(); !strings.Contains(s, "Wasmbed is ready") {
			return fmt.Errorf("said %q", s)
		}
		return nil
	})
}

func (r *running) set() *client.Set {
	r.t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(r.dir, "kubeconfig"))
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := client.New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *running) ends() endpoints { return (&state{dir: r.dir}).loadEndpoints() }

// children are the processes whose parent is pid.
func children(t *testing.T, pid int) []int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	all := strings.Fields(string(b))
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		if b, err := os.ReadFile(f); err == nil {
			all = append(all, strings.Fields(string(b))...)
		}
	}
	var out []int
	seen := map[int]bool{}
	for _, s := range all {
		if n, err := strconv.Atoi(s); err == nil && !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	return out
}

// gone waits until processes have ended; one that nobody reaps (its parent was killed) counts as ended.
func gone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("process %d has ended", pid), func() error {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || bytes.Contains(b, []byte(") Z ")) {
				return nil
			}
			return fmt.Errorf("%.60s", b)
		})
	}
}

// TestLife: from nothing to an application that runs on three devices; an orderly end and a start again; kill -9 and
// a start again: the same state, and nothing is deployed twice.
func TestLife(t *testing.T) {
	bin, dir := programs(t), filepath.Join(t.TempDir(), "state")
	env := environment(dir)
	r := launch(t, bin, dir, env)
	r.ready()
	first := r.picture()
	ends := r.ends()

	t.Run("Doors", func(t *testing.T) { doors(t, r, ends) })
	t.Run("Second", func(t *testing.T) {
		second := launch(t, bin, dir, env)
		<-second.done
		if code := second.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(second.err.String(), "a platform runs in") {
			t.Errorf("code %d: %s", code, second.err)
		}
	})

	kids := children(t, r.cmd.Process.Pid)
	if len(kids) != 5 {
		t.Errorf("children %v: Redis, the Kubernetes API and three devices are expected", kids)
	}
	if took := r.end(syscall.SIGINT); took > 15*time.Second || r.cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("it ended with %d after %s", r.cmd.ProcessState.ExitCode(), took)
	}
	gone(t, kids)

	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		r = launch(t, bin, dir, env)
		r.ready()
		if got := r.picture(); got != first {
			t.Errorf("after a start again\ngot  %s\nwant %s", got, first)
		}
		if got := r.ends(); got.Kubernetes != ends.Kubernetes || got.TLS != ends.TLS || got.Redis != ends.Redis {
			t.Errorf("addresses moved\ngot  %+v\nwant %+v", got, ends)
		}
		kids = children(t, r.cmd.Process.Pid)
		r.end(sig)
		gone(t, kids)
	}
}

// picture is what must not change by a restart.
func (r *running) picture() string {
	r.t.Helper()
	set, ctx := r.set(), r.t.Context()
	var out strings.Builder
	devices, _, err := set.Devices.List(ctx, "", client.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, d := range devices {
		fmt.Fprintf(&out, "%s %s %s; ", d.Name, d.UID, d.Spec.Board)
	}
	revisions, _, err := set.Revisions.List(ctx, "", client.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, v := range revisions {
		fmt.Fprintf(&out, "%s %s; ", v.Name, v.UID)
	}
	apps, _, err := set.Applications.List(ctx, "", client.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, a := range apps {
		fmt.Fprintf(&out, "%s generation %d ready %s sequence %d; ", a.Name, a.Generation, a.Status.ReadyDesired, a.Status.Rollout.Sequence)
	}
	secret, err := set.Secrets.Get(ctx, "wasmbed-system", "wasmbed-ca")
	if err != nil {
		r.t.Fatal(err)
	}
	fmt.Fprintf(&out, "authority %s", secret.UID)
	return out.String()
}

func doors(t *testing.T, r *running, ends endpoints) {
	get := func(url, bearer string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	st := &state{dir: r.dir}
	if code, _ := get("http://"+ends.Dashboard+"/api/v1/status", st.read("token")); code != http.StatusUnauthorized {
		t.Errorf("the dashboard without a session: %d", code)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	code := ""
	eventually(t, "the link", func() error { // what is said comes line by line
		_, rest, _ := strings.Cut(r.said(), "/#code=")
		var whole bool
		if code, _, whole = strings.Cut(rest, " "); !whole {
			return errors.New("it is not printed")
		}
		return nil
	})
	for i, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		req, err := http.NewRequest(http.MethodPost, "http://"+ends.Dashboard+"/login", strings.NewReader(`{"code":"`+code+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "http://"+ends.Dashboard)
		c := &http.Client{Jar: jar}
		if i > 0 {
			c.Jar = nil
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("the link's code, time %d: %d, want %d", i+1, resp.StatusCode, want)
		}
	}
	resp, err := (&http.Client{Jar: jar}).Get("http://" + ends.Dashboard + "/api/v1/namespaces/default/devices")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(b), "frdmk64f") {
		t.Errorf("the dashboard after the link: %d %v\n%s", resp.StatusCode, err, b)
	}
	if code, _ := get("http://"+ends.API+"/api/v1/status", ""); code != http.StatusUnauthorized {
		t.Errorf("the API without a token: %d", code)
	}
	server := st.read("server")
	if code, body := get(server+"/api/v1/namespaces/default/devices", st.read("token")); code != http.StatusOK || !strings.Contains(body, "mps2an385") {
		t.Errorf("the API: %d\n%s", code, body)
	}
	if code, _ := get("http://"+ends.HTTP+"/readyz", ""); code != http.StatusOK {
		t.Errorf("the gateway is not ready: %d", code)
	}
	for _, f := range []string{"kubeconfig", "token", "redis-url", endpointsFile, serverKeyFile} {
		if fi, err := os.Stat(st.path(f)); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s is readable by others: %v, %v", f, fi, err)
		}
	}
	if s := r.said(); !strings.Contains(s, ends.Dashboard) || !strings.Contains(s, "kubectl get devices") || !strings.Contains(s, "appendfsync always") {
		t.Errorf("it said\n%s", s)
	}
	set := r.set()
	g, err := set.Gateways.Get(t.Context(), namespace, gatewayName)
	if err != nil || g.Spec.Address != ends.Address {
		t.Errorf("%+v, %v", g, err)
	}
	a, err := set.Applications.Get(t.Context(), namespace, sampleName)
	if err != nil || a.Status.ReadyDesired != "3/3" {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestWithoutRedisServer: with none on PATH it runs all the same, and says what that means. A second platform stands
// beside the first, and a deleted sample stays deleted.
func TestWithoutRedisServer(t *testing.T) {
	bin := programs(t)
	dir := filepath.Join(t.TempDir(), "state")
	env := environment(dir, "PATH="+t.TempDir(), "WASMBED_BOARDS=Host")
	r := launch(t, bin, dir, env)
	other := launch(t, bin, filepath.Join(t.TempDir(), "other"), environment(filepath.Join(t.TempDir(), "other"), "WASMBED_BOARDS=", "WASMBED_SAMPLE=false"), "--without", "devices")
	r.ready()
	other.ready()
	if !strings.Contains(r.said(), "IN PROCESS") {
		t.Errorf("it did not say so:\n%s", r.said())
	}
	ctx := t.Context()
	if err := r.set().Applications.Delete(ctx, namespace, sampleName); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sample is gone", func() error {
		_, err := r.set().Applications.Get(ctx, namespace, sampleName)
		if errs.Is(err, errs.NotFound) {
			return nil
		}
		return fmt.Errorf("it is there: %v", err)
	})
	r.end(syscall.SIGKILL)
	r = launch(t, bin, dir, env)
	r.ready()
	if _, err := r.set().Applications.Get(ctx, namespace, sampleName); !errs.Is(err, errs.NotFound) {
		t.Errorf("the sample is back: %v", err)
	}
	if d, err := r.set().Devices.Get(ctx, namespace, "host"); err != nil || d.Status.ObservedGeneration == 0 && d.Spec.Board != "Host" {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestPartsApart: parts that are left out run as processes of their own, can be killed, and come back; a second
// gateway stands beside the first.
func TestPartsApart(t *testing.T) {
	bin := programs(t)
	dir := filepath.Join(t.TempDir(), "state")
	env := environment(dir, "WASMBED_BOARDS=Host", "WASMBED_SAMPLE=false")
	r := launch(t, bin, dir, env, "--without", "kubeapi,gateway,functions,broker,source")
	eventually(t, "addresses are chosen", func() error {
		if r.ends().Redis == "" {
			return fmt.Errorf("no %s", endpointsFile)
		}
		return nil
	})
	part := func(name string, more ...string) *running {
		return launch(t, bin, dir, append(env, more...), "part", name)
	}
	kube := part("kubeapi")
	functions := []*running{part("broker")}
	r.ready()
	functions = append(functions, part("functions"), part("source"))
	first := part("gateway", "WASMBED_INSTANCE=one")
	second := part("gateway", "WASMBED_INSTANCE=two", "WASMBED_LISTEN_TLS=127.0.0.1:0", "WASMBED_LISTEN_HTTP=127.0.0.1:0")
	set := r.set()
	online := func() error {
		d, err := set.Devices.Get(t.Context(), namespace, "host")
		if err != nil {
			return err
		}
		if d.Status.Online != "True" {
			return fmt.Errorf("online: %q", d.Status.Online)
		}
		return nil
	}
	eventually(t, "the device is online", online)
	eventually(t, "both gateways are known", func() error {
		g, err := set.Gateways.Get(t.Context(), namespace, gatewayName)
		if err != nil || len(g.Status.Instances) != 2 {
			return fmt.Errorf("%+v, %v", g, err)
		}
		return nil
	})
	var one, two struct{ Part, TLS string }
	eventually(t, "both say where they are", func() error {
		return errors.Join(json.Unmarshal([]byte(first.said()), &one), json.Unmarshal([]byte(second.said()), &two))
	})
	if one.Part != partGateway || two.Part != partGateway || one.TLS == two.TLS {
		t.Errorf("said %+v and %+v", one, two)
	}
	kids := children(t, kube.cmd.Process.Pid)
	for _, p := range append(functions, kube) {
		p.end(syscall.SIGKILL)
	}
	gone(t, kids)
	part("kubeapi")
	part("broker")
	part("functions")
	part("source")
	eventually(t, "a Device made after that is seen", func() error {
		_, err := set.Devices.Create(t.Context(), &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "late"}, Spec: v1alpha1.DeviceSpec{Board: "Host"}})
		if errs.Is(err, errs.AlreadyExists) {
			err = nil
		}
		if err != nil {
			return err
		}
		d, err := set.Devices.Get(t.Context(), namespace, "late")
		if err == nil && len(d.Finalizers) == 0 {
			err = fmt.Errorf("no function took it")
		}
		return err
	})
	eventually(t, "the device is still online", online)
}

// TestRefusals: what is wrong is one line and exit code 1, and nothing is left running.
func TestRefusals(t *testing.T) {
	bin := programs(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.MkdirAll(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{"kubeapi": "#!/bin/sh\necho no store >&2; exit 1\n", "device": "#!/bin/sh\nexit 1\n"} {
		if err := os.WriteFile(filepath.Join(broken, name), []byte(body), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		env  []string
		args []string
		text string
	}{
		"busy port":         {env: []string{"WASMBED_LISTEN_DASHBOARD=" + busy.Addr().String()}, text: "WASMBED_LISTEN_DASHBOARD"},
		"busy gateway":      {env: []string{"WASMBED_LISTEN_TLS=" + busy.Addr().String()}, text: "is in use: the gateway (TLS) cannot listen there"},
		"bad address":       {env: []string{"WASMBED_LISTEN_API=nowhere"}, text: "WASMBED_LISTEN_API"},
		"bad duration":      {env: []string{"WASMBED_PAIRING=soon"}, text: "WASMBED_PAIRING"},
		"bad redis":         {env: []string{"REDIS_URL=ftp://x"}, text: "REDIS_URL"},
		"no redis there":    {env: []string{"REDIS_URL=redis://" + busy.Addr().String() + "?dial_timeout=1s&read_timeout=1s"}, text: "redis"},
		"missing program":   {env: []string{"WASMBED_BIN=" + t.TempDir()}, text: "is not in"},
		"broken program":    {env: []string{"WASMBED_BIN=" + broken}, text: "kubeapi did not start"},
		"folder is a file":  {env: []string{"WASMBED_DIR=" + file}, text: "state folder"},
		"unknown part":      {args: []string{"part", "kitchen"}, text: `there is no part "kitchen"`},
		"unknown argument":  {args: []string{"--fast"}, text: "--fast"},
		"nothing was there": {args: []string{"part", "gateway"}, text: "nothing was ever started"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			r := launch(t, bin, dir, environment(dir, tc.env...), tc.args...)
			select {
			case <-r.done:
			case <-time.After(ceiling):
				t.Fatal("it runs")
			}
			if code := r.cmd.ProcessState.ExitCode(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			line := strings.TrimSuffix(r.err.String(), "\n")
			if strings.Contains(line, "\n") || !strings.HasPrefix(line, "standalone: ") || !strings.Contains(line, tc.text) {
				t.Errorf("said %q, want one line with %q", line, tc.text)
			}
			if s := r.said(); s != "" {
				t.Errorf("and on standard output %q", s)
			}
		})
	}
}
