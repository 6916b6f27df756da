// Package errs is the one error type of Wasmbed: a code for machines, a message and a mend for people, and
// the one place where codes become HTTP statuses and CLI exit codes.
package errs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Code is a machine-readable kind of error.
type Code string

// The codes. The set is closed; HTTP and exit codes are in the table below.
const (
	Invalid         Code = "invalid"         // the input is wrong; sending it again does not help
	Unauthenticated Code = "unauthenticated" // who are you?
	Denied          Code = "denied"          // not allowed for this identity
	NotFound        Code = "not-found"       //
	AlreadyExists   Code = "already-exists"  //
	Conflict        Code = "conflict"        // somebody else wrote meanwhile: read again
	Stale           Code = "stale"           // of an older epoch, version or era; nothing was changed
	TooLarge        Code = "too-large"       //
	Exhausted       Code = "exhausted"       // a limit or a full queue: later
	Unavailable     Code = "unavailable"     // a part that is needed is away: later
	Deadline        Code = "deadline"        // took too long: later
	Unsupported     Code = "unsupported"     //
	Internal        Code = "internal"        // ours
)

var table = map[Code]struct{ http, exit int }{
	Invalid:         {http.StatusBadRequest, 2},
	Unauthenticated: {http.StatusUnauthorized, 4},
	Denied:          {http.StatusForbidden, 4},
	NotFound:        {http.StatusNotFound, 5},
	AlreadyExists:   {http.StatusConflict, 6},
	Conflict:        {http.StatusConflict, 6},
	Stale:           {http.StatusOK, 6},
	TooLarge:        {http.StatusRequestEntityTooLarge, 2},
	Exhausted:       {http.StatusTooManyRequests, 7},
	Unavailable:     {http.StatusServiceUnavailable, 7},
	Deadline:        {http.StatusGatewayTimeout, 8},
	Unsupported:     {http.StatusNotImplemented, 2},
	Internal:        {http.StatusInternalServerError, 1},
}

// Error is an error with a code. Mend, when set, says what the reader can do about it.
type Error struct {
	Code    Code
	Message string
	Mend    string
	Err     error
}

func (e *Error) Error() string {
	s := e.Message
	if e.Err != nil {
		if s != "" {
			s += ": "
		}
		s += e.Err.Error()
	}
	if e.Mend != "" {
		s += " (" + e.Mend + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// New makes an error with a code. A %w in the format wraps.
func New(code Code, format string, args ...any) *Error {
	inner := fmt.Errorf(format, args...)
	if w := errors.Unwrap(inner); w != nil {
		return &Error{Code: code, Err: inner}
	}
	return &Error{Code: code, Message: inner.Error()}
}

// WithMend returns a copy that also says what to do.
func (e *Error) WithMend(format string, args ...any) *Error {
	c := *e
	c.Mend = fmt.Sprintf(format, args...)
	return &c
}

// CodeOf returns the code of err: the outermost *Error's, Deadline or Unavailable for a context's end,
// Internal for anything else, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return Deadline
	case errors.Is(err, context.Canceled):
		return Unavailable
	}
	return Internal
}

// Is reports whether err has the code.
func Is(err error, code Code) bool { return err != nil && CodeOf(err) == code }

// Retryable reports whether the same request may succeed later.
func Retryable(err error) bool {
	switch CodeOf(err) {
	case Unavailable, Deadline, Exhausted, Conflict, Internal:
		return true
	}
	return false
}

// HTTPStatus maps err to a status; a nil error is 200. A function answers with it, and Knative's data
// plane retries on 404, 408, 409, 429 and 5xx only, which is why NotFound of a function must be turned
// into something else by the function when a retry cannot help.
func HTTPStatus(err error) int {
	if err == nil {
		return http.StatusOK
	}
	return table[CodeOf(err)].http
}

// ExitCode maps err to a CLI exit code; nil is 0.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	return table[CodeOf(err)].exit
}

// FromHTTP maps a status to a code, for clients of HTTP services.
func FromHTTP(status int) Code {
	switch status {
	case http.StatusUnauthorized:
		return Unauthenticated
	case http.StatusForbidden:
		return Denied
	case http.StatusNotFound:
		return NotFound
	case http.StatusConflict:
		return Conflict
	case http.StatusRequestEntityTooLarge:
		return TooLarge
	case http.StatusTooManyRequests:
		return Exhausted
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return Deadline
	case http.StatusNotImplemented:
		return Unsupported
	}
	switch {
	case status >= 500:
		return Unavailable
	case status >= 400:
		return Invalid
	}
	return ""
}
