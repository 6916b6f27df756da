package main

import (
	"context"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/stream"
	"wasmbed.io/wasmbed/functions/api"
)

// brokerDoors shows the API the embedded broker's queues.
type brokerDoors struct{ rdb redis.UniversalClient }

// Queues implements api.Broker.
func (b brokerDoors) Queues(ctx context.Context) ([]api.QueueLine, error) {
	qs, err := stream.Queues(ctx, b.rdb)
	if err != nil {
		return nil, err
	}
	var out []api.QueueLine
	for _, q := range qs {
		if !q.Sink {
			out = append(out, api.QueueLine{Trigger: q.Trigger, Waiting: q.Waiting, Parked: q.Parked, Dead: q.Dead})
		}
	}
	return out, nil
}

// Letters implements api.Broker.
func (b brokerDoors) Letters(ctx context.Context, trigger, from string, n int) ([]api.Letter, string, error) {
	ls, next, err := stream.DeadLetters(ctx, b.rdb, trigger, from, n)
	if err != nil {
		return nil, "", err
	}
	out := make([]api.Letter, len(ls))
	for i, l := range ls {
		out[i] = api.Letter{ID: l.ID, Trigger: l.Trigger, Event: l.Event, Attempts: l.Attempts, Status: l.Status, Reason: l.Reason, Message: l.Message, Accepted: l.Accepted, Time: l.Time}
	}
	return out, next, nil
}

// Redeliver implements api.Broker.
func (b brokerDoors) Redeliver(ctx context.Context, trigger string, ids ...string) (int, error) {
	return stream.Redeliver(ctx, b.rdb, trigger, ids...)
}
