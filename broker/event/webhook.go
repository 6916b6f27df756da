package event

import "time"

// WebhookTest asks to send one event to a webhook, whatever it is subscribed to.
type WebhookTest struct {
	Namespace string `json:"namespace"`
	Webhook   string `json:"webhook"`
	By        string `json:"by,omitempty"`
}

// WebhookRedelivery asks to send again what a webhook's receiver took or did not take.
type WebhookRedelivery struct {
	Namespace string `json:"namespace"`
	Webhook   string `json:"webhook"`
	Delivery  string `json:"delivery"`
	By        string `json:"by,omitempty"`
}

// WebhookStopped says that a webhook is disabled, and why.
type WebhookStopped struct {
	Namespace string    `json:"namespace"`
	Webhook   string    `json:"webhook"`
	Reason    string    `json:"reason"` // Gone, SustainedFailure
	Message   string    `json:"message,omitempty"`
	Failures  int64     `json:"failures"`       // in a row
	Since     time.Time `json:"since,omitzero"` // the first of them
	Waiting   int64     `json:"waiting"`        // events that go on when it is enabled
	Time      time.Time `json:"time"`           //
}

// DeployOutcome is the answer to a DeployRequest.
type DeployOutcome struct {
	Namespace   string `json:"namespace"`
	Application string `json:"application"`
	Module      string `json:"module,omitempty"`
	OCI         string `json:"oci,omitempty"`
	Status      string `json:"status"` // Changed, Unchanged, Refused
	Reason      string `json:"reason,omitempty"`
	Message     string `json:"message,omitempty"`
	Generation  int64  `json:"generation,omitempty"` // of the Application that has it
	By          string `json:"by,omitempty"`
}

// webhookEvents is the catalogue's part on webhooks and on what comes in through them.
func webhookEvents() []Entry {
	var (
		webhook = []string{"webhook"}
		people  = []string{"REST API, dashboard, CLI"}
		outside = []string{"outside systems, by Trigger or webhook"}
		subject = "<namespace>/<webhook>"
		asked   = exampleAttributes{source: "/wasmbed/api/alice", subject: "plant/mes", ext: map[string]string{ExtNamespace: "plant"}}
	)
	return []Entry{
		{
			Type: WebhookTested, Version: 1, Format: JSON, Emitters: people, Consumers: webhook,
			Description: "Somebody tries a webhook: this event goes to it, whatever it is subscribed to.",
			Source:      sourceAPI, Subject: subject, Extensions: inNamespace,
			Example: WebhookTest{Namespace: "plant", Webhook: "mes", By: "alice"}, example: asked,
		}, {
			Type: WebhookRedeliveryRequested, Version: 1, Format: JSON, Emitters: people, Consumers: webhook,
			Description: "Somebody asks to send a delivery of a webhook again, under the same id.",
			Source:      sourceAPI, Subject: subject, Extensions: inNamespace,
			Example: WebhookRedelivery{Namespace: "plant", Webhook: "mes", Delivery: "0f8fad5bd9cb469fa165708677289500", By: "alice"}, example: asked,
		}, {
			Type: WebhookDisabled, Version: 1, Format: JSON, Emitters: webhook, Consumers: outside,
			Description: "A webhook is disabled: its receiver said 410 Gone, or took nothing for too long. It stays so until its spec changes.",
			Source:      sourceFunction, Subject: subject, Extensions: inNamespace,
			Example: WebhookStopped{Namespace: "plant", Webhook: "mes", Reason: "SustainedFailure", Message: "503 Service Unavailable", Failures: 31, Since: exampleTime.Add(-24 * time.Hour), Waiting: 12, Time: exampleTime},
			example: fromFunction("webhook", "plant/mes"),
		}, {
			Type: DeployAnswered, Version: 1, Format: JSON, Emitters: []string{"deploy"}, Consumers: outside,
			Description: "What became of a deploy.requested: the application has the module now, had it already, or the request was refused.",
			Source:      sourceFunction, Subject: subjectApp, Extensions: inNamespace,
			Example: DeployOutcome{Namespace: "plant", Application: "vibration", Module: "m-9f86d081884c7d65", Status: "Changed", Generation: 7, By: "hook ci"},
			example: fromFunction("deploy", "plant/vibration"),
		},
	}
}
