package reconcile

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/serial"
)

// follow reads the running board's console, bridges its serial line and waits for its end, until unfollow.
func (w *worker) follow(ctx context.Context) {
	w.unfollow()
	ctx, cancel := context.WithCancel(ctx)
	w.streams = cancel
	r, e, i, signals, log := w.r, w.engine, w.inst, w.signals, w.log // the worker's fields are its own
	tell := func(s signal) {
		s.life = i.Life
		select {
		case signals <- s:
		case <-ctx.Done():
		}
	}
	r.work.Go(func() { // the end
		for ctx.Err() == nil {
			exit, err := e.Wait(ctx, i.ID)
			switch {
			case err == nil:
				tell(signal{exit: &exit})
				return
			case errs.Is(err, errs.NotFound):
				tell(signal{exit: &provisioner.Exit{Life: i.Life, Reason: provisioner.ExitLost, Code: -1, At: time.Now()}})
				return
			}
			sleep(ctx, streamRetry) // the engine is away
		}
	})
	r.work.Go(func() { r.console(ctx, e, i, func() { tell(signal{}) }) })
	if i.Spec.Link.Kind != "" {
		r.work.Go(func() { r.link(ctx, e, i, log) })
	}
}

func (w *worker) unfollow() {
	if w.streams != nil {
		w.streams()
		w.streams = nil
	}
}

// console copies what a board says into its ring and tells when it says that it has booted.
func (r *Reconciler) console(ctx context.Context, e provisioner.Engine, i provisioner.Instance, booted func()) {
	ring := r.o.Consoles.Ring(i.Key)
	find := &finder{want: []byte(i.Spec.Boot.Line), found: booted}
	for ctx.Err() == nil {
		c, err := e.Console(ctx, i.ID)
		switch {
		case errs.Is(err, errs.Conflict), errs.Is(err, errs.NotFound):
			return // it has ended
		case err == nil:
			stop := context.AfterFunc(ctx, func() { c.Close() })
			copyAt(ctx, io.MultiWriter(ring, find), c)
			stop()
			c.Close()
		}
		sleep(ctx, streamRetry)
	}
}

// copyAt copies until either side ends, at consoleRate.
func copyAt(ctx context.Context, to io.Writer, from io.Reader) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
			if n == len(buf) { // only a board that floods is held up
				sleep(ctx, time.Duration(n)*time.Second/consoleRate)
			}
		}
		if err != nil {
			return
		}
	}
}

// finder looks for lines that have want in them.
type finder struct {
	want  []byte
	found func()
	line  []byte
	told  bool // of this line
}

func (f *finder) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		part, rest, ended := bytes.Cut(p, []byte{'\n'})
		if room := maxLine - len(f.line); room > 0 {
			f.line = append(f.line, part[:min(room, len(part))]...)
		}
		if !f.told && len(f.want) > 0 && bytes.Contains(f.line, f.want) {
			f.told = true
			f.found()
		}
		if ended {
			f.line, f.told = f.line[:0], false
		}
		p = rest
	}
	return n, nil
}

// link bridges a serial board to its gateway.
func (r *Reconciler) link(ctx context.Context, e provisioner.Engine, i provisioner.Instance, log *slog.Logger) {
	engine := e.Name()
	dial := func(ctx context.Context) (net.Conn, error) {
		o, err := r.o.Plan(engine)
		if err != nil {
			return nil, err
		}
		return r.o.Dial(ctx, o.Gateway)
	}
	for ctx.Err() == nil {
		port, err := e.Link(ctx, i.ID)
		switch {
		case errs.Is(err, errs.Conflict), errs.Is(err, errs.NotFound):
			return // it has ended
		case err == nil:
			if err := serial.Bridge(ctx, port, dial, log); err != nil {
				log.Info("the serial line ended", "cause", err)
			}
			port.Close()
		}
		sleep(ctx, streamRetry)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
