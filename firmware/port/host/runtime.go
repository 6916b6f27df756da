package host

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"time"
	"unsafe"

	engine "wasmbed.io/wasmbed/firmware/runtime/wazero"
)

// The runtime's callbacks: what firmware/core/include/wasmbed/runtime.h says of each.

//export wasmbedRuntimeLoad
func wasmbedRuntimeLoad(handle C.uintptr_t, inst *C.wb_instance, m *C.wb_module, limits *C.wb_limits, trap *C.wb_trap) C.int {
	d := deviceOf(handle)
	index := C.wb_instance_index(inst)
	code := engine.Code{Read: func() ([]byte, error) {
		b := make([]byte, int(m.size))
		if len(b) > 0 && C.wb_shim_module_read(m, 0, unsafe.Pointer(&b[0]), m.size) < 0 {
			return nil, errRead
		}
		return b, nil
	}}
	copy(code.Digest[:], view(unsafe.Pointer(&m.digest[0]), C.WB_DIGEST_SIZE))
	instance, err := d.config.Shared.engine.Load(d.modules, code, engine.Limits{
		MemoryPages:  min(uint32(limits.memory_pages), (d.config.ModuleMemory-min(d.config.ModuleMemory, uint32(limits.stack)))/pageSize),
		CallTimeout:  time.Duration(limits.call_timeout) * time.Millisecond,
		Instructions: uint64(limits.instructions),
	}, moduleHost{inst})
	if err != nil {
		return trapped(err, trap)
	}
	d.instances[index] = instance
	C.wb_instance_set_engine(inst, unsafe.Pointer(inst)) // not nil: loaded
	return C.WB_OK
}

//export wasmbedRuntimeCall
func wasmbedRuntimeCall(handle C.uintptr_t, inst *C.wb_instance, c *C.wb_call, trap *C.wb_trap) C.int {
	d := deviceOf(handle)
	instance := d.instances[C.wb_instance_index(inst)]
	if instance == nil {
		return C.WB_EINVAL
	}
	timeout := time.Duration(c.timeout) * time.Millisecond
	payload := view(unsafe.Pointer(c.payload.data), c.payload.len)
	c.result, c.answer_len = 0, 0
	var result int32
	var err error
	switch c.entry {
	case C.WB_ENTRY_START:
		result, err = instance.Start(timeout)
	case C.WB_ENTRY_TIMER:
		result, err = instance.Timer(timeout, uint32(c.timer))
	case C.WB_ENTRY_MESSAGE:
		result, err = instance.Message(timeout, view(unsafe.Pointer(c.topic.data), c.topic.len), payload)
	case C.WB_ENTRY_STOP:
		err = instance.Stop(timeout)
	case C.WB_ENTRY_INVOKE:
		var n int
		var number uint32
		function := string(view(unsafe.Pointer(c.function.data), c.function.len))
		n, number, err = instance.Invoke(timeout, function, payload, view(unsafe.Pointer(c.answer), c.answer_cap))
		result, c.answer_len = int32(number), C.size_t(n)
	default:
		return C.WB_EUNSUPPORTED
	}
	if err != nil {
		return trapped(err, trap)
	}
	c.result = C.int32_t(result)
	return C.WB_OK
}

//export wasmbedRuntimeUnload
func wasmbedRuntimeUnload(handle C.uintptr_t, inst *C.wb_instance) {
	d := deviceOf(handle)
	index := C.wb_instance_index(inst)
	if instance := d.instances[index]; instance != nil {
		instance.Close()
		d.instances[index] = nil
	}
	C.wb_instance_set_engine(inst, nil)
}

var errRead = errors.New("the module cannot be read")

// trapped maps an error of the engine to the core's numbers, and fills trap when it is one.
func trapped(err error, trap *C.wb_trap) C.int {
	var t *engine.Trap
	switch {
	case errors.As(err, &t):
		where, text := C.CString(t.Where), C.CString(t.Text)
		defer C.free(unsafe.Pointer(where))
		defer C.free(unsafe.Pointer(text))
		C.wb_trap_set(trap, C.wb_reason(t.Reason), where, text)
		return C.WB_ETRAP
	case errors.Is(err, engine.ErrNoExport):
		return C.WB_ENOENT
	case errors.Is(err, engine.ErrNoRoom), errors.Is(err, engine.ErrTooLong):
		return C.WB_ENOSPC
	}
	return C.WB_EIO
}

// moduleHost is what a module can do: the core's host functions, which check the permission.
type moduleHost struct{ inst *C.wb_instance }

func chars(b []byte) (*C.char, C.size_t) {
	return (*C.char)(unsafe.Pointer(unsafe.SliceData(b))), C.size_t(len(b))
}

func octets(b []byte) (*C.uint8_t, C.size_t) {
	return (*C.uint8_t)(unsafe.SliceData(b)), C.size_t(len(b))
}

func (h moduleHost) Log(level uint32, text []byte) {
	p, n := chars(text)
	C.wb_host_log(h.inst, C.uint32_t(level), p, n)
}

func (h moduleHost) ClockNow() int64    { return int64(C.wb_host_clock_now(h.inst)) }
func (h moduleHost) ClockUptime() int64 { return int64(C.wb_host_clock_uptime(h.inst)) }

func (h moduleHost) Telemetry(name []byte, value float64) int32 {
	p, n := chars(name)
	return int32(C.wb_host_telemetry(h.inst, p, n, C.double(value)))
}

func (h moduleHost) MessageSend(topic, payload []byte) int32 {
	p, n := chars(topic)
	data, size := octets(payload)
	return int32(C.wb_host_message_send(h.inst, p, n, data, size))
}

func (h moduleHost) KVGet(key, buf []byte) int32 {
	p, n := chars(key)
	data, size := octets(buf)
	return int32(C.wb_host_kv_get(h.inst, p, n, data, size))
}

func (h moduleHost) KVSet(key, value []byte) int32 {
	p, n := chars(key)
	data, size := octets(value)
	return int32(C.wb_host_kv_set(h.inst, p, n, data, size))
}

func (h moduleHost) GPIORead(pin uint32) int32 {
	return int32(C.wb_host_gpio_read(h.inst, C.uint32_t(pin)))
}

func (h moduleHost) GPIOWrite(pin, value uint32) int32 {
	return int32(C.wb_host_gpio_write(h.inst, C.uint32_t(pin), C.uint32_t(value)))
}

func (h moduleHost) SensorRead(id uint32) (float64, int32) {
	var value C.double
	result := C.wb_host_sensor_read(h.inst, C.uint32_t(id), &value)
	return float64(value), int32(result)
}

func (h moduleHost) TimerSet(id, periodMS uint32) int32 {
	return int32(C.wb_host_timer_set(h.inst, C.uint32_t(id), C.uint32_t(periodMS)))
}

func (h moduleHost) Random(buf []byte) int32 {
	data, size := octets(buf)
	return int32(C.wb_host_random(h.inst, data, size))
}

func (h moduleHost) ConfigGet(key, buf []byte) int32 {
	p, n := chars(key)
	data, size := chars(buf)
	return int32(C.wb_host_config_get(h.inst, p, n, data, size))
}
