package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of live connections.
const (
	maxLive       = 1000                   // at once
	maxTopics     = 32                     // of one connection
	liveFrame     = 16 << 10               // bytes that a client may send at once
	liveBatch     = 200                    // items in one message
	livePause     = 100 * time.Millisecond // between two messages of a topic: at most ten a second
	liveWrite     = 10 * time.Second       // for one message; a client that takes longer is dropped
	livePing      = 20 * time.Second
	liveNamespace = 253
)

func (a *API) liveRoutes() []route {
	return []route{{"GET", "/api/v1/ws", "", "", a.live}}
}

// liveAsk is what a client says: topics to follow from now on, or to follow no more.
type liveAsk struct {
	Subscribe   []liveTopic `json:"subscribe,omitempty"`
	Unsubscribe []string    `json:"unsubscribe,omitempty"` // ids
}

// liveTopic is something to follow. ID is the client's, and comes back with every message.
type liveTopic struct {
	ID        string `json:"id"`
	Topic     string `json:"topic"` // devices, events, telemetry, logs
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`  // device, of telemetry and logs; none: the first hundred of the namespace
	After     string `json:"after,omitempty"` // cursor to resume behind; none: from now
}

// liveMessage is what the server says.
type liveMessage struct {
	ID     string   `json:"id,omitempty"`
	Topic  string   `json:"topic,omitempty"`
	Cursor string   `json:"cursor,omitempty"`
	Items  []any    `json:"items,omitempty"`
	Lagged bool     `json:"lagged,omitempty"` // there was more than is told: read again
	Error  *Problem `json:"error,omitempty"`
}

// live is a WebSocket over which a client follows several things at once. Every topic is read from its cursor, so
// nothing waits here for a client that is slow: it gets less often more, and what falls out of Redis meanwhile it
// is told as lagged.
func (a *API) live(w http.ResponseWriter, r *request) error {
	if a.lives.Add(1) > maxLive {
		a.lives.Add(-1)
		return errs.New(errs.Exhausted, "%d clients follow already", maxLive)
	}
	defer a.lives.Add(-1)
	// The origin is checked: a page of somebody else's must not use a person's credentials. A program sends none.
	c, err := websocket.Accept(w, r.Request, &websocket.AcceptOptions{OriginPatterns: originOf(r.Request)})
	if err != nil {
		return nil // Accept has answered
	}
	defer c.CloseNow()
	c.SetReadLimit(liveFrame)
	// The request's context ends with the server alone, once its connection is a WebSocket: then the client is told, and
	// goes on elsewhere from its cursors. Reads end because of that, not with the context, which would cut them off.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	defer context.AfterFunc(r.Context(), func() {
		_ = c.Close(websocket.StatusGoingAway, "the server stops") // who is gone needs no word
		cancel()
	})()
	l := &liveConn{a: a, c: c, r: r, ctx: ctx, stop: map[string]*subscription{}}
	defer l.wait.Wait()
	defer cancel()
	go l.ping(ctx)
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
			return nil
		}
		var ask liveAsk
		if err := json.Unmarshal(b, &ask); err != nil {
			l.fail(liveTopic{}, errs.New(errs.Invalid, "that is no request: %w", err))
			continue
		}
		for _, id := range ask.Unsubscribe {
			l.unsubscribe(id)
		}
		for _, t := range ask.Subscribe {
			l.subscribe(ctx, t)
		}
	}
}

// originOf lets in the pages of the host that the request itself names.
func originOf(r *http.Request) []string {
	if o, err := url.Parse(r.Header.Get("Origin")); err == nil && o.Host == r.Host {
		return []string{o.Host}
	}
	return nil
}

// subscription is one topic that is followed.
type subscription struct{ cancel context.CancelFunc }

type liveConn struct {
	a    *API
	c    *websocket.Conn
	r    *request
	wait sync.WaitGroup
	ctx  context.Context // the connection's: a write that is cancelled ends the connection, so no topic's is used for one

	mu   sync.Mutex
	stop map[string]*subscription // by the client's id
}

func (l *liveConn) ping(ctx context.Context) {
	tick := time.NewTicker(livePing)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			pctx, cancel := context.WithTimeout(ctx, liveWrite)
			err := l.c.Ping(pctx)
			cancel()
			if err != nil {
				l.c.CloseNow()
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (l *liveConn) send(m liveMessage) bool {
	b, err := json.Marshal(m)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(l.ctx, liveWrite)
	defer cancel()
	if err := l.c.Write(ctx, websocket.MessageText, b); err != nil {
		l.c.CloseNow()
		return false
	}
	return true
}

func (l *liveConn) fail(t liveTopic, err error) {
	p := problemOf(err)
	l.send(liveMessage{ID: t.ID, Topic: t.Topic, Error: &p})
}

func (l *liveConn) unsubscribe(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.stop[id]; s != nil {
		s.cancel()
		delete(l.stop, id)
	}
}

// ended forgets a subscription that failed, unless the client has another one under its id by now.
func (l *liveConn) ended(id string, s *subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop[id] == s {
		delete(l.stop, id)
	}
	s.cancel()
}

func (l *liveConn) subscribe(ctx context.Context, t liveTopic) {
	read, err := l.reader(ctx, t)
	if err != nil {
		l.fail(t, err)
		return
	}
	l.unsubscribe(t.ID)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.stop) == maxTopics {
		go l.fail(t, errs.New(errs.Exhausted, "a connection follows at most %d topics", maxTopics))
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &subscription{cancel}
	l.stop[t.ID] = s
	l.wait.Add(1)
	go func() {
		defer l.wait.Done()
		if err := l.follow(ctx, t, read); err != nil {
			l.ended(t.ID, s)
			l.fail(t, err)
		}
	}()
}

// follower reads what came behind a cursor, waiting a little for it. Cursor "" is from now.
type follower func(ctx context.Context, cursor string) (items []any, next string, lagged bool, err error)

func (l *liveConn) follow(ctx context.Context, t liveTopic, read follower) error {
	cursor := t.After
	tick := time.NewTicker(livePause)
	defer tick.Stop()
	first := true
	for {
		items, next, lagged, err := read(ctx, cursor)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case len(items) > 0 || lagged || first: // the first says where now is
			if !l.send(liveMessage{ID: t.ID, Topic: t.Topic, Cursor: next, Items: items, Lagged: lagged}) {
				return nil
			}
			first = false
		}
		cursor = next
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// reader checks whether the caller may follow the topic, and returns what reads it.
func (l *liveConn) reader(ctx context.Context, t liveTopic) (follower, error) {
	acc, ok := map[string]Access{
		"devices":   {Verb: "list", Resource: "devices"},
		"events":    {Verb: "list", Resource: "events.wasmbed"},
		"telemetry": {Verb: "get", Resource: "devices", Subresource: "telemetry"},
		"logs":      {Verb: "get", Resource: "devices", Subresource: "logs"},
	}[t.Topic]
	if !ok {
		return nil, errs.New(errs.Invalid, "there is no topic %q: devices, events, telemetry, logs", t.Topic)
	}
	if t.ID == "" || len(t.ID) > maxFilter || len(t.After) > maxCursor || len(t.Namespace) > liveNamespace || len(t.Name) > liveNamespace {
		return nil, errs.New(errs.Invalid, "a topic needs an id, and nothing in it may be that long")
	}
	if t.Topic != "events" {
		if t.Namespace == "" {
			return nil, errs.New(errs.Invalid, "topic %s needs a namespace", t.Topic)
		}
		acc.Name = t.Name
	}
	acc.Namespace = t.Namespace // events without one: of all
	may, err := l.a.Auth.Allowed(ctx, l.r.user, acc)
	if err != nil {
		return nil, err
	}
	if !may {
		return nil, errs.New(errs.Denied, "%s may not follow %s in namespace %s", l.r.user.Name, t.Topic, t.Namespace)
	}
	switch t.Topic {
	case "devices":
		return l.a.followDevices(t.Namespace), nil
	case "events":
		return l.a.followEvents(t.Namespace), nil
	case "telemetry":
		return l.a.followSeries(t, l.a.readTelemetry)
	}
	return l.a.followSeries(t, l.a.readLogs)
}

// followDevices follows the ledger's feed. Its cursor is the shards' places, joined by commas.
func (a *API) followDevices(ns string) follower {
	return func(ctx context.Context, cursor string) ([]any, string, bool, error) {
		from := strings.Split(cursor, ",")
		if cursor == "" {
			from = slices.Repeat([]string{"$"}, a.Ledger.Shards())
		}
		if len(from) != a.Ledger.Shards() {
			return nil, "", false, errs.New(errs.Invalid, "after is not a cursor of this topic")
		}
		entries, next, err := a.Ledger.Feed(ctx, from, 0)
		if err != nil {
			return nil, "", false, err
		}
		var items []any
		lagged := false
		for _, e := range entries {
			if e.Device.Namespace != ns {
				continue
			}
			if len(items) == liveBatch {
				lagged = true // a herd: who follows reads the list again, which is cheaper than each move
				break
			}
			items = append(items, e)
		}
		return items, strings.Join(next, ","), lagged, nil
	}
}

func (a *API) followEvents(ns string) follower {
	return func(ctx context.Context, cursor string) ([]any, string, bool, error) {
		if cursor == "" {
			cursor = "$"
		}
		got, next, err := a.recentsOf(ns)(ctx, cursor, liveBatch, 0)
		if err != nil {
			return nil, "", false, err
		}
		var items []any
		for _, g := range got {
			if of, _ := g.Event.Extensions()[event.ExtNamespace].(string); ns == "" || of == ns {
				items = append(items, g.Event)
			}
		}
		if next == "" {
			next = cursor
		}
		return items, next, false, nil
	}
}

func (a *API) followSeries(t liveTopic, read readSeries) (follower, error) {
	if t.Name == "" {
		return nil, errs.New(errs.Invalid, "topic %s needs the name of a device", t.Topic)
	}
	d := event.Device{Namespace: t.Namespace, Name: t.Name}
	return func(ctx context.Context, cursor string) ([]any, string, bool, error) {
		if cursor == "" { // from now: behind what is there
			for {
				got, next, err := read(ctx, d, cursor, maxPage)
				if err != nil || next == "" {
					return nil, cursor, false, err
				}
				if cursor = next; len(got) < maxPage {
					return nil, cursor, false, nil
				}
			}
		}
		got, next, err := read(ctx, d, cursor, liveBatch)
		if next == "" {
			next = cursor
		}
		return got, next, false, err
	}, nil
}
