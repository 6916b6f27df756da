package console

import (
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// Limits of serving.
const (
	maxFollowers = 64
	maxTail      = 10_000           // lines
	chunk        = 4 << 10          // bytes written and flushed at once
	stall        = 30 * time.Second // a reader that takes nothing for so long is dropped
)

// Hub holds the rings of all boards.
type Hub struct {
	size  int
	token string
	mu    sync.Mutex
	rings map[provisioner.Key]*Ring
	slots chan struct{}
}

// New makes a Hub whose rings hold size bytes each (0: provisioner.ConsoleRing). token opens the HTTP side; with an empty
// one it is shut.
func New(size int, token string) *Hub {
	if size <= 0 {
		size = provisioner.ConsoleRing
	}
	return &Hub{size: size, token: token, rings: map[provisioner.Key]*Ring{}, slots: make(chan struct{}, maxFollowers)}
}

// Ring returns the ring of a device, made when there is none.
func (h *Hub) Ring(k provisioner.Key) *Ring {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rings[k]
	if r == nil {
		r = newRing(h.size)
		h.rings[k] = r
	}
	return r
}

// Drop forgets a device's console and ends its followers.
func (h *Hub) Drop(k provisioner.Key) {
	h.mu.Lock()
	r := h.rings[k]
	delete(h.rings, k)
	h.mu.Unlock()
	if r != nil {
		r.close()
	}
}

// Close ends all followers; what is kept stays.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.rings {
		r.close()
	}
}

// ServeHTTP answers GET /console/{namespace}/{name}?follow=true&tail=N as text. It expects the two names as path values.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.serve(w, r); err != nil {
		http.Error(w, err.Error(), errs.HTTPStatus(err))
	}
}

func (h *Hub) serve(w http.ResponseWriter, r *http.Request) error {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case h.token == "":
		return errs.New(errs.Denied, "consoles are not served").WithMend("set WASMBED_PROVISIONER_TOKEN")
	case !ok || subtle.ConstantTimeCompare([]byte(given), []byte(h.token)) != 1:
		return errs.New(errs.Unauthenticated, "consoles need the bearer token of WASMBED_PROVISIONER_TOKEN")
	}
	tail := -1
	if s := r.URL.Query().Get("tail"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > maxTail {
			return errs.New(errs.Invalid, "tail must be a number of lines from 0 to %d", maxTail)
		}
		tail = n
	}
	k := provisioner.Key{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	h.mu.Lock()
	ring := h.rings[k]
	h.mu.Unlock()
	if ring == nil {
		return errs.New(errs.NotFound, "no board %s", k)
	}
	follow := r.URL.Query().Get("follow") == "true"
	if follow {
		select {
		case h.slots <- struct{}{}:
			defer func() { <-h.slots }()
		default:
			return errs.New(errs.Exhausted, "%d consoles are followed already", maxFollowers)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	pump(w, ring.Follow(r.Context(), tail, follow))
	return nil
}

// pump copies and flushes until either side ends. There is nobody left to tell about an error.
func pump(w http.ResponseWriter, in io.Reader) {
	rc := http.NewResponseController(w)
	send := func(b []byte) bool {
		_ = rc.SetWriteDeadline(time.Now().Add(stall)) // not every writer has one
		if _, err := w.Write(b); err != nil {
			return false
		}
		return rc.Flush() == nil
	}
	defer func() { _ = rc.SetWriteDeadline(time.Time{}) }() // the connection may carry another request
	if !send(nil) {                                         // the headers: a follower of a silent board is connected
		return
	}
	buf := make([]byte, chunk)
	for {
		n, err := in.Read(buf)
		if n > 0 && !send(buf[:n]) || err != nil {
			return
		}
	}
}

// Save writes what is kept below a folder, so that a provisioner that is started again still has it.
func (h *Hub) Save(dir string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []error
	for k, r := range h.rings {
		path := filepath.Join(dir, k.Namespace, k.Name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil {
			err = os.WriteFile(path, r.Bytes(), 0o600)
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}

// Load reads what Save wrote, and removes it. What cannot be read is not there.
func (h *Hub) Load(dir string) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		return
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err == nil {
			_, _ = h.Ring(provisioner.Key{Namespace: filepath.Base(filepath.Dir(path)), Name: filepath.Base(path)}).Write(b)
		}
	}
	_ = os.RemoveAll(dir) // at the next time it is written again
}
