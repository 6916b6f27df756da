package api

import (
	"context"
	"net/http"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/internal/errs"
)

// Letter is an event that a Trigger's subscriber did not take.
type Letter struct {
	ID       string    `json:"id"`
	Trigger  string    `json:"trigger"` // namespace/name
	Event    ce.Event  `json:"event"`
	Attempts int       `json:"attempts"`
	Status   int       `json:"status,omitempty"` // HTTP status of the last answer
	Reason   string    `json:"reason"`
	Message  string    `json:"message,omitempty"`
	Accepted time.Time `json:"accepted"`
	Time     time.Time `json:"time"` // given up
}

// QueueLine is how long the line of one Trigger is.
type QueueLine struct {
	Trigger string `json:"trigger"`
	Waiting int64  `json:"waiting"`
	Parked  int64  `json:"parked"` // wait for their next attempt
	Dead    int64  `json:"dead"`
	// DeadOnly: the broker in use tells nobody what waits; waiting and parked say nothing.
	DeadOnly bool `json:"deadOnly,omitempty"`
}

// Broker is what the API asks of the broker in use, when it has such doors. Errors: Unavailable.
type Broker interface {
	Queues(ctx context.Context) ([]QueueLine, error)
	Letters(ctx context.Context, trigger, from string, n int) ([]Letter, string, error)
	Redeliver(ctx context.Context, trigger string, ids ...string) (int, error)
}

func (a *API) letterRoutes() []route {
	return []route{
		{"GET", "/api/v1/queues", "list", "events.wasmbed", a.queues},
		{"GET", "/api/v1/deadletters", "list", "events.wasmbed", a.letters},
		{"POST", "/api/v1/deadletters", "create", "events.wasmbed", a.redeliver},
	}
}

func (a *API) broker() (Broker, error) {
	if a.Broker == nil {
		return nil, errs.New(errs.Unsupported, "the broker in use shows nothing of its queues").WithMend("its dead letter sink has what was not delivered")
	}
	return a.Broker, nil
}

func (a *API) queues(w http.ResponseWriter, r *request) error {
	b, err := a.broker()
	if err != nil {
		return err
	}
	items, err := b.Queues(r.Context())
	if err != nil {
		return err
	}
	if items == nil {
		items = []QueueLine{}
	}
	return writeJSON(w, http.StatusOK, listAnswer[QueueLine]{Items: items})
}

func (a *API) letters(w http.ResponseWriter, r *request) error {
	b, err := a.broker()
	if err != nil {
		return err
	}
	after, n, err := page(r)
	if err != nil {
		return err
	}
	trigger := r.URL.Query().Get("trigger")
	if trigger == "" {
		return errs.New(errs.Invalid, "which trigger?").WithMend("GET /api/v1/queues names them; trigger=NAMESPACE/NAME")
	}
	items, next, err := b.Letters(r.Context(), trigger, after, n)
	if err != nil {
		return err
	}
	if items == nil {
		items = []Letter{}
	}
	return writeJSON(w, http.StatusOK, listAnswer[Letter]{items, next})
}

type redeliverBody struct {
	Trigger string   `json:"trigger"`
	IDs     []string `json:"ids,omitempty"` // none: all
}

func (a *API) redeliver(w http.ResponseWriter, r *request) error {
	b, err := a.broker()
	if err != nil {
		return err
	}
	var body redeliverBody
	if err := decode(r, &body); err != nil {
		return err
	}
	if body.Trigger == "" || len(body.IDs) > maxBulk {
		return errs.New(errs.Invalid, "give trigger, and at most %d ids", maxBulk)
	}
	n, err := b.Redeliver(r.Context(), body.Trigger, body.IDs...)
	if err != nil {
		return err
	}
	a.audit(r, "redelivered", body.Trigger)
	return writeJSON(w, http.StatusOK, map[string]int{"redelivered": n})
}
