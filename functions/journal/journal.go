// Package journal keeps what happened lately, for people: on a cluster it is a subscriber of the broker like any other
// function, because Knative's brokers do not tell what went through them; the embedded broker keeps such a feed itself.
// The REST API reads it for the event streams of dashboard and CLI.
//
// It is no log of record: it holds the last events only, whole unless they are large, in the order in which they came
// here. An event that the broker delivers again is not kept again.
package journal

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// Name of this function.
const Name = "journal"

// Types are the events that it takes: its Trigger chooses.
func Types() []string { return []string{"*"} }

// Deps is what it works with.
type Deps struct {
	Redis redis.UniversalClient
	Log   *slog.Logger
}

// Function is the function. Safe for concurrent use.
type Function struct{ d Deps }

// New returns the function.
func New(d Deps) *Function { return &Function{d: d} }

//go:embed keep.lua
var keepText string

var keep = redis.NewScript(keepText)

// Handle keeps one event. Errors: Unavailable.
func (f *Function) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	b, cut, err := encode(e)
	if err != nil {
		return nil, err
	}
	if b == nil {
		f.d.Log.Info("event not kept: its attributes are too large", "type", e.Type(), "id", e.ID())
		return nil, nil
	}
	keys := []string{seenKey(e), allKey}
	if ns := event.Namespace(e); isNamespace(ns) {
		keys = append(keys, namespaceKey(ns))
	}
	flag := ""
	if cut {
		flag = "1"
	}
	err = keep.Run(ctx, f.d.Redis, keys, string(b), flag, SeenTTL.Milliseconds(), Length, NamespaceLength, NamespaceTTL.Milliseconds()).Err()
	return nil, wrap(err)
}

// encode gives an event's stored form: JSON in structured mode, without data when that is large. nil: nothing of it
// can be kept.
func encode(e ce.Event) (b []byte, cut bool, err error) {
	if len(e.Data()) > MaxData || event.Secret(e.Type()) {
		e, cut = withoutData(e), true
	}
	if b, err = json.Marshal(e); err != nil && !cut { // data that are not what their content type says
		e, cut = withoutData(e), true
		b, err = json.Marshal(e)
	}
	if err != nil {
		return nil, cut, errs.New(errs.Invalid, "journal: %w", err)
	}
	if len(b) > MaxStored {
		return nil, cut, nil
	}
	return b, cut, nil
}

func withoutData(e ce.Event) ce.Event {
	e = e.Clone()
	e.DataEncoded, e.DataBase64 = nil, false
	return e
}

// Entry is an event of the journal.
type Entry struct {
	ID        string    // where Recent goes on
	Time      time.Time // it came here
	Event     ce.Event
	Truncated bool // the data was left out, for its size or because it is secret
}

// Recent reads at most n events after from, oldest first: "" from the oldest kept, "$" from now on. With block > 0 it
// waits so long for the first one; more than MaxBlock is MaxBlock. next is the from of the next call. With a namespace
// only its events are read, and others' cost nothing; an id is the same in both views. Errors: Unavailable; Invalid for
// a from that is no id.
func Recent(ctx context.Context, rdb redis.UniversalClient, namespace, from string, n int, block time.Duration) (out []Entry, next string, err error) {
	key := allKey
	if namespace != "" {
		if !isNamespace(namespace) {
			return nil, "", errs.New(errs.Invalid, "journal: %q is no namespace", namespace)
		}
		key = namespaceKey(namespace)
	}
	switch {
	case from == "":
		from = "0"
	case from == "$": // an id at once: between two calls nothing may be missed
		last, err := rdb.XRevRangeN(ctx, allKey, "+", "-", 1).Result()
		if err != nil {
			return nil, "", wrap(err)
		}
		if from = "0"; len(last) == 1 {
			from = last[0].ID
		}
	case !isID(from):
		return nil, "", errs.New(errs.Invalid, "journal: %q is no place in it", from)
	}
	if block = min(block, MaxBlock); block <= 0 {
		block = -1
	}
	streams, err := rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{key, from}, Count: int64(min(max(n, 1), MaxPage)), Block: block}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, from, nil
	}
	if err != nil {
		return nil, from, wrap(err)
	}
	next = from
	for _, s := range streams {
		for _, m := range s.Messages {
			next = m.ID
			var x Entry
			text, _ := m.Values["e"].(string)
			if json.Unmarshal([]byte(text), &x.Event) != nil {
				continue // damaged; the others are worth more than the error
			}
			x.ID, x.Time, x.Truncated = m.ID, timeOf(m.ID), m.Values["x"] == "1"
			out = append(out, x)
		}
	}
	return out, next, nil
}

func seenKey(e ce.Event) string {
	h := sha256.New()
	// One that was delivered again by hand is told of again.
	for _, p := range []string{e.Source(), e.ID(), event.Extension(e, extRedelivered)} {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return seenPrefix + hex.EncodeToString(h.Sum(nil)[:16])
}

// extRedelivered is what the function deadletter marks an event with.
const extRedelivered = "redelivered"

// isNamespace: an RFC 1123 label, as Kubernetes' namespaces are.
func isNamespace(s string) bool {
	return len(s) > 0 && len(s) <= 63 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && s[0] != '-' && s[len(s)-1] != '-'
}

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return errs.New(errs.Unavailable, "journal: %w", err)
}
