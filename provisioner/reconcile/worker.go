package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// Reasons of a phase.
const (
	reasonWanted      = "Wanted"      // Stopped
	reasonRestarting  = "Restarting"  // Starting: it ended and is started again
	reasonBoot        = "PowerOn"     // Starting
	reasonReset       = "Reset"       // Starting
	reasonPowerCut    = "PowerCut"    // Starting
	reasonChanged     = "SpecChanged" // Starting
	reasonBooted      = "FirmwareBooted"
	reasonOnline      = "Online"
	reasonNotOnline   = "NotOnline"   // Booted, and for a while
	reasonAdopted     = "Adopted"     // Booted: it ran before this provisioner did
	reasonBootTimeout = "BootTimeout" // Failed
	reasonCrashLoop   = "CrashLoop"
	reasonNoFirmware  = "NoFirmware"
	reasonNoEngine    = "NoEngine"
	reasonUnsupported = "Unsupported"
	reasonInvalid     = "Invalid"
	reasonNotReady    = "ProvisionerNotReady" // Pending: what every board needs is missing
	reasonAPI         = "ApiUnavailable"      // Pending: the Device cannot be written
	reasonCleanup     = "CleanupFailed"
	reasonStart       = "StartFailed"
	reasonStop        = "StopFailed"
)

// worker looks after one Device. Its fields are its goroutine's, but pending (Reconciler.mu) and wake.
type worker struct {
	r       *Reconciler
	key     provisioner.Key
	log     *slog.Logger
	wake    chan struct{}
	pending bool

	note   note
	loaded bool
	dev    *v1alpha1.Device // as it was read last

	engine   provisioner.Engine
	inst     provisioner.Instance
	have     bool // inst is an instance of engine
	looked   time.Time
	streams  context.CancelFunc // console, link and end of inst are followed
	signals  chan signal
	phase    string
	reason   string
	message  string
	since    time.Time
	bootBy   time.Time // Starting: it must have booted by then
	began    time.Time // of this start or reset
	booted   time.Time
	before   string // boot id that the device said before this start
	failures int
	next     time.Time // no start before
	unsaid   bool      // note.Said has not been posted
	posted   time.Time
	postWait time.Duration
	postNext time.Time
}

// signal is what a follower of an instance saw.
type signal struct {
	life string
	exit *provisioner.Exit // nil: it said that it has booted
}

func newWorker(r *Reconciler, k provisioner.Key) *worker {
	return &worker{r: r, key: k, log: r.o.Log.With("device", k.String()), wake: make(chan struct{}, 1), signals: make(chan signal, 16)}
}

// run looks, acts and waits until ctx ends or there is nothing to look after any more.
func (w *worker) run(ctx context.Context) {
	defer w.unfollow()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-w.signals:
			w.hear(s)
		case <-w.wake:
		case <-timer.C:
		}
		w.r.mu.Lock()
		w.pending = false
		w.r.mu.Unlock()
		pause, done := w.step(ctx)
		if ctx.Err() != nil {
			return
		}
		if done {
			if w.r.leave(w) {
				w.r.metrics.forget(w.key)
				return
			}
			w.again()
			pause = 0
		}
		timer.Reset(pause)
	}
}

// again makes it a worker that knows nothing: its Device was gone and is back.
func (w *worker) again() {
	n := newWorker(w.r, w.key)
	n.wake, n.signals = w.wake, w.signals
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	n.pending = w.pending
	*w = *n
}

// hear takes what a follower saw. What is said of another life is late.
func (w *worker) hear(s signal) {
	if !w.have || s.life != w.inst.Life {
		return
	}
	now := time.Now()
	if s.exit == nil {
		if w.note.Booted == s.life && w.phase != v1alpha1.BoardStarting {
			if now.Sub(w.booted) < bootLines { // more of the same boot
				return
			}
			w.booted = now
			w.r.metrics.reboots.Inc() // by itself: its watchdog, or a fault
			w.log.Info("the board booted again by itself")
			return
		}
		w.note.Booted = s.life
		w.booted = now
		w.r.metrics.step("boot", now.Sub(w.began))
		w.set(v1alpha1.BoardBooted, reasonBooted, "the console said so "+now.Sub(w.began).Round(time.Millisecond).String()+" after the start")
		w.save()
		return
	}
	w.inst.Running, w.inst.Exit = false, *s.exit
	w.fell(now)
}

// fell counts an end that nobody asked for.
func (w *worker) fell(now time.Time) {
	w.unfollow()
	if w.note.Stopped == w.inst.Life || w.note.Cutting == w.inst.Life {
		return
	}
	exit := w.inst.Exit
	if !w.booted.IsZero() && now.Sub(w.booted) >= stableAfter {
		w.failures = 0
	}
	w.note.Restarts++
	w.r.metrics.restarts.WithLabelValues(exit.Reason).Inc()
	w.fail(now, reasonRestarting, describe(exit))
	w.log.Warn("the board ended", "reason", exit.Reason, "code", exit.Code, "said", exit.Output, "failures", w.failures)
	w.save()
}

// fail notes a failure and when to try again.
func (w *worker) fail(now time.Time, reason, message string) {
	w.failures++
	pause := min(backoffFirst<<min(w.failures-1, 10), backoffMax)
	if w.failures >= crashAfter {
		pause = crashRetry
	}
	pause = time.Duration(float64(pause) * (0.8 + 0.4*w.r.o.Jitter()))
	w.next = now.Add(pause)
	switch {
	case w.failures >= crashAfter && reason == reasonRestarting:
		w.set(v1alpha1.BoardFailed, reasonCrashLoop, message)
	case reason == reasonRestarting:
		w.set(v1alpha1.BoardStarting, reason, message)
	default:
		w.set(v1alpha1.BoardFailed, reason, message)
	}
}

// set changes phase, reason and message. Since is the phase's.
func (w *worker) set(phase, reason, message string) {
	if w.phase != phase {
		w.since = time.Now()
	}
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	w.phase, w.reason, w.message = phase, reason, message
	w.r.metrics.phase(w.key, phase)
}

// step looks once and does what is next. It returns when to look again; done: there is nothing to look after.
func (w *worker) step(ctx context.Context) (pause time.Duration, done bool) {
	if !w.loaded {
		w.load()
	}
	dev, err := w.r.o.Devices.Get(ctx, w.key.Namespace, w.key.Name)
	switch {
	case errs.Is(err, errs.NotFound):
		dev = nil
	case err != nil && (w.dev == nil || ctx.Err() != nil):
		return apiRetry, false // nothing is done before it is known what is wanted
	case err != nil:
		dev = w.dev // the API is away: what was wanted last still is
	}
	if dev == nil || dev.Spec.Emulation == nil || dev.DeletionTimestamp != nil {
		return w.clear(ctx, dev)
	}
	w.dev = dev
	if w.note.UID != string(dev.UID) {
		if w.note.UID != "" {
			w.log.Info("the Device was deleted and made again: its board goes")
			if err := w.removeAll(ctx, ""); err != nil {
				return w.retry(ctx, reasonCleanup, err)
			}
		}
		w.note = note{UID: string(dev.UID)} // a board that runs for it, of an earlier life whose notes are lost, stays
		w.phase = ""
	}
	return w.want(ctx, dev), false
}

// load reads what is known from earlier lives.
func (w *worker) load() {
	w.loaded = true
	n, ok := w.r.notes.read(w.key)
	if !ok {
		return
	}
	w.note = n
	w.phase, w.reason, w.message, w.since = n.Said.Phase, n.Said.Reason, n.Said.Message, n.Said.Since
	if w.phase != "" {
		w.r.metrics.phase(w.key, w.phase)
	}
}

// retry says that something failed and tries again, with growing pauses.
func (w *worker) retry(ctx context.Context, reason string, err error) (time.Duration, bool) {
	w.log.Error("a board cannot be looked after", "reason", reason, "cause", err)
	w.fail(time.Now(), reason, err.Error())
	if w.dev != nil {
		w.say(ctx)
	}
	return time.Until(w.next), false
}

// clear removes everything of a Device that is gone, going, or not emulated any more.
func (w *worker) clear(ctx context.Context, dev *v1alpha1.Device) (time.Duration, bool) {
	w.unfollow()
	w.dev = dev
	if now := time.Now(); now.Before(w.next) && w.reason == reasonCleanup {
		return time.Until(w.next), false
	}
	if err := w.removeAll(ctx, ""); err != nil {
		return w.retry(ctx, reasonCleanup, err)
	}
	if dev != nil {
		if dev.DeletionTimestamp == nil && (dev.Status.Board != nil || w.note.UID != "") {
			gone := event.BoardChanged{Device: event.Device(w.key), UID: string(dev.UID), Generation: dev.Generation, Removed: true, Since: time.Now()}
			if err := w.post(ctx, gone); err != nil && errs.Retryable(err) {
				return postRetry, false
			}
		}
		if slices.Contains(dev.Finalizers, v1alpha1.FinalizerBoard) {
			dev = dev.DeepCopy()
			dev.Finalizers = slices.DeleteFunc(dev.Finalizers, func(f string) bool { return f == v1alpha1.FinalizerBoard })
			if _, err := w.r.o.Devices.Update(ctx, dev); err != nil && !errs.Is(err, errs.NotFound) {
				return apiRetry, false
			}
		}
	}
	if err := w.r.notes.remove(w.key); err != nil {
		return w.retry(ctx, reasonCleanup, err)
	}
	w.r.o.Consoles.Drop(w.key)
	return 0, true
}

// removeAll removes the Device's instances from all engines but one.
func (w *worker) removeAll(ctx context.Context, but string) error {
	var all []error
	for name, e := range w.r.o.Engines {
		if name == but {
			continue
		}
		i, ok, err := find(ctx, e, w.key)
		if err == nil && ok {
			w.unfollow()
			w.have = false
			ctx, cancel := context.WithTimeout(ctx, opTimeout)
			err = e.Remove(ctx, i.ID)
			cancel()
			w.log.Info("the board is removed", "engine", name, "instance", i.Handle, "cause", err)
		}
		if errs.Is(err, errs.Unavailable) && w.elsewhere(name, but) {
			continue // an engine that is away, and that the board is not in: it does not keep the others from working
		}
		if err != nil && !errs.Is(err, errs.NotFound) {
			all = append(all, err)
		}
	}
	if but == "" {
		w.have = false
	}
	return joined(all)
}

// elsewhere reports whether the board is known to be in another engine than name. but is the one that is wanted.
func (w *worker) elsewhere(name, but string) bool {
	said := w.note.Said.Engine
	if said == "" {
		return but != "" // a new board
	}
	return said != name
}

// find returns a Device's instance.
func find(ctx context.Context, e provisioner.Engine, k provisioner.Key) (provisioner.Instance, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	all, err := e.List(ctx)
	if err != nil {
		return provisioner.Instance{}, false, err
	}
	i := slices.IndexFunc(all, func(i provisioner.Instance) bool { return i.Key == k })
	if i < 0 {
		return provisioner.Instance{}, false, nil
	}
	return all[i], true, nil
}

func (w *worker) save() {
	if err := w.r.notes.write(w.key, w.note); err != nil {
		w.log.Error("what was done cannot be noted", "cause", err)
	}
}

func joined(all []error) error {
	if err := errors.Join(all...); err != nil {
		return errs.New(errs.CodeOf(all[0]), "%w", err)
	}
	return nil
}
