package docker

import (
	"context"
	"errors"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"wasmbed.io/wasmbed/internal/errs"
)

// failed names an error of the engine's API.
func failed(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if own, ok := errors.AsType[*errs.Error](err); ok {
		return own
	}
	code := errs.Internal
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		code = errs.Deadline
	case errors.Is(err, context.Canceled):
		code = errs.CodeOf(err)
	case cerrdefs.IsNotFound(err):
		code = errs.NotFound
	case cerrdefs.IsConflict(err):
		code = errs.Conflict
	case cerrdefs.IsInvalidArgument(err):
		code = errs.Invalid
	case client.IsErrConnectionFailed(err), cerrdefs.IsUnavailable(err), strings.Contains(err.Error(), "EOF"), strings.Contains(err.Error(), "connection re"):
		code = errs.Unavailable
	}
	e := errs.New(code, format+": %w", append(args, err)...)
	if code == errs.Unavailable && strings.Contains(err.Error(), "permission denied") {
		return e.WithMend("let this user use the engine's socket (on Debian: the group docker)")
	}
	return e
}
