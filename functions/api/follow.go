package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// sse writes server-sent events; the id of each is the cursor to resume behind it (Last-Event-ID).
type sse struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	fields fields // of each event's data; nil: all
}

func startSSE(w http.ResponseWriter) *sse {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	s := &sse{w: w, rc: http.NewResponseController(w)}
	if sel, ok := w.(*selecting); ok {
		s.fields = sel.fields
	}
	s.flush()
	return s
}

func (s *sse) flush() bool {
	_ = s.rc.SetWriteDeadline(time.Now().Add(30 * time.Second)) // a reader that stalls is dropped
	return s.rc.Flush() == nil
}

func (s *sse) send(id, kind string, v any) bool {
	b, err := json.Marshal(v)
	if err == nil && s.fields != nil && kind != "error" {
		b, err = s.fields.of(b)
	}
	if err != nil {
		return false
	}
	if _, err := fmt.Fprintf(s.w, "id: %s\nevent: %s\ndata: %s\n\n", id, kind, b); err != nil {
		return false
	}
	return s.flush()
}

func (s *sse) alive() bool {
	if _, err := fmt.Fprint(s.w, ": alive\n\n"); err != nil {
		return false
	}
	return s.flush()
}

// fail tells a stream's reader what ended it; the status line is long gone.
func (s *sse) fail(err error) {
	s.send("", "error", Problem{Title: "the stream ended", Status: errs.HTTPStatus(err), Code: string(errs.CodeOf(err)), Detail: err.Error()})
}

func following(r *request) bool {
	return r.URL.Query().Get("follow") == "true" || r.Header.Get("Accept") == "text/event-stream"
}

func cursor(r *request) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	return r.URL.Query().Get("after")
}

// pull reads entries after a cursor and returns them with their cursors and the next cursor.
type pull func(ctx context.Context, from string, n int) (items []any, cursors []string, next string, err error)

// serve answers a page, or with follow=true a stream that starts with it. Polling at a quarter of a second
// keeps one Redis connection from being blocked per reader.
func serve(w http.ResponseWriter, r *request, kind string, read pull) error {
	_, n, err := page(r)
	if err != nil {
		return err
	}
	from := cursor(r)
	items, cursors, next, err := read(r.Context(), from, n)
	if err != nil {
		return err
	}
	if !following(r) {
		if items == nil {
			items = []any{}
		}
		return writeJSON(w, http.StatusOK, listAnswer[any]{items, next})
	}
	s := startSSE(w)
	quiet := time.Now()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		for i := range items {
			if !s.send(cursors[i], kind, items[i]) {
				return nil
			}
		}
		if len(items) > 0 {
			quiet = time.Now()
		} else if time.Since(quiet) > watchBlock {
			if !s.alive() {
				return nil
			}
			quiet = time.Now()
		}
		if next != "" {
			from = next
		}
		if len(items) < n {
			select {
			case <-r.Context().Done():
				return nil
			case <-tick.C:
			}
		}
		if items, cursors, next, err = read(r.Context(), from, n); err != nil {
			if r.Context().Err() == nil {
				s.fail(err)
			}
			return nil
		}
	}
}

// same gives every entry of a page the page's cursor: resuming after a break repeats at most one page.
func same(next string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = next
	}
	return out
}

func (a *API) events(w http.ResponseWriter, r *request) error {
	ns, kind := r.URL.Query().Get("namespace"), r.URL.Query().Get("type")
	return serve(w, r, "event", func(ctx context.Context, from string, n int) ([]any, []string, string, error) {
		got, next, err := a.recentsOf(ns)(ctx, from, n, 0)
		var items []any
		var cursors []string
		for _, g := range got {
			if kind != "" && g.Event.Type() != kind {
				continue
			}
			if of, _ := g.Event.Extensions()[event.ExtNamespace].(string); ns != "" && of != ns {
				continue
			}
			items, cursors = append(items, g.Event), append(cursors, g.Cursor)
		}
		return items, cursors, next, err
	})
}

// watch streams the ledger's feed of one namespace: every move of a device or of an application on it.
func (a *API) watch(w http.ResponseWriter, r *request) error {
	if _, _, err := page(r); err != nil {
		return err
	}
	from := make([]string, a.Ledger.Shards())
	for i := range from {
		from[i] = "$"
	}
	_, from, err := a.Ledger.Feed(r.Context(), from, 0)
	if err != nil {
		return err
	}
	s := startSSE(w)
	for r.Context().Err() == nil {
		var entries []ledger.FeedEntry
		entries, from, err = a.Ledger.Feed(r.Context(), from, watchBlock)
		if err != nil {
			if r.Context().Err() == nil {
				s.fail(err)
			}
			return nil
		}
		if len(entries) == 0 && !s.alive() {
			return nil
		}
		for _, e := range entries {
			if e.Device.Namespace == r.namespace && !s.send(e.ID, e.Kind, e) {
				return nil
			}
		}
	}
	return nil
}
