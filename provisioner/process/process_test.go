package process

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// The test's own program is the board's: what it does is in its environment.
func TestMain(m *testing.M) {
	switch os.Getenv("FAKE_BOARD") {
	case "":
		os.Exit(m.Run())
	case "chatty": // says what it is told, ends at SIGTERM
		fmt.Fprintln(os.Stderr, "msg=started")
		n, _ := os.ReadFile("memory.bin")
		fmt.Println("boots", len(bytes.TrimRight(n, "\x00"))+1)
		copy(n, bytes.Repeat([]byte{1}, len(bytes.TrimRight(n, "\x00"))+1))
		os.WriteFile("memory.bin", n, 0o600)
		fmt.Println("env", len(os.Environ()), os.Getenv("SECRET"))
		select {}
	case "stubborn": // does not end when asked, and has a child
		signal.Ignore(syscall.SIGTERM)
		c := exec.Command("sleep", "600")
		c.ExtraFiles = []*os.File{os.NewFile(3, "lock")}
		c.Start()
		fmt.Println("child", c.Process.Pid)
		select {}
	case "brief":
		fmt.Fprintln(os.Stderr, "no such machine")
		os.Exit(3)
	case "hungry":
		b := make([]byte, 200<<20)
		for i := range b {
			b[i] = 1
		}
		select {}
	case "engine": // a provisioner that is killed
		e, err := New(Options{Dir: os.Args[1], Programs: map[string]string{"device": self()}})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		i, err := e.Start(context.Background(), spec("chatty"))
		fmt.Println(i.Life, err)
		select {}
	}
}

func self() string { s, _ := os.Executable(); return s }

var key = provisioner.Key{Namespace: "plant", Name: "press"}

func spec(kind string) provisioner.Spec {
	return provisioner.Spec{
		Key: key, UID: "uid-1", Backend: provisioner.BackendHost, Board: "Host", Program: "device", Env: []string{"FAKE_BOARD=" + kind},
		Files:   []provisioner.File{{Name: "memory.bin", Keep: true, Size: 64}, {Name: "trust.pem", Data: []byte("pem")}},
		Console: provisioner.Channel{Kind: provisioner.ChannelOutput}, Limits: provisioner.DefaultLimits(provisioner.BackendHost),
		Boot: provisioner.Boot{Line: "msg=started", Timeout: time.Minute}, Setup: "setup", Storage: "storage",
	}
}

func logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func engine(t *testing.T, dir string) *Engine {
	t.Helper()
	e, err := New(Options{Dir: dir, Programs: map[string]string{"device": self()}, Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		all, _ := e.List(context.Background())
		for _, i := range all {
			if err := e.Remove(context.Background(), i.ID); err != nil {
				t.Error(err)
			}
		}
		e.Close()
	})
	return e
}

func start(t *testing.T, e *Engine, kind string) provisioner.Instance {
	t.Helper()
	i, err := e.Start(t.Context(), spec(kind))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// expect reads until text was said.
func expect(t *testing.T, r io.Reader, text string) string {
	t.Helper()
	var all strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(all.String(), text) {
		n, err := r.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			t.Fatalf("%q was not said before %v: %q", text, err, all.String())
		}
	}
	return all.String()
}

func console(t *testing.T, e *Engine, id string) io.ReadCloser {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	c, err := e.Console(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func wait(t *testing.T, e *Engine, id string) provisioner.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	x, err := e.Wait(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestLife(t *testing.T) {
	t.Setenv("SECRET", "not for boards")
	e := engine(t, t.TempDir())
	i := start(t, e, "chatty")
	c := console(t, e, i.ID)
	if said := expect(t, c, "env "); strings.Contains(said, "not for boards") || !strings.Contains(said, "boots 1\n") {
		t.Errorf("%q", said)
	}
	if _, err := e.Start(t.Context(), spec("chatty")); !errs.Is(err, errs.AlreadyExists) {
		t.Errorf("a second one: %v", err)
	}
	if err := e.Reset(t.Context(), i.ID); !errs.Is(err, errs.Unsupported) {
		t.Errorf("reset: %v", err)
	}
	if _, err := e.Link(t.Context(), i.ID); !errs.Is(err, errs.Unsupported) {
		t.Errorf("link: %v", err)
	}
	if u, err := e.Usage(t.Context(), i.ID); err != nil || u.Memory < 1<<20 || u.PIDs < 2 {
		t.Errorf("usage %+v %v", u, err)
	}
	if err := e.Stop(t.Context(), i.ID, false); err != nil {
		t.Fatal(err)
	}
	if x := wait(t, e, i.ID); x.Reason != provisioner.ExitStopped || x.Life != i.Life {
		t.Errorf("%+v", x)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the console ends with %v", err)
	}

	again := start(t, e, "chatty") // the same storage, another life
	if again.Life == i.Life || again.ID != i.ID {
		t.Errorf("%+v", again)
	}
	expect(t, console(t, e, i.ID), "boots 2\n")
	if err := e.Stop(t.Context(), i.ID, true); err != nil {
		t.Fatal(err)
	}
	if x := wait(t, e, i.ID); x.Reason != provisioner.ExitKilled {
		t.Errorf("%+v", x)
	}

	other := spec("chatty") // another board's storage: wiped
	other.Storage = "other"
	if _, err := e.Start(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	expect(t, console(t, e, i.ID), "boots 1\n")

	if err := e.Remove(t.Context(), i.ID); err != nil {
		t.Fatal(err)
	}
	if all, _ := e.List(t.Context()); len(all) != 0 {
		t.Errorf("%v", all)
	}
	if _, err := os.Stat(filepath.Join(e.o.Dir, "plant")); !os.IsNotExist(err) {
		t.Errorf("something is left: %v", err)
	}
	if err := e.Remove(t.Context(), i.ID); !errs.Is(err, errs.NotFound) {
		t.Errorf("%v", err)
	}
}

func TestEnds(t *testing.T) {
	e := engine(t, t.TempDir())
	i := start(t, e, "brief")
	if x := wait(t, e, i.ID); x.Reason != provisioner.ExitExited || x.Code != 3 || x.Output != "no such machine" {
		t.Errorf("%+v", x)
	}
	i = start(t, e, "chatty")
	pid, _ := strconv.Atoi(i.Handle)
	unix.Kill(pid, unix.SIGSEGV) // behind its back
	if x := wait(t, e, i.ID); x.Reason != provisioner.ExitExited || x.Code != 128+11 && x.Code != 2 {
		t.Errorf("%+v", x)
	}
	if _, err := e.Start(t.Context(), provisioner.Spec{Key: provisioner.Key{Namespace: "..", Name: "x"}, Program: "device"}); !errs.Is(err, errs.Invalid) {
		t.Errorf("%v", err)
	}
	s := spec("chatty")
	s.Program = "no-such-program"
	if _, err := e.Start(t.Context(), s); !errs.Is(err, errs.Unsupported) {
		t.Errorf("%v", err)
	}
	s = spec("chatty")
	s.Image = "missing.elf"
	if _, err := e.Start(t.Context(), s); !errs.Is(err, errs.NotFound) {
		t.Errorf("%v", err)
	}
}

// What does not end when asked is killed, with everything that it started.
func TestStubborn(t *testing.T) {
	if testing.Short() {
		t.Skip("not run: waits for the grace")
	}
	e := engine(t, t.TempDir())
	i := start(t, e, "stubborn")
	said := expect(t, console(t, e, i.ID), "\n")
	child, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(said, "child ")))
	if err != nil {
		t.Fatalf("%q", said)
	}
	if err := e.Stop(t.Context(), i.ID, false); err != nil {
		t.Fatal(err)
	}
	gone := time.Now().Add(10 * time.Second)
	for s, ok := e.proc.stat(child); ok && s.state != 'Z'; s, ok = e.proc.stat(child) {
		if time.Now().After(gone) {
			t.Fatal("its child lives")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestMemoryLimit(t *testing.T) {
	e := engine(t, t.TempDir())
	s := spec("hungry")
	s.Limits.Memory = 100 << 20
	i, err := e.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := e.board(i.ID)
	done := make(chan struct{})
	go func() { // the janitor, faster
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				b.tidy(e)
			}
		}
	}()
	defer close(done)
	if x := wait(t, e, i.ID); x.Reason != provisioner.ExitMemory {
		t.Errorf("%+v", x)
	}
}

// An engine that is killed leaves its board alone; the next one finds it, once, whatever was noted.
func TestAdoption(t *testing.T) {
	for _, forget := range []string{"nothing", "the process id", "everything"} {
		t.Run(forget, func(t *testing.T) {
			dir := t.TempDir()
			life := killedEngine(t, dir)
			record := filepath.Join(dir, "plant", "press", recordFile)
			switch forget {
			case "the process id":
				r, err := readRecord(record)
				if err != nil {
					t.Fatal(err)
				}
				r.PID, r.Start = 0, 0
				if err := writeRecord(record, r); err != nil {
					t.Fatal(err)
				}
			case "everything":
				if err := os.WriteFile(record, []byte("{"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			e := engine(t, dir)
			all, err := e.List(t.Context())
			if err != nil || len(all) != 1 {
				t.Fatalf("%v %v", all, err)
			}
			i := all[0]
			if forget == "everything" {
				if i.Broken == "" || i.Running {
					t.Errorf("%+v", i)
				}
				pid, _ := strconv.Atoi(strings.Split(life, ".")[0])
				for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
					if s, ok := e.proc.stat(pid); !ok || s.state == 'Z' {
						break
					}
					if time.Now().After(end) {
						t.Fatal("an orphan lives")
					}
				}
				return
			}
			if !i.Running || i.Life != life || i.UID != "uid-1" || i.Spec.Setup != "setup" {
				t.Errorf("%+v, want life %s", i, life)
			}
			if _, err := e.Start(t.Context(), spec("chatty")); !errs.Is(err, errs.AlreadyExists) {
				t.Errorf("a double: %v", err)
			}
			expect(t, console(t, e, i.ID), "boots 1\n")
			if _, err := e.Usage(t.Context(), i.ID); err != nil {
				t.Error(err)
			}
			if err := e.Stop(t.Context(), i.ID, false); err != nil {
				t.Fatal(err)
			}
			if x := wait(t, e, i.ID); x.Reason != provisioner.ExitStopped {
				t.Errorf("%+v", x)
			}
			start(t, e, "chatty")
			expect(t, console(t, e, i.ID), "boots 2\n")
		})
	}
}

// killedEngine has another process start a board, kills it, and returns the board's life.
func killedEngine(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command(self(), dir)
	cmd.Env = append(os.Environ(), "FAKE_BOARD=engine")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := expect(t, out, "\n")
	life, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if rest != "<nil>" {
		t.Fatal(line)
	}
	if _, err := New(Options{Dir: dir}); !errs.Is(err, errs.Conflict) { // while it lives, the folder is its own
		t.Errorf("a second provisioner: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	return life
}

// A process id that was used again is not taken for a board.
func TestPIDReuse(t *testing.T) {
	dir := t.TempDir()
	life := killedEngine(t, dir)
	pid, _ := strconv.Atoi(strings.Split(life, ".")[0])
	unix.Kill(-pid, unix.SIGKILL)
	record := filepath.Join(dir, "plant", "press", recordFile)
	r, err := readRecord(record)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newProc()
	if err != nil {
		t.Fatal(err)
	}
	for s, ok := p.stat(pid); ok && s.state != 'Z'; s, ok = p.stat(pid) {
		time.Sleep(5 * time.Millisecond)
	}
	r.PID = os.Getpid() // somebody else's, at another time
	if err := writeRecord(record, r); err != nil {
		t.Fatal(err)
	}
	e := engine(t, dir)
	all, err := e.List(t.Context())
	if err != nil || len(all) != 1 || all[0].Running || all[0].Exit.Reason != provisioner.ExitLost {
		t.Errorf("%+v %v", all, err)
	}
	start(t, e, "chatty")
}

// Many at once, for the same Device: one is started.
func TestOneStart(t *testing.T) {
	e := engine(t, t.TempDir())
	var wg sync.WaitGroup
	var mu sync.Mutex
	started := 0
	for range 16 {
		wg.Go(func() {
			_, err := e.Start(context.Background(), spec("chatty"))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				started++
			} else if !errs.Is(err, errs.AlreadyExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if started != 1 {
		t.Errorf("%d started", started)
	}
}

// A log that grows is emptied while it is written and read.
func TestOutputIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "output.log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	done := make(chan struct{})
	r, err := follow(t.Context(), path, done)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fmt.Fprintln(f, strings.Repeat("x", 1000))
	expect(t, r, "\n")
	os.Truncate(path, 0)
	fmt.Fprintln(f, "after")
	expect(t, r, "after\n")
	close(done)
	if rest, err := io.ReadAll(r); err != nil || len(rest) != 0 {
		t.Errorf("%q %v", rest, err)
	}
}
