package wazero

import (
	"context"
	"slices"

	"github.com/tetratelabs/wazero/api"
)

// Host is what a module can do to the world: one method per import of docs/spec/abi.md, and as many as there are
// imports. Slices are views of the module's memory, valid during the call. A negative result goes to the module as it is.
type Host interface {
	Log(level uint32, text []byte)
	ClockNow() int64
	ClockUptime() int64
	Telemetry(name []byte, value float64) int32
	MessageSend(topic, payload []byte) int32
	KVGet(key, buf []byte) int32
	KVSet(key, value []byte) int32
	GPIORead(pin uint32) int32
	GPIOWrite(pin, value uint32) int32
	SensorRead(id uint32) (value float64, result int32)
	TimerSet(id, periodMS uint32) int32
	Random(buf []byte) int32 // negative: the module traps
	ConfigGet(key, buf []byte) int32
}

// instanceKey finds the instance whose module called, in the context that wazero hands through.
type instanceKey struct{}

const importModule = "wasmbed"

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
	f64 = api.ValueTypeF64
)

// hostFunction is one import: its type, and the call with its arguments on the stack, where the result goes too.
type hostFunction struct {
	params, results []api.ValueType
	call            func(c hostCall, stack []uint64)
}

func (f hostFunction) matches(d api.FunctionDefinition) bool {
	return slices.Equal(f.params, d.ParamTypes()) && slices.Equal(f.results, d.ResultTypes())
}

// hostCall is the calling module: its memory and its host.
type hostCall struct {
	Host
	memory api.Memory
}

// bytes returns the range of memory that two arguments name. Outside of the memory it traps.
func (c hostCall) bytes(ptr, length uint64) []byte {
	if uint32(length) == 0 {
		return nil
	}
	b, ok := c.memory.Read(uint32(ptr), uint32(length))
	if !ok {
		panic(&Trap{Reason: ReasonOutOfBounds, Text: "a pointer given to a host function"})
	}
	return b
}

func result(stack []uint64, v int32) { stack[0] = api.EncodeI32(v) }

// imports is the table of docs/spec/abi.md.
var imports = map[string]hostFunction{
	"log": {[]api.ValueType{i32, i32, i32}, nil, func(c hostCall, s []uint64) {
		c.Log(uint32(s[0]), c.bytes(s[1], s[2]))
	}},
	"clock_now":    {nil, []api.ValueType{i64}, func(c hostCall, s []uint64) { s[0] = uint64(c.ClockNow()) }},
	"clock_uptime": {nil, []api.ValueType{i64}, func(c hostCall, s []uint64) { s[0] = uint64(c.ClockUptime()) }},
	"telemetry": {[]api.ValueType{i32, i32, f64}, []api.ValueType{i32}, func(c hostCall, s []uint64) {
		result(s, c.Telemetry(c.bytes(s[0], s[1]), api.DecodeF64(s[2])))
	}},
	"message_send": {[]api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}, func(c hostCall, s []uint64) {
		result(s, c.MessageSend(c.bytes(s[0], s[1]), c.bytes(s[2], s[3])))
	}},
	"kv_get": {[]api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}, func(c hostCall, s []uint64) {
		result(s, c.KVGet(c.bytes(s[0], s[1]), c.bytes(s[2], s[3])))
	}},
	"kv_set": {[]api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}, func(c hostCall, s []uint64) {
		result(s, c.KVSet(c.bytes(s[0], s[1]), c.bytes(s[2], s[3])))
	}},
	"gpio_read": {[]api.ValueType{i32}, []api.ValueType{i32}, func(c hostCall, s []uint64) {
		result(s, c.GPIORead(uint32(s[0])))
	}},
	"gpio_write": {[]api.ValueType{i32, i32}, []api.ValueType{i32}, func(c hostCall, s []uint64) {
		result(s, c.GPIOWrite(uint32(s[0]), uint32(s[1])))
	}},
	"sensor_read": {[]api.ValueType{i32, i32}, []api.ValueType{i32}, func(c hostCall, s []uint64) {
		out := c.bytes(s[1], 8)
		value, r := c.SensorRead(uint32(s[0]))
		if r >= 0 {
			putFloat(out, value)
		}
		result(s, r)
	}},
	"timer_set": {[]api.ValueType{i32, i32}, []api.ValueType{i32}, func(c hostCall, s []uint64) {
		result(s, c.TimerSet(uint32(s[0]), uint32(s[1])))
	}},
	"random": {[]api.ValueType{i32, i32}, nil, func(c hostCall, s []uint64) {
		if c.Random(c.bytes(s[0], s[1])) < 0 {
			panic(&Trap{Reason: ReasonTrap, Text: "no entropy"})
		}
	}},
	"config_get": {[]api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}, func(c hostCall, s []uint64) {
		result(s, c.ConfigGet(c.bytes(s[0], s[1]), c.bytes(s[2], s[3])))
	}},
}

// exportHost makes the import module. The instance that calls is found in the context of the call.
func (e *Engine) exportHost(ctx context.Context) error {
	builder := e.runtime.NewHostModuleBuilder(importModule)
	for name, f := range imports {
		call := func(ctx context.Context, mod api.Module, stack []uint64) {
			instance := ctx.Value(instanceKey{}).(*Instance)
			f.call(hostCall{instance.host, mod.Memory()}, stack)
		}
		builder.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(call), f.params, f.results).Export(name)
	}
	_, err := builder.Instantiate(ctx)
	return err
}
