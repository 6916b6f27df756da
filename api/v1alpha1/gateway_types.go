package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Gateway is where devices of this namespace connect: one or more gateway processes behind one address, and
// the terms on which they let devices in.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=gateways,shortName=gw,categories=wasmbed
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.spec.address`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Devices",type=integer,JSONPath=`.status.devices`
// +kubebuilder:printcolumn:name="Pairing",type=string,JSONPath=`.spec.pairing.until`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Approval",type=string,priority=1,JSONPath=`.spec.pairing.approval`
// +kubebuilder:printcolumn:name="Attestation",type=string,priority=1,JSONPath=`.spec.attestation.mode`
type Gateway struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// The address and the terms.
	// +required
	Spec GatewaySpec `json:"spec"`
	// Which processes serve it.
	// +optional
	Status GatewayStatus `json:"status,omitempty"`
}

// GatewayList is a list of Gateways.
//
// +kubebuilder:object:root=true
type GatewayList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Gateway `json:"items"`
}

// GatewaySpec is a gateway's address and terms. Running gateways follow it within seconds.
type GatewaySpec struct {
	// host:port that devices dial.
	// +required
	// +kubebuilder:validation:MaxLength=261
	// +kubebuilder:validation:Pattern=`^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):[0-9]{1,5}$`
	// +kubebuilder:validation:XValidation:rule="int(self.substring(self.lastIndexOf(':') + 1)) >= 1 && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535",message="the port is between 1 and 65535"
	Address string `json:"address"`
	// Time between two heartbeats of a device, 100ms to 1h. A device that misses three is offline.
	// +optional
	// +kubebuilder:default="10s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('1h')",message="must be between 100ms and 1h"
	Heartbeat *metav1.Duration `json:"heartbeat,omitempty"`
	// Switched off: its processes take no session, and end those that they have. Devices keep running what they run,
	// and come back within a minute after it is switched on again.
	// +optional
	Disabled bool `json:"disabled,omitempty"`
	// When and how unknown devices are let in.
	// +optional
	// +kubebuilder:default={}
	Pairing Pairing `json:"pairing,omitempty"`
	// Terms of the certificates that devices get.
	// +optional
	// +kubebuilder:default={}
	Certificate CertificatePolicy `json:"certificate,omitempty"`
	// What one gateway process takes.
	// +optional
	// +kubebuilder:default={}
	Limits GatewayLimits `json:"limits,omitempty"`
	// What devices must prove about their firmware.
	// +optional
	// +kubebuilder:default={}
	Attestation AttestationPolicy `json:"attestation,omitempty"`
}

// Pairing is when and how unknown devices are let in.
type Pairing struct {
	// Unknown devices may ask to enroll until then (RFC 3339). Absent: never; devices with a Device object
	// and a pinned key or a claim may always.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
	// What happens to a device that asks: Manual (its Device is made, Pending, and waits for a person) or
	// Automatic (it is made Approved).
	// +optional
	// +kubebuilder:default=Manual
	// +kubebuilder:validation:Enum=Manual;Automatic
	Approval string `json:"approval,omitempty"`
}

// CertificatePolicy is the terms of devices' certificates.
type CertificatePolicy struct {
	// Life of a certificate, 2m to 8760h. Devices renew at two thirds of it.
	// +optional
	// +kubebuilder:default="168h0m0s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('2m') && duration(self) <= duration('8760h')",message="must be between 2m and 8760h (a year)"
	Life *metav1.Duration `json:"life,omitempty"`
}

// GatewayLimits is what one gateway process takes.
type GatewayLimits struct {
	// Devices at once.
	// +optional
	// +kubebuilder:default=100000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxDevices int32 `json:"maxDevices,omitempty"`
	// Largest frame of an enrolled device, in bytes.
	// +optional
	// +kubebuilder:default=16384
	// +kubebuilder:validation:Minimum=2048
	// +kubebuilder:validation:Maximum=65536
	MaxFrame int32 `json:"maxFrame,omitempty"`
	// Connections of one address that are not authenticated yet.
	// +optional
	// +kubebuilder:default=256
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	PreAuthPerAddress int32 `json:"preAuthPerAddress,omitempty"`
}

// AttestationPolicy is what devices must prove about their firmware when they enroll (RFC 9334).
//
// +kubebuilder:validation:XValidation:rule="!has(self.mode) || self.mode != 'Require' || (has(self.measurements) && self.measurements.size() > 0)",message="mode Require needs measurements: without any, no device could enroll"
type AttestationPolicy struct {
	// None, or Require: a device enrolls only with evidence of one of the measurements, signed by its key
	// and bound to the session.
	// +optional
	// +kubebuilder:default=None
	// +kubebuilder:validation:Enum=None;Require
	Mode string `json:"mode,omitempty"`
	// Firmware that is trusted.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	Measurements []Measurement `json:"measurements,omitempty"`
}

// Measurement is one firmware image that is trusted.
type Measurement struct {
	// Only for this board. Empty: any.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Board string `json:"board,omitempty"`
	// Only for this version. Empty: any.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Firmware string `json:"firmware,omitempty"`
	// sha256:<hex> of the image.
	// +required
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	Digest string `json:"digest"`
}

// GatewayStatus is which processes serve a gateway.
type GatewayStatus struct {
	// Generation of the spec that the rest of the status answers.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Ready: at least one process is up.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Devices with a session, as of the last write of this status.
	// +optional
	Devices int32 `json:"devices"`
	// The processes.
	// +optional
	// +listType=map
	// +listMapKey=id
	Instances []GatewayInstance `json:"instances,omitempty"`
}

// GatewayInstance is one gateway process.
type GatewayInstance struct {
	// Its name.
	ID string `json:"id"`
	// Up, Draining, or Disabled.
	State string `json:"state"`
	// Devices with a session.
	Devices int32 `json:"devices"`
}
