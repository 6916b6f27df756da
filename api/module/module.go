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

	heapBase uint32 // value of the exported global __heap_base; 0: none
}

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
