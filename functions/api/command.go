package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"
	"unicode/utf8"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of commands.
const (
	defaultInvoke = 10 * time.Second
	maxInvoke     = 5 * time.Minute       // that a request waits for its answer
	resultPause   = 10 * time.Millisecond // between two looks for an answer; doubled up to resultMax
	resultMax     = 160 * time.Millisecond
	resultGrace   = 2 * time.Second // after the deadline, for its timer
)

func (a *API) commandRoutes() []route {
	const ns = "/api/v1/namespaces/:namespace"
	return []route{
		{"POST", ns + "/devices/:name/invoke", "create", "devices/invoke", a.invoke},
		{"POST", ns + "/devices/:name/message", "create", "devices/message", a.message},
		{"POST", ns + "/devices/:name/reboot", "create", "devices/reboot", a.reboot},
		{"GET", ns + "/devices/:name/commands", "get", "devices", a.listCommands},
		{"POST", ns + "/invoke", "create", "devices/invoke", a.invokeMany},
		{"POST", ns + "/message", "create", "devices/message", a.messageMany},
		{"POST", ns + "/reboot", "create", "devices/reboot", a.rebootMany},
		{"GET", ns + "/operations/:name", "list", "devices", a.getOperation},
	}
}

// commandBody is what a command's request says. The payload is given in one of three ways.
type commandBody struct {
	Application string          `json:"application,omitempty"`
	Function    string          `json:"function,omitempty"`
	Topic       string          `json:"topic,omitempty"`
	Payload     []byte          `json:"payload,omitempty"` // base64
	Text        *string         `json:"text,omitempty"`
	JSON        json.RawMessage `json:"json,omitempty"`
	Timeout     string          `json:"timeout,omitempty"` // like 5s

	Devices  []string `json:"devices,omitempty"` // of commands to many: one of these three
	Selector string   `json:"selector,omitempty"`
	All      bool     `json:"all,omitempty"`
}

func (b *commandBody) payload() ([]byte, error) {
	n := 0
	out := b.Payload
	if b.Payload != nil {
		n++
	}
	if b.Text != nil {
		n, out = n+1, []byte(*b.Text)
	}
	if b.JSON != nil {
		n, out = n+1, b.JSON
	}
	if n > 1 {
		return nil, errs.New(errs.Invalid, "payload, text and json exclude one another")
	}
	if len(out) > ledger.MaxCommandPayload {
		return nil, errs.New(errs.TooLarge, "a payload of %d bytes; at most %d", len(out), ledger.MaxCommandPayload)
	}
	return out, nil
}

func (b *commandBody) timeout(most time.Duration) (time.Duration, error) {
	if b.Timeout == "" {
		return defaultInvoke, nil
	}
	d, err := time.ParseDuration(b.Timeout)
	if err != nil || d < time.Millisecond || d > most {
		return 0, errs.New(errs.Invalid, "timeout %q: a duration from 1ms to %v, like 5s", b.Timeout, most)
	}
	return d, nil
}

// commandAnswer is what became of a command to one device.
type commandAnswer struct {
	Command  string  `json:"command"`
	Status   string  `json:"status"` // Done, Refused, Failed
	Reason   string  `json:"reason,omitempty"`
	Message  string  `json:"message,omitempty"`
	Payload  []byte  `json:"payload,omitempty"`
	Text     *string `json:"text,omitempty"`     // the payload, when it is UTF-8
	Duration float64 `json:"duration,omitempty"` // seconds from asking to the answer
}

func newCommandAnswer(r *ledger.CommandResult) commandAnswer {
	a := commandAnswer{Command: r.Command.ID, Status: r.Status, Reason: r.Reason, Message: r.Message, Payload: r.Payload}
	if len(r.Payload) > 0 && utf8.Valid(r.Payload) {
		s := string(r.Payload)
		a.Text = &s
	}
	if !r.Command.At.IsZero() && r.At.After(r.Command.At) {
		a.Duration = r.At.Sub(r.Command.At).Seconds()
	}
	return a
}

func (a *API) invoke(w http.ResponseWriter, r *request) error {
	return a.tell(w, r, ledger.CommandInvoke)
}

func (a *API) message(w http.ResponseWriter, r *request) error {
	return a.tell(w, r, ledger.CommandMessage)
}

func (a *API) reboot(w http.ResponseWriter, r *request) error {
	return a.tell(w, r, ledger.CommandReboot)
}

// tell asks one device and waits for its answer. The answer is 200 whatever the device said; 504 when it said nothing.
func (a *API) tell(w http.ResponseWriter, r *request, kind string) error {
	body, req, err := a.command(r, kind)
	if err != nil {
		return err
	}
	if len(body.Devices) > 0 || body.Selector != "" || body.All {
		return errs.New(errs.Invalid, "this is about the device %s alone", r.name).WithMend("commands to many go to the namespace's /invoke, /message and /reboot")
	}
	d := event.Device{Namespace: r.namespace, Name: r.name}
	v, err := a.Ledger.Device(r.Context(), d)
	if err != nil {
		return err
	}
	if !v.Online {
		return errs.New(errs.Unavailable, "%s is not connected", d.Name).WithMend("try again when it is; wasmbed explain device %s says more", d.Name)
	}
	req.Devices = []string{r.name}
	if err := a.request(r, req); err != nil {
		return err
	}
	a.audit(r, kind, req.Application+" "+req.Function+req.Topic)
	result, err := a.await(r.Context(), d, req.ID, req.Deadline)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, newCommandAnswer(result))
}

// command reads the request of one command.
func (a *API) command(r *request, kind string) (commandBody, event.CommandRequest, error) {
	var body commandBody
	req := event.CommandRequest{Namespace: r.namespace, Kind: kind, By: r.user.Name}
	if kind != ledger.CommandReboot || r.ContentLength != 0 {
		if err := decode(r, &body); err != nil {
			return body, req, err
		}
	}
	var err error
	if req.Payload, err = body.payload(); err != nil {
		return body, req, err
	}
	life, err := body.timeout(maxInvoke)
	if err != nil {
		return body, req, err
	}
	switch {
	case kind == ledger.CommandInvoke && (body.Application == "" || body.Function == ""):
		return body, req, errs.New(errs.Invalid, "an invoke needs application and function")
	case kind == ledger.CommandMessage && (body.Application == "" || body.Topic == ""):
		return body, req, errs.New(errs.Invalid, "a message needs application and topic")
	}
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return body, req, errs.New(errs.Internal, "make an id: %w", err)
	}
	req.ID, req.Application, req.Function, req.Topic = hex.EncodeToString(id), body.Application, body.Function, body.Topic
	req.Deadline = a.Now().Add(life).UTC()
	return body, req, nil
}

func (a *API) request(r *request, req event.CommandRequest) error {
	e, err := event.New(event.CommandRequested, "/wasmbed/functions/api", r.namespace, req.ID, req, event.In(r.namespace), event.At(a.Now()))
	if err != nil {
		return err
	}
	return a.Events.Post(r.Context(), e)
}

// await looks for the result until it is there. Errors: Deadline.
func (a *API) await(ctx context.Context, d event.Device, id string, deadline time.Time) (*ledger.CommandResult, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline.Sub(a.Now())+resultGrace)
	defer cancel()
	pause := resultPause
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		result, err := a.Ledger.Result(ctx, d, id)
		if err != nil && !errs.Is(err, errs.NotFound) && ctx.Err() == nil { // not found: the function has not heard of it yet
			return nil, err
		}
		if result != nil {
			return result, nil
		}
		select {
		case <-timer.C:
			pause = min(2*pause, resultMax)
			timer.Reset(pause)
		case <-ctx.Done():
			return nil, errs.New(errs.Deadline, "no answer of %s came in time", d.Name)
		}
	}
}

type commandsAnswer struct {
	Open    []ledger.Command       `json:"open"`
	Results []ledger.CommandResult `json:"results"`
}

func (a *API) listCommands(w http.ResponseWriter, r *request) error {
	open, results, err := a.Ledger.CommandsOf(r.Context(), event.Device{Namespace: r.namespace, Name: r.name})
	if err != nil {
		return err
	}
	if open == nil {
		open = []ledger.Command{}
	}
	if results == nil {
		results = []ledger.CommandResult{}
	}
	return writeJSON(w, http.StatusOK, commandsAnswer{open, results})
}

func (a *API) invokeMany(w http.ResponseWriter, r *request) error {
	return a.tellMany(w, r, ledger.CommandInvoke)
}

func (a *API) messageMany(w http.ResponseWriter, r *request) error {
	return a.tellMany(w, r, ledger.CommandMessage)
}

func (a *API) rebootMany(w http.ResponseWriter, r *request) error {
	return a.tellMany(w, r, ledger.CommandReboot)
}

// tellMany asks many devices. The answer is 202 with the operation that counts their outcomes.
func (a *API) tellMany(w http.ResponseWriter, r *request, kind string) error {
	body, req, err := a.command(r, kind)
	if err != nil {
		return err
	}
	given := 0
	for _, is := range []bool{len(body.Devices) > 0, body.Selector != "", body.All} {
		if is {
			given++
		}
	}
	if given != 1 {
		return errs.New(errs.Invalid, "give one of devices, selector and all")
	}
	req.Devices, req.Selector, req.All, req.Operation = body.Devices, body.Selector, body.All, req.ID
	if err := a.request(r, req); err != nil {
		return err
	}
	a.audit(r, kind, req.Application+" "+req.Function+req.Topic)
	return writeJSON(w, http.StatusAccepted, map[string]string{"operation": req.Operation})
}

func (a *API) getOperation(w http.ResponseWriter, r *request) error {
	o, err := a.Ledger.Operation(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, o)
}
