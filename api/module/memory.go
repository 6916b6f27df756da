package module

import (
	"fmt"
	"slices"

	"wasmbed.io/wasmbed/api/v1alpha1"
)

// What one instance takes of a board's pool, in bytes: sizes of WAMR 2.4.3's structures on a 32-bit machine with its
// allocator's header and rounding. firmware/runtime/wamr/need.c is the same sum, docs/spec/abi.md says it in words, and
// the tests on both sides hold it against what a board's pool says.
const (
	needFixed          = 2640 // module, instance, the interpreter's cache of block addresses
	needType           = 24   // and a byte for each parameter and result
	needImport         = 72
	needFunction       = 96
	needLocal          = 3
	needTable          = 64
	needTableEntry     = 4
	needGlobal         = 64
	needExport         = 12
	needFunctionExport = 8
	needElements       = 56
	needElement        = 24
	needData           = 64
	minStack           = 256
)

// Memory is where the RAM of one instance goes, in bytes.
type Memory struct {
	Linear int64 `json:"linear"` // what the engine gives of the linear memory
	Stack  int64 `json:"stack"`  // the interpreter's operand stack: manifest.limits.stackBytes
	Code   int64 `json:"code"`   // the module's bytes, without custom sections: they stay while it runs
	Engine int64 `json:"engine"` // the engine's own structures
	Total  int64 `json:"total"`
}

// EstimateParts says what one instance takes on a board. A module that exports __heap_base and __data_end and does not
// touch memory.size or memory.grow gets only the memory up to its heap.
func EstimateParts(info Info, m v1alpha1.Manifest) Memory {
	s := info.shape
	stack := int64(m.Limits.StackBytes)
	if stack == 0 {
		stack = v1alpha1.DefaultStackBytes
	}
	out := Memory{Linear: linear(info), Stack: max(stack, minStack), Code: int64(s.kept)}
	if out.Code == 0 {
		out.Code = int64(info.Size)
	}
	exported := 0
	for _, ex := range info.Exports {
		if ex.Kind == KindFunc {
			exported++
		}
	}
	out.Engine = needFixed
	for _, x := range []struct{ n, size int }{
		{s.types, needType}, {s.typeValues, 1}, {len(info.Imports), needImport}, {info.Functions, needFunction},
		{s.locals, needLocal}, {s.tables, needTable}, {s.tableEntries, needTableEntry}, {s.globals, needGlobal},
		{len(info.Exports), needExport}, {exported, needFunctionExport},
		{s.elements, needElements}, {s.elementValues, needElement}, {s.data, needData},
	} {
		out.Engine += int64(x.n) * int64(x.size)
	}
	out.Total = out.Linear + out.Stack + out.Code + out.Engine
	return out
}

// EstimateMemory returns the bytes of RAM that one instance needs on a board (Capabilities.moduleMemory): EstimateParts'
// total. It is within some hundred bytes of what WAMR takes, rather above; the device has the last word.
func EstimateMemory(info Info, m v1alpha1.Manifest) int64 { return EstimateParts(info, m).Total }

func linear(info Info) int64 {
	nominal := int64(info.MemoryPages) * PageSize
	end := (int64(info.DataEnd) + 15) &^ 15
	if base := int64(info.HeapBase); base > 0 && info.DataEnd > 0 && end <= base && !info.Grows {
		return min(base, nominal)
	}
	return nominal
}

// Room is what a board has for modules. What is 0 or empty is not known and not held against a module.
type Room struct {
	Name         string // for messages, e.g. "board FrdmK64f"
	ModuleSize   int64  // bytes of one slot
	ModuleMemory int64  // bytes of RAM for one instance
	Permissions  []string
}

// Fit says why a board cannot hold a module, nil when it can. Whether the module is right at all says Check.
func Fit(info Info, m v1alpha1.Manifest, room Room) *Problem {
	if room.ModuleSize > 0 && int64(info.Size) > room.ModuleSize {
		return &Problem{ReasonModuleTooLarge, fmt.Sprintf("the module has %d bytes, a slot of %s holds %d", info.Size, room.Name, room.ModuleSize)}
	}
	if need := EstimateParts(info, m); room.ModuleMemory > 0 && need.Total > room.ModuleMemory {
		return &Problem{ReasonInsufficientMemory, fmt.Sprintf("the module needs %d bytes of memory (%d linear, %d stack, %d code, %d the runtime's), %s has %d for modules",
			need.Total, need.Linear, need.Stack, need.Code, need.Engine, room.Name, room.ModuleMemory)}
	}
	if len(room.Permissions) > 0 {
		for _, p := range Permissions(info) {
			if !slices.Contains(room.Permissions, string(p)) {
				return &Problem{ReasonMissingImport, fmt.Sprintf("the module uses %s, which %s does not have", p, room.Name)}
			}
		}
	}
	return nil
}
