package webhook

import (
	"encoding/json"
	"net/http"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
)

// plain is the body of format JSON, as Standard Webhooks proposes it, with what tells where the event is from.
type plain struct {
	Type      string          `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	Namespace string          `json:"namespace,omitempty"`
	Subject   string          `json:"subject,omitempty"`
	Source    string          `json:"source"`
	ID        string          `json:"id"`
	Data      json.RawMessage `json:"data,omitempty"`
	DataB64   []byte          `json:"dataBase64,omitempty"` // of what is not JSON
}

// encode makes the body of a format, and sets the headers that belong to it.
func encode(format string, e ce.Event, h http.Header) ([]byte, error) {
	switch format {
	case v1alpha1.FormatBinary:
		event.SetHeader(h, event.Attributes(&e))
		if e.DataContentType() == "" {
			h.Del("Content-Type")
		}
		return e.Data(), nil
	case v1alpha1.FormatJSON:
		p := plain{Type: e.Type(), Timestamp: e.Time(), Namespace: event.Namespace(e), Subject: e.Subject(), Source: e.Source(), ID: e.ID()}
		if ct := e.DataContentType(); (ct == "" || ct == event.JSON) && json.Valid(e.Data()) {
			p.Data = e.Data()
		} else {
			p.DataB64 = e.Data()
		}
		h.Set("Content-Type", "application/json")
		return json.Marshal(p)
	}
	h.Set("Content-Type", ce.ApplicationCloudEventsJSON)
	return json.Marshal(e)
}
