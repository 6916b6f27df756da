package docker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/docker/docker/api/types/container"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/folder"
)

// Start implements provisioner.Engine. Each start is a new container.
func (e *Engine) Start(ctx context.Context, s provisioner.Spec) (provisioner.Instance, error) {
	r, err := plan(e.o, s, rand.Text())
	if err != nil {
		return provisioner.Instance{}, err
	}
	b := e.board(s.Key)
	b.op.Lock()
	defer b.op.Unlock()
	defer e.changed()
	i, err := b.now(ctx, e)
	switch {
	case errs.Is(err, errs.NotFound):
	case err != nil:
		return provisioner.Instance{}, err
	case i.Running && i.Broken == "":
		return provisioner.Instance{}, errs.New(errs.AlreadyExists, "board %s is running", b.id)
	}
	if err := e.image(ctx, r.Config.Image); err != nil {
		return provisioner.Instance{}, err
	}
	if err := b.discard(ctx, e); err != nil {
		return provisioner.Instance{}, err
	}
	if err := b.prepare(e, s, r); err != nil {
		return provisioner.Instance{}, err
	}
	made, err := e.api.ContainerCreate(ctx, r.Config, r.Host, nil, nil, r.Name)
	if err != nil {
		return provisioner.Instance{}, failed(err, "create container of board %s", b.id)
	}
	for _, w := range made.Warnings { // a limit that this kernel cannot keep
		e.o.Log.Warn("Docker warns", "board", b.id, "container", made.ID, "warning", w)
	}
	if err := e.api.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		return provisioner.Instance{}, failed(err, "start container of board %s", b.id)
	}
	return b.now(ctx, e)
}

// prepare makes the board's folder, notes what will be started, and listens for the board. b.op is held and nothing runs.
func (b *board) prepare(e *Engine, s provisioner.Spec, r request) error {
	if err := os.MkdirAll(b.folder(), 0o700); err != nil {
		return errs.New(errs.Internal, "board %s: %w", b.id, err)
	}
	last, err := readRecord(filepath.Join(b.dir, recordFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) || err == nil && last.Spec.Storage != s.Storage {
		e.o.Log.Info("a board's storage is wiped: it was another board's", "board", b.id)
		if err := folder.Wipe(b.folder()); err != nil {
			return err
		}
	}
	if err := b.writeRecord(record{Spec: s, Life: r.Config.Labels[labelLife]}); err != nil { // before: so that it is known if we die now
		return err
	}
	if err := folder.Image(b.folder(), e.o.Images, s); err != nil {
		return err
	}
	if err := folder.Files(b.folder(), s.Fill(inside)); err != nil {
		return err
	}
	uid, gid, err := e.o.ids()
	if err != nil {
		return err
	}
	if uid != os.Getuid() || gid != os.Getgid() {
		if err := folder.Give(b.folder(), s, uid, gid); err != nil {
			return err
		}
	}
	return b.relayed(e, s)
}

// discard removes all containers of a board, running or not. Errors are said, not passed over.
func (b *board) discard(ctx context.Context, e *Engine) error {
	b.unrelay()
	ids, err := b.containers(ctx, e)
	if err != nil {
		return err
	}
	var all []error
	for _, id := range ids {
		err := e.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
		if err = failed(err, "remove container %.12s of board %s", id, b.id); err == nil || errs.Is(err, errs.NotFound) {
			continue
		}
		if errs.Is(err, errs.Conflict) { // somebody else is removing it: it is gone in a moment
			if err = e.gone(ctx, id); err == nil {
				continue
			}
		}
		all = append(all, err)
	}
	if len(all) > 0 {
		return errs.New(errs.CodeOf(all[0]), "%w", errors.Join(all...))
	}
	return nil
}

// gone waits until a container has been removed.
func (e *Engine) gone(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, killWait)
	defer cancel()
	status, errc := e.api.ContainerWait(ctx, id, container.WaitConditionRemoved)
	select {
	case <-status:
		return nil
	case err := <-errc:
		if err = failed(err, "container %.12s is not removed", id); errs.Is(err, errs.NotFound) {
			return nil
		}
		return err
	}
}

// Stop implements provisioner.Engine.
func (e *Engine) Stop(ctx context.Context, id string, kill bool) error {
	b, err := e.named(id)
	if err != nil {
		return err
	}
	b.op.Lock()
	defer b.op.Unlock()
	defer e.changed()
	i, err := b.now(ctx, e)
	if err != nil {
		return err
	}
	defer b.unrelay()
	if !i.Running {
		return nil
	}
	if rec, err := readRecord(filepath.Join(b.dir, recordFile)); err == nil {
		rec.Ending, rec.Ended = provisioner.ExitStopped, i.Life
		if kill {
			rec.Ending = provisioner.ExitKilled
		}
		if err := b.writeRecord(rec); err != nil { // only the reason is lost
			e.o.Log.Warn("a board's record cannot be written", "board", b.id, "cause", err)
		}
	}
	if kill {
		err = e.api.ContainerKill(ctx, i.Handle, "KILL")
	} else {
		grace := stopGrace
		err = e.api.ContainerStop(ctx, i.Handle, container.StopOptions{Timeout: &grace})
	}
	err = failed(err, "stop board %s", b.id)
	if errs.Is(err, errs.NotFound) || errs.Is(err, errs.Conflict) { // it is gone, or does not run any more
		err = nil
	}
	if err != nil {
		return err
	}
	wctx, cancel := context.WithTimeout(ctx, killWait)
	defer cancel()
	status, errc := e.api.ContainerWait(wctx, i.Handle, container.WaitConditionNotRunning)
	select {
	case <-status:
		return nil
	case err := <-errc:
		if err = failed(err, "board %s: container %s does not end", b.id, i.Handle); errs.Is(err, errs.NotFound) {
			return nil
		}
		return err
	}
}

// Remove implements provisioner.Engine.
func (e *Engine) Remove(ctx context.Context, id string) error {
	b, err := e.named(id)
	if err != nil {
		return err
	}
	b.op.Lock()
	defer b.op.Unlock()
	defer e.changed()
	if _, err := b.now(ctx, e); errs.Is(err, errs.NotFound) {
		return err
	} // else what it is does not matter
	if err := b.discard(ctx, e); err != nil {
		return err
	}
	b.reading(nil)
	// What the board has, then what is known of it: what is left of half a removal is still listed.
	for _, path := range []string{b.folder(), b.dir} {
		if err := os.RemoveAll(path); err != nil {
			return errs.New(errs.Internal, "remove board %s: %w", id, err)
		}
	}
	_ = os.Remove(filepath.Dir(b.dir)) // the namespace's folder, when it was the last
	return nil
}

// Reset implements provisioner.Engine.
func (e *Engine) Reset(ctx context.Context, id string) error {
	b, err := e.named(id)
	if err != nil {
		return err
	}
	b.op.Lock()
	defer b.op.Unlock()
	i, err := b.now(ctx, e)
	if err != nil {
		return err
	}
	if !i.Running {
		return errs.New(errs.Conflict, "board %s is not running", id)
	}
	return folder.Reset(ctx, b.folder(), i.Spec)
}

// Wait implements provisioner.Engine.
func (e *Engine) Wait(ctx context.Context, id string) (provisioner.Exit, error) {
	b, err := e.named(id)
	if err != nil {
		return provisioner.Exit{}, err
	}
	i, err := b.now(ctx, e)
	if err != nil || !i.Running {
		return i.Exit, err
	}
	lost := provisioner.Exit{Life: i.Life, Reason: provisioner.ExitLost, Code: -1, At: time.Now(), Output: "somebody removed its container"}
	status, errc := e.api.ContainerWait(ctx, i.Handle, container.WaitConditionNotRunning)
	select {
	case <-status:
	case err := <-errc:
		if err = failed(err, "wait for board %s", id); !errs.Is(err, errs.NotFound) {
			return provisioner.Exit{}, err
		}
		lost.At = time.Now()
		return lost, nil
	}
	e.changed()
	c, err := e.api.ContainerInspect(ctx, i.Handle)
	if err = failed(err, "container %s of board %s", i.Handle, id); errs.Is(err, errs.NotFound) {
		lost.At = time.Now()
		return lost, nil
	} else if err != nil {
		return provisioner.Exit{}, err
	}
	rec, err := readRecord(filepath.Join(b.dir, recordFile))
	if err != nil {
		rec = record{} // only the reason is lost
	}
	x := b.exit(ctx, e, rec, c)
	x.Life = i.Life
	return x, nil
}

// Usage implements provisioner.Engine.
func (e *Engine) Usage(ctx context.Context, id string) (provisioner.Usage, error) {
	b, err := e.named(id)
	if err != nil {
		return provisioner.Usage{}, err
	}
	i, err := b.now(ctx, e)
	if err != nil {
		return provisioner.Usage{}, err
	}
	if !i.Running {
		return provisioner.Usage{}, errs.New(errs.Conflict, "board %s is not running", id)
	}
	answer, err := e.api.ContainerStatsOneShot(ctx, i.Handle)
	if err != nil {
		return provisioner.Usage{}, failed(err, "what board %s takes", id)
	}
	defer answer.Body.Close()
	var v container.StatsResponse
	if err := json.NewDecoder(answer.Body).Decode(&v); err != nil {
		return provisioner.Usage{}, failed(err, "what board %s takes", id)
	}
	return usage(v), nil
}

// usage leaves out what the kernel keeps of files only because there is room, as docker stats does.
func usage(v container.StatsResponse) provisioner.Usage {
	idle, ok := v.MemoryStats.Stats["total_inactive_file"] // cgroup 1
	if !ok {
		idle = v.MemoryStats.Stats["inactive_file"] // cgroup 2
	}
	u := provisioner.Usage{Memory: int64(v.MemoryStats.Usage), CPU: time.Duration(v.CPUStats.CPUUsage.TotalUsage), PIDs: int64(v.PidsStats.Current)}
	if idle < v.MemoryStats.Usage {
		u.Memory -= int64(idle)
	}
	return u
}
