// Package wazero runs modules on a host: the engine behind the C core's runtime vtable, on the wazero
// interpreter. It knows the module ABI (docs/spec/abi.md) and nothing of the core: what a module may do to the world is
// the Host that it is given.
//
// The interpreter, not the compiler: a device is a simulation of a microcontroller, whose runtime interprets too;
// its call depth is bounded at 2,000 frames where compiled code would take 50 MB of stack from a module that
// recurses for ever; and a module costs no executable mapping. Modules are decoded once per digest and process, however
// many devices run them.
package wazero

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"wasmbed.io/wasmbed/internal/errs"
)

// features is what ABI 1 allows beyond WebAssembly 1.0.
const features = api.CoreFeatureMutableGlobal | api.CoreFeatureSignExtensionOps |
	api.CoreFeatureNonTrappingFloatToIntConversion | api.CoreFeatureBulkMemoryOperations

// Engine is shared by all devices of a process and safe for use from many goroutines.
type Engine struct {
	runtime wazero.Runtime

	mu      sync.Mutex
	modules map[[32]byte]*module
}

// module is one decoded module and how many instances hold it.
type module struct {
	ready    chan struct{} // closed when compiled or err is set
	compiled wazero.CompiledModule
	err      error
	refs     int // guarded by Engine.mu
}

// Code is a module's bytes, which are read only when no other instance of the process has them decoded.
type Code struct {
	Digest [32]byte // SHA-256; the caller has checked it
	Read   func() ([]byte, error)
}

// Limits of one instance, from the manifest.
type Limits struct {
	MemoryPages  uint32        // 64 KiB each; at least the module's initial size
	CallTimeout  time.Duration // of the start section; calls bring their own
	Instructions uint64        // must be 0: this engine cannot count
}

// New makes an engine.
func New(ctx context.Context) (*Engine, error) {
	config := wazero.NewRuntimeConfigInterpreter().
		WithCoreFeatures(features).
		WithCloseOnContextDone(true).
		WithDebugInfoEnabled(false)
	e := &Engine{runtime: wazero.NewRuntimeWithConfig(ctx, config), modules: map[[32]byte]*module{}}
	if err := e.exportHost(ctx); err != nil {
		return nil, errs.New(errs.Internal, "host functions: %w", err)
	}
	return e, nil
}

// Close ends every instance. No call may be under way.
func (e *Engine) Close(ctx context.Context) error { return e.runtime.Close(ctx) }

// Modules returns how many modules are decoded now.
func (e *Engine) Modules() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.modules)
}

// Load makes an instance; of its code only a start section runs. The error is a *Trap, which also says why a module
// cannot be loaded (ReasonNotWasm, ReasonMissingImport, ReasonInsufficientMemory, ReasonUnsupported), or what Read
// returned.
func (e *Engine) Load(ctx context.Context, code Code, limits Limits, host Host) (*Instance, error) {
	if limits.Instructions != 0 {
		return nil, &Trap{Reason: ReasonUnsupported, Text: "this runtime does not count instructions"}
	}
	m, err := e.acquire(ctx, code)
	if err != nil {
		return nil, err
	}
	instance, err := e.instantiate(ctx, m.compiled, limits, host)
	if err != nil {
		e.release(code.Digest)
		return nil, err
	}
	instance.release = func() { e.release(code.Digest) }
	return instance, nil
}

func (e *Engine) instantiate(ctx context.Context, compiled wazero.CompiledModule, limits Limits, host Host) (*Instance, error) {
	if err := check(compiled, limits); err != nil {
		return nil, err
	}
	i := &Instance{host: host}
	i.ctx = context.WithValue(ctx, instanceKey{}, i)
	memory := &linearMemory{limit: uint64(limits.MemoryPages) * pageSize}
	start, cancel := context.WithTimeout(experimental.WithMemoryAllocator(i.ctx, memory), limits.CallTimeout)
	defer cancel()
	// The name is empty so that any number of instances may exist; _start and the like are not called.
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	mod, err := e.runtime.InstantiateModule(start, compiled, config)
	if err != nil {
		return nil, trapOf(err, "start section")
	}
	i.module, i.memory = mod, memory
	return i, nil
}

// acquire returns the decoded module, counted.
func (e *Engine) acquire(ctx context.Context, code Code) (*module, error) {
	e.mu.Lock()
	m, ok := e.modules[code.Digest]
	if !ok {
		m = &module{ready: make(chan struct{})}
		e.modules[code.Digest] = m
	}
	m.refs++
	e.mu.Unlock()
	if !ok {
		m.compiled, m.err = e.compile(ctx, code)
		close(m.ready)
	}
	<-m.ready // another device compiles the same bytes: milliseconds
	if m.err != nil {
		err := m.err
		e.release(code.Digest)
		return nil, err
	}
	return m, nil
}

func (e *Engine) compile(ctx context.Context, code Code) (wazero.CompiledModule, error) {
	bytes, err := code.Read()
	if err != nil {
		return nil, err
	}
	bytes, err = guard(bytes)
	if err != nil {
		return nil, notWasm(err)
	}
	compiled, err := e.runtime.CompileModule(ctx, bytes)
	if err != nil {
		return nil, notWasm(err)
	}
	return compiled, nil
}

func notWasm(err error) *Trap {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return &Trap{Reason: ReasonNotWasm, Text: line}
}

// release forgets the module when its last instance is gone.
func (e *Engine) release(digest [32]byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.modules[digest]
	m.refs--
	if m.refs > 0 {
		return
	}
	delete(e.modules, digest)
	if m.compiled != nil {
		_ = m.compiled.Close(context.Background()) // frees memory only, and never fails for the interpreter
	}
}

const pageSize = 65536

// check looks for what instantiation would refuse with less exact words.
func check(compiled wazero.CompiledModule, limits Limits) error {
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		want, ok := imports[name]
		if module != importModule || !ok || !want.matches(f) {
			return &Trap{Reason: ReasonMissingImport, Text: module + "." + name}
		}
	}
	memory := compiled.ExportedMemories()["memory"]
	if memory == nil {
		return &Trap{Reason: ReasonNotWasm, Text: "no memory is exported"}
	}
	if memory.Min() > limits.MemoryPages {
		return &Trap{Reason: ReasonInsufficientMemory, Text: "its memory is over the limit"}
	}
	return nil
}

// linearMemory is the memory of one instance, which may not grow over its manifest's limit. It is its own allocator.
type linearMemory struct {
	limit uint64
	bytes []byte
}

func (m *linearMemory) Allocate(_, _ uint64) experimental.LinearMemory { return m }

// Reallocate returns nil when the limit is passed: memory.grow then returns -1 to the module.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > m.limit {
		return nil
	}
	if m.bytes == nil || size > uint64(len(m.bytes)) {
		grown := make([]byte, size)
		copy(grown, m.bytes)
		m.bytes = grown
	}
	return m.bytes
}

func (m *linearMemory) Free() { m.bytes = nil }
