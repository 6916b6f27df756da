package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Webhook sends events of its namespace to a URL, signed as Standard Webhooks says.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=webhooks,shortName=wh,categories=wasmbed
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Delivered",type=integer,JSONPath=`.status.delivered`
// +kubebuilder:printcolumn:name="Waiting",type=integer,JSONPath=`.status.waiting`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.failed`
// +kubebuilder:printcolumn:name="Last",type=date,JSONPath=`.status.lastDelivery.time`
// +kubebuilder:printcolumn:name="Format",type=string,priority=1,JSONPath=`.spec.format`
// +kubebuilder:printcolumn:name="Paused",type=boolean,priority=1,JSONPath=`.spec.paused`
// +kubebuilder:printcolumn:name="Age",type=date,priority=1,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",message="a webhook's name is at most 63 characters, no dots"
type Webhook struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What is sent where.
	// +required
	Spec WebhookSpec `json:"spec"`
	// How that goes.
	// +optional
	Status WebhookStatus `json:"status,omitempty"`
}

// WebhookList is a list of Webhooks.
//
// +kubebuilder:object:root=true
type WebhookList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Webhook `json:"items"`
}

// WebhookSpec is what is sent where.
//
// +kubebuilder:validation:XValidation:rule="self.url.startsWith('https://') || (has(self.allowPrivate) && self.allowPrivate)",message="https is needed; http only with allowPrivate, to addresses that are private"
type WebhookSpec struct {
	// Where events are posted: https, no user or password in it. Redirects are not followed.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://[^/@\s#]+(/[^\s#]*)?$`
	URL string `json:"url"`
	// Types of the events to send: whole ones, or the beginning of some with a * at the end. Left out: all
	// but telemetry, log lines, timers and requests of devices to enroll, which are never sent.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^[^\s*]*\*?$`
	// +listType=set
	Types []string `json:"types,omitempty"`
	// Which of them. Events of other namespaces are never sent.
	// +optional
	Filter *WebhookFilter `json:"filter,omitempty"`
	// Secret of this namespace, of type wasmbed.io/webhook, that holds the keys to sign with.
	// +required
	SecretRef SecretReference `json:"secretRef"`
	// Secret of this namespace whose key ca.crt holds the certificates (PEM) that the receiver's is signed by. Left
	// out: those that the system trusts.
	// +optional
	CASecretRef *CAReference `json:"caSecretRef,omitempty"`
	// What is posted: the CloudEvent as JSON (CloudEventsStructured), its data with its attributes as headers,
	// which the signature does not cover (CloudEventsBinary), or {type, timestamp, data} as Standard Webhooks
	// proposes (JSON).
	// +optional
	// +kubebuilder:default=CloudEventsStructured
	// +kubebuilder:validation:Enum=CloudEventsStructured;CloudEventsBinary;JSON
	Format string `json:"format,omitempty"`
	// The CloudEvents handshake, by which a receiver says that it wants events: Ask (who does not know it gets
	// events; who says no does not), Require (only who says yes), None.
	// +optional
	// +kubebuilder:default=Ask
	// +kubebuilder:validation:Enum=Ask;Require;None
	Handshake string `json:"handshake,omitempty"`
	// Also to loopback and private addresses, and in the clear (http) to those alone, when the platform
	// permits it. Link-local addresses are never dialled.
	// +optional
	AllowPrivate bool `json:"allowPrivate,omitempty"`
	// How often one event is tried before it is a dead letter.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	MaxAttempts int32 `json:"maxAttempts,omitempty"`
	// The webhook is disabled when nothing was delivered for so long, with five failures in a row or more.
	// 1m to 720h.
	// +optional
	// +kubebuilder:default="24h0m0s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m') && duration(self) <= duration('720h')",message="must be between 1m and 720h"
	DisableAfter *metav1.Duration `json:"disableAfter,omitempty"`
	// Nothing is sent; events wait, at most 1000.
	// +optional
	Paused bool `json:"paused,omitempty"`
	// Raise it by one to go on with a webhook that was disabled. Any other change of the spec does that, too.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Enables int64 `json:"enables,omitempty"`
}

// WebhookFilter narrows which events are sent. All that is given must hold.
type WebhookFilter struct {
	// The event's subject begins with it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	SubjectPrefix string `json:"subjectPrefix,omitempty"`
	// The event is about this application.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Application string `json:"application,omitempty"`
}

// SecretReference names a Secret of type wasmbed.io/webhook in the same namespace. Its key secret holds the
// key to sign or verify with (whsec_ and base64 as Standard Webhooks has it, else the bytes as they are, 24
// at least), previous the one before, which is in force, too, as long as it is there. A Webhook sends what is
// in authorization as the header of that name.
type SecretReference struct {
	// Name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Name string `json:"name"`
}

// CAReference names a Secret, of any type, in the same namespace. Nothing but its key ca.crt is read.
type CAReference struct {
	// Name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Name string `json:"name"`
}

// WebhookStatus is how a webhook goes. The counts are the ledger's: they begin anew when that is lost.
type WebhookStatus struct {
	// Generation of the spec that the rest of the status answers.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Ready: what is needed for sending is there. Disabled: nothing is sent until the spec changes.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Events that the receiver took.
	// +optional
	Delivered int64 `json:"delivered,omitempty"`
	// Dead letters: events that were given up.
	// +optional
	Failed int64 `json:"failed,omitempty"`
	// Events that were not kept, because too many waited or the webhook was disabled.
	// +optional
	Dropped int64 `json:"dropped,omitempty"`
	// Events that wait, for their first or a further attempt.
	// +optional
	Waiting int64 `json:"waiting,omitempty"`
	// Failed attempts since the last that was good.
	// +optional
	FailuresInARow int64 `json:"failuresInARow,omitempty"`
	// The last attempt.
	// +optional
	LastDelivery *WebhookDelivery `json:"lastDelivery,omitempty"`
}

// WebhookDelivery is one attempt.
type WebhookDelivery struct {
	// When it ended.
	Time metav1.Time `json:"time"`
	// Id of the delivery.
	ID string `json:"id"`
	// Type of the event.
	Type string `json:"type"`
	// The receiver's HTTP status, 0 without an answer.
	// +optional
	Status int32 `json:"status,omitempty"`
	// Why it failed, in a word.
	// +optional
	Reason string `json:"reason,omitempty"`
	// Why it failed.
	// +optional
	Message string `json:"message,omitempty"`
}

// WebhookSource makes events of what an outside system posts to /hooks/{namespace}/{name} of the REST API: a
// code forge, a CI job, a registry.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=webhooksources,shortName=whs,categories=wasmbed
// +kubebuilder:printcolumn:name="Scheme",type=string,JSONPath=`.spec.verify.scheme`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Last",type=date,JSONPath=`.status.lastReceived.time`
// +kubebuilder:printcolumn:name="Refused",type=date,JSONPath=`.status.lastRefused.time`
// +kubebuilder:printcolumn:name="Makes",type=string,JSONPath=`.spec.rules[*].type`
// +kubebuilder:printcolumn:name="Paused",type=boolean,JSONPath=`.spec.paused`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",message="a webhook source's name is at most 63 characters, no dots"
type WebhookSource struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// How requests are verified, and what is made of them.
	// +required
	Spec WebhookSourceSpec `json:"spec"`
	// What came.
	// +optional
	Status WebhookSourceStatus `json:"status,omitempty"`
}

// WebhookSourceList is a list of WebhookSources.
//
// +kubebuilder:object:root=true
type WebhookSourceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []WebhookSource `json:"items"`
}

// WebhookSourceSpec is how requests are verified, and what is made of them.
type WebhookSourceSpec struct {
	// Secret of this namespace, of type wasmbed.io/webhook, that holds what requests are verified with.
	// +required
	SecretRef SecretReference `json:"secretRef"`
	// How requests prove where they are from.
	// +optional
	// +kubebuilder:default={}
	Verify Verification `json:"verify,omitempty"`
	// What is made of a request: the first rule that fits. A request that fits none is taken and ignored.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	Rules []HookRule `json:"rules"`
	// Requests a minute; what is over is answered 429. Each API process counts on its own.
	// +optional
	// +kubebuilder:default=60
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=6000
	RatePerMinute int32 `json:"ratePerMinute,omitempty"`
	// Requests are refused.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// WebhookSourceStatus is what came through a webhook source. The counts are the ledger's: they begin anew when
// that is lost, and when nothing came for a week.
type WebhookSourceStatus struct {
	// Generation of the spec that the rest of the status answers.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Ready: requests can be verified, and are taken.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Requests that were taken; also those that said the same again, and those that no rule fits.
	// +optional
	Accepted int64 `json:"accepted,omitempty"`
	// Requests that were refused.
	// +optional
	Refused int64 `json:"refused,omitempty"`
	// The last one that was taken.
	// +optional
	LastReceived *HookReceipt `json:"lastReceived,omitempty"`
	// The last one that was refused. Its sender does not hear the cause of a wrong proof.
	// +optional
	LastRefused *HookRefusal `json:"lastRefused,omitempty"`
}

// HookReceipt is one request that was taken.
type HookReceipt struct {
	// When it came.
	Time metav1.Time `json:"time"`
	// What became of it: accepted, duplicate (it was taken before), ignored (no rule fits).
	Status string `json:"status"`
	// Type of the event that was made of it.
	// +optional
	Type string `json:"type,omitempty"`
	// Id of that event.
	// +optional
	Event string `json:"event,omitempty"`
}

// HookRefusal is one request that was refused.
type HookRefusal struct {
	// When it came.
	Time metav1.Time `json:"time"`
	// Why, in a word.
	Reason string `json:"reason"`
	// Why.
	// +optional
	Message string `json:"message,omitempty"`
	// Address of the sender.
	// +optional
	From string `json:"from,omitempty"`
}

// Verification is how requests prove where they are from.
type Verification struct {
	// StandardWebhooks: webhook-id, webhook-timestamp and webhook-signature; each id is taken once, within the
	// tolerance. GitHub: X-Hub-Signature-256; the same body is taken once a day. Token: the secret itself in a
	// header, which says nothing about the body.
	// +optional
	// +kubebuilder:default=StandardWebhooks
	// +kubebuilder:validation:Enum=StandardWebhooks;GitHub;Token
	Scheme string `json:"scheme,omitempty"`
	// Token: the header that holds it. In Authorization it stands behind "Bearer ".
	// +optional
	// +kubebuilder:default=Authorization
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z][A-Za-z0-9-]*$`
	Header string `json:"header,omitempty"`
	// How old a request may be, and how far ahead its clock, 1s to 1h.
	// +optional
	// +kubebuilder:default="5m0s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="must be between 1s and 1h"
	Tolerance *metav1.Duration `json:"tolerance,omitempty"`
	// GitHub, Token: path of a time in the body (RFC 3339, or seconds since 1970) that the tolerance is
	// applied to. Without it, their requests have no age.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	TimePath string `json:"timePath,omitempty"`
}

// HookRule makes an event of a request.
//
// +kubebuilder:validation:XValidation:rule="!self.type.startsWith('dev.knative.') && (!self.type.startsWith('io.wasmbed.') || self.type in ['io.wasmbed.deploy.requested.v1', 'io.wasmbed.rollback.requested.v1', 'io.wasmbed.command.requested.v1', 'io.wasmbed.application.action.requested.v1', 'io.wasmbed.device.action.requested.v1'])",message="of Wasmbed's own types, only deploy.requested, rollback.requested, command.requested, application.action.requested and device.action.requested can be made"
type HookRule struct {
	// What must hold; all of it. Left out: every request fits.
	// +optional
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	When []HookCondition `json:"when,omitempty"`
	// Type of the event.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	Type string `json:"type"`
	// Fields of the event's data. A value that is a path ($.a.b[0]) is what the body has there; in any other,
	// what stands as {$.a.b} or {header.NAME} is filled in. namespace and by are set by the platform. Left
	// out: the body is the data.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() > 0 && k.size() <= 64 && self[k].size() <= 1024)",message="a field's name has at most 64 characters, its value 1024"
	Data map[string]string `json:"data,omitempty"`
}

// HookCondition compares something of a request.
type HookCondition struct {
	// What: a path into the body ($.a.b[0]), or header.NAME.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Path string `json:"path"`
	// It is one of these; with a * at the end it begins so. Left out: it is there.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=atomic
	In []string `json:"in,omitempty"`
}
