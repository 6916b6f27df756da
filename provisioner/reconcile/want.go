package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// want brings the board nearer to what its Device wants, says what is so, and returns when to look again.
func (w *worker) want(ctx context.Context, dev *v1alpha1.Device) time.Duration {
	pause := w.act(ctx, dev)
	if again := w.say(ctx); again > 0 && again < pause {
		pause = again
	}
	return pause
}

func (w *worker) act(ctx context.Context, dev *v1alpha1.Device) time.Duration {
	now := time.Now()
	em := dev.Spec.Emulation
	name := w.engineName(ctx, em)
	engine := w.r.o.Engines[name]
	switch {
	case engine == nil && em.Engine == "" && em.Backend != v1alpha1.BackendHost:
		w.set(v1alpha1.BoardFailed, reasonNoEngine, "its board is in engine "+name+", which this provisioner does not have (set WASMBED_PROVISIONER_ENGINE; with spec.emulation.engine set to another, the board begins anew there)")
		return resyncEvery
	case engine == nil:
		w.set(v1alpha1.BoardFailed, reasonNoEngine, "this provisioner has no engine "+name+" (set WASMBED_PROVISIONER_ENGINE, or leave spec.emulation.engine out)")
		return resyncEvery
	}
	if err := w.removeAll(ctx, name); err != nil { // it was another engine's before
		p, _ := w.retry(ctx, reasonCleanup, err)
		return p
	}
	if err := w.look(ctx, engine, now); err != nil {
		w.set(v1alpha1.BoardPending, reasonNoEngine, err.Error())
		return apiRetry
	}
	if em.State == v1alpha1.EmulationStopped {
		return w.stopped(ctx, em)
	}
	board, ok := provisioner.BoardNamed(dev.Spec.Board)
	if !ok {
		return w.refuse(ctx, errs.New(errs.Unsupported, "there is no board %q in the table of boards", dev.Spec.Board).WithMend("docs/boards.md lists them"))
	}
	options, err := w.r.o.Plan(name)
	if err != nil {
		if w.running() {
			return w.watch(ctx, dev, now) // it goes on with what it has
		}
		w.set(v1alpha1.BoardPending, reasonNotReady, err.Error())
		return apiRetry
	}
	d := provisioner.Device{Key: w.key, UID: string(dev.UID), Backend: em.Backend, Transport: transport(em.Transport)}
	options.Seed = make([]byte, seedBytes) // not the board's yet: what is compared does not depend on it
	options.Floor = now
	spec, err := provisioner.Plan(d, board, options)
	if err != nil {
		return w.refuse(ctx, err)
	}
	if w.running() {
		switch {
		case w.inst.Spec.Setup != spec.Setup:
			if err := w.halt(ctx, false); err != nil {
				p, _ := w.retry(ctx, reasonStop, err)
				return p
			}
			w.failures, w.next = 0, time.Time{}
			return w.start(ctx, dev, board, d, options, reasonChanged)
		case em.PowerCuts > w.note.PowerCuts:
			return w.cut(ctx, dev, board, d, options)
		case em.Resets > w.note.Resets:
			return w.reset(ctx, dev, board, d, options)
		}
		return w.watch(ctx, dev, now)
	}
	if w.note.Cutting != "" { // killed between cutting the power and giving it back
		w.note.PowerCuts, w.note.Cutting = em.PowerCuts, ""
		return w.start(ctx, dev, board, d, options, reasonPowerCut)
	}
	if em.Resets > w.note.Resets || em.PowerCuts > w.note.PowerCuts { // somebody does not want to wait
		w.next = time.Time{}
	}
	if now.Before(w.next) {
		return time.Until(w.next)
	}
	reason := reasonBoot
	if w.failures > 0 {
		reason = reasonRestarting
	}
	return w.start(ctx, dev, board, d, options, reason)
}

// engineName returns what carries the Device's board. A Device that does not say stays where its board is: another engine
// would start it without its storage, and the key in it that the device is known by.
func (w *worker) engineName(ctx context.Context, em *v1alpha1.Emulation) string {
	switch {
	case em.Backend == v1alpha1.BackendHost:
		return v1alpha1.EngineProcess
	case em.Engine != "":
		return em.Engine
	case w.engine != nil:
		return w.engine.Name()
	}
	said := w.note.Said
	for name, e := range w.r.o.Engines {
		_, ok, err := find(ctx, e, w.key)
		if ok || err != nil && said.Engine == name && said.Image != "" {
			return name
		}
	}
	if said.Image != "" && w.r.o.Engines[said.Engine] == nil { // it was started there
		return said.Engine
	}
	return w.r.o.Default
}

const (
	seedBytes  = 64
	claimBytes = 32
)

func transport(s string) provisioner.Transport {
	switch s {
	case v1alpha1.TransportEthernet:
		return provisioner.Ethernet
	case v1alpha1.TransportSerial:
		return provisioner.Serial
	}
	return provisioner.Transport(s)
}

func (w *worker) running() bool { return w.have && w.inst.Running }

// look asks the engine what there is, now and then and after what failed.
func (w *worker) look(ctx context.Context, e provisioner.Engine, now time.Time) error {
	if w.engine == e && now.Sub(w.looked) < resyncEvery/2 {
		return nil
	}
	i, ok, err := find(ctx, e, w.key)
	if err != nil {
		return err
	}
	if ok && (i.Broken != "" || i.UID != string(w.dev.UID)) {
		w.log.Info("a board that is not this Device's is removed", "broken", i.Broken, "uid", i.UID)
		rctx, cancel := context.WithTimeout(ctx, opTimeout)
		defer cancel()
		if err := e.Remove(rctx, i.ID); err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
		ok = false
	}
	w.engine, w.looked = e, now
	switch {
	case ok && i.Running && w.running() && i.Life == w.inst.Life:
		return nil
	case ok && i.Running:
		w.adopt(ctx, i, now)
	case ok && w.running(): // it ended and nobody told us
		w.inst = i
		w.fell(now)
	default:
		w.unfollow()
		w.inst, w.have = i, ok
		if ok && w.note.Said.Instance == i.Handle && i.Exit.Reason != provisioner.ExitStopped && w.note.Stopped != i.Life && w.note.Cutting != i.Life {
			w.note.Restarts++ // it ended while no provisioner ran
		}
	}
	return nil
}

// adopt takes over a board that runs and that this worker did not start.
func (w *worker) adopt(ctx context.Context, i provisioner.Instance, now time.Time) {
	w.inst, w.have = i, true
	em := w.dev.Spec.Emulation
	if w.note.Said.Sequence == 0 { // nothing is noted: what the status says was carried out, else what is wanted
		w.note.Resets, w.note.PowerCuts = em.Resets, em.PowerCuts
		if b := w.dev.Status.Board; b != nil {
			w.note.Resets, w.note.PowerCuts, w.note.Restarts = b.Resets, b.PowerCuts, b.Restarts
			w.note.Said.Sequence = b.Sequence
		}
	}
	w.log.Info("a running board is taken over", "instance", i.Handle, "started", i.Started)
	w.began = i.Started
	if w.note.Booted == i.Life || now.Sub(i.Started) > i.Spec.Boot.Timeout {
		// A board that was slow to boot, or whose first line nobody read, gets the benefit of the doubt.
		w.note.Booted, w.booted = i.Life, now
		if w.phase != v1alpha1.BoardRunning && w.phase != v1alpha1.BoardBooted {
			w.set(v1alpha1.BoardBooted, reasonAdopted, "it ran before this provisioner did")
		}
	} else {
		w.bootBy = now.Add(i.Spec.Boot.Timeout)
		w.set(v1alpha1.BoardStarting, reasonAdopted, "it was starting when this provisioner did")
	}
	w.follow(ctx)
	w.save()
}

// refuse ends a board that cannot be as its Device wants it.
func (w *worker) refuse(ctx context.Context, err error) time.Duration {
	if w.running() {
		if err := w.halt(ctx, false); err != nil {
			p, _ := w.retry(ctx, reasonStop, err)
			return p
		}
	}
	reason := reasonInvalid
	if errs.Is(err, errs.Unsupported) {
		reason = reasonUnsupported
	}
	w.set(v1alpha1.BoardFailed, reason, err.Error())
	return resyncEvery
}

// stopped ends a board whose Device wants it stopped. What was asked of it meanwhile needs not be done.
func (w *worker) stopped(ctx context.Context, em *v1alpha1.Emulation) time.Duration {
	if w.running() {
		if err := w.halt(ctx, false); err != nil {
			p, _ := w.retry(ctx, reasonStop, err)
			return p
		}
	}
	w.note.Resets, w.note.PowerCuts, w.note.Cutting = em.Resets, em.PowerCuts, ""
	w.failures, w.next = 0, time.Time{}
	w.set(v1alpha1.BoardStopped, reasonWanted, "")
	return resyncEvery
}

// halt ends the running board.
func (w *worker) halt(ctx context.Context, kill bool) error {
	w.note.Stopped = w.inst.Life
	w.save()
	sctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	if err := w.engine.Stop(sctx, w.inst.ID, kill); err != nil && !errs.Is(err, errs.NotFound) {
		w.looked = time.Time{}
		return err
	}
	w.unfollow()
	w.inst.Running = false
	return nil
}

// cut cuts the power and gives it back.
func (w *worker) cut(ctx context.Context, dev *v1alpha1.Device, b provisioner.Board, d provisioner.Device, o provisioner.PlanOptions) time.Duration {
	em := dev.Spec.Emulation
	w.note.Cutting = w.inst.Life
	if err := w.halt(ctx, true); err != nil {
		p, _ := w.retry(ctx, reasonStop, err)
		return p
	}
	w.note.PowerCuts, w.note.Cutting = em.PowerCuts, ""
	w.r.metrics.cuts.Inc()
	return w.start(ctx, dev, b, d, o, reasonPowerCut)
}

// reset pulls the reset line. A provisioner that is killed between the reset and its note resets once more.
func (w *worker) reset(ctx context.Context, dev *v1alpha1.Device, b provisioner.Board, d provisioner.Device, o provisioner.PlanOptions) time.Duration {
	em := dev.Spec.Emulation
	if !w.drain() {
		return 0
	}
	rctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	err := w.engine.Reset(rctx, w.inst.ID)
	switch {
	case errs.Is(err, errs.Unsupported): // no reset line
		if err := w.halt(ctx, true); err != nil {
			p, _ := w.retry(ctx, reasonStop, err)
			return p
		}
		w.note.Resets = em.Resets
		w.r.metrics.resets.Inc()
		return w.start(ctx, dev, b, d, o, reasonReset)
	case err != nil:
		w.looked = time.Time{}
		w.log.Warn("the board cannot be reset", "cause", err)
		w.message = err.Error()
		return apiRetry
	}
	w.r.metrics.resets.Inc()
	w.note.Resets = em.Resets
	now := time.Now()
	w.began, w.booted, w.before = now, time.Time{}, dev.Status.BootID
	w.bootBy = now.Add(w.inst.Spec.Boot.Timeout)
	w.note.Booted = ""
	w.set(v1alpha1.BoardStarting, reasonReset, "")
	w.save()
	return time.Until(w.bootBy)
}

// drain takes what followers saw before a reset, so that an earlier boot is not taken for the next. False: it has ended.
func (w *worker) drain() bool {
	for {
		select {
		case s := <-w.signals:
			if s.exit != nil {
				w.hear(s)
			}
		default:
			return w.running()
		}
	}
}

// start starts the board that does not run.
func (w *worker) start(ctx context.Context, dev *v1alpha1.Device, b provisioner.Board, d provisioner.Device, o provisioner.PlanOptions, reason string) time.Duration {
	select {
	case w.r.starts <- struct{}{}:
		defer func() { <-w.r.starts }()
	case <-ctx.Done():
		return 0
	}
	now := time.Now()
	ready, err := w.claim(ctx, dev)
	if err != nil {
		w.set(v1alpha1.BoardPending, reasonAPI, err.Error())
		return apiRetry
	}
	if !pinned(ready) {
		o.Claim = []byte(w.note.Claim)
	}
	w.r.o.Random(o.Seed)
	if d.Backend != provisioner.BackendHost {
		t, err := provisioner.Resolve(d, b)
		if err != nil {
			return w.refuse(ctx, err)
		}
		image := provisioner.ImageName(b, t)
		if o.ImageDigest, err = w.r.o.Image(image); err != nil {
			w.failures, w.next = 0, time.Time{}
			w.set(v1alpha1.BoardFailed, reasonNoFirmware, err.Error())
			return imageRetry
		}
	}
	spec, err := provisioner.Plan(d, b, o)
	if err != nil {
		return w.refuse(ctx, err)
	}
	em := ready.Spec.Emulation
	sctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	inst, err := w.engine.Start(sctx, spec)
	switch {
	case errs.Is(err, errs.AlreadyExists): // somebody was faster, or an end was not seen: look
		w.looked = time.Time{}
		w.fail(now, reasonStart, err.Error())
		return backoffFirst
	case errs.Is(err, errs.Unsupported):
		w.fail(now, reasonUnsupported, err.Error())
		return time.Until(w.next)
	case err != nil:
		w.looked = time.Time{}
		w.fail(now, reasonStart, err.Error())
		return time.Until(w.next)
	}
	w.r.metrics.step("start", time.Since(now))
	w.inst, w.have, w.looked = inst, true, time.Now()
	w.began, w.booted, w.before = now, time.Time{}, ready.Status.BootID
	w.bootBy = time.Now().Add(spec.Boot.Timeout)
	// A board that begins anew has nothing left to reset.
	w.note.Resets, w.note.PowerCuts, w.note.Cutting, w.note.Stopped, w.note.Booted = em.Resets, em.PowerCuts, "", "", ""
	w.set(v1alpha1.BoardStarting, reason, "")
	w.r.o.Consoles.Ring(w.key).Write(fmt.Appendf(nil, "[provisioner] %s: %s %s on %s\n", reason, spec.Backend, spec.Board, w.engine.Name()+" "+inst.Handle))
	w.follow(ctx)
	w.save()
	return time.Until(w.bootBy)
}

// imageRetry is how often a firmware image that is not there is looked for.
const imageRetry = 5 * time.Second

// watch looks at a board that runs as it shall.
func (w *worker) watch(ctx context.Context, dev *v1alpha1.Device, now time.Time) time.Duration {
	switch w.phase {
	case v1alpha1.BoardStarting:
		if now.Before(w.bootBy) {
			return w.bootBy.Sub(now)
		}
		timeout := w.inst.Spec.Boot.Timeout
		if err := w.halt(ctx, true); err != nil {
			p, _ := w.retry(ctx, reasonStop, err)
			return p
		}
		w.note.Restarts++
		w.r.metrics.restarts.WithLabelValues(reasonBootTimeout).Inc()
		w.fail(now, reasonBootTimeout, fmt.Sprintf("no line with %q on the console within %s", w.inst.Spec.Boot.Line, timeout))
		w.save()
		return time.Until(w.next)
	case v1alpha1.BoardBooted, v1alpha1.BoardRunning:
	default: // it was Failed or Pending for a reason that is gone
		if w.note.Booted == w.inst.Life {
			w.set(v1alpha1.BoardBooted, reasonBooted, "")
		} else {
			w.bootBy = now.Add(w.inst.Spec.Boot.Timeout)
			w.set(v1alpha1.BoardStarting, reasonBoot, "")
		}
		return 0
	}
	// Online may still be that of the life before, until the device has connected again.
	online := dev.Status.Online == "True" && (w.before == "" || dev.Status.BootID != w.before)
	switch {
	case online && w.phase == v1alpha1.BoardBooted:
		if !w.booted.IsZero() {
			w.r.metrics.step("online", now.Sub(w.booted))
		}
		w.set(v1alpha1.BoardRunning, reasonOnline, "")
	case !online && w.phase == v1alpha1.BoardRunning:
		w.booted = now // it has this long to come back before that is a reason
		w.set(v1alpha1.BoardBooted, reasonBooted, "the device has no session")
	case !online && !w.booted.IsZero() && now.Sub(w.booted) >= onlineWithin && w.reason != reasonNotOnline:
		w.set(v1alpha1.BoardBooted, reasonNotOnline, fmt.Sprintf("it booted and has had no session for %s: see its console", onlineWithin))
	}
	if !online && w.reason != reasonNotOnline && !w.booted.IsZero() {
		return max(time.Until(w.booted.Add(onlineWithin)), 0)
	}
	return resyncEvery
}

// claim puts the finalizer and, while the device is not enrolled, the digest of its claim into the Device.
func (w *worker) claim(ctx context.Context, dev *v1alpha1.Device) (*v1alpha1.Device, error) {
	digest := ""
	if !pinned(dev) {
		if w.note.Claim == "" {
			b := make([]byte, claimBytes)
			w.r.o.Random(b)
			w.note.Claim = hex.EncodeToString(b) // text, for it travels in a host device's environment too
			w.save()
		}
		sum := sha256.Sum256([]byte(w.note.Claim))
		digest = "sha256:" + hex.EncodeToString(sum[:])
	} else if w.note.Claim != "" {
		w.note.Claim = ""
	}
	has := slices.Contains(dev.Finalizers, v1alpha1.FinalizerBoard)
	id := dev.Spec.Identity
	if has && (digest == "" || id != nil && id.ClaimDigest == digest) {
		return dev, nil
	}
	dev = dev.DeepCopy()
	if !has {
		dev.Finalizers = append(dev.Finalizers, v1alpha1.FinalizerBoard)
	}
	if digest != "" {
		if dev.Spec.Identity == nil {
			dev.Spec.Identity = &v1alpha1.DeviceIdentity{}
		}
		dev.Spec.Identity.ClaimDigest = digest
	}
	out, err := w.r.o.Devices.Update(ctx, dev)
	if err != nil {
		return nil, err
	}
	w.dev = out
	return out, nil
}

func pinned(d *v1alpha1.Device) bool {
	return d.Spec.Identity != nil && len(d.Spec.Identity.PublicKey) > 0
}
