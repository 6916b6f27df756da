package host

import (
	"context"
	"crypto/sha256"
	"io"
	"os"
	"sync"

	engine "wasmbed.io/wasmbed/firmware/runtime/wazero"
	"wasmbed.io/wasmbed/internal/errs"
)

// Shared is what the devices of one process have in common, so that a thousand of them are cheap: the engine with its decoded
// modules, and the bound on how many execute at once.
type Shared struct {
	engine *engine.Engine
	// A device that is inside of the core occupies an operating system thread, also while it waits for its disk.
	polls       chan struct{}
	measurement func() ([32]byte, error)
}

// NewShared makes it. Close it after its last device has ended.
func NewShared(ctx context.Context) (*Shared, error) {
	e, err := engine.New(ctx)
	if err != nil {
		return nil, err
	}
	return &Shared{engine: e, polls: make(chan struct{}, maxPolls), measurement: sync.OnceValues(measure)}, nil
}

// Close frees the engine.
func (s *Shared) Close(ctx context.Context) error { return s.engine.Close(ctx) }

// measure returns the SHA-256 of the running executable: what a host device has for a firmware image.
func measure() (sum [32]byte, err error) {
	path, err := os.Executable()
	if err != nil {
		return sum, errs.New(errs.Internal, "executable: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return sum, errs.New(errs.Internal, "executable: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, errs.New(errs.Internal, "executable: %w", err)
	}
	return [32]byte(h.Sum(nil)), nil
}
