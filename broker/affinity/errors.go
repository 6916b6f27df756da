package affinity

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
)

// wrap gives an error of Redis a code.
func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	var re redis.Error
	code := errs.Unavailable
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		code = errs.Deadline
	case errors.Is(err, context.Canceled):
	case redis.HasErrorPrefix(err, "OOM"):
		code = errs.Exhausted
	case errors.As(err, &re):
		code = errs.Internal
		for _, p := range []string{"LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "MOVED", "ASK", "BUSY", "NOREPLICAS", "MISCONF", "NOAUTH"} {
			if redis.HasErrorPrefix(err, p) {
				code = errs.Unavailable
			}
		}
	}
	return errs.New(code, "affinity: %s: %w", what, err)
}

// named reports whether s can be a part of a key and a word of a wake.
func named(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9') || strings.IndexByte("-_.", c) >= 0 {
			continue
		}
		return false
	}
	return true
}
