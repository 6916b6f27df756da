package protocol

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The foreign device (testdata/foreign) is written from SPEC.md alone, in another language. These tests hold
// it against a gateway of this package's codec: what one of both understands differently from the SPEC shows.

func needNode(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("with -short: no Node")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatal("node is not on PATH: install Node 20 or later, or run with -short")
	}
}

// TestForeignVectors reads the vectors with a third codec.
func TestForeignVectors(t *testing.T) {
	needNode(t)
	t.Parallel()
	out, err := exec.Command("node", "testdata/foreign/vectors.mjs", "vectors").CombinedOutput()
	if want := fmt.Sprintf("%d vectors\n", len(loadVectors(t))); err != nil || string(out) != want {
		t.Fatalf("%v: %s, want %s", err, out, want)
	}
}

// foreign is a running device.
type foreign struct {
	t     *testing.T
	cmd   *exec.Cmd
	done  chan error
	mu    sync.Mutex
	lines []map[string]any
}

func startForeign(t *testing.T, s *stub, dir string, more ...string) *foreign {
	t.Helper()
	args := append([]string{"testdata/foreign/device.mjs", "--gateway", s.listener.Addr().String(), "--trust", s.trust(), "--dir", dir, "--name", "foreign-1"}, more...)
	f := &foreign{t: t, cmd: exec.Command("node", args...), done: make(chan error, 1)}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	f.cmd.Stderr = &stderr
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		f.read(out)
		f.done <- f.cmd.Wait()
	}()
	t.Cleanup(func() {
		f.cmd.Process.Kill()
		if t.Failed() {
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, l := range f.lines {
				t.Log(l)
			}
			t.Log(stderr.String())
		}
	})
	return f
}

func (f *foreign) read(out io.Reader) {
	for sc := bufio.NewScanner(out); sc.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(sc.Bytes(), &line); err != nil {
			f.t.Errorf("not JSON: %s", sc.Bytes())
			continue
		}
		f.mu.Lock()
		f.lines = append(f.lines, line)
		f.mu.Unlock()
	}
}

// count is how many lines of an event were printed.
func (f *foreign) count(event string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lines {
		if l["event"] == event {
			n++
		}
	}
	return n
}

// term ends it politely.
func (f *foreign) term() {
	f.t.Helper()
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		f.t.Fatal(err)
	}
	select {
	case err := <-f.done:
		if err != nil {
			f.t.Fatalf("it ended with %v", err)
		}
	case <-time.After(patience):
		f.t.Fatal("it does not end")
	}
}

// wasm is a module that exports wasmbed_start with the body given, padded by a custom section.
func wasm(body []byte, pad int) []byte {
	m := []byte{0, 'a', 's', 'm', 1, 0, 0, 0}
	section := func(id byte, content ...byte) {
		m = append(m, id)
		m = append(m, leb(len(content))...)
		m = append(m, content...)
	}
	section(1, 1, 0x60, 0, 1, 0x7f)
	section(3, 1, 0)
	section(7, append(append([]byte{1, 13}, "wasmbed_start"...), 0, 0)...)
	section(10, append([]byte{1, byte(len(body) + 1), 0}, body...)...)
	section(0, append([]byte{1, 'p'}, make([]byte, pad)...)...)
	return m
}

func leb(n int) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

var (
	returnsZero = []byte{0x41, 0, 0x0b}
	unreachable = []byte{0, 0x0b}
)

func (s *stub) module(body []byte, pad int) (digest []byte, size uint32) {
	b := wasm(body, pad)
	sum := sha256.Sum256(b)
	s.set(func() { s.modules[string(sum[:])] = b })
	return sum[:], uint32(len(b))
}

// order sends a command for app "hello" with the whole.
func (ss *stubSession) order(id byte, v Verb, revision string, attempt uint64, digest []byte, size uint32) {
	m := &Manifest{MemoryPages: 1, Stack: 4096, CallTimeout: 1000, Permissions: []string{"log", "telemetry"}, HealthWindow: 200, MaxTraps: 3, TrapPeriod: 60_000}
	ss.send(&Command{Command: []byte{0, 0, 0, 0, 0, 0, 0, id}, Verb: v, App: "hello", Revision: revision, Attempt: attempt, Digest: digest, Size: size,
		Manifest: m, Era: stubEra, Desired: uint64(id), Deadline: 600_000})
}

func (ss *stubSession) state(what string, want func(s AppState) bool) AppState {
	ss.t.Helper()
	m := until(ss, what, func(m *Report) bool {
		s, ok := m.Apps["hello"]
		return ok && want(s)
	})
	return m.Apps["hello"]
}

func confirmed(revision string) func(AppState) bool {
	return func(s AppState) bool { return s.State == StateRunning && s.Confirmed && s.Revision == revision }
}

func (ss *stubSession) result(id byte, want CommandStatus) *CommandResult {
	ss.t.Helper()
	is := func(m *CommandResult) bool { return m.Command[7] == id && m.Status == want }
	if i := slices.IndexFunc(ss.passed, is); i >= 0 {
		r := ss.passed[i]
		ss.passed = slices.Delete(ss.passed, i, i+1)
		return r
	}
	return until(ss, fmt.Sprintf("result %v of command %d", want, id), is)
}

func TestForeignDevice(t *testing.T) {
	needNode(t)
	t.Parallel()
	s := newStub(t)
	dir := filepath.Join(t.TempDir(), "device")
	good, goodSize := s.module(returnsZero, 5000)
	bad, badSize := s.module(unreachable, 3000)
	second, secondSize := s.module(returnsZero, 200_000)
	f := startForeign(t, s, dir, "--claim", "open sesame", "--measurement", fmt.Sprintf("%064x", 7))

	// First contact.
	ss := s.next()
	if ss.enrolled {
		t.Fatal("a device without a certificate is enrolled")
	}
	ask := until(ss, "an enroll", func(*Enroll) bool { return true })
	if string(ask.Claim) != "open sesame" || ask.Name != "foreign-1" || ask.Evidence == nil {
		t.Errorf("%+v", ask)
	}
	ss.ended()

	// Enrolled: a full report of nothing, then a deploy, whose module is not there at once.
	ss = s.next()
	if !ss.enrolled || ss.conn.ConnectionState().PeerCertificates[0].URIs[0].String() != "spiffe://wasmbed.local/ns/default/device/foreign-1" {
		t.Fatal("the issued certificate is not used")
	}
	until(ss, "a full report", func(m *Report) bool { return m.Full && len(m.Apps) == 0 })
	s.set(func() { s.missing = 1 })
	ss.order(1, VerbDeploy, "hello-1", 1, good, goodSize)
	ss.result(1, CommandAccepted)
	ss.state("on trial", func(s AppState) bool { return s.State == StateRunning && !s.Confirmed && s.Running == "hello-1" })
	ss.state("confirmed", confirmed("hello-1"))
	ss.result(1, CommandDone)
	if n := f.count("chunk"); n < 4 {
		t.Errorf("%d chunks", n)
	}
	until(ss, "telemetry", func(m *Telemetry) bool { return m.Records[0].App == "hello" })

	// The same command again does nothing and says so.
	ss.order(1, VerbDeploy, "hello-1", 1, good, goodSize)
	ss.result(1, CommandDone)

	// A revision that traps on trial: back to the former one.
	ss.order(2, VerbUpdate, "hello-2", 2, bad, badSize)
	trap := until(ss, "a trap", func(*Trap) bool { return true })
	if trap.App != "hello" || trap.Revision != "hello-2" || trap.Reason != ReasonTrap {
		t.Errorf("%+v", trap)
	}
	rolled := ss.state("rolled back", func(s AppState) bool { return s.State == StateRolledBack })
	if rolled.Revision != "hello-2" || rolled.Attempt != 2 || rolled.Running != "hello-1" || rolled.Reason != ReasonTrap {
		t.Errorf("%+v", rolled)
	}
	ss.order(3, VerbUpdate, "hello-2", 2, bad, badSize) // given up: not again with this attempt
	if r := ss.result(3, CommandFailed); r.Reason != ReasonTrap {
		t.Errorf("%+v", r)
	}

	// Killed in the middle of a transfer it goes on where it was, and telemetry that was not acknowledged before
	// a mere disconnect comes again.
	s.set(func() { s.holdAcks = true })
	late := until(ss, "telemetry", func(m *Telemetry) (held bool) {
		s.set(func() { held = s.held == m.Seq })
		return held
	})
	ss.conn.Close()
	s.set(func() { s.holdAcks = false })
	ss = s.next()
	again := until(ss, "telemetry again", func(*Telemetry) bool { return true })
	if !reflect.DeepEqual(again.Records, late.Records) || again.Seq != late.Seq {
		t.Errorf("telemetry %+v was not sent again, but %+v", late, again)
	}
	ss.order(4, VerbUpdate, "hello-3", 3, second, secondSize)
	until(ss, "a later piece", func(m *ChunkRequest) bool { return m.Offset > 20_000 })
	f.cmd.Process.Kill()
	<-f.done
	ss.ended()
	f = startForeign(t, s, dir)
	ss = s.next()
	if !ss.enrolled || !bytes.Equal(ss.hello.Era, stubEra) || ss.hello.SeenDesired != 4 {
		t.Errorf("hello after the kill: %+v", ss.hello)
	}
	if p := until(ss, "the next piece", func(*ChunkRequest) bool { return true }); p.Offset < 20_000 {
		t.Errorf("it begins again at %d", p.Offset)
	}
	ss.state("confirmed", confirmed("hello-3"))

	// Rollback: the bytes are there and were good; no trial, no transfer.
	before := f.count("chunk")
	ss.order(5, VerbRollback, "hello-1", 4, good, goodSize)
	ss.state("rolled back on request", confirmed("hello-1"))
	if n := f.count("chunk"); n != before {
		t.Error("it fetched what it had")
	}

	ss.send(&Command{Command: commandI, Verb: VerbStop, App: "hello"})
	ss.state("stopped", func(s AppState) bool { return s.State == StateStopped && s.Running == "" })
	ss.order(6, VerbStop, "hello-4", 5, second, secondSize)
	ss.state("brought and stopped", func(s AppState) bool { return s.State == StateStopped && s.Revision == "hello-4" })
	ss.order(7, VerbStart, "hello-4", 5, second, secondSize)
	ss.state("started", confirmed("hello-4"))
	ss.send(&Command{Command: []byte("remove-1"), Verb: VerbRemove, App: "hello"})
	until(ss, "removed", func(m *Report) bool { return len(m.Removed) == 1 })
	if _, err := os.Stat(filepath.Join(dir, "apps", "hello")); !os.IsNotExist(err) {
		t.Errorf("what is left: %v", err)
	}

	f.term()
	until(ss, "goodbye", func(m *Goodbye) bool { return m.Reason == GoodbyeShutdown })
}

func TestForeignDeviceRefuses(t *testing.T) {
	needNode(t)
	t.Parallel()
	s := newStub(t)
	f := startForeign(t, s, filepath.Join(t.TempDir(), "device"))
	s.next().ended()
	ss := s.next()
	garbage := wasm(returnsZero, 10)[:20]
	sum := sha256.Sum256(garbage)
	s.set(func() { s.modules[string(sum[:])] = garbage })
	ss.order(1, VerbDeploy, "hello-1", 1, sum[:], 20)
	if st := ss.state("failed", func(s AppState) bool { return s.State == StateFailed }); st.Reason != ReasonNotWasm {
		t.Errorf("%+v", st)
	}
	wrong := sha256.Sum256([]byte("something else"))
	s.set(func() { s.modules[string(wrong[:])] = garbage })
	ss.order(2, VerbUpdate, "hello-2", 2, wrong[:], 20)
	if st := ss.state("failed", func(s AppState) bool { return s.State == StateFailed && s.Revision == "hello-2" }); st.Reason != ReasonDigestMismatch {
		t.Errorf("%+v", st)
	}
	ss.order(3, VerbUpdate, "hello-3", 3, sum[:], 1<<24)
	if st := ss.state("failed", func(s AppState) bool { return s.State == StateFailed && s.Revision == "hello-3" }); st.Reason != ReasonModuleTooLarge {
		t.Errorf("%+v", st)
	}
	ss.send(&Command{Command: commandI, Verb: 99, App: "other"})
	if r := until(ss, "refused", func(m *CommandResult) bool { return m.Status == CommandRefused }); r.Reason != ReasonUnsupported {
		t.Errorf("%+v", r)
	}
	ss.raw(frameOf("a2 0018c8 010a"))
	if e := until(ss, "an error", func(*Error) bool { return true }); e.Code != CodeUnknownType || e.Refers != 10 {
		t.Errorf("%+v", e)
	}
	ss.send(&ReportRequest{}) // and lives on
	until(ss, "a full report", func(m *Report) bool { return m.Full })
	ss.raw(frameOf("a2 0018c8 01f6"))
	if e := until(ss, "an error", func(*Error) bool { return true }); e.Code != CodeCBOR {
		t.Errorf("%+v", e)
	}
	until(ss, "goodbye", func(m *Goodbye) bool { return m.Reason == GoodbyeProtocol })
	f.term()
}
