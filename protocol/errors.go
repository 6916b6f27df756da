package protocol

import "fmt"

// Layer names the stage of reading that refuses a frame. The stages are checked in this order, so a body
// with faults of two layers is refused by the earlier one.
type Layer string

// The layers.
const (
	LayerFrame  Layer = "frame"  // length zero, over the cap, or the stream ends inside a frame
	LayerCBOR   Layer = "cbor"   // not well-formed, not deterministic, or over a decode limit
	LayerSchema Layer = "schema" // well-formed, but not a message of this version
	LayerAuth   Layer = "auth"   // not allowed for this identity
	LayerState  Layer = "state"  // not allowed now
)

// WireError says why a frame was refused. Code and Text go into an Error message to the peer.
type WireError struct {
	Layer Layer
	Code  Code
	Text  string
}

func (e *WireError) Error() string { return fmt.Sprintf("protocol: %s: %s", e.Layer, e.Text) }

// Is matches another *WireError of the same layer and code, so that errors.Is(err, ErrUnknownType) works
// whatever the text.
func (e *WireError) Is(target error) bool {
	t, ok := target.(*WireError)
	return ok && t.Layer == e.Layer && t.Code == e.Code
}

// Sentinels for errors.Is.
var (
	ErrFrame       error = &WireError{LayerFrame, CodeFrame, "bad frame"}
	ErrCBOR        error = &WireError{LayerCBOR, CodeCBOR, "bad CBOR"}
	ErrSchema      error = &WireError{LayerSchema, CodeSchema, "not this message"}
	ErrUnknownType error = &WireError{LayerSchema, CodeUnknownType, "unknown type"}
	ErrAuth        error = &WireError{LayerAuth, CodeAuth, "not allowed for this identity"}
	ErrState       error = &WireError{LayerState, CodeState, "not allowed now"}
)

func cborError(format string, args ...any) *WireError {
	return &WireError{LayerCBOR, CodeCBOR, fmt.Sprintf(format, args...)}
}

func schemaError(format string, args ...any) *WireError {
	return &WireError{LayerSchema, CodeSchema, fmt.Sprintf(format, args...)}
}
