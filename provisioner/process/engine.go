// Package process runs boards as processes of this machine. A board is the leader of its own session, so it outlives the
// provisioner; what is needed to find it again is in its folder:
//
//	DIR/lock                       held by the one engine of DIR
//	DIR/NAMESPACE/NAME/board.json  what was started, as which process
//	DIR/NAMESPACE/NAME/lock        held by the board's processes themselves, from before their program begins to their end
//	DIR/NAMESPACE/NAME/output.log  standard output and error
//	DIR/NAMESPACE/NAME/...         the Spec's files; the working directory
//
// A process is known by its id, its start time and the machine's boot, so a process id that was used again is never
// mistaken for a board. A provisioner that is killed between a start and its note finds the process by a token in its
// environment. Linux only: it reads /proc.
package process

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/folder"
)

// Name of this engine.
const Name = "process"

// Options of an Engine.
type Options struct {
	Dir    string // boards' folders; made when it is not there
	Images string // folder of firmware images
	// Programs are paths by the names that Specs use (qemu-system-arm, renode, device); what is not there is looked for
	// on PATH.
	Programs map[string]string
	Log      *slog.Logger
}

// Engine implements provisioner.Engine.
type Engine struct {
	o    Options
	proc proc
	lock *os.File
	stop context.CancelFunc
	work sync.WaitGroup
	ctx  context.Context // ends with Close; watchers of boards live in it

	mu     sync.Mutex
	boards map[string]*board // by id
}

var _ provisioner.Engine = (*Engine)(nil)

// New takes the folder and finds the boards of an earlier life. Errors: Conflict (another provisioner has the folder),
// Invalid.
func New(o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, errs.New(errs.Invalid, "state folder: %w", err)
	}
	o.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errs.New(errs.Invalid, "state folder: %w", err)
	}
	p, err := newProc()
	if err != nil {
		return nil, err
	}
	lock, err := folder.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, errs.New(errs.Conflict, "another provisioner has the folder %s: %w", dir, err).WithMend("stop it, or give this one another WASMBED_PROVISIONER_DIR")
	}
	ctx, stop := context.WithCancel(context.Background())
	e := &Engine{o: o, proc: p, lock: lock, ctx: ctx, stop: stop, boards: map[string]*board{}}
	if err := e.load(); err != nil {
		_ = e.Close()
		return nil, err
	}
	e.work.Go(func() { e.janitor(ctx) })
	return e, nil
}

// Close lets go of the folder and of all boards, which go on.
func (e *Engine) Close() error {
	e.stop()
	e.work.Wait()
	return e.lock.Close()
}

// Name implements provisioner.Engine.
func (e *Engine) Name() string { return Name }

// Can reports whether a backend's program is there. Errors: Unsupported.
func (e *Engine) Can(backend string) error {
	program := map[string]string{provisioner.BackendHost: "device", provisioner.BackendQEMU: "qemu-system-arm", provisioner.BackendRenode: "renode"}[backend]
	if program == "" {
		return errs.New(errs.Invalid, "backend %q", backend)
	}
	_, err := e.program(program)
	return err
}

// load reads the records of all boards.
func (e *Engine) load() error {
	names, err := filepath.Glob(filepath.Join(e.o.Dir, "*", "*"))
	if err != nil {
		return errs.New(errs.Internal, "state folder: %w", err)
	}
	for _, dir := range names {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		key := provisioner.Key{Namespace: filepath.Base(filepath.Dir(dir)), Name: filepath.Base(dir)}
		b := &board{id: key.String(), key: key, dir: dir}
		e.boards[b.id] = b
		b.adopt(e)
	}
	return nil
}

// board returns the instance of an id.
func (e *Engine) board(id string) (*board, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.boards[id]
	if b == nil {
		return nil, errs.New(errs.NotFound, "no board %s", id)
	}
	return b, nil
}

// List implements provisioner.Engine.
func (e *Engine) List(context.Context) ([]provisioner.Instance, error) {
	e.mu.Lock()
	all := make([]*board, 0, len(e.boards))
	for _, b := range e.boards {
		all = append(all, b)
	}
	e.mu.Unlock()
	out := make([]provisioner.Instance, 0, len(all))
	for _, b := range all {
		if i, ok := b.instance(); ok {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b provisioner.Instance) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// Stop implements provisioner.Engine.
func (e *Engine) Stop(ctx context.Context, id string, kill bool) error {
	b, err := e.board(id)
	if err != nil {
		return err
	}
	b.op.Lock()
	defer b.op.Unlock()
	return b.end(ctx, e, kill)
}

// Remove implements provisioner.Engine.
func (e *Engine) Remove(ctx context.Context, id string) error {
	b, err := e.board(id)
	if err != nil {
		return err
	}
	b.op.Lock()
	defer b.op.Unlock()
	if err := b.end(ctx, e, true); err != nil {
		return err
	}
	if err := os.RemoveAll(b.dir); err != nil {
		return errs.New(errs.Internal, "remove board %s: %w", id, err)
	}
	_ = os.Remove(filepath.Dir(b.dir)) // the namespace's folder, when it was the last
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.boards[id] == b {
		delete(e.boards, id)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = true
	return nil
}

// Reset implements provisioner.Engine.
func (e *Engine) Reset(ctx context.Context, id string) error {
	b, err := e.board(id)
	if err != nil {
		return err
	}
	b.op.Lock()
	defer b.op.Unlock()
	rec, _, running := b.now()
	if !running {
		return errs.New(errs.Conflict, "board %s is not running", id)
	}
	return folder.Reset(ctx, b.dir, rec.Spec)
}

// Wait implements provisioner.Engine.
func (e *Engine) Wait(ctx context.Context, id string) (provisioner.Exit, error) {
	b, err := e.board(id)
	if err != nil {
		return provisioner.Exit{}, err
	}
	_, done, running := b.now()
	if running {
		select {
		case <-done:
		case <-ctx.Done():
			return provisioner.Exit{}, errs.New(errs.CodeOf(ctx.Err()), "wait for board %s: %w", id, ctx.Err())
		}
	}
	rec, _, _ := b.now()
	if rec.Exit == nil {
		return provisioner.Exit{Reason: provisioner.ExitLost, Code: -1}, nil
	}
	return *rec.Exit, nil
}

// Usage implements provisioner.Engine.
func (e *Engine) Usage(_ context.Context, id string) (provisioner.Usage, error) {
	b, err := e.board(id)
	if err != nil {
		return provisioner.Usage{}, err
	}
	rec, _, running := b.now()
	if !running {
		return provisioner.Usage{}, errs.New(errs.Conflict, "board %s is not running", id)
	}
	return e.proc.usage(rec.PID)
}

// janitor keeps boards inside their memory and their logs inside their bounds.
func (e *Engine) janitor(ctx context.Context) {
	tick := time.NewTicker(janitorTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e.mu.Lock()
		all := make([]*board, 0, len(e.boards))
		for _, b := range e.boards {
			all = append(all, b)
		}
		e.mu.Unlock()
		for _, b := range all {
			b.tidy(e)
		}
	}
}
