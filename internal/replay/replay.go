// Package replay lets a function answer a redelivered event as it answered it the first time.
//
// A function that is killed between its effect and its answer gets the event again. The effect, being
// idempotent, then changes nothing, so the function would see no reason for the answer that never arrived.
// So the answer is remembered before the effect (Remember) and looked up at the start (Recall): whoever is
// killed in between repeats the effect and gives the remembered answer.
package replay

import (
	"context"
	"encoding/json"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/internal/errs"
)

// Store keeps a value per (source, id) for longer than the broker retries. The ledger is one.
type Store interface {
	Once(ctx context.Context, source, id string) (first bool, value string, err error)
	SetOnce(ctx context.Context, source, id, value string) error
}

// Recall returns the answer that an earlier delivery of e meant to give, or nil.
func Recall(ctx context.Context, s Store, function string, e ce.Event) (*ce.Event, error) {
	_, value, err := s.Once(ctx, key(function, e), e.ID())
	if err != nil || value == "" {
		return nil, err
	}
	var reply ce.Event
	if err := json.Unmarshal([]byte(value), &reply); err != nil {
		return nil, errs.New(errs.Internal, "remembered answer to %s: %w", e.ID(), err)
	}
	return &reply, nil
}

// Remember keeps the answer to e.
func Remember(ctx context.Context, s Store, function string, e ce.Event, reply *ce.Event) error {
	b, err := json.Marshal(reply)
	if err != nil {
		return errs.New(errs.Internal, "answer to %s: %w", e.ID(), err)
	}
	return s.SetOnce(ctx, key(function, e), e.ID(), string(b))
}

// key keeps the functions apart that all get the same event.
func key(function string, e ce.Event) string { return function + " " + e.Source() }
