package ledger

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// DueCommand is the kind of the timer of a command whose deadline has come; its Name is the command's id.
const DueCommand = "command"

// Kinds of commands.
const (
	CommandInvoke  = "Invoke"  // call an exported function of a running module and bring its answer
	CommandMessage = "Message" // hand a message to a running module; told once, never again
	CommandReboot  = "Reboot"  // restart the device
)

// Command is something to be told to a device once. Unlike desired it is not repeated until it is so: it has a
// deadline, and after it there is a result.
type Command struct {
	ID        string    `json:"id"` // 16 hex digits: the wire's command id
	Kind      string    `json:"kind"`
	App       string    `json:"app,omitempty"`
	Function  string    `json:"function,omitempty"`
	Topic     string    `json:"topic,omitempty"`
	Payload   []byte    `json:"payload,omitempty"`
	Operation string    `json:"operation,omitempty"` // of which it is a part
	By        string    `json:"by,omitempty"`
	Trace     string    `json:"trace,omitempty"` // traceparent of who asked, when it is recorded; Ask sets it
	At        time.Time `json:"-"`
	Deadline  time.Time `json:"-"`
}

// CommandResult is what became of a command. Status is Done, Refused or Failed.
type CommandResult struct {
	Command Command   `json:"command"` // without its payload
	Status  string    `json:"status"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Payload []byte    `json:"payload,omitempty"`
	At      time.Time `json:"at"`
}

// plainCommand is a Command without its methods.
type plainCommand Command

// storedCommand carries the times as Lua can compare them.
type storedCommand struct {
	plainCommand
	At       int64 `json:"at"`
	Deadline int64 `json:"deadline"`
}

func (c Command) stored() ([]byte, error) {
	return json.Marshal(storedCommand{plainCommand(c), c.At.UnixMilli(), c.Deadline.UnixMilli()})
}

func readCommand(j string) (Command, error) {
	var s storedCommand
	if err := json.Unmarshal([]byte(j), &s); err != nil {
		return Command{}, errs.New(errs.Internal, "ledger: a stored command: %w", err)
	}
	c := Command(s.plainCommand)
	c.At, c.Deadline = time.UnixMilli(s.At).UTC(), time.UnixMilli(s.Deadline).UTC()
	return c, nil
}

// MarshalJSON writes the times as RFC 3339.
func (c Command) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainCommand
		At       time.Time `json:"at"`
		Deadline time.Time `json:"deadline"`
	}{plainCommand(c), c.At, c.Deadline})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Command) UnmarshalJSON(b []byte) error {
	s := struct {
		*plainCommand
		At       time.Time `json:"at"`
		Deadline time.Time `json:"deadline"`
	}{plainCommand: (*plainCommand)(c)}
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	c.At, c.Deadline = s.At, s.Deadline
	return nil
}

func (c Command) check(now time.Time) error {
	if id, err := hex.DecodeString(c.ID); err != nil || len(id) != 8 {
		return errs.New(errs.Invalid, "ledger: command id %q is not 16 hex digits", c.ID)
	}
	switch c.Kind {
	case CommandInvoke, CommandMessage:
		if c.App == "" {
			return errs.New(errs.Invalid, "ledger: a command of kind %s needs an application", c.Kind)
		}
	case CommandReboot:
	default:
		return errs.New(errs.Invalid, "ledger: command of kind %q", c.Kind)
	}
	if len(c.Payload) > MaxCommandPayload {
		return errs.New(errs.TooLarge, "ledger: a payload of %d bytes; at most %d", len(c.Payload), MaxCommandPayload)
	}
	if d := c.Deadline.Sub(now); d > MaxCommandLife {
		return errs.New(errs.Invalid, "ledger: a deadline in %v; at most %v", d, MaxCommandLife)
	}
	return nil
}

// Ask notes a command for a device and wakes its gateway. When the same id was asked before, nothing changes; result is
// set when it has its answer. Errors: NotFound for a device that is not known, Exhausted when too many are open.
func (l *Ledger) Ask(ctx context.Context, d event.Device, c Command) (result *CommandResult, err error) {
	if err := checkDevice(d); err != nil {
		return nil, err
	}
	if err := c.check(l.now()); err != nil {
		return nil, err
	}
	if c.At.IsZero() {
		c.At = l.now()
	}
	c.Trace = l.traceAsk(ctx)
	j, err := c.stored()
	if err != nil {
		return nil, errs.New(errs.Internal, "ledger: command: %w", err)
	}
	v, err := l.run(ctx, "ask", l.deviceCall(l.scripts.ask, d, c.ID, string(j), c.Deadline.UnixMilli(), c.App))
	if err != nil {
		return nil, err
	}
	switch str(v, 0) {
	case "finished":
		return readResult(str(v, 1))
	case "full":
		return nil, errs.New(errs.Exhausted, "%d commands of %s wait for their answers", MaxCommands, d)
	case "unknown":
		return nil, errs.New(errs.NotFound, "ledger: no device %s", d)
	}
	return nil, nil
}

// Told is a command that a session took: Lost means that it must not be told (again), and will never be answered.
type Told struct {
	Command Command
	Lost    bool
}

// Session names a device's live session.
type Session struct {
	Device event.Device
	BootID string
	Epoch  uint64
}

// Take returns the open commands of devices for their live sessions, oldest first, in the order of sessions, and notes
// that these boots were told. A command goes to one boot only: a function must not run twice because a device
// restarted.
func (l *Ledger) Take(ctx context.Context, sessions []Session) ([][]Told, error) {
	calls := make([]call, len(sessions))
	for i, s := range sessions {
		if err := checkDevice(s.Device); err != nil {
			return nil, err
		}
		calls[i] = l.deviceCall(l.scripts.take, s.Device, s.BootID, dec(s.Epoch))
	}
	res, err := l.pipe(ctx, "take", calls)
	if err != nil {
		return nil, err
	}
	out := make([][]Told, len(sessions))
	for i, v := range res {
		for j := 0; j+1 < len(v); j += 2 {
			c, err := readCommand(str(v, j))
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], Told{Command: c, Lost: str(v, j+1) == "lost"})
		}
		slices.SortFunc(out[i], func(a, b Told) int {
			return cmp.Or(a.Command.At.Compare(b.Command.At), strings.Compare(a.Command.ID, b.Command.ID))
		})
	}
	return out, nil
}

// Finish records a command's result: the first one counts. Late ones are taken only when the deadline has passed
// (DeadlineExceeded is nobody's word but the clock's). The result is the one that stands; fresh reports whether it is
// this one. nil: nobody asked for such a command, or it is forgotten, or (late) its deadline has not come.
func (l *Ledger) Finish(ctx context.Context, d event.Device, id string, r CommandResult, late bool) (result *CommandResult, fresh bool, err error) {
	if err := checkDevice(d); err != nil {
		return nil, false, err
	}
	open, err := l.rdb.HGet(ctx, l.keys.Commands(d), id).Result()
	if err != nil && err != redis.Nil {
		return nil, false, wrap(err, "finish")
	}
	if err == nil {
		c, err := readCommand(open)
		if err != nil {
			return nil, false, err
		}
		c.Payload = nil
		r.Command = c
	}
	r.Message = text(r.Message)
	if r.At.IsZero() {
		r.At = l.now().UTC()
	}
	j, err := json.Marshal(r)
	if err != nil {
		return nil, false, errs.New(errs.Internal, "ledger: result: %w", err)
	}
	word := ""
	if late {
		word = "late"
	}
	v, err := l.run(ctx, "finish", l.deviceCall(l.scripts.finish, d, id, string(j), r.Status, r.Reason, r.Message, word))
	if err != nil {
		return nil, false, err
	}
	switch str(v, 0) {
	case "finished":
		return &r, true, nil
	case "before":
		was, err := readResult(str(v, 1))
		return was, false, err
	}
	return nil, false, nil
}

func readResult(j string) (*CommandResult, error) {
	var r CommandResult
	if err := json.Unmarshal([]byte(j), &r); err != nil {
		return nil, errs.New(errs.Internal, "ledger: a stored result: %w", err)
	}
	return &r, nil
}

// Result returns what became of a command: nil while it is open. NotFound: nobody asked for it, or it is forgotten.
func (l *Ledger) Result(ctx context.Context, d event.Device, id string) (*CommandResult, error) {
	if err := checkDevice(d); err != nil {
		return nil, err
	}
	p := l.rdb.Pipeline()
	done, open := p.HGet(ctx, l.keys.CommandResults(d), id), p.HExists(ctx, l.keys.Commands(d), id)
	if _, err := p.Exec(ctx); err != nil && err != redis.Nil {
		return nil, wrap(err, "result")
	}
	if j := done.Val(); j != "" {
		return readResult(j)
	}
	if open.Val() {
		return nil, nil
	}
	return nil, errs.New(errs.NotFound, "ledger: %s has no command %s", d, id)
}

// CommandsOf returns a device's open commands, oldest first, and its last results, newest first.
func (l *Ledger) CommandsOf(ctx context.Context, d event.Device) (open []Command, results []CommandResult, err error) {
	if err := checkDevice(d); err != nil {
		return nil, nil, err
	}
	p := l.rdb.Pipeline()
	asked, done := p.HVals(ctx, l.keys.Commands(d)), p.HVals(ctx, l.keys.CommandResults(d))
	if _, err := p.Exec(ctx); err != nil {
		return nil, nil, wrap(err, "commands")
	}
	for _, j := range asked.Val() {
		c, err := readCommand(j)
		if err != nil {
			return nil, nil, err
		}
		open = append(open, c)
	}
	for _, j := range done.Val() {
		r, err := readResult(j)
		if err != nil {
			return nil, nil, err
		}
		results = append(results, *r)
	}
	slices.SortFunc(open, func(a, b Command) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID)) })
	slices.SortFunc(results, func(a, b CommandResult) int {
		return cmp.Or(b.At.Compare(a.At), strings.Compare(a.Command.ID, b.Command.ID))
	})
	return open, results, nil
}

// Operation is a command to many devices, as far as it has come.
type Operation struct {
	ID       string            `json:"id"`
	Listed   bool              `json:"listed"` // every device that it is for was asked
	Finished bool              `json:"finished"`
	Total    int               `json:"total"`
	Counts   map[string]int    `json:"counts"`  // asked (open), Done, Refused, Failed
	Devices  map[string]string `json:"devices"` // the same by device
}

// NoteOperation notes one device's part: "asked", then its status.
func (l *Ledger) NoteOperation(ctx context.Context, ns, id, device, status string) error {
	if !named(ns) || !named(id) || !named(device) {
		return errs.New(errs.Invalid, "ledger: operation %q of %q in %q", id, device, ns)
	}
	_, err := l.run(ctx, "operation", call{l.scripts.operation, []string{l.keys.Operation(ns, id)}, []any{device, status, OperationTTL.Milliseconds()}})
	return err
}

// ListedOperation notes that no further device will be asked.
func (l *Ledger) ListedOperation(ctx context.Context, ns, id string) error {
	if !named(ns) || !named(id) {
		return errs.New(errs.Invalid, "ledger: operation %q in %q", id, ns)
	}
	p := l.rdb.Pipeline()
	p.HSet(ctx, l.keys.Operation(ns, id), "listed", 1)
	p.PExpire(ctx, l.keys.Operation(ns, id), OperationTTL)
	_, err := p.Exec(ctx)
	return wrap(err, "operation")
}

// Operation returns an operation; NotFound when there is none, or it is forgotten.
func (l *Ledger) Operation(ctx context.Context, ns, id string) (Operation, error) {
	if !named(ns) || !named(id) {
		return Operation{}, errs.New(errs.Invalid, "ledger: operation %q in %q", id, ns)
	}
	h, err := l.rdb.HGetAll(ctx, l.keys.Operation(ns, id)).Result()
	if err != nil {
		return Operation{}, wrap(err, "operation")
	}
	if len(h) == 0 {
		return Operation{}, errs.New(errs.NotFound, "ledger: no operation %s", id)
	}
	o := Operation{ID: id, Listed: h["listed"] == "1", Counts: map[string]int{}, Devices: map[string]string{}}
	for k, v := range h {
		if name, ok := strings.CutPrefix(k, "d:"); ok {
			o.Devices[name] = v
		} else if status, ok := strings.CutPrefix(k, "n:"); ok {
			if n := int(u64(v)); status == "devices" {
				o.Total = n
			} else if n > 0 {
				o.Counts[status] = n
			}
		}
	}
	o.Finished = o.Listed && o.Counts["asked"] == 0
	return o, nil
}
