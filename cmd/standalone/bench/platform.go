package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/broker/ledger"
)

const (
	ns       = "default"
	patience = 2 * time.Minute // of every wait; what takes longer is not measured
)

// platform is one standalone in a folder of its own.
type platform struct {
	o     *options
	dir   string // temporary
	main  *process
	ready time.Duration // from its start until it said that it is ready
	at    struct{ HTTP, Address, Redis string }
	kube  *client.Set
	led   *ledger.Ledger
	rdb   *redis.Client
}

// process is a command that was started.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// spawn starts a command of the platform.
func spawn(path string, env []string, out io.Writer, args ...string) (*process, error) {
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (make build makes it)", err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	return p, nil
}

// end is SIGTERM, and SIGKILL for what does not end.
func (p *process) end() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// newPlatform makes the folder of a platform; close removes it.
func newPlatform(o *options) (*platform, error) {
	dir, err := os.MkdirTemp("", "wasmbed-bench-")
	return &platform{o: o, dir: dir}, err
}

func (p *platform) state() string { return filepath.Join(p.dir, "state") }

// start starts standalone and waits until it says that it is ready.
func (p *platform) start(ctx context.Context, env []string, args ...string) error {
	env = append([]string{"WASMBED_DIR=" + p.state(), "WASMBED_PAIRING=1h"}, env...)
	for _, l := range []string{"DASHBOARD", "API", "HTTP", "TLS", "KUBERNETES", "BROKER", "FUNCTIONS", "REDIS"} {
		env = append(env, "WASMBED_LISTEN_"+l+"=127.0.0.1:0")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	begun := time.Now()
	if p.main, err = spawn(filepath.Join(p.o.bin, "standalone"), env, w, args...); err != nil {
		r.Close()
		return err
	}
	w.Close()
	said, said2 := make(chan time.Time, 1), make(chan string, 1)
	go func() { // reads to the end, so that standalone can write
		defer r.Close()
		var last string
		for s := bufio.NewScanner(r); s.Scan(); last = s.Text() {
			if strings.Contains(s.Text(), "Wasmbed is ready") {
				said <- time.Now()
			}
		}
		said2 <- last
	}()
	select {
	case at := <-said:
		p.ready = at.Sub(begun)
	case last := <-said2:
		return fmt.Errorf("standalone ended: %s", last)
	case <-time.After(patience):
		return errors.New("standalone did not become ready")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return p.connect()
}

func (p *platform) connect() error {
	b, err := os.ReadFile(filepath.Join(p.state(), "endpoints.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &p.at); err != nil {
		return err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(p.state(), "kubeconfig"))
	if err != nil {
		return err
	}
	if p.kube, err = client.New(cfg); err != nil {
		return err
	}
	u, err := redis.ParseURL(p.at.Redis)
	if err != nil {
		return err
	}
	p.rdb = redis.NewClient(u)
	p.led = ledger.New(p.rdb, ledger.Options{})
	return nil
}

// stop ends standalone; it can be started again in the same folder.
func (p *platform) stop() {
	if p.rdb != nil {
		_ = p.rdb.Close()
		p.rdb = nil
	}
	p.main.end()
	p.main = nil
}

// close ends everything, keeps the logs where somebody asked for them, and removes the folder.
func (p *platform) close() {
	p.stop()
	if p.o.logs != "" {
		to := filepath.Join(p.o.logs, filepath.Base(p.dir))
		if err := os.CopyFS(to, os.DirFS(filepath.Join(p.state(), "log"))); err != nil {
			say("logs: %v", err)
		}
	}
	if err := os.RemoveAll(p.dir); err != nil {
		say("%v", err)
	}
}

// fleet starts n devices in one process, named press-0001 and so on, press when n is 1.
func (p *platform) fleet(n int) (*process, error) {
	log, err := os.Create(filepath.Join(p.dir, "fleet.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	return spawn(filepath.Join(p.o.bin, "device"), []string{
		"WASMBED_DEVICE_GATEWAY=" + p.at.Address, "WASMBED_DEVICE_TRUST=" + filepath.Join(p.state(), "trust.pem"),
		"WASMBED_DEVICE_DIR=" + filepath.Join(p.dir, "devices"), "WASMBED_DEVICE_NAME=press", "WASMBED_DEVICE_BOARD=Mps2An385",
		fmt.Sprintf("WASMBED_DEVICE_COUNT=%d", n), "WASMBED_DEVICE_SYNC=false", "WASMBED_LOG=warn",
	}, log)
}

// until polls until fn says so.
func until(ctx context.Context, what string, every time.Duration, fn func() (bool, error)) error {
	end := time.Now().Add(patience)
	for {
		ok, err := fn()
		if ok && err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not after %s (%v)", what, patience, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (%v)", what, context.Cause(ctx), err)
		case <-time.After(every):
		}
	}
}

// online counts the devices that have a session and an object.
func (p *platform) online(ctx context.Context) (n int, err error) {
	for after := ""; ; {
		page, next, err := p.led.Devices(ctx, ns, after, 500)
		if err != nil {
			return n, err
		}
		for _, d := range page {
			if d.Online && d.Known {
				n++
			}
		}
		if next == "" {
			return n, nil
		}
		after = next
	}
}

// spent is the CPU time of a process and its children, by name.
func spent(pid int) (map[string]time.Duration, error) {
	all, err := tree(pid)
	if err != nil {
		return nil, err
	}
	out := map[string]time.Duration{}
	for _, u := range all {
		out[u.name] += u.cpu
	}
	return out, nil
}

// since is what was spent since.
func since(now, before map[string]time.Duration) (out map[string]time.Duration, sum time.Duration) {
	out = map[string]time.Duration{}
	for k, v := range now {
		out[k] = v - before[k]
		sum += out[k]
	}
	return out, sum
}
