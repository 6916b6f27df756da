package event

// Actions of an ApplicationAction.
const (
	ActionStop   = "Stop"   // on its devices, without removing it
	ActionStart  = "Start"  // again
	ActionPause  = "Pause"  // its rollout is sent to no further device
	ActionResume = "Resume" // it goes on
)

// Actions of a DeviceAction.
const (
	ActionApprove = "Approve"
	ActionReject  = "Reject"
	ActionRevoke  = "Revoke"
	ActionHold    = "Hold"    // it is sent nothing new
	ActionRelease = "Release" // from a hold
)

// MaxActionDevices is how many devices one DeviceAction may name.
const MaxActionDevices = 1000

// ApplicationAction asks to stop or start an application, or to pause or resume its rollout.
type ApplicationAction struct {
	Namespace   string `json:"namespace"`
	Application string `json:"application"`
	Action      string `json:"action"` // Stop, Start, Pause, Resume
	Reason      string `json:"reason,omitempty"`
	By          string `json:"by,omitempty"`
}

// DeviceAction asks to approve, reject or revoke devices, to hold them or to release them.
type DeviceAction struct {
	Namespace string   `json:"namespace"`
	Devices   []string `json:"devices"` // names, at most MaxActionDevices
	Action    string   `json:"action"`  // Approve, Reject, Revoke, Hold, Release
	Reason    string   `json:"reason,omitempty"`
	By        string   `json:"by,omitempty"`
}

// ActionOutcome is the answer to an ApplicationAction or a DeviceAction.
type ActionOutcome struct {
	Namespace string         `json:"namespace"`
	Kind      string         `json:"kind"` // Application, Device
	Action    string         `json:"action"`
	Done      []string       `json:"done,omitempty"` // they are as asked for now, or were
	Refused   []ActionRefuse `json:"refused,omitempty"`
	By        string         `json:"by,omitempty"`
}

// ActionRefuse is one object that was left as it is, and why.
type ActionRefuse struct {
	Name    string `json:"name"`
	Reason  string `json:"reason"` // NotFound, Deleting, Superseded, Invalid
	Message string `json:"message,omitempty"`
}

// WebhookPermission is a receiver's yes to the handshake, given later through the callback.
type WebhookPermission struct {
	Namespace string `json:"namespace"`
	Webhook   string `json:"webhook"`
	URL       string `json:"url"`            // digest of the URL that it is for
	Rate      int    `json:"rate,omitempty"` // posts a minute; 0: any
	By        string `json:"by,omitempty"`   // address of the caller
}

// actionEvents is the catalogue's part on what is asked for of objects that there are.
func actionEvents() []Entry {
	var (
		people  = []string{"outside systems at /events or by webhook, when their identity may"}
		outside = []string{"outside systems, by Trigger or webhook"}
		asked   = exampleAttributes{source: "/wasmbed/api/alice", subject: "plant/vibration", ext: map[string]string{ExtNamespace: "plant"}}
		device  = exampleAttributes{source: "/wasmbed/api/alice", subject: "plant", ext: map[string]string{ExtNamespace: "plant"}}
		hook    = exampleAttributes{source: "/wasmbed/functions/api", subject: "plant/mes", ext: map[string]string{ExtNamespace: "plant"}}
	)
	return []Entry{
		{
			Type: ApplicationActionRequested, Version: 1, Format: JSON, Emitters: people, Consumers: []string{"deploy"},
			Description: "Somebody asks to stop or start an application, or to pause or resume its rollout. An older request changes nothing after a newer one.",
			Source:      sourceAPI, Subject: subjectApp, Extensions: inNamespace,
			Example: ApplicationAction{Namespace: "plant", Application: "vibration", Action: ActionStop, Reason: "line 3 is serviced", By: "alice"}, example: asked,
		}, {
			Type: DeviceActionRequested, Version: 1, Format: JSON, Emitters: people, Consumers: []string{"enroll"},
			Description: "Somebody asks to approve, reject or revoke devices, to hold them or to release them. An older request changes nothing after a newer one.",
			Source:      sourceAPI, Subject: "<namespace>", Extensions: inNamespace,
			Example: DeviceAction{Namespace: "plant", Devices: []string{"press-7"}, Action: ActionHold, Reason: "it is measured", By: "alice"}, example: device,
		}, {
			Type: ActionAnswered, Version: 1, Format: JSON, Emitters: []string{"deploy", "enroll"}, Consumers: outside,
			Description: "What became of an application.action.requested or a device.action.requested.",
			Source:      sourceFunction, Subject: "that of the request", Extensions: inNamespace,
			Example: ActionOutcome{Namespace: "plant", Kind: "Device", Action: ActionHold, Done: []string{"press-7"}, Refused: []ActionRefuse{{Name: "press-8", Reason: "NotFound", Message: "there is no device press-8"}}, By: "alice"},
			example: fromFunction("enroll", "plant"),
		}, {
			Type: WebhookPermitted, Version: 1, Format: JSON, Emitters: []string{"REST API"}, Consumers: []string{"webhook"},
			Description: "A webhook's receiver gave its permission through the callback of the CloudEvents handshake.",
			Source:      sourceFunction, Subject: "<namespace>/<webhook>", Extensions: inNamespace,
			Example: WebhookPermission{Namespace: "plant", Webhook: "mes", URL: "0f8fad5bd9cb469fa165708677289500", Rate: 120, By: "192.0.2.9"}, example: hook,
		},
	}
}
