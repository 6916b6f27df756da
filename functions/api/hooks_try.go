package api

import (
	"encoding/json"
	"net/http"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/api/hook"
	"wasmbed.io/wasmbed/internal/errs"
)

// hookTry is a request as an outside system would post it, without its proof.
type hookTry struct {
	Headers map[string]string `json:"headers,omitempty"`
	Body    json.RawMessage   `json:"body,omitempty"`
}

// hookTried says what would be made of it. Nothing is posted.
type hookTried struct {
	Status string    `json:"status"` // accepted, or ignored: no rule fits
	Event  *ce.Event `json:"event,omitempty"`
}

// tryHook says what a WebhookSource would make of a request. Errors: Invalid for one that its mapping refuses.
func (a *API) tryHook(w http.ResponseWriter, r *request) error {
	var try hookTry
	if err := decode(r, &try); err != nil {
		return err
	}
	src, err := a.Client.HookSources.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	src.Default()
	h := http.Header{}
	for name, value := range try.Headers {
		h.Set(name, value)
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	if len(try.Body) > maxHookBody {
		return errs.New(errs.TooLarge, "a body of %d bytes; at most %d", len(try.Body), maxHookBody)
	}
	e, err := a.eventOf(src, hook.Request{Header: h, Body: jsonOf(h, try.Body)}, try.Body)
	if err != nil {
		return err
	}
	if e == nil {
		return writeJSON(w, http.StatusOK, hookTried{Status: "ignored"})
	}
	e.SetID("test")
	e.SetTime(a.Now())
	return writeJSON(w, http.StatusOK, hookTried{"accepted", e})
}
