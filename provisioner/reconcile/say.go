package reconcile

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// say tells the platform what is so when it differs from what was told, or when the Device's status still shows an older
// word. It returns when to try again, 0 when that is not needed.
func (w *worker) say(ctx context.Context) time.Duration {
	now := time.Now()
	is := w.current()
	said := w.note.Said
	said.Sequence, is.Sequence = 0, 0
	if !same(is, said) {
		is.Sequence = max(now.UnixMicro(), w.note.Said.Sequence+1)
		w.note.Said = is
		w.save()
		w.unsaid, w.postWait, w.postNext = true, 0, time.Time{}
	} else if b := w.dev.Status.Board; !w.unsaid && !w.posted.IsZero() && now.Sub(w.posted) >= repostAfter && (b == nil || b.Sequence < w.note.Said.Sequence) {
		// It was accepted and has not arrived: another id, for the same one would be known already.
		w.note.Said.Sequence = max(now.UnixMicro(), w.note.Said.Sequence+1)
		w.save()
		w.unsaid, w.postWait, w.postNext = true, 0, time.Time{}
	}
	if !w.unsaid {
		if b := w.dev.Status.Board; b == nil || b.Sequence < w.note.Said.Sequence {
			if w.posted.IsZero() {
				w.posted = now // of an earlier life
			}
			return max(time.Until(w.posted.Add(repostAfter)), time.Millisecond)
		}
		return 0
	}
	if now.Before(w.postNext) {
		return time.Until(w.postNext)
	}
	if err := w.post(ctx, w.note.Said); err != nil {
		w.log.Warn("the broker does not take what became of a board; it is said again", "cause", err)
		w.postWait = min(max(2*w.postWait, postRetry), postRetryMax)
		w.postNext = time.Now().Add(w.postWait)
		return w.postWait
	}
	w.unsaid, w.posted = false, time.Now()
	return repostAfter
}

// current is what is so.
func (w *worker) current() event.BoardChanged {
	em := w.dev.Spec.Emulation
	if em == nil { // it is not emulated any more, and its board cannot be removed
		em = &v1alpha1.Emulation{}
	}
	c := event.BoardChanged{
		Device: event.Device(w.key), UID: string(w.dev.UID), Generation: w.dev.Generation, Phase: w.phase, Backend: em.Backend,
		Transport: em.Transport, Resets: w.note.Resets, PowerCuts: w.note.PowerCuts, Restarts: w.note.Restarts,
		Reason: w.reason, Message: w.message, Since: w.since.UTC().Round(time.Millisecond),
	}
	if w.engine != nil {
		c.Engine = w.engine.Name()
	}
	if w.have {
		c.Transport, c.Image = word(w.inst.Spec.Transport), w.inst.Spec.ImageDigest
	}
	if w.running() {
		c.Instance, c.Endpoint = w.inst.Handle, w.inst.Endpoint
	}
	return c
}

// word is a transport as the API spells it.
func word(t provisioner.Transport) string {
	if t == "" {
		return ""
	}
	return strings.ToUpper(string(t[:1])) + string(t[1:])
}

// same compares two words; Since by its instant.
func same(a, b event.BoardChanged) bool {
	if !a.Since.Equal(b.Since) {
		return false
	}
	a.Since, b.Since = time.Time{}, time.Time{}
	return a == b
}

func (w *worker) post(ctx context.Context, c event.BoardChanged) error {
	if c.Sequence == 0 {
		c.Sequence = max(time.Now().UnixMicro(), w.note.Said.Sequence+1)
		w.note.Said.Sequence = c.Sequence
	}
	id := event.DeriveID(c.UID, strconv.FormatInt(c.Sequence, 10))
	e, err := event.New(event.BoardChangedType, "/wasmbed/provisioner/"+w.r.o.Instance, c.Device.String(), id, c, event.About(c.Device), event.At(time.Now()))
	if err != nil {
		return err
	}
	err = w.r.o.Sink.Post(ctx, e)
	if errs.Is(err, errs.NotFound) { // no broker there yet
		return errs.New(errs.Unavailable, "%w", err)
	}
	return err
}

// describe says how a program ended.
func describe(x provisioner.Exit) string {
	var s string
	switch {
	case x.Reason == provisioner.ExitMemory:
		s = "it took more memory than it may"
	case x.Code > 128:
		s = fmt.Sprintf("it was ended by signal %d", x.Code-128)
	case x.Code >= 0:
		s = fmt.Sprintf("it ended with status %d", x.Code)
	default:
		s = "it ended while nobody watched"
	}
	if x.Output != "" {
		s += ": " + x.Output
	}
	return s
}
