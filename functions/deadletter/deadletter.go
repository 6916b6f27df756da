// Package deadletter keeps the events that Knative gave up on, and delivers them again when somebody asks. It is the
// dead letter sink of the platform's Broker; the embedded broker keeps dead letters itself.
//
// A letter's event says in its extensions which destination did not take it and what that answered. What they say is
// what somebody in the cluster sent, so a letter goes back to a function only when its destination is one of ours, at an
// address that is made here and never taken from the event; every other letter goes to the broker's ingress.
package deadletter

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
)

// Name of this function.
const Name = "deadletter"

// Types are the events that it takes: all that come.
func Types() []string { return []string{"*"} }

// Extensions of a dead letter, as Knative names them (knative.dev/eventing, pkg/kncloudevents/attributes). Where a
// broker's own part fails, it sets none.
const (
	extDest = "knativeerrordest" // URL of who did not take it
	extCode = "knativeerrorcode" // HTTP status of the answer; 500 when there was none
	extData = "knativeerrordata" // the answer's body, base64, at most 1024 characters

	// ExtRedelivered is what an event is marked with that is delivered again: how many times it was.
	ExtRedelivered = "redelivered"
)

// Deps is what it works with.
type Deps struct {
	Redis  redis.UniversalClient
	Places Places
	Now    func() time.Time
	Log    *slog.Logger
}

// Function is the function. Safe for concurrent use.
type Function struct{ d Deps }

// New returns the function.
func New(d Deps) *Function { return &Function{d: d} }

//go:embed keep.lua
var keepText string

//go:embed take.lua
var takeText string

var keep, take = redis.NewScript(keepText), redis.NewScript(takeText)

// Handle keeps a letter. The same one twice is one. Errors: Unavailable; an event that cannot be kept is Invalid.
func (f *Function) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	l := f.letter(e)
	b, err := json.Marshal(l.Event)
	if err != nil {
		l.Event.DataEncoded, l.Event.DataBase64 = nil, false
		l.Message = clean("its data, which JSON cannot carry, are lost: "+err.Error()+"; "+l.Message, MaxMessage)
		if b, err = json.Marshal(l.Event); err != nil {
			return nil, errs.New(errs.Invalid, "dead letter: %w", err)
		}
	}
	err = keep.Run(ctx, f.d.Redis, []string{seenKey(l), lettersKey(l.Trigger), bytesKey}, l.Trigger, string(b), l.Dest, l.Status, l.Message,
		f.d.Now().UnixMilli(), l.Redelivered, SeenTTL.Milliseconds(), MaxLetters, MaxBytes).Err()
	if err != nil {
		return nil, wrap(err)
	}
	f.d.Log.Warn("an event was given up on", "type", e.Type(), "id", e.ID(), "subject", e.Subject(), "for", l.Trigger, "status", l.Status, "message", l.Message)
	return nil, nil
}

// Letter is an event that its destination did not take.
type Letter struct {
	ID          string
	Trigger     string    // of which line it is: Places
	Event       ce.Event  // as it was, without Knative's extensions
	Dest        string    // as the letter says
	Status      int       // of the last answer; 0: nobody says
	Message     string    // the answer's body, or what happened at the last redelivery
	Redelivered int       // how often it was delivered again
	Time        time.Time // given up
	mark        string    // key that says that it is kept
}

// letter reads what a dead letter says of itself.
func (f *Function) letter(e ce.Event) Letter {
	l := Letter{Dest: clean(extension(e, extDest), MaxDest), Time: f.d.Now()}
	l.Trigger = f.d.Places.trigger(l.Dest)
	if n, err := strconv.Atoi(extension(e, extCode)); err == nil && n >= 100 && n < 600 {
		l.Status = n
	}
	said := extension(e, extData)
	if b, err := base64.StdEncoding.DecodeString(said); err == nil {
		said = string(b)
	}
	l.Message = clean(said, MaxMessage)
	l.Redelivered = redelivered(e)
	l.Event = original(e)
	return l
}

// original is the event as it was before a broker had it: without what brokers add for themselves.
func original(e ce.Event) ce.Event {
	e = e.Clone()
	for name := range e.Extensions() {
		if strings.HasPrefix(name, "knative") {
			e.SetExtension(name, nil)
		}
	}
	return e
}

func redelivered(e ce.Event) int {
	n, err := strconv.Atoi(extension(e, ExtRedelivered))
	if err != nil || n < 0 {
		return 0
	}
	return min(n, 1_000_000)
}

// extension gives an extension of any type in its canonical form.
func extension(e ce.Event, name string) string {
	v, ok := e.Extensions()[name]
	if !ok {
		return ""
	}
	s, err := types.Format(v)
	if err != nil {
		return ""
	}
	return s
}

// clean makes a text of what may be anything.
func clean(s string, most int) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = s[:most]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return strings.TrimSpace(s)
}

func seenKey(l Letter) string {
	h := sha256.New()
	for _, p := range []string{l.Trigger, l.Event.Source(), l.Event.ID(), strconv.Itoa(l.Redelivered)} {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return seenPrefix + hex.EncodeToString(h.Sum(nil)[:16])
}

// Letters lists letters of a line, oldest first, at most n after the id from ("": from the oldest). next is "" at the
// end. Errors: Invalid, Unavailable.
func Letters(ctx context.Context, rdb redis.UniversalClient, trigger, from string, n int) ([]Letter, string, error) {
	if !isTrigger(trigger) {
		return nil, "", errs.New(errs.Invalid, "dead letters: %q is no namespace/name", trigger)
	}
	start := "-"
	if from != "" {
		if !isID(from) {
			return nil, "", errs.New(errs.Invalid, "dead letters: %q is no letter's id", from)
		}
		start = "(" + from
	}
	n = min(max(n, 1), MaxPage)
	ms, err := rdb.XRangeN(ctx, lettersKey(trigger), start, "+", int64(n)).Result()
	if err != nil {
		return nil, "", wrap(err)
	}
	out := make([]Letter, len(ms))
	for i, m := range ms {
		out[i] = letterOf(trigger, m)
	}
	next := ""
	if len(ms) == n {
		next = ms[n-1].ID
	}
	return out, next, nil
}

func letterOf(trigger string, m redis.XMessage) Letter {
	text := func(k string) string { s, _ := m.Values[k].(string); return s }
	num := func(k string) int { n, _ := strconv.Atoi(text(k)); return n }
	l := Letter{ID: m.ID, Trigger: trigger, Dest: text("d"), Status: num("s"), Message: text("m"), Redelivered: num("n")}
	if ms, err := strconv.ParseInt(text("t"), 10, 64); err == nil {
		l.Time = time.UnixMilli(ms).UTC()
	}
	if l.mark = text("k"); !strings.HasPrefix(l.mark, seenPrefix) { // not one of ours: then none
		l.mark = seenPrefix + "none"
	}
	if err := json.Unmarshal([]byte(text("e")), &l.Event); err != nil {
		l.Event, l.Message = ce.Event{}, "the letter cannot be read: "+err.Error()
	}
	return l
}

// Line is how many letters there are of a destination.
type Line struct {
	Trigger string
	Dead    int64
	Bytes   int64 // of their events
}

// Lines lists the lines: those of every place, and those that have letters.
func Lines(ctx context.Context, rdb redis.UniversalClient, p Places) ([]Line, error) {
	sizes, err := rdb.HGetAll(ctx, bytesKey).Result()
	if err != nil {
		return nil, wrap(err)
	}
	var out []Line
	for _, name := range p.triggers() {
		out = append(out, Line{Trigger: name})
	}
	for name := range sizes {
		if !has(out, name) && isTrigger(name) {
			out = append(out, Line{Trigger: name})
		}
	}
	pipe := rdb.Pipeline()
	lens := make([]*redis.IntCmd, len(out))
	for i, l := range out {
		lens[i] = pipe.XLen(ctx, lettersKey(l.Trigger))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, wrap(err)
	}
	for i := range out {
		out[i].Dead = lens[i].Val()
		out[i].Bytes, _ = strconv.ParseInt(sizes[out[i].Trigger], 10, 64)
	}
	sortLines(out)
	return out, nil
}
