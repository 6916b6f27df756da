package wazero

import (
	"context"
	"errors"
	"strings"

	"github.com/tetratelabs/wazero/sys"
)

// Reason is why an instance ended. The numbers are the protocol's (protocol/SPEC.md "Reasons").
type Reason uint8

// The reasons that an engine can give.
const (
	ReasonTrap               Reason = 1
	ReasonOutOfBounds        Reason = 2
	ReasonStackOverflow      Reason = 3
	ReasonTimeout            Reason = 4
	ReasonDivideByZero       Reason = 6
	ReasonNotWasm            Reason = 9
	ReasonMissingImport      Reason = 10
	ReasonInsufficientMemory Reason = 12
	ReasonUnsupported        Reason = 20
)

// Trap is the end of an instance, or why there is none.
type Trap struct {
	Reason Reason
	Where  string // entry point, when one was called
	Text   string // the engine's words, one line
}

func (t *Trap) Error() string {
	if t.Where == "" {
		return t.Text
	}
	return t.Text + " in " + t.Where
}

// words maps what wazero calls a fault to the reason. The texts are those of the WebAssembly specification's tests; its
// error values are not exported, so a test makes each of these faults and would see a text that changed.
var words = map[string]Reason{
	"unreachable":                   ReasonTrap,
	"invalid table access":          ReasonTrap,
	"indirect call type mismatch":   ReasonTrap,
	"invalid conversion to integer": ReasonTrap,
	"out of bounds memory access":   ReasonOutOfBounds,
	"stack overflow":                ReasonStackOverflow,
	"integer divide by zero":        ReasonDivideByZero,
	"integer overflow":              ReasonDivideByZero,
}

// trapOf says what err, which a call into a module returned, was.
func trapOf(err error, where string) *Trap {
	var t *Trap
	if errors.As(err, &t) { // made by a host function
		return &Trap{Reason: t.Reason, Where: where, Text: t.Text}
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		// There is no exit without WASI; what closes a module in a call is the context of the call.
		if exit.ExitCode() == sys.ExitCodeDeadlineExceeded || exit.ExitCode() == sys.ExitCodeContextCanceled {
			return &Trap{Reason: ReasonTimeout, Where: where, Text: "the call ran too long"}
		}
		return &Trap{Reason: ReasonTrap, Where: where, Text: "closed"}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &Trap{Reason: ReasonTimeout, Where: where, Text: "the call ran too long"}
	}
	text := err.Error()
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		if reason, ok := words[inner.Error()]; ok {
			return &Trap{Reason: reason, Where: where, Text: inner.Error()}
		}
		if errors.Unwrap(inner) == nil {
			text = inner.Error()
		}
	}
	line, _, _ := strings.Cut(text, "\n")
	return &Trap{Reason: ReasonTrap, Where: where, Text: line}
}
