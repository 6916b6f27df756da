package process

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/folder"
)

// Console implements provisioner.Engine. A new reader takes the place of the last.
func (e *Engine) Console(ctx context.Context, id string) (io.ReadCloser, error) {
	b, err := e.board(id)
	if err != nil {
		return nil, err
	}
	rec, done, running := b.now()
	if !running {
		return nil, errs.New(errs.Conflict, "board %s is not running", id)
	}
	b.mu.Lock()
	last := b.console
	b.console = nil
	b.mu.Unlock()
	if last != nil {
		last.Close()
	}
	var r io.ReadCloser
	if rec.Spec.Console.Kind == provisioner.ChannelOutput {
		r, err = follow(ctx, filepath.Join(b.dir, outputFile), done)
	} else {
		r, err = folder.Open(ctx, b.dir, b.id, rec.Spec.Console, done)
	}
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.console = r
	return r, nil
}

// Link implements provisioner.Engine.
func (e *Engine) Link(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	b, err := e.board(id)
	if err != nil {
		return nil, err
	}
	rec, done, running := b.now()
	switch {
	case !running:
		return nil, errs.New(errs.Conflict, "board %s is not running", id)
	case rec.Spec.Link.Kind == "":
		return nil, errs.New(errs.Unsupported, "board %s has a network and no serial link", id)
	}
	return folder.Open(ctx, b.dir, b.id, rec.Spec.Link, done)
}

// follow reads a file as it grows, until done. A file that was emptied is read from its start.
func follow(ctx context.Context, path string, done <-chan struct{}) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errs.New(errs.Internal, "%w", err)
	}
	return &follower{f: f, ctx: ctx, done: done, closed: make(chan struct{})}, nil
}

type follower struct {
	f      *os.File
	at     int64
	ctx    context.Context
	done   <-chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (f *follower) Read(p []byte) (int, error) {
	for last := false; ; {
		if info, err := f.f.Stat(); err == nil && info.Size() < f.at {
			f.at = 0
		}
		n, err := f.f.ReadAt(p, f.at)
		f.at += int64(n)
		if n > 0 {
			return n, nil
		}
		if err != nil && err != io.EOF {
			return 0, err
		}
		if last {
			return 0, io.EOF
		}
		select {
		case <-f.done:
			last = true // what was written before the end is still read
		case <-f.closed:
			return 0, os.ErrClosed
		case <-f.ctx.Done():
			return 0, f.ctx.Err()
		case <-time.After(outputPoll):
		}
	}
}

func (f *follower) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.f.Close()
}
