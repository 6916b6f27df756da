package functions

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/functions/deadletter"
	"wasmbed.io/wasmbed/functions/deploy"
	"wasmbed.io/wasmbed/functions/journal"
)

// Poster posts an event to the broker's ingress. event.Sink is one.
type Poster = deploy.Poster

// recents reads the journal for the API: all of it ("") or a namespace's.
func recents(rdb redis.UniversalClient, namespace string) api.Recents {
	return func(ctx context.Context, from string, n int, block time.Duration) ([]api.Recorded, string, error) {
		es, next, err := journal.Recent(ctx, rdb, namespace, from, n, block)
		if err != nil {
			return nil, next, err
		}
		out := make([]api.Recorded, len(es))
		for i, e := range es {
			out[i] = api.Recorded{Cursor: e.ID, Event: e.Event}
		}
		return out, next, nil
	}
}

// doors shows the API what can be known of Knative's broker: dead letters, by their destination. What waits, and what
// waits for its next attempt, Knative tells nobody.
type doors struct {
	rdb    redis.UniversalClient
	places deadletter.Places
	again  *deadletter.Redeliverer
}

func newDoors(rdb redis.UniversalClient, p deadletter.Places, sink Poster, now func() time.Time, log *slog.Logger) *doors {
	return &doors{rdb: rdb, places: p, again: &deadletter.Redeliverer{Redis: rdb, Places: p, Sink: sink, Now: now, Log: log}}
}

// Queues implements api.Broker.
func (d *doors) Queues(ctx context.Context) ([]api.QueueLine, error) {
	lines, err := deadletter.Lines(ctx, d.rdb, d.places)
	if err != nil {
		return nil, err
	}
	out := make([]api.QueueLine, len(lines))
	for i, l := range lines {
		out[i] = api.QueueLine{Trigger: l.Trigger, Dead: l.Dead, DeadOnly: true}
	}
	return out, nil
}

// Letters implements api.Broker.
func (d *doors) Letters(ctx context.Context, trigger, from string, n int) ([]api.Letter, string, error) {
	ls, next, err := deadletter.Letters(ctx, d.rdb, trigger, from, n)
	if err != nil {
		return nil, "", err
	}
	out := make([]api.Letter, len(ls))
	for i, l := range ls {
		out[i] = api.Letter{ID: l.ID, Trigger: l.Trigger, Event: l.Event, Attempts: l.Redelivered, Status: l.Status, Reason: reason(l), Message: l.Message, Accepted: l.Event.Time(), Time: l.Time}
	}
	return out, next, nil
}

// reason says in the embedded broker's words why an event is a dead letter, as far as Knative tells.
func reason(l deadletter.Letter) string {
	switch {
	case l.Status == 0:
		return "Unknown"
	case l.Status >= 500 || l.Status == 404 || l.Status == 408 || l.Status == 409 || l.Status == 429:
		return "Failed" // at every attempt
	}
	return "Refused"
}

// Redeliver implements api.Broker.
func (d *doors) Redeliver(ctx context.Context, trigger string, ids ...string) (int, error) {
	return d.again.Redeliver(ctx, trigger, ids...)
}
