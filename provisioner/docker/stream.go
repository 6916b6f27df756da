package docker

import (
	"context"
	"io"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/folder"
)

// Console implements provisioner.Engine. A new reader takes the place of the last.
func (e *Engine) Console(ctx context.Context, id string) (io.ReadCloser, error) {
	b, i, err := e.running(ctx, id)
	if err != nil {
		return nil, err
	}
	b.reading(nil)
	c, err := e.channel(ctx, b, i, i.Spec.Console)
	if err != nil {
		return nil, err
	}
	b.reading(c)
	return c, nil
}

// Link implements provisioner.Engine.
func (e *Engine) Link(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	b, i, err := e.running(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case i.Spec.Link.Kind == "":
		return nil, errs.New(errs.Unsupported, "board %s has a network and no serial link", id)
	}
	return e.channel(ctx, b, i, i.Spec.Link)
}

// running returns a board that runs. Errors: NotFound, Conflict.
func (e *Engine) running(ctx context.Context, id string) (*board, provisioner.Instance, error) {
	b, err := e.named(id)
	if err != nil {
		return nil, provisioner.Instance{}, err
	}
	i, err := b.now(ctx, e)
	if err == nil && !i.Running {
		err = errs.New(errs.Conflict, "board %s is not running", id)
	}
	return b, i, err
}

func (e *Engine) channel(ctx context.Context, b *board, i provisioner.Instance, c provisioner.Channel) (io.ReadWriteCloser, error) {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := folder.Open(ctx, b.folder(), b.id, c, e.ended(wait, i.Handle))
	if err != nil {
		return nil, err
	}
	return conn, nil
}
