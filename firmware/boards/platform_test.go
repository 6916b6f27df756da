package boards_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	root     = "../.."
	patience = 3 * time.Minute // for one step of a board, on a busy machine
	poll     = 100 * time.Millisecond
)

// platform is a standalone of its own, in a folder of the test's.
type platform struct {
	t        *testing.T
	bin, dir string
}

func folder(t *testing.T, variable, fallback string) string {
	t.Helper()
	dir := os.Getenv(variable)
	if dir == "" {
		dir = filepath.Join(root, fallback)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

func notRun(t *testing.T, why string, args ...any) {
	t.Helper()
	fmt.Printf("not run: %s: %s\n", t.Name(), fmt.Sprintf(why, args...))
	t.SkipNow()
}

// start brings a platform up whose only devices are those that the test makes.
func start(t *testing.T, firmware string, settings ...string) *platform {
	t.Helper()
	p := &platform{t: t, bin: folder(t, "WASMBED_BIN", "bin"), dir: t.TempDir()}
	for _, name := range []string{"standalone", "wasmbed", "provisioner", "kubeapi"} {
		if _, err := os.Stat(filepath.Join(p.bin, name)); err != nil {
			notRun(t, "no %s in %s (make build)", name, p.bin)
		}
	}
	cmd := exec.Command(filepath.Join(p.bin, "standalone"))
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "WASMBED_DIR="+p.state(), "WASMBED_BOARDS=", "WASMBED_FIRMWARE="+firmware, "WASMBED_PROVISIONER_ENGINE=process")
	cmd.Env = append(cmd.Env, settings...)
	for _, l := range []string{"DASHBOARD", "API", "HTTP", "TLS", "KUBERNETES", "BROKER", "FUNCTIONS", "PROVISIONER", "REDIS"} {
		cmd.Env = append(cmd.Env, "WASMBED_LISTEN_"+l+"=127.0.0.1:0")
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("standalone: %s", said.String())
		}
	})
	p.wait("the platform to be ready", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("standalone ended: %v\n%s", err, said.String())
		default:
		}
		_, err := p.try("status")
		return err == nil
	})
	return p
}

func (p *platform) state() string { return filepath.Join(p.dir, "state") }

// try runs the CLI and returns what it printed.
func (p *platform) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "wasmbed"), args...)
	cmd.Env = append(os.Environ(), "WASMBED_DIR="+p.state())
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("wasmbed %s: %w: %s%s", strings.Join(args, " "), err, out.String(), problems.String())
	}
	return out.String(), err
}

func (p *platform) cli(args ...string) string {
	p.t.Helper()
	out, err := p.try(args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *platform) wait(what string, done func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(poll) {
		if time.Now().After(end) {
			p.t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// device is what the tests look at of a Device.
type device struct {
	Status struct {
		Online      string `json:"online"`
		BootID      string `json:"bootID"`
		Apps        string `json:"apps"`
		Certificate struct {
			Fingerprint string `json:"fingerprint"`
		} `json:"certificate"`
		Capabilities struct {
			ModuleMemory int64 `json:"moduleMemory"`
			ModuleSize   int64 `json:"moduleSize"`
		} `json:"capabilities"`
	} `json:"status"`
}

func (p *platform) device(name string) device {
	p.t.Helper()
	var page struct {
		Object device `json:"object"`
	}
	if err := json.Unmarshal([]byte(p.cli("devices", name, "-o", "json")), &page); err != nil {
		p.t.Fatal(err)
	}
	return page.Object
}
