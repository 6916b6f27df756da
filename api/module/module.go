// Package module reads what a WebAssembly module asks of its host - imports, exports, memory - without
// running or compiling it, and checks it against a manifest, so that a module which no device could run is
// refused before any byte of it is sent.
//
// Inspect reads the sections of the WebAssembly Core Specification 1.0, chapter 5 ("Binary Format"). It is
// not a validator: function bodies are left to the runtime on the device.
package module

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"wasmbed.io/wasmbed/internal/errs"
)

// Reasons why a module cannot run, in the words of the device protocol (protocol.Reason).
const (
	ReasonNotWasm            = "NotWasm"
	ReasonMissingImport      = "MissingImport"
	ReasonPermissionDenied   = "PermissionDenied"
	ReasonInsufficientMemory = "InsufficientMemory"
	ReasonNoEntryPoint       = "NoEntryPoint"
	ReasonModuleTooLarge     = "ModuleTooLarge"
	ReasonDigestMismatch     = "DigestMismatch"
)

// Info is what Inspect found.
type Info struct {
	Digest      string // sha256:<lower-case hex> of the bytes
	Size        int    // bytes
	MemoryPages uint32 // the module's initial linear memory, in pages of 64 KiB; 0: it has none
	MaxPages    uint32 // what it may grow to; 0: it does not say
	Functions   int    // defined in the module, imports not counted
	Imports     []Import
	Exports     []Export

	HeapBase   uint32 // constant of the exported global __heap_base; 0: none
	DataEnd    uint32 // of __data_end; 0: none
	StackSize  uint32 // bytes of the module's own stack in its memory, as the globals say; 0: they do not
	Grows      bool   // it asks for its memory's size or grows it
	StartIndex int    // function of the start section, -1: none
	Largest    Function
	// Unsupported is the first thing found that no device runs (docs/spec/abi.md, "The module"); empty: nothing.
	Unsupported string

	shape shape
}

// Function is one function of the module.
type Function struct {
	Index int    // imports are counted
	Name  string // of its export; empty: none
	Size  int    // bytes of its body
}

// shape is what an engine's memory depends on besides what Info says, counted without imports.
type shape struct {
	kept                    int // bytes without custom sections
	types, typeValues       int // typeValues: parameters and results
	locals, mostLocals      int // without parameters
	tables, tableEntries    int
	mostEntries             int // of one table
	globals                 int
	elements, elementValues int // segments, entries
	data                    int // segments
}

// Tables returns how many tables the module has and how many entries they have at the start.
func (i Info) Tables() (tables, entries int) { return i.shape.tables, i.shape.tableEntries }

// Import is one thing that the host must provide.
type Import struct {
	Module, Name string
	Kind         Kind
	Type         FuncType // of a function
}

func (i Import) String() string { return i.Module + "." + i.Name }

// Export is one thing that the module offers.
type Export struct {
	Name string
	Kind Kind
	Type FuncType // of a function
}

// Kind of an import or export.
type Kind uint8

// Kinds, as in the binary format.
const (
	KindFunc   Kind = 0
	KindTable  Kind = 1
	KindMemory Kind = 2
	KindGlobal Kind = 3
	KindTag    Kind = 4
)

func (k Kind) String() string {
	switch k {
	case KindFunc:
		return "function"
	case KindTable:
		return "table"
	case KindMemory:
		return "memory"
	case KindGlobal:
		return "global"
	case KindTag:
		return "tag"
	}
	return "unknown"
}

// FuncType is a function's parameters and results, one letter each: i (i32), I (i64), f (f32), F (f64),
// v (v128), r (a reference).
type FuncType struct{ Params, Results string }

func (t FuncType) String() string { return "(" + words(t.Params) + ") -> (" + words(t.Results) + ")" }

func words(letters string) string {
	var out []string
	for _, l := range letters {
		out = append(out, map[rune]string{'i': "i32", 'I': "i64", 'f': "f32", 'F': "f64", 'v': "v128", 'r': "ref"}[l])
	}
	return strings.Join(out, ", ")
}

// Problem says why a module cannot run. It is inside the errors of Inspect and Check.
type Problem struct {
	Reason  string // one of the Reason constants
	Message string
}

func (p *Problem) Error() string { return p.Reason + ": " + p.Message }

// ReasonOf returns the reason inside an error of this package, or "".
func ReasonOf(err error) string {
	var p *Problem
	if errors.As(err, &p) {
		return p.Reason
	}
	return ""
}

func problem(reason, message string) error {
	code := errs.Invalid
	if reason == ReasonModuleTooLarge {
		code = errs.TooLarge
	}
	return errs.New(code, "%w", &Problem{Reason: reason, Message: message})
}

// Digest returns sha256:<lower-case hex> of b.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// DigestProblem says that bytes are not what a digest says; an empty digest says nothing. nil: they are.
func DigestProblem(digest string, b []byte) *Problem {
	if got := Digest(b); digest != "" && !strings.EqualFold(digest, got) {
		return &Problem{ReasonDigestMismatch, "digest says " + digest + ", the bytes are " + got}
	}
	return nil
}
