// Package console keeps the last of what boards say, and serves it.
package console

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
)

// Ring holds the last bytes of one console. Safe for concurrent use. Writing never waits for a reader: one that is too
// slow is told how much it missed.
type Ring struct {
	mu    sync.Mutex
	buf   []byte
	size  int
	total int64         // bytes ever written; buf holds those before it
	more  chan struct{} // closed at the next write
	end   bool
}

func newRing(size int) *Ring { return &Ring{size: size, more: make(chan struct{})} }

// Write adds what a board said. It never fails.
func (r *Ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(p)
	r.total += int64(n)
	if n >= r.size {
		r.buf = append(r.buf[:0], p[n-r.size:]...)
	} else {
		// Twice the size at most: cut when it is full, so that a byte is moved once on average.
		if len(r.buf)+n > 2*r.size {
			keep := r.size - n
			r.buf = append(r.buf[:0], r.buf[len(r.buf)-keep:]...)
		}
		r.buf = append(r.buf, p...)
	}
	if n > 0 {
		close(r.more)
		r.more = make(chan struct{})
	}
	return n, nil
}

// kept returns what is kept. mu is held.
func (r *Ring) kept() []byte {
	if len(r.buf) > r.size {
		return r.buf[len(r.buf)-r.size:]
	}
	return r.buf
}

// Bytes returns a copy of what is kept.
func (r *Ring) Bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.kept())
}

// close ends all followers.
func (r *Ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.end {
		r.end = true
		close(r.more)
	}
}

// Follow returns the last lines (all that are kept when lines < 0) and then what comes, until ctx ends or the device is
// forgotten: io.EOF. Without wait it ends where the ring ends now.
func (r *Ring) Follow(ctx context.Context, lines int, wait bool) io.Reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.kept()
	return &follower{r: r, ctx: ctx, wait: wait, at: r.total - int64(len(kept)-lastLines(kept, lines)), until: r.total}
}

// lastLines returns where the last n lines begin; a line that has no end yet counts.
func lastLines(b []byte, n int) int {
	if n < 0 {
		return 0
	}
	end := len(b)
	if n == 0 {
		return end
	}
	if end > 0 && b[end-1] == '\n' {
		end--
	}
	for ; n > 0; n-- {
		i := bytes.LastIndexByte(b[:end], '\n')
		if i < 0 {
			return 0
		}
		end = i
	}
	return end + 1
}

type follower struct {
	r     *Ring
	ctx   context.Context
	wait  bool
	at    int64  // of the next byte
	until int64  // without wait
	note  []byte // what was missed, to be said
}

func (f *follower) Read(p []byte) (int, error) {
	for {
		if len(f.note) > 0 {
			n := copy(p, f.note)
			f.note = f.note[n:]
			return n, nil
		}
		f.r.mu.Lock()
		kept := f.r.kept()
		first := f.r.total - int64(len(kept))
		if f.at < first {
			f.note = fmt.Appendf(nil, "\n[%d bytes were not read in time]\n", first-f.at)
			f.at = first
			f.r.mu.Unlock()
			continue
		}
		stop := f.r.total
		if !f.wait {
			stop = min(stop, f.until)
		}
		n := copy(p, kept[f.at-first:len(kept)-int(f.r.total-stop)])
		f.at += int64(n)
		more, end := f.r.more, f.r.end
		f.r.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case end, !f.wait:
			return 0, io.EOF
		}
		select {
		case <-more:
		case <-f.ctx.Done():
			return 0, io.EOF
		}
	}
}
