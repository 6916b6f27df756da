package wazero

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// Errors of calls that are no traps: the instance lives on.
var (
	ErrNoExport = errors.New("the module does not export it") // or not with that type
	ErrNoRoom   = errors.New("the module has no room for the bytes")
	ErrTooLong  = errors.New("the answer is longer than the caller takes")
)

// Instance is a module in memory. Calls must not overlap. After a *Trap it is of no use but for Close.
type Instance struct {
	ctx     context.Context // carries the instance to its host functions
	host    Host
	module  api.Module
	memory  *linearMemory
	release func()
}

// MemorySize returns the bytes of linear memory that it has now.
func (i *Instance) MemorySize() int { return len(i.memory.bytes) }

// Close frees everything. It does not call wasmbed_stop.
func (i *Instance) Close() {
	if i.module != nil {
		_ = i.module.Close(context.Background()) // an instance without WASI has nothing that could fail to close
		i.module = nil
	}
	if i.release != nil {
		i.release()
		i.release = nil
	}
}

// Start calls wasmbed_start and returns its result, 0 when the module is content.
func (i *Instance) Start(timeout time.Duration) (int32, error) {
	return i.entry("wasmbed_start", timeout)
}

// Timer calls wasmbed_timer.
func (i *Instance) Timer(timeout time.Duration, id uint32) (int32, error) {
	return i.entry("wasmbed_timer", timeout, uint64(id))
}

// Stop calls wasmbed_stop.
func (i *Instance) Stop(timeout time.Duration) error {
	_, err := i.call("wasmbed_stop", []api.ValueType{}, nil, timeout)
	return err
}

// Message calls wasmbed_message with copies of topic and payload.
func (i *Instance) Message(timeout time.Duration, topic, payload []byte) (int32, error) {
	const name = "wasmbed_message"
	if i.function(name, []api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}) == nil {
		return 0, ErrNoExport
	}
	deadline := time.Now().Add(timeout)
	ptr, err := i.pass(timeout, topic, payload)
	if err != nil {
		return 0, err
	}
	n := uint64(len(topic))
	return i.entry(name, time.Until(deadline), ptr, n, ptr+n, uint64(len(payload)))
}

// Invoke calls an exported function of type (i32, i32) -> i64 with a copy of payload, and copies its answer to answer. number
// is not 0 when the module refused with a number of its own.
func (i *Instance) Invoke(timeout time.Duration, function string, payload, answer []byte) (n int, number uint32, err error) {
	params, results := []api.ValueType{i32, i32}, []api.ValueType{i64}
	if strings.HasPrefix(function, "wasmbed_") || strings.HasPrefix(function, "_") || i.function(function, params, results) == nil {
		return 0, 0, ErrNoExport
	}
	deadline := time.Now().Add(timeout)
	ptr, err := i.pass(timeout, payload)
	if err != nil {
		return 0, 0, err
	}
	r, err := i.call(function, params, results, time.Until(deadline), ptr, uint64(len(payload)))
	if err != nil {
		return 0, 0, err
	}
	at, length := uint32(r>>32), uint32(r)
	if at == 0 || length == 0 {
		return 0, length, nil
	}
	bytes, ok := i.module.Memory().Read(at, length)
	switch {
	case !ok:
		return 0, 0, &Trap{Reason: ReasonOutOfBounds, Where: function, Text: "its answer is outside of the memory"}
	case len(bytes) > len(answer):
		return 0, 0, ErrTooLong
	}
	return copy(answer, bytes), 0, nil
}

// pass copies parts, one behind the other, to where wasmbed_alloc says.
func (i *Instance) pass(timeout time.Duration, parts ...[]byte) (uint64, error) {
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	if total == 0 {
		return 0, nil
	}
	const name = "wasmbed_alloc"
	r, err := i.call(name, []api.ValueType{i32}, []api.ValueType{i32}, timeout, uint64(total))
	if err != nil {
		return 0, err
	}
	ptr := uint32(r)
	if ptr == 0 {
		return 0, ErrNoRoom
	}
	room, ok := i.module.Memory().Read(ptr, uint32(total))
	if !ok {
		return 0, &Trap{Reason: ReasonOutOfBounds, Where: name, Text: "it returned a place outside of the memory"}
	}
	for _, p := range parts {
		room = room[copy(room, p):]
	}
	return uint64(ptr), nil
}

// entry calls an export that returns an i32.
func (i *Instance) entry(name string, timeout time.Duration, args ...uint64) (int32, error) {
	params := make([]api.ValueType, len(args)) // all entry points take i32s
	for n := range params {
		params[n] = i32
	}
	r, err := i.call(name, params, []api.ValueType{i32}, timeout, args...)
	return int32(r), err
}

// function returns an export of exactly that type, or nil.
func (i *Instance) function(name string, params, results []api.ValueType) api.Function {
	f := i.module.ExportedFunction(name)
	if f == nil || !slices.Equal(f.Definition().ParamTypes(), params) || !slices.Equal(f.Definition().ResultTypes(), results) {
		return nil
	}
	return f
}

func (i *Instance) call(name string, params, results []api.ValueType, timeout time.Duration, args ...uint64) (uint64, error) {
	f := i.function(name, params, results)
	if f == nil {
		return 0, ErrNoExport
	}
	ctx, cancel := context.WithTimeout(i.ctx, timeout)
	defer cancel()
	stack := make([]uint64, max(len(args), len(results)))
	copy(stack, args)
	if err := f.CallWithStack(ctx, stack); err != nil {
		return 0, trapOf(err, name)
	}
	if len(results) == 0 {
		return 0, nil
	}
	return stack[0], nil
}

func putFloat(b []byte, v float64) { binary.LittleEndian.PutUint64(b, math.Float64bits(v)) }
