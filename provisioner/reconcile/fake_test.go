package reconcile

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// fake is an engine in memory. What runs in it is a board that says its boot line after bootAfter, unless it is mute.
type fake struct {
	name      string
	bootAfter time.Duration

	mu     sync.Mutex
	n      int
	boards map[string]*fakeBoard
	mute   bool                  // boards say nothing
	fail   func(op string) error // of the next calls
	counts map[string]int
}

type fakeBoard struct {
	i      provisioner.Instance
	done   chan struct{}
	out    *io.PipeWriter
	in     *io.PipeReader
	mem    int // what storage holds: starts so far
	resets int
}

func newFake(name string) *fake {
	return &fake{name: name, bootAfter: 100 * time.Millisecond, boards: map[string]*fakeBoard{}, counts: map[string]int{}}
}

func (f *fake) Name() string { return f.name }

// begin counts a call. mu is held after it, also when it fails.
func (f *fake) begin(op string) error {
	f.mu.Lock()
	f.counts[op]++
	if f.fail != nil {
		return f.fail(op)
	}
	return nil
}

func (f *fake) Start(ctx context.Context, s provisioner.Spec) (provisioner.Instance, error) {
	err := f.begin("start")
	defer f.mu.Unlock()
	if err != nil {
		return provisioner.Instance{}, err
	}
	id := s.Key.String()
	b := f.boards[id]
	if b == nil {
		b = &fakeBoard{}
		f.boards[id] = b
	}
	if b.i.Running {
		return provisioner.Instance{}, errs.New(errs.AlreadyExists, "it is running")
	}
	if b.i.Spec.Storage != s.Storage {
		b.mem = 0
	}
	b.mem++
	f.n++
	b.i = provisioner.Instance{ID: id, Key: s.Key, UID: s.UID, Life: fmt.Sprint("life", f.n), Handle: strconv.Itoa(f.n), Running: true, Started: time.Now(), Spec: s}
	b.done = make(chan struct{})
	b.in, b.out = io.Pipe()
	f.boot(b)
	return b.i, nil
}

// boot lets a board say its line. mu is held.
func (f *fake) boot(b *fakeBoard) {
	if f.mute {
		return
	}
	out, done, after := b.out, b.done, f.bootAfter
	go func() {
		select {
		case <-time.After(after):
			fmt.Fprintf(out, "junk\r\n%s 1.0.0\r\n", provisioner.BootLine)
		case <-done:
		}
	}()
}

func (f *fake) List(context.Context) ([]provisioner.Instance, error) {
	err := f.begin("list")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var out []provisioner.Instance
	for _, b := range f.boards {
		out = append(out, b.i)
	}
	slices.SortFunc(out, func(a, b provisioner.Instance) int { return len(a.ID) - len(b.ID) })
	return out, nil
}

// end ends a board. mu is held.
func (f *fake) end(b *fakeBoard, reason string, code int) {
	if !b.i.Running {
		return
	}
	b.i.Running = false
	b.i.Exit = provisioner.Exit{Life: b.i.Life, Reason: reason, Code: code, At: time.Now()}
	b.out.Close()
	close(b.done)
}

func (f *fake) Stop(_ context.Context, id string, kill bool) error {
	op, reason := "stop", provisioner.ExitStopped
	if kill {
		op, reason = "kill", provisioner.ExitKilled
	}
	err := f.begin(op)
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	b := f.boards[id]
	if b == nil {
		return errs.New(errs.NotFound, "no board %s", id)
	}
	f.end(b, reason, 0)
	return nil
}

func (f *fake) Reset(_ context.Context, id string) error {
	err := f.begin("reset")
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	b := f.boards[id]
	if b == nil || !b.i.Running {
		return errs.New(errs.Conflict, "not running")
	}
	b.resets++
	f.boot(b)
	return nil
}

func (f *fake) Remove(_ context.Context, id string) error {
	err := f.begin("remove")
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	b := f.boards[id]
	if b == nil {
		return errs.New(errs.NotFound, "no board %s", id)
	}
	f.end(b, provisioner.ExitKilled, 137)
	delete(f.boards, id)
	return nil
}

func (f *fake) get(id string) *fakeBoard {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.boards[id]
}

func (f *fake) Console(_ context.Context, id string) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.boards[id]
	if b == nil || !b.i.Running {
		return nil, errs.New(errs.Conflict, "not running")
	}
	return b.in, nil
}

func (f *fake) Link(context.Context, string) (io.ReadWriteCloser, error) {
	return nil, errs.New(errs.Unsupported, "no serial line")
}

func (f *fake) Wait(ctx context.Context, id string) (provisioner.Exit, error) {
	b := f.get(id)
	if b == nil {
		return provisioner.Exit{}, errs.New(errs.NotFound, "no board %s", id)
	}
	f.mu.Lock()
	done := b.done
	f.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
		return provisioner.Exit{}, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return b.i.Exit, nil
}

func (f *fake) Usage(context.Context, string) (provisioner.Usage, error) {
	return provisioner.Usage{Memory: 1 << 20, CPU: time.Second, PIDs: 1}, nil
}

// crash ends a board behind the provisioner's back; false: it does not run.
func (f *fake) crash(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.boards[id]
	if b == nil || !b.i.Running {
		return false
	}
	f.end(b, provisioner.ExitExited, 139)
	return true
}

func (f *fake) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[op]
}

// set changes how the engine behaves.
func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// running returns the keys of what runs.
func (f *fake) running() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for id, b := range f.boards {
		if b.i.Running {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
