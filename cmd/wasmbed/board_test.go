package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	ce "github.com/cloudevents/sdk-go/v2/event"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

type anybody struct{}

func (anybody) Authenticate(context.Context, string) (api.User, error) {
	return api.User{Name: "ann"}, nil
}

// Post takes the events that the API says.
func (anybody) Post(context.Context, ce.Event) error { return nil }

func (anybody) Allowed(context.Context, api.User, api.Access) (bool, error) { return true, nil }

// shelf is a REST API with a provisioner that a test plays.
type shelf struct {
	*testing.T
	url     string
	set     *client.Set
	console fakeConsole

	mu      sync.Mutex
	changed func(*v1alpha1.Device) *v1alpha1.BoardStatus // the provisioner: what the board is after a change of its Device
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{T: t}
	s.set = client.NewMemoryWith(client.MemoryOptions{OnChange: s.onChange})
	rdb := testredis.Start(t).Client(t)
	l := ledger.New(rdb, ledger.Options{})
	if _, _, err := l.Era(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := api.New(api.Deps{Client: s.set, Ledger: l, Affinity: affinity.New(rdb, l.Keys(), affinity.Options{}), Auth: anybody{}, Events: anybody{}, Console: &s.console, Log: slog.New(slog.DiscardHandler),
		Boards: []api.Board{{Name: "Mps2An385", CPU: "Cortex-M3", RAM: 4 << 20, Flash: 4 << 20, Transports: []string{"Ethernet", "Serial"}, QEMU: "mps2-an385", Truth: "run"},
			{Name: "Stm32Vldiscovery", CPU: "Cortex-M3", RAM: 8 << 10, Flash: 128 << 10, Transports: []string{"Serial"}, Truth: "refused: too small"}}})
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func (s *shelf) onChange(c client.Change) {
	if c.Kind != v1alpha1.KindDevice || c.Verb == "delete" {
		return
	}
	s.mu.Lock()
	play := s.changed
	s.mu.Unlock()
	d, err := s.set.Devices.Get(context.Background(), c.Namespace, c.Name)
	if err != nil || play == nil {
		return
	}
	if b := play(d); b != nil && (d.Status.Board == nil || *d.Status.Board != *b) {
		d.Status.Board = b
		if _, err := s.set.Devices.UpdateStatus(context.Background(), d); err != nil {
			s.Error(err)
		}
	}
}

func (s *shelf) provisioner(play func(*v1alpha1.Device) *v1alpha1.BoardStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = play
}

func (s *shelf) run(args ...string) (string, string, error) { return s.runIn(s.Context(), args...) }

func (s *shelf) runIn(ctx context.Context, args ...string) (string, string, error) {
	var out, errw bytes.Buffer
	root := newRoot(&out, &errw)
	root.SetArgs(append([]string{"--server", s.url, "--token", "x"}, args...))
	err := root.ExecuteContext(ctx)
	return out.String(), errw.String(), err
}

func (s *shelf) good(want string, args ...string) string {
	s.Helper()
	out, _, err := s.run(args...)
	if err != nil || !strings.Contains(out, want) {
		s.Errorf("%v: %q, %v; want …%s…", args, out, err, want)
	}
	return out
}

func (s *shelf) bad(exit int, want string, args ...string) {
	s.Helper()
	_, _, err := s.run(args...)
	if err == nil || errs.ExitCode(err) != exit || !strings.Contains(err.Error(), want) {
		s.Errorf("%v: exit %d %v; want %d …%s…", args, errs.ExitCode(err), err, exit, want)
	}
}

// obedient does at once what is wanted.
func obedient(d *v1alpha1.Device) *v1alpha1.BoardStatus {
	e := d.Spec.Emulation
	if e == nil {
		return nil
	}
	b := &v1alpha1.BoardStatus{Phase: v1alpha1.BoardRunning, Backend: e.Backend, Engine: "process", Resets: e.Resets, PowerCuts: e.PowerCuts, ObservedGeneration: d.Generation}
	if e.State == v1alpha1.EmulationStopped {
		b.Phase = v1alpha1.BoardStopped
	}
	return b
}

func TestBoards(t *testing.T) {
	s := newShelf(t)
	out := s.good("TRUTH", "boards")
	if !strings.Contains(out, "4096 KiB") || !strings.Contains(out, "refused: too small") || !strings.Contains(out, "Ethernet,Serial") {
		t.Error(out)
	}
	s.good("MODULE RAM", "boards", "-o", "wide")
	var rows []api.Board
	if err := json.Unmarshal([]byte(s.good("", "boards", "--json")), &rows); err != nil || len(rows) != 2 || rows[1].RAM != 8<<10 {
		t.Errorf("%+v, %v", rows, err)
	}
	s.bad(2, "unknown command", "boards", "extra")
}

func TestDeviceVerbs(t *testing.T) {
	s := newShelf(t)
	s.provisioner(obedient)
	s.good("device p1: created (qemu, Running)", "device", "create", "p1", "--board", "Mps2An385", "--backend", "qemu", "--transport", "Serial", "--label", "site=lab")
	d, err := s.set.Devices.Get(t.Context(), "default", "p1")
	if err != nil || d.Spec.Emulation.Transport != "Serial" || d.Spec.Approval != v1alpha1.ApprovalApproved || d.Labels["site"] != "lab" {
		t.Errorf("%+v, %v", d, err)
	}
	s.good("device p1: stopped (qemu, Stopped)", "device", "stop", "p1")
	s.bad(6, "wasmbed device start p1", "device", "reset", "p1")
	s.good("device p1: started (qemu, Running)", "devices", "start", "p1")
	s.good("device p1: reset (qemu, Running)", "device", "reset", "p1")
	s.good("lost its power and has it back", "device", "power-cut", "p1")
	out := s.good(`"resets": 2`, "device", "reset", "p1", "--json")
	var made v1alpha1.Device
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Spec.Emulation.Resets != 2 {
		t.Errorf("%s, %v", out, err)
	}
	if out := s.good("POWER CUTS", "devices", "p1"); !strings.Contains(out, "Running") {
		t.Error(out)
	}

	s.good("device real: created", "device", "create", "real", "--board", "Whatever")
	s.bad(2, "not emulated", "device", "reset", "real")
	s.bad(2, "which board?", "device", "create", "x")
	s.bad(2, "--engine and --transport", "device", "create", "x", "--board", "Mps2An385", "--engine", "docker")
	s.bad(2, "no board", "device", "create", "x", "--board", "Mps3", "--backend", "qemu")
	s.bad(2, "not known to backend renode", "device", "create", "x", "--board", "Mps2An385", "--backend", "renode")
	s.bad(5, "nobody", "device", "reset", "nobody")
	s.bad(6, "p1", "device", "create", "p1", "--board", "Mps2An385", "--backend", "qemu")

	s.good("device p1: deleted\ndevice real: deleted", "device", "delete", "p1", "real")
	s.bad(5, "p1", "device", "delete", "p1")
}

// What does not become true is said: a board that failed at once, one that nobody makes when the time is over.
func TestDeviceVerbsThatDoNotSucceed(t *testing.T) {
	s := newShelf(t)
	s.bad(8, "no provisioner has said anything", "device", "create", "p1", "--board", "Mps2An385", "--backend", "qemu", "--timeout", "1ms")
	s.good("no provisioner has said anything", "devices", "p1")
	s.good("asked for", "device", "stop", "p1", "--no-wait")
	s.provisioner(func(d *v1alpha1.Device) *v1alpha1.BoardStatus {
		return &v1alpha1.BoardStatus{Phase: v1alpha1.BoardFailed, Reason: "FirmwareMissing", Message: "no image Mps2An385.elf", ObservedGeneration: d.Generation}
	})
	s.bad(7, "FirmwareMissing no image Mps2An385.elf", "device", "start", "p1")
	// A failure of before the command is no answer to it.
	s.provisioner(func(d *v1alpha1.Device) *v1alpha1.BoardStatus {
		return &v1alpha1.BoardStatus{Phase: v1alpha1.BoardFailed, Reason: "Old", ObservedGeneration: d.Generation - 1}
	})
	s.bad(8, "not there in time: Failed Old", "device", "reset", "p1", "--timeout", "300ms")

	held, err := s.set.Devices.Create(t.Context(), &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "held", Finalizers: []string{v1alpha1.FinalizerBoard}}, Spec: v1alpha1.DeviceSpec{Board: "B"}})
	if err != nil {
		t.Fatal(held, err)
	}
	s.bad(8, v1alpha1.FinalizerBoard, "device", "delete", "held", "--timeout", "300ms")
}

// fakeConsole gives out prepared lives of a console.
type fakeConsole struct {
	mu    sync.Mutex
	lives []io.ReadCloser
	asked []string
	err   error
}

func (f *fakeConsole) Health(context.Context) error { return nil }

func (f *fakeConsole) Open(ctx context.Context, ns, name string, tail int, follow bool) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf("%s/%s %d %v", ns, name, tail, follow))
	if f.err != nil {
		return nil, f.err
	}
	if len(f.lives) == 0 {
		return nil, errs.New(errs.Unavailable, "away")
	}
	l := f.lives[0]
	f.lives = f.lives[1:]
	context.AfterFunc(ctx, func() { l.Close() })
	return l, nil
}

func TestConsole(t *testing.T) {
	s := newShelf(t)
	s.provisioner(obedient)
	s.good("created", "device", "create", "p1", "--board", "Mps2An385", "--backend", "qemu")
	body := func(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }
	s.console.lives = []io.ReadCloser{body("one\r\n\x1b[1mtwo\x1b[0m\a\n"), body("\x1b[2Jraw")}
	if out := s.good("", "console", "p1", "--tail", "2"); out != "one\ntwo?\n" {
		t.Errorf("%q", out)
	}
	if out := s.good("", "console", "p1", "--raw"); out != "\x1b[2Jraw" {
		t.Errorf("%q", out)
	}
	if got := fmt.Sprint(s.console.asked); got != "[default/p1 2 false default/p1 -1 false]" {
		t.Error(got)
	}
	s.bad(7, "away", "console", "p1")
	s.bad(7, "away", "console", "p1", "-f")
	s.bad(2, "--tail", "console", "p1", "--tail", "-7")
	s.bad(5, "nobody", "console", "nobody")

	// Followed over a break: what was shown is not shown again.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	s.console.lives, s.console.asked = []io.ReadCloser{body("first\n"), r}, nil
	go func() {
		_, _ = w.Write([]byte("second\n"))
		cancel() // the reader has it
	}()
	out, said, err := s.runIn(ctx, "console", "p1", "-f")
	if err != nil || !strings.HasPrefix(out, "first\n") || !strings.Contains(said, "opened again") {
		t.Errorf("%q %q %v", out, said, err)
	}
	if got := fmt.Sprint(s.console.asked); got != "[default/p1 -1 true default/p1 0 true]" {
		t.Error(got)
	}
}

func TestPlainText(t *testing.T) {
	all := "tab\there \x1b]0;title\x07ü\x1b[31mred\x1b[0m \x1bc\x00\x80 ½\xff\x1b[\nend\x9b"
	want := "tab\there üred ?? ½?\nend?"
	for _, size := range []int{1, 2, 3, 7, len(all)} {
		var out bytes.Buffer
		p := &plainText{w: &out}
		for i := 0; i < len(all); i += size {
			b := []byte(all)[i:min(i+size, len(all))]
			if n, err := p.Write(b); n != len(b) || err != nil {
				t.Fatal(n, err)
			}
		}
		if got := out.String(); got != want {
			t.Errorf("in pieces of %d: %q, want %q", size, got, want)
		}
	}
}

func FuzzPlainText(f *testing.F) {
	f.Add([]byte("\x1b[31mred\x1b]0;x\x07\xe2\x82"), 3)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		var whole, parts bytes.Buffer
		if _, err := (&plainText{w: &whole}).Write(b); err != nil {
			t.Fatal(err)
		}
		p := &plainText{w: &parts}
		size = 1 + max(0, size)%16
		for i := 0; i < len(b); i += size {
			if _, err := p.Write(b[i:min(i+size, len(b))]); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(whole.Bytes(), parts.Bytes()) {
			t.Fatalf("%q or %q", whole.Bytes(), parts.Bytes())
		}
		if i := bytes.IndexFunc(whole.Bytes(), func(r rune) bool { return r != '\n' && r != '\t' && printable(r) == '?' && r != '?' }); i >= 0 {
			t.Fatalf("%q lets a control character through", whole.Bytes())
		}
	})
}

func TestMain(m *testing.M) {
	for _, v := range []string{"WASMBED_SERVER", "WASMBED_TOKEN", "WASMBED_NAMESPACE", "WASMBED_DIR"} {
		os.Unsetenv(v)
	}
	os.Exit(m.Run())
}
