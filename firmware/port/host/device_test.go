package host

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/protocol"
)

// The whole life: first contact, enrollment, a module that runs, a bad update that the device gives up by itself.
func TestLife(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	d := start(t, g, newShared(t), dir, func(c *Config) { c.Claim = []byte("secret") })
	g.online()
	g.mu.Lock()
	if n := len(g.enrolls); n != 1 || g.enrolls[0].Name != "device-1" || string(g.enrolls[0].Claim) != "secret" {
		t.Errorf("%d enrolls: %+v", n, g.enrolls)
	}
	hello := g.hellos[len(g.hellos)-1]
	if hello.Board != "Host" || hello.Capabilities.ABI != 1 || hello.Capabilities.ModuleSize != moduleSize || hello.Capabilities.Apps != apps {
		t.Errorf("hello %+v", hello)
	}
	checkEvidence(t, g.enrolls[0].Evidence, g.spki)
	g.mu.Unlock()
	info, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info.Mode(), err)
	}

	g.deploy(protocol.VerbDeploy, "hello", "hello-1", 1, sample(t, "hello"), nil)
	g.waitRunning("hello", "hello-1")
	g.wait("telemetry", func() bool { return g.values["hello/ticks"] > 2 && g.values["hello/version"] == 1 })
	g.wait("log", func() bool { return slices.Contains(g.logs, "hello, version 1") })

	g.deploy(protocol.VerbUpdate, "hello", "hello-2", 2, sample(t, "hello-v2"), nil)
	g.waitRunning("hello", "hello-2")
	g.wait("telemetry of version 2", func() bool { return g.values["hello/version"] == 2 })

	g.deploy(protocol.VerbUpdate, "hello", "hello-3", 3, sample(t, "hello-bad"), func(m *protocol.Manifest) { m.HealthWindow = 60_000 })
	g.waitApp("hello", "rolled back", func(s protocol.AppState) bool {
		return s.State == protocol.StateRolledBack && s.Revision == "hello-3" && s.Running == "hello-2" && s.Reason == protocol.ReasonTrap
	})
	g.wait("trap", func() bool { return len(g.traps) == 1 })
	g.mu.Lock()
	if trap := g.traps[0]; trap.App != "hello" || trap.Revision != "hello-3" || trap.Reason != protocol.ReasonTrap || !strings.Contains(trap.Where, "timer") {
		t.Errorf("%+v", trap)
	}
	g.values["hello/version"] = 0
	g.mu.Unlock()
	g.wait("telemetry of version 2 again", func() bool { return g.values["hello/version"] == 2 })

	state := d.State()
	app := state.Apps["hello"]
	if state.Session != "Active" || !state.Enrolled || app.State != "RolledBack" || app.Running != "hello-2" || app.Reason != "Trap" || state.SeenDesired != 3 {
		t.Errorf("%+v", state)
	}
	g.send(func(id uint64) protocol.Message {
		return &protocol.Command{ID: id, Command: []byte("12345678"), Verb: protocol.VerbRemove, App: "hello"}
	})
	g.wait("removal", func() bool { return len(g.apps) == 0 })
	d.end()
	if s := d.State(); s.Session != "Ended" {
		t.Errorf("after the end: %+v", s)
	}
}

func checkEvidence(t *testing.T, e *protocol.Evidence, spki []byte) {
	t.Helper()
	if e == nil {
		t.Error("no evidence")
		return
	}
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		t.Error(err)
		return
	}
	sum := sha256.Sum256(protocol.EvidenceToBeSigned(e.Nonce, e.Measurement, spki))
	measured, err := measure()
	if err != nil || e.Format != protocol.EvidenceFormatECDSA || !bytes.Equal(e.Measurement, measured[:]) ||
		!ecdsa.VerifyASN1(public.(*ecdsa.PublicKey), sum[:], e.Signature) {
		t.Errorf("evidence does not verify: %+v, %v", e, err)
	}
}

// padded returns a module with a custom section that makes it as long as a transfer of many chunks.
func padded(module []byte, n int) []byte {
	section := binary.AppendUvarint([]byte{0}, uint64(n))
	section = append(section, 3, 'p', 'a', 'd')
	return append(append(bytes.Clone(module), section...), make([]byte, n-4)...)
}

// Power is cut in the middle of a transfer; the device goes on where it was, and what ran before runs meanwhile.
func TestTransferGoesOnAfterPowerCut(t *testing.T) {
	g, dir, shared := newGateway(t), t.TempDir(), newShared(t)
	chunk := func(c *Config) { c.Timing.Chunk = 512; c.NoSync = false }
	d := start(t, g, shared, dir, chunk)
	g.deploy(protocol.VerbDeploy, "hello", "hello-1", 1, sample(t, "hello"), nil)
	g.waitRunning("hello", "hello-1")

	g.mu.Lock()
	g.chunks = nil
	g.onChunk = func(c *protocol.ChunkRequest) bool { return c.Offset < 10*512 } // there the link breaks again and again
	g.mu.Unlock()
	module := padded(sample(t, "hello-v2"), 32<<10)
	g.deploy(protocol.VerbUpdate, "hello", "hello-2", 2, module, nil)
	g.wait("the middle of the transfer", func() bool { return len(g.chunks) > 0 && g.chunks[len(g.chunks)-1].Offset == 10*512 })
	d.powerCut()

	g.mu.Lock()
	g.chunks, g.onChunk, g.session = nil, nil, nil
	g.mu.Unlock()
	start(t, g, shared, dir, chunk)
	g.waitRunning("hello", "hello-2")
	g.mu.Lock()
	defer g.mu.Unlock()
	if first := g.chunks[0].Offset; first != 10*512 {
		t.Errorf("the transfer went on at %d, want %d", first, 10*512)
	}
	if len(g.enrolls) != 1 {
		t.Errorf("it enrolled %d times", len(g.enrolls))
	}
}

// The link is cut again and again during a transfer; every byte is fetched once.
func TestTransferOverBadLink(t *testing.T) {
	g := newGateway(t)
	start(t, g, newShared(t), t.TempDir(), func(c *Config) { c.Timing.Chunk = 1024 })
	asked := map[uint32]int{}
	n := 0
	g.mu.Lock()
	g.onChunk = func(c *protocol.ChunkRequest) bool {
		n++
		if n%4 == 0 {
			return false
		}
		asked[c.Offset]++
		return true
	}
	g.mu.Unlock()
	g.deploy(protocol.VerbDeploy, "hello", "hello-1", 1, padded(sample(t, "hello"), 16<<10), nil)
	g.waitRunning("hello", "hello-1")
	g.mu.Lock()
	defer g.mu.Unlock()
	for offset, times := range asked {
		if times != 1 {
			t.Errorf("the chunk at %d was fetched %d times", offset, times)
		}
	}
}

// A device that is away keeps running, and tells what happened when it is back; it comes up after a restart without a
// gateway.
func TestOffline(t *testing.T) {
	g, dir, shared := newGateway(t), t.TempDir(), newShared(t)
	d := start(t, g, shared, dir, nil)
	counter := func(m *protocol.Manifest) { m.Permissions = []string{"kv", "log", "telemetry"} }
	g.deploy(protocol.VerbDeploy, "counter", "counter-1", 1, sample(t, "counter"), counter)
	g.waitRunning("counter", "counter-1")
	invoke := func(function, payload string) *protocol.InvokeResult {
		t.Helper()
		var command []byte
		g.send(func(id uint64) protocol.Message {
			command = binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
			return &protocol.Invoke{ID: id, Command: command, App: "counter", Function: function, Payload: []byte(payload), Deadline: 5000}
		})
		var answer *protocol.InvokeResult
		g.wait("answer", func() bool {
			for _, a := range g.answers {
				if bytes.Equal(a.Command, command) {
					answer = a
				}
			}
			return answer != nil
		})
		return answer
	}
	if a := invoke("add", "41"); a.Status != protocol.CommandDone || string(a.Payload) != "41" {
		t.Errorf("add: %+v", a)
	}
	if a := invoke("add", ""); string(a.Payload) != "42" {
		t.Errorf("add: %+v", a)
	}
	if a := invoke("nothing", ""); a.Status != protocol.CommandRefused || a.Reason != protocol.ReasonUnsupported {
		t.Errorf("an unknown function: %+v", a)
	}
	if a := invoke("add", strings.Repeat("1", 100)); a.Status != protocol.CommandFailed {
		t.Errorf("a payload that the module refuses: %+v", a)
	}
	d.powerCut()

	// Nobody answers now.
	var away atomic.Bool
	away.Store(true)
	dial := (&net.Dialer{}).DialContext
	d = start(t, g, shared, dir, func(c *Config) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if away.Load() {
				return nil, os.ErrDeadlineExceeded
			}
			return dial(ctx, network, address)
		}
	})
	eventually(t, "running offline", func() bool { return d.State().Apps["counter"].State == "Running" && d.State().Connects > 2 })
	g.forget()
	away.Store(false)
	g.online()
	if a := invoke("get", ""); string(a.Payload) != "42" {
		t.Errorf("after a power cut: %+v", a)
	}
}

// Power is cut at any moment of an update: the device comes up with the old or the new module, never with neither, and the update
// arrives in the end.
func TestPowerCutAnywhere(t *testing.T) {
	g, dir, shared := newGateway(t), t.TempDir(), newShared(t)
	d := start(t, g, shared, dir, nil)
	g.deploy(protocol.VerbDeploy, "hello", "hello-1", 1, sample(t, "hello"), nil)
	g.waitRunning("hello", "hello-1")
	images := []string{"hello", "hello-v2"}
	for attempt := uint64(2); attempt < 22; attempt++ {
		revision := fmt.Sprintf("hello-%d", attempt)
		g.deploy(protocol.VerbUpdate, "hello", revision, attempt, padded(sample(t, images[attempt%2]), 2000+int(attempt)), func(m *protocol.Manifest) {
			m.HealthWindow = 30
		})
		time.Sleep(time.Duration(attempt*3) * time.Millisecond) // another moment each time
		d.powerCut()
		g.forget()
		d = start(t, g, shared, dir, nil)
		eventually(t, "something that runs", func() bool { return d.State().Apps["hello"].Running != "" })
		g.online()
	}
	g.deploy(protocol.VerbUpdate, "hello", "hello-last", 100, sample(t, "hello-v2"), nil)
	g.waitRunning("hello", "hello-last")
}

// Kill breaks off a module that runs, and what it leaves behind is no verdict on the module.
func TestKillInsideOfModule(t *testing.T) {
	g, dir, shared := newGateway(t), t.TempDir(), newShared(t)
	d := start(t, g, shared, dir, nil)
	g.deploy(protocol.VerbDeploy, "loop", "loop-1", 1, sample(t, "trapper"), func(m *protocol.Manifest) {
		m.Config, m.CallTimeout = map[string]string{"when": "2", "kind": "loop"}, 30_000
		m.HealthWindow = 10
		m.Permissions = []string{"log"}
	})
	g.waitApp("loop", "running", func(s protocol.AppState) bool { return s.State == protocol.StateRunning })
	time.Sleep(200 * time.Millisecond) // it is in its loop then
	from := time.Now()
	d.powerCut()
	if took := time.Since(from); took > 5*time.Second {
		t.Errorf("it took %v to end", took)
	}
	g.mu.Lock()
	g.session = nil
	traps := len(g.traps)
	g.mu.Unlock()
	d = start(t, g, shared, dir, nil)
	if app := d.State().Apps["loop"]; app.State == "Failed" || app.Reason != "" && app.Reason != "None" {
		t.Errorf("after the kill: %+v", app)
	}
	d.powerCut()
	g.mu.Lock()
	defer g.mu.Unlock()
	if traps != 0 {
		t.Errorf("%d traps were reported", traps)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
	}
}

// The core's own host functions, permissions and limits, seen by the module that checks them all.
func TestConformance(t *testing.T) {
	g := newGateway(t)
	d := start(t, g, newShared(t), t.TempDir(), nil)
	all := func(m *protocol.Manifest) {
		m.Permissions = []string{"log", "clock", "telemetry", "message", "kv", "gpio", "sensor", "timer", "random"}
		m.Config = map[string]string{"a": "1", "long": "abcdefghijklmnopqrst"}
		m.Timers = nil
	}
	g.deploy(protocol.VerbDeploy, "all", "all-1", 1, sample(t, "conformance"), all)
	g.waitRunning("all", "all-1")
	g.wait("what it sends", func() bool {
		return g.values["all/half"] == 0.5 && g.values["all/tick"] == 3 && len(g.messages) > 0 &&
			g.messages[0].Topic == "topic" && string(g.messages[0].Payload) == "payload"
	})
	g.send(func(id uint64) protocol.Message {
		return &protocol.MessageDown{ID: id, App: "all", Topic: "to", Payload: []byte("data")}
	})
	g.wait("its echo", func() bool {
		return len(g.messages) == 2 && g.messages[1].Topic == "echo/to" && string(g.messages[1].Payload) == "data"
	})

	g.deploy(protocol.VerbDeploy, "some", "some-1", 2, sample(t, "conformance"), func(m *protocol.Manifest) { m.Permissions = []string{"log"} })
	g.waitApp("some", "refused", func(s protocol.AppState) bool {
		return s.State == protocol.StateFailed && s.Reason == protocol.ReasonPermissionDenied
	})
	g.deploy(protocol.VerbDeploy, "meter", "meter-1", 3, sample(t, "hello"), func(m *protocol.Manifest) { m.Instructions = 1000 })
	g.waitApp("meter", "refused", func(s protocol.AppState) bool {
		return s.State == protocol.StateFailed && s.Reason == protocol.ReasonUnsupported
	})
	if d.State().Apps["all"].State != "Running" {
		t.Error("a neighbour's failure ended it")
	}
}

// Each way to go wrong has its reason, and a confirmed module that goes wrong too often is given up.
func TestReasons(t *testing.T) {
	g := newGateway(t)
	start(t, g, newShared(t), t.TempDir(), nil)
	attempt := uint64(0)
	deploy := func(config map[string]string, change func(*protocol.Manifest)) {
		t.Helper()
		attempt++
		revision := "bad-" + string(rune('a'+attempt))
		g.deploy(protocol.VerbUpdate, "bad", revision, attempt, sample(t, "trapper"), func(m *protocol.Manifest) {
			m.Config, m.CallTimeout = config, 100
			if change != nil {
				change(m)
			}
		})
	}
	for kind, reason := range map[string]protocol.Reason{
		"trap": protocol.ReasonTrap, "bounds": protocol.ReasonOutOfBounds, "divide": protocol.ReasonDivideByZero,
		"stack": protocol.ReasonStackOverflow, "loop": protocol.ReasonTimeout, "exit": protocol.ReasonExit,
	} {
		deploy(map[string]string{"when": "start", "kind": kind}, nil)
		n := attempt
		g.waitApp("bad", "reason of "+kind, func(s protocol.AppState) bool {
			return s.State == protocol.StateFailed && s.Attempt == n && s.Reason == reason
		})
	}
	deploy(map[string]string{"when": "4", "kind": "trap"}, func(m *protocol.Manifest) { m.HealthWindow = 60 })
	g.waitApp("bad", "trap loop", func(s protocol.AppState) bool {
		return s.State == protocol.StateFailed && s.Reason == protocol.ReasonTrapLoop
	})
}

func TestReboot(t *testing.T) {
	g := newGateway(t)
	d := start(t, g, newShared(t), t.TempDir(), nil)
	g.online()
	before := d.State().BootID
	g.send(func(id uint64) protocol.Message {
		return &protocol.Command{ID: id, Command: []byte("reboot-1"), Verb: protocol.VerbReboot}
	})
	eventually(t, "another boot", func() bool { s := d.State(); return s.BootID != before && s.Session == "Active" })
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.enrolls) != 1 {
		t.Errorf("it enrolled %d times", len(g.enrolls))
	}
}

// A certificate is renewed in the session, and one that has lapsed is replaced by first contact with the same key.
func TestCertificates(t *testing.T) {
	g, dir, shared := newGateway(t), t.TempDir(), newShared(t)
	d := start(t, g, shared, dir, nil)
	g.online()
	files := func() (key, chain []byte) {
		t.Helper()
		return must(os.ReadFile(filepath.Join(dir, keyFile))), must(os.ReadFile(filepath.Join(dir, chainFile)))
	}
	key, first := files()
	g.ahead.Store(int64(45 * time.Minute))
	g.wait("renewal", func() bool { return g.renewals == 1 })
	eventually(t, "new certificate", func() bool { _, chain := files(); return !bytes.Equal(chain, first) })
	_, second := files()
	d.end()
	g.mu.Lock()
	sessions := len(g.hellos)
	g.session = nil
	g.mu.Unlock()
	g.ahead.Store(int64(3 * time.Hour))
	start(t, g, shared, dir, nil)
	g.online()
	again, third := files()
	if !bytes.Equal(key, again) || bytes.Equal(second, third) {
		t.Error("it did not enroll again with its own key")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if sessions != 2 || len(g.enrolls) != 2 || g.renewals != 1 {
		t.Errorf("%d sessions before, %d enrollments, %d renewals", sessions, len(g.enrolls), g.renewals)
	}
}

// A gateway that the device has no reason to trust learns nothing but that somebody called.
func TestUntrustedGateway(t *testing.T) {
	g, other := newGateway(t), newGateway(t)
	d := start(t, g, newShared(t), t.TempDir(), func(c *Config) { c.Roots = other.roots() })
	eventually(t, "a second try", func() bool { return d.State().Connects > 2 })
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.hellos) != 0 {
		t.Error("it said hello")
	}
}

func TestConfiguration(t *testing.T) {
	g, shared, dir := newGateway(t), newShared(t), t.TempDir()
	good := Config{Gateway: g.address(), Roots: g.roots(), Name: "d", Board: "Host", Dir: dir, Shared: shared}
	for name, change := range map[string]func(*Config){
		"address": func(c *Config) { c.Gateway = "nowhere" },
		"name":    func(c *Config) { c.Name = "" },
		"board":   func(c *Config) { c.Board = "" },
		"roots":   func(c *Config) { c.Roots = nil },
		"shared":  func(c *Config) { c.Shared = nil },
		"dir":     func(c *Config) { c.Dir = "" },
	} {
		c := good
		change(&c)
		if d, err := New(c); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
	d, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(good); !errs.Is(err, errs.Conflict) {
		t.Errorf("a second device in one directory: %v", err)
	}
	d.Close()
	d.Close()
	again, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if err := os.WriteFile(filepath.Join(dir, keyFile), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(good); !errs.Is(err, errs.Invalid) {
		t.Errorf("a broken key: %v", err)
	}
}
