package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/internal/errs"
)

// Patience of a live connection.
const (
	livePing     = 15 * time.Second // between two looks whether the server is there
	livePatience = 10 * time.Second // for its answer, or for a connection
	liveFirst    = 200 * time.Millisecond
	liveLast     = 5 * time.Second // between two tries to connect
)

// topic is something that is followed, and how far.
type topic struct {
	ID        string `json:"id"`
	Topic     string `json:"topic"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	After     string `json:"after,omitempty"`
}

// liveWord is what the server says.
type liveWord struct {
	ID     string            `json:"id"`
	Topic  string            `json:"topic"`
	Cursor string            `json:"cursor"`
	Items  []json.RawMessage `json:"items"`
	Lagged bool              `json:"lagged"`
	Error  *struct{ Detail, Code, Mend string }
}

func (c *cli) watchCmd() *cobra.Command {
	var events, telemetry, logs, moves bool
	cmd := &cobra.Command{
		Use: "watch [DEVICE…]", Short: "Follow the fleet live, as it moves",
		Long: `Follow the fleet live, as it moves: devices that connect and go, applications that get from one work set to another.
With names only those devices, and on request their telemetry and logs. It goes on until interrupted, and after a break
where it was.`,
		Example:           "  wasmbed watch\n  wasmbed watch press-7 --logs --telemetry\n  wasmbed watch --events -o json",
		ValidArgsFunction: c.completeMany("devices"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (telemetry || logs) && len(args) == 0 {
				return errs.New(errs.Invalid, "whose telemetry and logs?").WithMend("wasmbed watch DEVICE --logs; wasmbed logs -f follows those of many")
			}
			var topics []*topic
			add := func(kind, name string) {
				topics = append(topics, &topic{ID: kind + "/" + name, Topic: kind, Namespace: c.namespace, Name: name})
			}
			if moves {
				add("devices", "")
			}
			if events {
				add("events", "")
			}
			for _, d := range args {
				if telemetry {
					add("telemetry", d)
				}
				if logs {
					add("logs", d)
				}
			}
			if len(topics) == 0 {
				return errs.New(errs.Invalid, "nothing is left to follow")
			}
			return c.live(cmd.Context(), topics, func(t *topic, item json.RawMessage) error { return c.printLive(t, item, args) })
		},
	}
	f := cmd.Flags()
	f.BoolVar(&moves, "moves", true, "moves of devices and applications")
	f.BoolVar(&events, "events", false, "CloudEvents of the namespace, too")
	f.BoolVar(&telemetry, "telemetry", false, "what the named devices measure, too")
	f.BoolVar(&logs, "logs", false, "what the named devices log, too")
	return cmd
}

// live follows topics over one WebSocket for as long as ctx lives. A connection that breaks is made again, and every
// topic goes on behind what was seen of it. The first connection must come about.
func (c *cli) live(ctx context.Context, topics []*topic, item func(*topic, json.RawMessage) error) error {
	wait, said := liveFirst, false
	for first := true; ; first = false {
		connected, err := c.liveOnce(ctx, topics, item, func() {
			switch {
			case said:
				fmt.Fprintln(c.err, "-- connected again")
				said = false
			case first:
				fmt.Fprintf(c.err, "-- following namespace %s at %s\n", c.namespace, c.rest.base.Host)
			}
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case first && !connected, !errs.Retryable(err) || errs.Is(err, errs.Internal):
			return err
		}
		if connected {
			wait = liveFirst
		}
		if !said {
			fmt.Fprintf(c.err, "-- %v; connecting again\n", err)
			said = true
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		wait = min(2*wait, liveLast)
	}
}

// liveOnce follows over one connection until it ends, which is always an error. connected: the server talked.
func (c *cli) liveOnce(ctx context.Context, topics []*topic, item func(*topic, json.RawMessage) error, on func()) (connected bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := c.dialLive(ctx)
	if err != nil {
		return false, err
	}
	defer conn.CloseNow()
	if err := ask(ctx, conn, topics...); err != nil {
		return false, err
	}
	go func() {
		tick := time.NewTicker(livePing)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			pctx, done := context.WithTimeout(ctx, livePatience)
			err := conn.Ping(pctx)
			done()
			if err != nil {
				conn.CloseNow() // the reader sees it
				return
			}
		}
	}()
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			return connected, errs.New(errs.Unavailable, "the connection ended: %w", err)
		}
		var w liveWord
		if err := json.Unmarshal(b, &w); err != nil {
			return connected, errs.New(errs.Internal, "the server's word cannot be read: %w", err)
		}
		at := slices.IndexFunc(topics, func(t *topic) bool { return t.ID == w.ID })
		if at < 0 {
			continue
		}
		t := topics[at]
		if w.Error != nil {
			if errs.Code(w.Error.Code) != errs.Invalid || t.After == "" {
				return connected, &errs.Error{Code: errs.Code(w.Error.Code), Message: w.Error.Detail, Mend: w.Error.Mend}
			}
			// The place in it is no more: the ledger was made anew.
			fmt.Fprintf(c.err, "-- %s: what was said meanwhile is lost; going on from now\n", t.Topic)
			t.After = ""
			t.ID += "'" // the server may still be ending the old one
			if err := ask(ctx, conn, t); err != nil {
				return connected, err
			}
			continue
		}
		if !connected {
			connected = true
			on()
		}
		for _, i := range w.Items {
			if err := item(t, i); err != nil {
				return connected, err
			}
		}
		if w.Cursor != "" {
			t.After = w.Cursor
		}
		if w.Lagged {
			fmt.Fprintln(c.err, "-- more moved than is shown: wasmbed devices and wasmbed apps have the state")
		}
	}
}

func ask(ctx context.Context, conn *websocket.Conn, topics ...*topic) error {
	b, err := json.Marshal(map[string]any{"subscribe": topics})
	if err != nil {
		return errs.New(errs.Internal, "%w", err)
	}
	if err := conn.Write(ctx, websocket.MessageText, b); err != nil {
		return errs.New(errs.Unavailable, "the connection ended: %w", err)
	}
	return nil
}

func (c *cli) dialLive(ctx context.Context) (*websocket.Conn, error) {
	dctx, cancel := context.WithTimeout(ctx, livePatience)
	defer cancel()
	conn, resp, err := websocket.Dial(dctx, c.rest.base.JoinPath("/api/v1/ws").String(), &websocket.DialOptions{
		HTTPClient: c.rest.hc, HTTPHeader: http.Header{"Authorization": {"Bearer " + c.rest.token}},
	})
	switch {
	case err == nil:
		conn.SetReadLimit(maxAnswer)
		return conn, nil
	case resp != nil && resp.StatusCode >= 300:
		defer resp.Body.Close()
		return nil, c.rest.problem(resp)
	}
	return nil, c.rest.away(err)
}

// printLive prints one item of a topic: as it came for programs, as a line for people.
func (c *cli) printLive(t *topic, item json.RawMessage, names []string) error {
	switch t.Topic {
	case "devices":
		var e ledger.FeedEntry
		if err := json.Unmarshal(item, &e); err != nil {
			return errs.New(errs.Internal, "%w", err)
		}
		if len(names) > 0 && !slices.Contains(names, e.Device.Name) {
			return nil
		}
		return c.line(item, func() { c.moveRow(&e) })
	case "telemetry":
		var s api.Sample
		if err := json.Unmarshal(item, &s); err != nil {
			return errs.New(errs.Internal, "%w", err)
		}
		return c.line(item, func() { row(c.out, clock(s.Time), t.Name, "telemetry", s.App, s.Name, s.Value) })
	case "logs":
		var l api.Line
		if err := json.Unmarshal(item, &l); err != nil {
			return errs.New(errs.Internal, "%w", err)
		}
		return c.line(item, func() { row(c.out, clock(l.Time), t.Name, "log", l.App, level(l.Level), l.Text) })
	}
	var e struct {
		Type, Subject string
		Time          time.Time
		Data          json.RawMessage
	}
	if err := json.Unmarshal(item, &e); err != nil {
		return errs.New(errs.Internal, "%w", err)
	}
	return c.line(item, func() {
		row(c.out, clock(e.Time), e.Subject, strings.TrimPrefix(e.Type, "io.wasmbed."), short(details(e.Data, c.output == "wide"), c.output == "wide"))
	})
}

// moveRow prints one move of the ledger's feed.
func (c *cli) moveRow(e *ledger.FeedEntry) {
	move := e.To
	if e.From != "" && e.To != "" {
		move = e.From + " → " + e.To
	}
	row(c.out, clock(e.Time), e.Device.Name, e.Kind, e.App, move, e.State, strings.TrimSpace(e.Reason+" "+e.Message))
}
