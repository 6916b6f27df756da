package ledger

import (
	"context"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// DueHookSource is the kind of the timer of a webhook source whose status is to be written; its Name is the source's.
const DueHookSource = "webhooksource"

// HookSourceNote is one request that came through a webhook source: Took or Refused, JSON that is the writer's own.
type HookSourceNote struct{ Took, Refused string }

// HookSourceState is what came through a webhook source.
type HookSourceState struct {
	Accepted, Refused     int64
	LastTook, LastRefused string // as the notes had them; "": none
}

// NoteHookSource counts a request and marks the timer of the source's status, pace from now at the latest: many requests are
// one write.
func (l *Ledger) NoteHookSource(ctx context.Context, h Hook, n HookSourceNote, pace time.Duration) error {
	if err := h.check(); err != nil {
		return err
	}
	if len(n.Took)+len(n.Refused) > MaxHookNote {
		return errs.New(errs.TooLarge, "ledger: a note of %d bytes", len(n.Took)+len(n.Refused))
	}
	key := l.keys.HookSource(h)
	p := l.rdb.TxPipeline()
	if n.Took != "" {
		p.HSet(ctx, key, "took", n.Took)
		p.HIncrBy(ctx, key, "ok", 1)
	}
	if n.Refused != "" {
		p.HSet(ctx, key, "refused", n.Refused)
		p.HIncrBy(ctx, key, "no", 1)
	}
	p.PExpire(ctx, key, HookTTL)
	if _, err := p.Exec(ctx); err != nil {
		return wrap(err, "note hook source")
	}
	return l.MarkDue(ctx, event.Timer{Kind: DueHookSource, Namespace: h.Namespace, Name: h.Name, Due: l.now().Add(pace)})
}

// HookSource returns what came through a webhook source; zero when nothing did.
func (l *Ledger) HookSource(ctx context.Context, h Hook) (HookSourceState, error) {
	if err := h.check(); err != nil {
		return HookSourceState{}, err
	}
	m, err := l.rdb.HGetAll(ctx, l.keys.HookSource(h)).Result()
	if err != nil {
		return HookSourceState{}, wrap(err, "hook source")
	}
	return HookSourceState{Accepted: int64(u64(m["ok"])), Refused: int64(u64(m["no"])), LastTook: m["took"], LastRefused: m["refused"]}, nil
}

// ForgetHookSource removes what is known of a webhook source.
func (l *Ledger) ForgetHookSource(ctx context.Context, h Hook) error {
	if err := h.check(); err != nil {
		return err
	}
	return wrap(l.rdb.Del(ctx, l.keys.HookSource(h)).Err(), "forget hook source")
}
