package process

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/folder"
)

const (
	outputFile = "output.log"
	inputFile  = "input"
	tmpDir     = "tmp"
)

// Start implements provisioner.Engine.
func (e *Engine) Start(ctx context.Context, s provisioner.Spec) (provisioner.Instance, error) {
	var none provisioner.Instance
	if err := folder.Check(s.Key); err != nil {
		return none, err
	}
	if s.Relay.Path != "" {
		return none, errs.New(errs.Unsupported, "a process reaches the gateway itself: no relay")
	}
	path, err := e.program(s.Program)
	if err != nil {
		return none, err
	}
	b := e.boardFor(s.Key)
	b.op.Lock()
	defer b.op.Unlock()
	b.mu.Lock()
	gone := b.gone
	b.mu.Unlock()
	if gone { // removed while we waited
		return none, errs.New(errs.Conflict, "board %s was just removed", b.id)
	}
	if _, _, running := b.now(); running {
		return none, errs.New(errs.AlreadyExists, "board %s is running", b.id)
	}
	if err := ctx.Err(); err != nil {
		return none, errs.New(errs.CodeOf(err), "start board %s: %w", b.id, err)
	}
	if err := b.start(e, path, s); err != nil {
		return none, err
	}
	i, _ := b.instance()
	return i, nil
}

func (e *Engine) boardFor(k provisioner.Key) *board {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.boards[k.String()]
	if b == nil {
		b = &board{id: k.String(), key: k, dir: filepath.Join(e.o.Dir, k.Namespace, k.Name)}
		e.boards[b.id] = b
	}
	return b
}

// program finds a program.
func (e *Engine) program(name string) (string, error) {
	path := e.o.Programs[name]
	if path == "" {
		path = name
	}
	full, err := exec.LookPath(path)
	if err != nil {
		return "", errs.New(errs.Unsupported, "%s cannot be run here: %w", name, err).WithMend("install it, or choose another backend or engine")
	}
	return filepath.Abs(full)
}

// start makes the board's folder and starts its program. b.op is held and nothing runs.
func (b *board) start(e *Engine, program string, s provisioner.Spec) error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return errs.New(errs.Internal, "board %s: %w", b.id, err)
	}
	lock, err := folder.Lock(filepath.Join(b.dir, "lock"))
	if err != nil {
		b.orphan(e)
		return errs.New(errs.AlreadyExists, "a process that nobody noted runs as board %s: %w", b.id, err)
	}
	defer lock.Close()
	if b.rec.Token != "" && b.rec.Spec.Storage != s.Storage || b.broken != "" {
		e.o.Log.Info("a board's storage is wiped: it was another board's", "board", b.id)
		if err := folder.Wipe(b.dir, "lock"); err != nil {
			return err
		}
	}
	if err := folder.Image(b.dir, e.o.Images, s); err != nil {
		return err
	}
	filled := s.Fill(b.dir)
	if err := folder.Files(b.dir, filled); err != nil {
		return err
	}
	if err := b.clear(); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(b.dir, outputFile), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return errs.New(errs.Internal, "board %s: %w", b.id, err)
	}
	defer out.Close()

	rec := record{Spec: s, Token: rand.Text(), Boot: e.proc.boot, Started: time.Now()}
	cmd := exec.Command(program, filled.Args...)
	cmd.Dir = b.dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{lock} // the board holds its lock as long as it lives
	// Not our environment: it has secrets that are no board's.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "TMPDIR=" + filepath.Join(b.dir, tmpDir), "LANG=C.UTF-8", tokenName + "=" + rec.Token}, filled.Env...)
	if s.HoldInput {
		in, err := b.input()
		if err != nil {
			return errs.New(errs.Internal, "board %s: %w", b.id, err)
		}
		defer in.Close()
		cmd.Stdin = in
	}
	// Its own session: neither a terminal's signals nor our end reach it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}

	b.mu.Lock()
	defer b.mu.Unlock()
	b.rec, b.broken, b.ending, b.done = rec, "", "", nil
	if err := writeRecord(filepath.Join(b.dir, recordFile), rec); err != nil { // before: so that it is found if we die now
		return errs.New(errs.Internal, "board %s: %w", b.id, err)
	}
	if err := cmd.Start(); err != nil {
		b.rec.Exit = &provisioner.Exit{Life: b.rec.life(), Reason: provisioner.ExitExited, Code: -1, Output: err.Error(), At: time.Now()}
		b.saveLocked(e)
		return errs.New(errs.Unavailable, "board %s: %w", b.id, err)
	}
	b.rec.PID = cmd.Process.Pid
	if st, ok := e.proc.stat(b.rec.PID); ok {
		b.rec.Start = st.start
	}
	b.saveLocked(e)
	done := make(chan struct{})
	b.done = done
	// Not among e.work: it ends with the board, which may outlive the engine.
	go func() {
		err := cmd.Wait()
		b.ended(e, done, exitCode(cmd, err))
	}()
	return nil
}

// input opens a pipe that never ends: who reads it has it open for writing too.
func (b *board) input() (*os.File, error) {
	path := filepath.Join(b.dir, inputFile)
	if err := syscall.Mkfifo(path, 0o600); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}

// exitCode is the exit status, 128 and the signal, or -1.
func exitCode(cmd *exec.Cmd, err error) int {
	if cmd.ProcessState == nil {
		return -1
	}
	if w, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	if x, ok := errors.AsType[*exec.ExitError](err); ok {
		return x.ExitCode()
	}
	return cmd.ProcessState.ExitCode()
}

// clear empties the folder of temporary files that the last life left.
func (b *board) clear() error {
	tmp := filepath.Join(b.dir, tmpDir)
	if err := os.RemoveAll(tmp); err != nil {
		return errs.New(errs.Internal, "board %s: %w", b.id, err)
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return errs.New(errs.Internal, "board %s: %w", b.id, err)
	}
	return nil
}
