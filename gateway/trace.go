package gateway

import (
	"maps"
	"slices"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/gateway/session"
	"wasmbed.io/wasmbed/internal/trace"
	"wasmbed.io/wasmbed/protocol"
)

// following is the trace of a dispatch on one device: from the command to the report that says what became of it. Few
// sessions have one (trace.MaxFollowed of a dispatch), the others cost a nil pointer.
type following struct {
	app    string
	of     string                   // traceparent of the dispatch
	parent string                   // of the command; of the dispatch when another session has sent it
	since  time.Time                // of the last hop: what lies between it and the next is the device's
	until  time.Time                // nobody waits longer
	over   bool                     // the device has said what became of it
	posts  map[uint64]*trace.Active // reports that wait for the broker, by frame
}

// followFor is the longest that a device is followed: as long as what is recorded of it can be read.
const followFor = trace.KeepFor

// follow goes on with the trace of a dispatch, after what the device must be told was sent. began is when we looked.
// Under c.mu.
func (c *conn) follow(d ledger.Desired, plan []protocol.Command, sent bool, began, now time.Time) {
	g := c.g
	if g.trace == nil || len(d.Traces) == 0 {
		return
	}
	app := slices.Min(slices.Collect(maps.Keys(d.Traces))) // one at a time; the next follows when this is over
	of := d.Traces[app]
	if f := c.following; f != nil && f.of == of && f.app == app {
		return
	}
	f := &following{app: app, of: of, parent: of, since: now, until: now.Add(followFor)}
	for i := range plan {
		if plan[i].App != app || !sent {
			continue
		}
		span := g.trace.Start(of, "send "+plan[i].Verb.String(), trace.Producer, began, trace.Namespace(c.device.Namespace), trace.Subject(c.device.String()),
			trace.String("messaging.system", "wasmbed"), trace.String("messaging.operation.type", "send"), trace.String("wasmbed.application", app),
			trace.String("wasmbed.revision", plan[i].Revision))
		span.EndAt(now, nil)
		if tp := span.Traceparent(); tp != "" {
			f.parent = tp
		}
	}
	c.following = f
}

// asking is the trace of a command, from when it was told.
type asking struct {
	parent string
	kind   string
	since  time.Time
}

// maxAsking bounds the traces of commands of one session: more than can be open at a time.
const maxAsking = 2 * ledger.MaxCommands

// tells records that a command is told, unless it was before. Not under c.mu.
func (c *conn) tells(cmd ledger.Command, began time.Time) {
	g := c.g
	if g.trace == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, told := c.asked[cmd.ID]; told {
		return
	}
	attrs := []trace.Attr{trace.Namespace(c.device.Namespace), trace.Subject(c.device.String()), trace.String("wasmbed.application", cmd.App),
		trace.String("wasmbed.command", cmd.ID)}
	if cmd.Function != "" {
		attrs = append(attrs, trace.String("rpc.system", "wasmbed"), trace.String("rpc.method", cmd.Function))
	}
	now := g.now()
	span := g.trace.Start(cmd.Trace, "send "+cmd.Kind, trace.Producer, began, attrs...)
	span.EndAt(now, nil)
	if span == nil {
		return
	}
	if c.asked == nil || len(c.asked) >= maxAsking {
		c.asked = map[string]asking{}
	}
	c.asked[cmd.ID] = asking{span.Traceparent(), cmd.Kind, now}
}

// answered records what the device did for a command, and returns the traceparent of its answer; "" when the command is in no
// trace. Under c.mu.
func (c *conn) answered(a *event.CommandAnswer, now time.Time) string {
	x, ok := c.asked[a.Command]
	if !ok || x.parent == "" {
		return ""
	}
	c.asked[a.Command] = asking{} // answered; it may still be open in the ledger for a moment
	did := c.g.trace.Named("device").Start(x.parent, "device "+x.kind+" "+a.Status, trace.Internal, x.since, trace.Namespace(c.device.Namespace),
		trace.Subject(c.device.String()), trace.String("wasmbed.application", a.App), trace.String("wasmbed.reason", a.Reason))
	did.EndAt(now, nil)
	return did.Traceparent()
}

// traced returns the traceparent of an event that a frame of the device became: that of the dispatch that it answers,
// else one of its own.
func (c *conn) traced(e *ce.Event, a *session.Action) string {
	if c.g.trace != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if answer, ok := a.Data.(*event.CommandAnswer); ok && c.asked != nil {
			if tp := c.answered(answer, c.g.now()); tp != "" {
				return tp
			}
		}
		if f := c.following; f != nil {
			if tp := f.answer(c, e, a, c.g.now()); tp != "" {
				return tp
			}
		}
	}
	return c.g.traceparent(e)
}

// answer is the traceparent of an event that is about the dispatch; "" when it is not.
func (f *following) answer(c *conn, e *ce.Event, a *session.Action, now time.Time) string {
	if f.over || now.After(f.until) {
		return ""
	}
	switch data := a.Data.(type) {
	case *event.Reported:
		if s, ok := data.Apps[f.app]; ok {
			return f.reported(c, e, a.ID, s, now)
		}
	case *event.Trapped:
		if data.App == f.app {
			return f.parent
		}
	case *event.CommandCompleted:
		if data.App == f.app {
			return f.parent
		}
	}
	return ""
}

// reported records what the device did since the last hop, and begins the hop of the report's post.
func (f *following) reported(c *conn, e *ce.Event, frame uint64, s event.AppState, now time.Time) string {
	attrs := []trace.Attr{trace.Namespace(c.device.Namespace), trace.Subject(c.device.String()), trace.String("wasmbed.application", f.app),
		trace.String("wasmbed.revision", s.Revision), trace.String("wasmbed.state", s.State)}
	if s.Reason != "" {
		attrs = append(attrs, trace.String("wasmbed.reason", s.Reason))
	}
	state := s.State
	if s.Confirmed {
		state += ", confirmed"
	}
	did := c.g.trace.Named("device").Start(f.parent, "device "+state, trace.Internal, f.since, attrs...)
	did.EndAt(now, nil)
	post := c.g.trace.Start(did.Traceparent(), "publish "+e.Type(), trace.Producer, now, event.TraceAttrs(e)...)
	f.since = now
	switch {
	case s.State == "Running" && s.Confirmed, s.State == "Stopped", s.State == "Failed", s.State == "RolledBack":
		f.over = true
	}
	if frame != 0 && post != nil {
		if f.posts == nil {
			f.posts = map[uint64]*trace.Active{}
		}
		f.posts[frame] = post
	} else {
		post.EndAt(now, nil)
	}
	return post.Traceparent()
}

// posted ends the hop of a report's post. Under c.mu.
func (c *conn) posted(flow session.Flow, frame uint64, err error) {
	f := c.following
	if f == nil || flow != session.FlowReport {
		return
	}
	f.posts[frame].End(err) // nil when it has none
	delete(f.posts, frame)
	if f.over && len(f.posts) == 0 {
		c.following = nil
	}
}

// traceparent is that of an event which is nobody's consequence. What people look for when a device misbehaves begins a
// trace now and then; the rest carries one that nothing is recorded of, so that it is no other's either.
func (g *Gateway) traceparent(e *ce.Event) string {
	switch e.Type() {
	case event.DeviceConnected, event.DeviceDisconnected, event.DeviceEnrollmentRequested, event.DeviceTrapped, event.LedgerLost:
		return g.trace.Moment("gateway says "+e.Type(), event.TraceAttrs(e)...)
	}
	return trace.Fresh()
}
