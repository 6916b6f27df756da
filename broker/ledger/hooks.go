package ledger

import (
	"context"
	"encoding/json"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
)

// DueHook is the kind of the timer of a webhook that has something to send; its Name is the webhook's.
const DueHook = "webhook"

// Hook names a webhook. Its String is namespace/name.
type Hook struct{ Namespace, Name string }

func (h Hook) String() string { return h.Namespace + "/" + h.Name }

// States of a delivery.
const (
	HookWaiting   = "Waiting"   // for its first or a further attempt
	HookDelivered = "Delivered" // the receiver took it
	HookFailed    = "Failed"    // a dead letter: it was given up
)

// HookDelivery is one event on its way to one webhook's receiver.
type HookDelivery struct {
	ID       string          `json:"id"`
	Type     string          `json:"type"`    // of the event
	Source   string          `json:"source"`  // likewise
	EventID  string          `json:"eventId"` // likewise
	Subject  string          `json:"subject,omitempty"`
	Created  time.Time       `json:"created"`
	Status   string          `json:"status"`
	Attempts int             `json:"attempts"` // since it was created or asked for again
	Next     *time.Time      `json:"next,omitempty"`
	Tries    []HookTry       `json:"tries,omitempty"` // the last few, oldest first
	Event    json.RawMessage `json:"event,omitempty"` // structured; none when it is too large to send
}

// HookTry is one attempt.
type HookTry struct {
	Time     time.Time `json:"time"`
	Seconds  float64   `json:"seconds"`
	Status   int       `json:"status,omitempty"` // HTTP; 0: no answer
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message,omitempty"`
	Response string    `json:"response,omitempty"` // the beginning of the answer's body
}

// HookState is what is known of a webhook as a whole.
type HookState struct {
	Delivered, Failed, Dropped int64
	Waiting                    int64
	FailuresInARow             int64
	FailingSince               time.Time
	Last                       string    // JSON of the last attempt, the function's
	Handshake                  string    // JSON, the function's
	Permit                     string    // JSON, the function's: what came through the handshake's callback
	Rest                       time.Time // the line rests until then
	Generation                 int64     // of the Webhook when its status was written last; 0: it changed, or never
	Written                    time.Time // when that was
	Dirty                      bool      // something changed since
}

func (h Hook) check() error {
	if !named(h.Namespace) || !named(h.Name) {
		return errs.New(errs.Invalid, "ledger: %q is not the name of a webhook", h.String())
	}
	return nil
}

func (l *Ledger) hookKeys(h Hook) []string {
	return []string{l.keys.HookState(h), l.keys.HookQueue(h), l.keys.HookDeliveries(h), l.keys.HookOrder(h), l.keys.Due(l.keys.shardOf(h.Namespace, h.Name))}
}

func (h Hook) timer() string { return DueHook + "|" + h.Namespace + "|" + h.Name + "|" }

// QueueHook puts a delivery into a webhook's line, once per id, and marks its timer. What it says: "queued",
// "known" (it is there already) or "full" (it is not kept). urgent: before all others, and though the line rests.
func (l *Ledger) QueueHook(ctx context.Context, h Hook, d HookDelivery, urgent bool) (string, error) {
	if err := h.check(); err != nil {
		return "", err
	}
	if !made(d.ID, 64, "") || len(d.Event) > MaxHookEvent {
		return "", errs.New(errs.Invalid, "ledger: delivery %q of %d bytes", d.ID, len(d.Event))
	}
	b, err := json.Marshal(d)
	if err != nil {
		return "", errs.New(errs.Invalid, "ledger: delivery: %w", err)
	}
	state := "wait"
	if d.Status != HookWaiting {
		state = "log"
	}
	v, err := l.run(ctx, "queue hook", call{l.scripts.hookqueue, l.hookKeys(h), []any{
		d.ID, string(b), l.now().UnixMilli(), h.timer(), MaxHookQueue, MaxHookBytes, HookTTL.Milliseconds(), state, bit(urgent),
	}})
	if err != nil {
		return "", err
	}
	return str(v, 0), nil
}

// TakeHook takes at most n deliveries that are due, for lease: they come again after it unless SettleHook is said.
// One holder at a time sends; busy: another one does, until then. An earlier call with the same token holds.
func (l *Ledger) TakeHook(ctx context.Context, h Hook, token string, n int, lease time.Duration) (ds []HookDelivery, busy time.Time, err error) {
	if err := h.check(); err != nil {
		return nil, busy, err
	}
	now := l.now()
	v, err := l.run(ctx, "take hook", call{l.scripts.hooktake, l.hookKeys(h), []any{now.UnixMilli(), n, token, now.Add(lease).UnixMilli()}})
	if err != nil {
		return nil, busy, err
	}
	if str(v, 0) == "busy" {
		return nil, fromMS(str(v, 1)), nil
	}
	for i := 1; i < len(v); i++ {
		var d HookDelivery
		if err := unmarshal(str(v, i), &d); err != nil {
			return nil, busy, err
		}
		ds = append(ds, d)
	}
	return ds, busy, nil
}

// SettleHook records an attempt: d as it is now, with Next when it is tried again, and last for HookState. good and bad
// say what it means for the webhook as a whole. A delivery that is gone stays gone. It returns the failures in a row
// and when they began.
func (l *Ledger) SettleHook(ctx context.Context, h Hook, d HookDelivery, last string, good, bad bool) (failures int64, since time.Time, err error) {
	if err := h.check(); err != nil {
		return 0, since, err
	}
	b, err := json.Marshal(d)
	if err != nil {
		return 0, since, errs.New(errs.Internal, "ledger: delivery: %w", err)
	}
	next := int64(0)
	if d.Next != nil && d.Status == HookWaiting {
		next = d.Next.UnixMilli()
	}
	word := ""
	if good {
		word = "good"
	} else if bad {
		word = "bad"
	}
	v, err := l.run(ctx, "settle hook", call{l.scripts.hooksettle, l.hookKeys(h), []any{
		d.ID, string(b), d.Status, next, l.now().UnixMilli(), last, word, MaxHookLog, HookTTL.Milliseconds(),
	}})
	if err != nil {
		return 0, since, err
	}
	return int64(num(v, 0)), fromMS(str(v, 1)), nil
}

// Idle is what comes after somebody has sent from a webhook's line.
type Idle struct {
	Rest time.Time // the line's timer is not before it
	Stop bool      // no timer for the line: the webhook is disabled or paused
	Look time.Time // a further timer, when not zero
}

// IdleHook lets go of a webhook's line and marks its timer for the first of what waits.
func (l *Ledger) IdleHook(ctx context.Context, h Hook, token string, i Idle) error {
	if err := h.check(); err != nil {
		return err
	}
	ms := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.UnixMilli()
	}
	_, err := l.run(ctx, "idle hook", call{l.scripts.hookidle, l.hookKeys(h), []any{token, ms(i.Rest), h.timer(), bit(i.Stop), ms(i.Look)}})
	return err
}

// AgainHook puts a delivery into the line again, before all others. NotFound: it is forgotten, or its event was not kept.
func (l *Ledger) AgainHook(ctx context.Context, h Hook, id string) error {
	d, err := l.Delivery(ctx, h, id)
	if err != nil {
		return err
	}
	if len(d.Event) == 0 {
		return errs.New(errs.NotFound, "ledger: the event of delivery %s was too large to be kept", id)
	}
	now := l.now().UTC()
	d.Status, d.Attempts, d.Next = HookWaiting, 0, &now
	b, err := json.Marshal(d)
	if err != nil {
		return errs.New(errs.Internal, "ledger: delivery: %w", err)
	}
	_, err = l.run(ctx, "again hook", call{l.scripts.hookagain, l.hookKeys(h), []any{id, string(b), now.UnixMilli(), h.timer(), HookTTL.Milliseconds()}})
	return err
}

// HookState returns what is known of a webhook; zero when nothing is.
func (l *Ledger) HookState(ctx context.Context, h Hook) (HookState, error) {
	if err := h.check(); err != nil {
		return HookState{}, err
	}
	p := l.rdb.Pipeline()
	state, waiting := p.HGetAll(ctx, l.keys.HookState(h)), p.ZCard(ctx, l.keys.HookQueue(h))
	if _, err := p.Exec(ctx); err != nil {
		return HookState{}, wrap(err, "hook state")
	}
	m := state.Val()
	n := func(k string) int64 { return int64(u64(m[k])) }
	return HookState{
		Delivered: n("ok"), Failed: n("bad"), Dropped: n("drop"), Waiting: waiting.Val(), FailuresInARow: n("fails"), FailingSince: fromMS(m["since"]),
		Last: m["last"], Handshake: m["shake"], Permit: m["permit"], Rest: fromMS(m["rest"]), Generation: n("gen"), Written: fromMS(m["wrote"]), Dirty: m["dirty"] == "1",
	}, nil
}

// HookNote is what SetHook writes.
type HookNote struct {
	Handshake  string // when not ""
	Permit     string // when not ""
	Generation int64  // of the Webhook whose status is about to be written, when not 0
	Written    bool   // the status was written
	Changed    bool   // the Webhook is another one than that whose status was written
	Fresh      bool   // the failures are forgotten, and the line need not rest
}

// SetHook writes fields of a webhook's state.
func (l *Ledger) SetHook(ctx context.Context, h Hook, n HookNote) error {
	if err := h.check(); err != nil {
		return err
	}
	key := l.keys.HookState(h)
	p := l.rdb.TxPipeline()
	if n.Handshake != "" {
		p.HSet(ctx, key, "shake", n.Handshake)
	}
	if n.Permit != "" {
		p.HSet(ctx, key, "permit", n.Permit)
	}
	if n.Generation > 0 {
		p.HSet(ctx, key, "gen", n.Generation)
	}
	if n.Written {
		p.HSet(ctx, key, "wrote", l.now().UnixMilli())
		p.HDel(ctx, key, "dirty")
	}
	if n.Changed {
		p.HDel(ctx, key, "gen")
	}
	if n.Fresh {
		p.HDel(ctx, key, "fails", "since", "rest")
	}
	p.PExpire(ctx, key, HookTTL)
	_, err := p.Exec(ctx)
	return wrap(err, "set hook")
}

// DropHookEvent counts an event that a webhook did not get because it is disabled.
func (l *Ledger) DropHookEvent(ctx context.Context, h Hook) error {
	if err := h.check(); err != nil {
		return err
	}
	p := l.rdb.TxPipeline()
	p.HIncrBy(ctx, l.keys.HookState(h), "drop", 1)
	p.HSet(ctx, l.keys.HookState(h), "dirty", 1)
	p.PExpire(ctx, l.keys.HookState(h), HookTTL)
	_, err := p.Exec(ctx)
	return wrap(err, "drop hook event")
}

// ForgetHook removes all of a webhook.
func (l *Ledger) ForgetHook(ctx context.Context, h Hook) error {
	if err := h.check(); err != nil {
		return err
	}
	p := l.rdb.TxPipeline()
	p.Del(ctx, l.hookKeys(h)[:4]...)
	p.ZRem(ctx, l.keys.Due(l.keys.shardOf(h.Namespace, h.Name)), h.timer())
	_, err := p.Exec(ctx)
	return wrap(err, "forget hook")
}

// Deliveries returns a page of a webhook's deliveries, newest first. after is the next of the page before.
func (l *Ledger) Deliveries(ctx context.Context, h Hook, after string, n int) (ds []HookDelivery, next string, err error) {
	if err := h.check(); err != nil {
		return nil, "", err
	}
	n = min(max(n, 1), MaxPage)
	start := int64(0)
	if after != "" {
		rank, err := l.rdb.ZRevRank(ctx, l.keys.HookOrder(h), after).Result()
		if err == redis.Nil {
			return nil, "", errs.New(errs.Invalid, "ledger: delivery %q is forgotten: begin anew", after)
		}
		if err != nil {
			return nil, "", wrap(err, "deliveries")
		}
		start = rank + 1
	}
	ids, err := l.rdb.ZRevRange(ctx, l.keys.HookOrder(h), start, start+int64(n)).Result()
	if err != nil || len(ids) == 0 {
		return nil, "", wrap(err, "deliveries")
	}
	if len(ids) > n {
		ids, next = ids[:n], ids[n-1]
	}
	vs, err := l.rdb.HMGet(ctx, l.keys.HookDeliveries(h), ids...).Result()
	if err != nil {
		return nil, "", wrap(err, "deliveries")
	}
	for i := range vs {
		if str(vs, i) == "" {
			continue // it went meanwhile
		}
		var d HookDelivery
		if err := unmarshal(str(vs, i), &d); err != nil {
			return nil, "", err
		}
		ds = append(ds, d)
	}
	return ds, next, nil
}

// Delivery returns one delivery. Errors: NotFound.
func (l *Ledger) Delivery(ctx context.Context, h Hook, id string) (HookDelivery, error) {
	var d HookDelivery
	if err := h.check(); err != nil {
		return d, err
	}
	s, err := l.rdb.HGet(ctx, l.keys.HookDeliveries(h), id).Result()
	if err == redis.Nil {
		return d, errs.New(errs.NotFound, "webhook %s has no delivery %s", h.Name, id)
	}
	if err != nil {
		return d, wrap(err, "delivery")
	}
	return d, unmarshal(s, &d)
}
