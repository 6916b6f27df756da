package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Application makes one WebAssembly module run on devices. Changing its module or manifest makes a new
// Revision, which crosses the fleet as the rollout policy says. The annotation wasmbed.io/rollback-to, with the
// name of a revision or empty for the last complete one, asks for a rollback; it is taken away once heard.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=applications,shortName=app,categories=wasmbed
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.revision`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.readyDesired`
// +kubebuilder:printcolumn:name="Updated",type=integer,JSONPath=`.status.updated`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.failed`
// +kubebuilder:printcolumn:name="Condition",type=string,JSONPath=`.status.condition`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Stable",type=string,priority=1,JSONPath=`.status.stableRevision`
// +kubebuilder:printcolumn:name="In Flight",type=integer,priority=1,JSONPath=`.status.inFlight`
// +kubebuilder:printcolumn:name="Pending",type=integer,priority=1,JSONPath=`.status.pending`
// +kubebuilder:printcolumn:name="Away",type=integer,priority=1,JSONPath=`.status.away`
// +kubebuilder:printcolumn:name="Paused",type=boolean,priority=1,JSONPath=`.spec.paused`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 52 && !self.metadata.name.contains('.')",message="an application's name is at most 52 characters without dots, so that its revisions (name-1, name-2, …) have names too"
type Application struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What should run where, and how it gets there.
	// +required
	Spec ApplicationSpec `json:"spec"`
	// How far it is.
	// +optional
	Status ApplicationStatus `json:"status,omitempty"`
}

// ApplicationList is a list of Applications.
//
// +kubebuilder:object:root=true
type ApplicationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Application `json:"items"`
}

// ApplicationSpec is what should run where, and how it gets there.
type ApplicationSpec struct {
	// The module to run.
	// +required
	Module ModuleSource `json:"module"`
	// What the module gets: limits, host functions, configuration, timers, and when it counts as healthy.
	// +optional
	// +kubebuilder:default={}
	Manifest Manifest `json:"manifest,omitempty"`
	// Whether the module shall run. Stopped keeps it on the devices.
	// +optional
	// +kubebuilder:default=Running
	State RunState `json:"state,omitempty"`
	// The devices of this namespace to run on.
	// +required
	Targets Targets `json:"targets"`
	// How a change crosses the fleet.
	// +optional
	// +kubebuilder:default={}
	Rollout RolloutPolicy `json:"rollout,omitempty"`
	// Revisions kept beside the one that is wanted and the one that is stable.
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	RevisionHistoryLimit *int32 `json:"revisionHistoryLimit,omitempty"`
	// Stops the rollout where it is: devices that have something keep it, the others get nothing.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// RunState says whether a module shall run: Running or Stopped.
//
// +kubebuilder:validation:Enum=Running;Stopped
type RunState string

// Run states.
const (
	RunStateRunning RunState = "Running"
	RunStateStopped RunState = "Stopped"
)

// ModuleSource is where a module comes from. Exactly one.
//
// +kubebuilder:validation:XValidation:rule="[has(self.inline), has(self.name), has(self.oci)].filter(x, x).size() == 1",message="exactly one of inline, name and oci is needed"
type ModuleSource struct {
	// The module's bytes, base64; at most 512 KiB of them. They are moved to a Module object.
	// +optional
	// +kubebuilder:validation:Format=""
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$`
	// +kubebuilder:validation:MaxLength=1398104
	// +kubebuilder:validation:XValidation:rule="self.size() <= 699052",message="a module given inline has at most 512 KiB: put it into a Module object, or into a registry"
	// +kubebuilder:validation:XValidation:rule="self.matches('^AGFzbQEAAA[A-D]')",message="not a WebAssembly module (NotWasm): its bytes must begin with \\0asm and binary version 1"
	Inline []byte `json:"inline,omitempty"`
	// Module object of this namespace.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`
	// Reference of an OCI artifact. A tag is resolved to a digest once per revision.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._:/@-]*$`
	OCI string `json:"oci,omitempty"`
}

// Manifest is what a module gets.
type Manifest struct {
	// What the module may use up.
	// +optional
	// +kubebuilder:default={}
	Limits Limits `json:"limits,omitempty"`
	// Groups of host functions that the module may import. An empty list permits none; left out, it is
	// log, clock and telemetry.
	// +optional
	// +kubebuilder:default={log,clock,telemetry}
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	Permissions []Permission `json:"permissions"` // no omitempty: an empty list is not the default
	// Values that the module can ask for by name. At most 32, names of at most 64 characters, values of at
	// most 256, and 1024 characters in all, so that they fit into one frame of the smallest device.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() > 0 && k.size() <= 64)",message="a name has 1 to 64 characters"
	// +kubebuilder:validation:XValidation:rule="self.all(k, self[k].size() <= 256)",message="a value has at most 256 characters"
	// +kubebuilder:validation:XValidation:rule="self.map(k, k.size() + self[k].size()).sum() <= 1024",message="names and values have at most 1024 characters in all"
	Config map[string]string `json:"config,omitempty"`
	// Periodic calls of the module's timer entry point.
	// +optional
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=id
	Timers []Timer `json:"timers,omitempty"`
	// When a new revision is believed, and when a module is given up.
	// +optional
	// +kubebuilder:default={}
	Health Health `json:"health,omitempty"`
}

// Permission is a group of host functions (docs/spec/abi.md).
//
// +kubebuilder:validation:Enum=log;clock;telemetry;message;kv;gpio;sensor;timer;random
type Permission string

// Limits is what a module may use up on a device.
type Limits struct {
	// Linear memory, in pages of 64 KiB.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	MemoryPages int32 `json:"memoryPages,omitempty"`
	// Stack of the WebAssembly engine, in bytes.
	// +optional
	// +kubebuilder:default=4096
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=1048576
	StackBytes int32 `json:"stackBytes,omitempty"`
	// Longest time of one call into the module, 1ms to 1m.
	// +optional
	// +kubebuilder:default="1s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('1m')",message="must be between 1ms and 1m"
	CallTimeout *metav1.Duration `json:"callTimeout,omitempty"`
	// Most WebAssembly instructions of one call. 0: no such limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	Instructions int64 `json:"instructions,omitempty"`
}

// Timer calls the module periodically.
type Timer struct {
	// What the module is told, so that it knows which timer it is.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	ID int32 `json:"id"`
	// Time between two calls, 10ms to 24h.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10ms') && duration(self) <= duration('24h')",message="must be between 10ms and 24h"
	Period metav1.Duration `json:"period"`
}

// Health says when a new revision is believed, and when a module is given up.
type Health struct {
	// How long a new revision must run without a trap before it counts: until then the device keeps the
	// former one and goes back to it by itself. 100ms to 1h.
	// +optional
	// +kubebuilder:default="10s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('1h')",message="must be between 100ms and 1h"
	Window *metav1.Duration `json:"window,omitempty"`
	// So many traps within trapPeriod are a trap loop, which ends in a rollback on the device.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MaxTraps int32 `json:"maxTraps,omitempty"`
	// See maxTraps. 1s to 24h.
	// +optional
	// +kubebuilder:default="1m0s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="must be between 1s and 24h"
	TrapPeriod *metav1.Duration `json:"trapPeriod,omitempty"`
}

// Targets says on which devices of the namespace an application runs. Exactly one.
//
// +kubebuilder:validation:XValidation:rule="[has(self.names), has(self.selector), has(self.all) && self.all].filter(x, x).size() == 1",message="exactly one of names, selector and all: true is needed"
type Targets struct {
	// Devices by name. One that does not exist yet is waited for.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	Names []string `json:"names,omitempty"`
	// Devices by label. Devices that get the labels later are included.
	// +optional
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && self.matchLabels.size() > 0) || (has(self.matchExpressions) && self.matchExpressions.size() > 0)",message="an empty selector selects everything: say all: true if that is meant"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="operator is one of In, NotIn, Exists, DoesNotExist"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, (e.operator in ['In', 'NotIn']) == (has(e.values) && e.values.size() > 0))",message="In and NotIn need values, Exists and DoesNotExist take none"
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// Every device of the namespace.
	// +optional
	All bool `json:"all,omitempty"`
}

// RolloutPolicy says how a change crosses the fleet.
type RolloutPolicy struct {
	// Devices of one wave, a number or a percentage of the targeted ones: the next wave starts when all of
	// this one are done. Absent: one wave.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 : self.matches('^([1-9][0-9]?|100)%$')",message="must be at least 1, or 1% to 100%"
	BatchSize *intstr.IntOrString `json:"batchSize,omitempty"`
	// Devices that may be changing at once, a number or a percentage of the targeted ones; a percentage
	// is at least one device.
	// +optional
	// +kubebuilder:default="25%"
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 : self.matches('^([1-9][0-9]?|100)%$')",message="must be at least 1, or 1% to 100%: with 0 nothing would ever be updated (use paused to stop)"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
	// So many failed devices, a number or a percentage of the targeted ones, fail the rollout.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 : self.matches('^([1-9][0-9]?|100)%$')",message="must be at least 1, or 1% to 100%"
	FailureThreshold *intstr.IntOrString `json:"failureThreshold,omitempty"`
	// How long one device may take before it counts as failed, 5s to 24h. Time in which it is not
	// connected does not count.
	// +optional
	// +kubebuilder:default="5m0s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('5s') && duration(self) <= duration('24h')",message="must be between 5s and 24h"
	ProgressDeadline *metav1.Duration `json:"progressDeadline,omitempty"`
	// Whether a failed rollout is answered with a rollout of the stable revision.
	// +optional
	// +kubebuilder:default=true
	AutomaticRollback *bool `json:"automaticRollback,omitempty"`
}

// ApplicationStatus is how far an application is. It has counts and the first few failing devices, never an
// entry per device.
type ApplicationStatus struct {
	// Generation of the spec that the rest of the status answers.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Ready: every targeted device runs what is wanted, confirmed. Progressing: a rollout is under way.
	// RolledBack: what is wanted is not what the spec says, because that failed or somebody asked.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// The conditions in one word.
	// +optional
	Condition string `json:"condition,omitempty"`
	// Revision that is wanted now.
	// +optional
	Revision string `json:"revision,omitempty"`
	// Revision whose rollout completed last: where a rollback goes.
	// +optional
	StableRevision string `json:"stableRevision,omitempty"`
	// Digest of the wanted revision's module, sha256:<hex>.
	// +optional
	Digest string `json:"digest,omitempty"`
	// The decision which revision crosses the fleet.
	// +optional
	Rollout *RolloutStatus `json:"rollout,omitempty"`
	// Devices that are targeted.
	// +optional
	Desired int32 `json:"desired"`
	// Devices that are online and run what is wanted, confirmed.
	// +optional
	Ready int32 `json:"ready"`
	// Devices that are online and run any revision.
	// +optional
	Running int32 `json:"running"`
	// Devices that have the wanted revision, online or not.
	// +optional
	Updated int32 `json:"updated"`
	// Devices that are changing now.
	// +optional
	InFlight int32 `json:"inFlight"`
	// Devices that are online and wait for their turn.
	// +optional
	Pending int32 `json:"pending"`
	// Devices that are not connected and not updated.
	// +optional
	Away int32 `json:"away"`
	// Devices on which the wanted revision failed.
	// +optional
	Failed int32 `json:"failed"`
	// Devices that are held back by their own spec.
	// +optional
	Held int32 `json:"held"`
	// ready/desired.
	// +optional
	ReadyDesired string `json:"readyDesired,omitempty"`
	// How many devices are not updated, by reason.
	// +optional
	Reasons map[string]int32 `json:"reasons,omitempty"`
	// The first few devices that failed.
	// +optional
	// +listType=atomic
	FailingDevices []FailingDevice `json:"failingDevices,omitempty"`
}

// RolloutStatus is the decision which revision crosses the fleet. It is truth, not derived: after a loss of
// the ledger the rollout goes on from it.
type RolloutStatus struct {
	// Generation of the spec that it answers.
	Generation int64 `json:"generation"`
	// Number of this rollout, 1, 2, …
	Sequence int64 `json:"sequence"`
	// Revision that was wanted before.
	// +optional
	From string `json:"from,omitempty"`
	// Revision that is wanted.
	To string `json:"to"`
	// Revision that the spec asks for. Another one than to after a rollback.
	// +optional
	SpecRevision string `json:"specRevision,omitempty"`
	// Why: SpecChanged, RolloutFailed (an automatic rollback) or Requested (a rollback that somebody asked
	// for).
	Reason string `json:"reason"`
	// The same for people.
	// +optional
	Message string `json:"message,omitempty"`
	// How far it is.
	State RolloutState `json:"state"`
	// When it began.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// When it was complete or failed.
	// +optional
	CompletedAt *metav1.Time `json:"completedAt,omitempty"`
	// The final state that was told as an event. While it is not state, the event is still to be said.
	// +optional
	Told RolloutState `json:"told,omitempty"`
	// Source and id of the event that rollback answered with this decision, or declined to. The same event
	// again changes nothing.
	// +optional
	Event string `json:"event,omitempty"`
}

// RolloutState is how far a rollout is: Progressing, Complete or Failed.
//
// +kubebuilder:validation:Enum=Progressing;Complete;Failed
type RolloutState string

// Rollout states.
const (
	RolloutProgressing RolloutState = "Progressing"
	RolloutComplete    RolloutState = "Complete"
	RolloutFailedState RolloutState = "Failed"
)

// FailingDevice is a device on which a revision failed.
type FailingDevice struct {
	// The device.
	Name string `json:"name"`
	// The revision that failed.
	// +optional
	Revision string `json:"revision,omitempty"`
	// Why, in one word of the closed set (docs/spec/crds/application.md).
	Reason string `json:"reason"`
	// The same for people.
	// +optional
	Message string `json:"message,omitempty"`
}
