package ledger

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// wrap gives an error of Redis a code.
func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	code := errs.Internal
	var ne net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		code = errs.Deadline
	case errors.Is(err, context.Canceled):
		code = errs.Unavailable
	case redis.HasErrorPrefix(err, "OOM"):
		code = errs.Exhausted
	case isServerError(err):
		for _, p := range []string{"LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "MOVED", "ASK", "BUSY", "NOREPLICAS", "MISCONF", "NOAUTH", "max number of clients"} {
			if redis.HasErrorPrefix(err, p) {
				code = errs.Unavailable
			}
		}
	case errors.As(err, &ne) && ne.Timeout():
		code = errs.Unavailable
	default:
		// Not an answer of a server: no connection, a broken one, a closed pool.
		code = errs.Unavailable
	}
	e := errs.New(code, "ledger: %s: %w", what, err)
	if code == errs.Unavailable {
		return e.WithMend("is Redis running, and reachable at WASMBED_REDIS_URL?")
	}
	return e
}

func isServerError(err error) bool {
	var re redis.Error
	return errors.As(err, &re)
}

// str reads a bulk string or an integer of a script's answer; "" for nil and for an answer that is too short.
func str(v []any, i int) string {
	if i >= len(v) {
		return ""
	}
	switch x := v[i].(type) {
	case string:
		return x
	case int64:
		return strconv.FormatInt(x, 10)
	}
	return ""
}

func num(v []any, i int) int {
	n, _ := strconv.Atoi(str(v, i))
	return n
}

func list(v []any, i int) []any {
	if i >= len(v) {
		return nil
	}
	x, _ := v[i].([]any)
	return x
}

func u64(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

// pairs makes a map of {field, value, …}.
func pairs(v []any) map[string]string {
	m := make(map[string]string, len(v)/2)
	for i := 0; i+1 < len(v); i += 2 {
		m[str(v, i)] = str(v, i+1)
	}
	return m
}

func dec(n uint64) string { return strconv.FormatUint(n, 10) }

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func fromMS(s string) time.Time {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// text makes a message fit: valid UTF-8, at most MaxMessage bytes.
func text(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= MaxMessage {
		return s
	}
	n := MaxMessage - len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// named reports whether s can be a part of a key: letters, digits, '-', '_' and '.', not empty, not too long.
func named(s string) bool { return made(s, MaxName, "-_.") }

func made(s string, longest int, of string) bool {
	if s == "" || len(s) > longest {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9') || strings.IndexByte(of, c) >= 0 {
			continue
		}
		return false
	}
	return true
}

func checkDevice(d event.Device) error {
	if !named(d.Namespace) || !named(d.Name) {
		return errs.New(errs.Invalid, "ledger: %q is not the name of a device", d.String())
	}
	return nil
}

func checkApp(a App) error {
	if !named(a.Namespace) || !named(a.Name) {
		return errs.New(errs.Invalid, "ledger: %q is not the name of an application", a.String())
	}
	return nil
}

// shardCall makes a call whose first key is the shard's era, the second (when given) another one of it.
func (l *Ledger) shardCall(s *redis.Script, shard int, key string, args ...any) call {
	keys := []string{l.keys.Era(shard)}
	if key != "" {
		keys = append(keys, key)
	}
	return call{s, keys, append([]any{l.keys.Prefix(shard), l.now().UnixMilli()}, args...)}
}

// deviceCall makes a call about one device.
func (l *Ledger) deviceCall(s *redis.Script, d event.Device, args ...any) call {
	return l.shardCall(s, l.keys.ShardOf(d), l.keys.Row(d), append([]any{d.Namespace, d.Name}, args...)...)
}

// appCall makes a call about an application in one shard.
func (l *Ledger) appCall(s *redis.Script, shard int, a App, args ...any) call {
	return l.shardCall(s, shard, l.keys.App(shard, a), append([]any{a.Namespace, a.Name}, args...)...)
}

// byShard splits devices by their shards, in pieces of at most callChunk, keeping their places in devs.
func (l *Ledger) byShard(devs []event.Device) []piece {
	at := make(map[int][]int)
	var order []int
	for i, d := range devs {
		s := l.keys.ShardOf(d)
		if at[s] == nil {
			order = append(order, s)
		}
		at[s] = append(at[s], i)
	}
	var out []piece
	for _, s := range order {
		for is := at[s]; len(is) > 0; {
			n := min(len(is), callChunk)
			out = append(out, piece{s, is[:n]})
			is = is[n:]
		}
	}
	return out
}

type piece struct {
	shard int
	at    []int // places in the caller's slice
}
