package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Device is one microcontroller: who it is, whether it may take part, and what it said last. Devices are
// made by people, by the provisioner, or at first contact inside a Gateway's pairing window.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=devices,shortName=dev,categories=wasmbed
// +kubebuilder:selectablefield:JSONPath=`.spec.emulation.backend`
// +kubebuilder:printcolumn:name="Board",type=string,JSONPath=`.spec.board`
// +kubebuilder:printcolumn:name="Gateway",type=string,JSONPath=`.status.gateway`
// +kubebuilder:printcolumn:name="Online",type=string,JSONPath=`.status.online`
// +kubebuilder:printcolumn:name="Firmware",type=string,JSONPath=`.status.firmware`
// +kubebuilder:printcolumn:name="Apps",type=string,JSONPath=`.status.apps`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Approval",type=string,priority=1,JSONPath=`.spec.approval`
// +kubebuilder:printcolumn:name="Hold",type=boolean,priority=1,JSONPath=`.spec.hold`
// +kubebuilder:printcolumn:name="Emulation",type=string,priority=1,JSONPath=`.status.board.phase`
// +kubebuilder:printcolumn:name="Last Seen",type=date,priority=1,JSONPath=`.status.lastSeen`
// +kubebuilder:printcolumn:name="Certificate Until",type=string,priority=1,JSONPath=`.status.certificate.notAfter`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",message="a device's name is part of its identity: at most 63 characters, no dots"
type Device struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What is wanted of this device.
	// +required
	Spec DeviceSpec `json:"spec"`
	// What is so, as of the last coalesced write. Live values are in the API and the dashboard.
	// +optional
	Status DeviceStatus `json:"status,omitempty"`
}

// DeviceList is a list of Devices.
//
// +kubebuilder:object:root=true
type DeviceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Device `json:"items"`
}

// DeviceSpec is what is wanted of a device.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.identity) || !has(oldSelf.identity.publicKey) || (has(self.identity) && has(self.identity.publicKey) && self.identity.publicKey == oldSelf.identity.publicKey)",message="identity.publicKey is pinned and cannot be changed: delete the Device to let another key enroll under its name"
type DeviceSpec struct {
	// Type of the board, as in the table of boards (for example Stm32F746gDisco). Not an enum here, so
	// that a new board needs no new API.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`
	Board string `json:"board"`
	// Who may enroll under this device's name. Absent: the first key that is let in is pinned.
	// +optional
	Identity *DeviceIdentity `json:"identity,omitempty"`
	// Gateway (object of this namespace) that the device shall use. Empty: any.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$`
	Gateway string `json:"gateway,omitempty"`
	// Whether the device may take part. Only Approved gets a certificate; Rejected and Revoked end a
	// session that is open, and refuse the next.
	// +optional
	// +kubebuilder:default=Pending
	Approval Approval `json:"approval,omitempty"`
	// Keeps the device as it is: nothing new is dispatched to it, and rollouts do not wait for it.
	// +optional
	Hold bool `json:"hold,omitempty"`
	// How the device is emulated. Absent: it is a real board, or somebody else runs it.
	// +optional
	Emulation *Emulation `json:"emulation,omitempty"`
}

// DeviceIdentity says who a device is.
type DeviceIdentity struct {
	// The device's public key: SubjectPublicKeyInfo (RFC 5280), DER, base64. Set by enrollment at first
	// contact, or ahead of it by a person. Cannot be changed once it is set.
	// +optional
	// +kubebuilder:validation:Format=""
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$`
	// +kubebuilder:validation:MaxLength=1024
	PublicKey []byte `json:"publicKey,omitempty"`
	// sha256:<hex> of the claim that the device shows at first contact. A device with the right claim
	// needs no pairing window.
	// +optional
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	ClaimDigest string `json:"claimDigest,omitempty"`
}

// Approval says whether a device may take part: Pending (nobody decided yet), Approved, Rejected (it was
// never let in) or Revoked (it was, and its certificate is void).
//
// +kubebuilder:validation:Enum=Pending;Approved;Rejected;Revoked
type Approval string

// Approvals.
const (
	ApprovalPending  Approval = "Pending"
	ApprovalApproved Approval = "Approved"
	ApprovalRejected Approval = "Rejected"
	ApprovalRevoked  Approval = "Revoked"
)

// Emulation is how a device is emulated: the provisioner makes the board, follows it and removes it.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.resets) || (has(self.resets) && self.resets >= oldSelf.resets)",message="resets counts what was asked for: it never goes down"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.powerCuts) || (has(self.powerCuts) && self.powerCuts >= oldSelf.powerCuts)",message="powerCuts counts what was asked for: it never goes down"
// +kubebuilder:validation:XValidation:rule="self.backend != 'host' || !has(self.engine) || self.engine.size() == 0 || self.engine == 'process'",message="backend host is a process: engine is process or left out"
// +kubebuilder:validation:XValidation:rule="self.backend != 'host' || !has(self.transport) || self.transport.size() == 0 || self.transport == 'Ethernet'",message="backend host has no serial line: transport is Ethernet or left out"
type Emulation struct {
	// What runs the firmware: host (a process with the firmware's core), qemu or renode.
	// +required
	// +kubebuilder:validation:Enum=host;qemu;renode
	Backend string `json:"backend"`
	// What carries the backend: process (a child of the provisioner) or docker (a container of its own).
	// Empty: the provisioner's choice.
	// +optional
	// +kubebuilder:validation:Enum="";process;docker
	Engine string `json:"engine,omitempty"`
	// Whether the emulation shall run: Running or Stopped. A stopped board keeps its storage.
	// +optional
	// +kubebuilder:default=Running
	// +kubebuilder:validation:Enum=Running;Stopped
	State string `json:"state,omitempty"`
	// How the board reaches the gateway: Ethernet or Serial. Empty: as the table of boards says.
	// +optional
	// +kubebuilder:validation:Enum="";Ethernet;Serial
	Transport string `json:"transport,omitempty"`
	// Raise it, and the board is reset: its reset line, the storage and the emulator stay.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Resets int64 `json:"resets,omitempty"`
	// Raise it, and the board's power is cut in the middle of whatever it does, and given back.
	// +optional
	// +kubebuilder:validation:Minimum=0
	PowerCuts int64 `json:"powerCuts,omitempty"`
}

// DeviceStatus is what is so. It is written when it differs, and not more often than four times a second.
type DeviceStatus struct {
	// Generation of the spec that the rest of the status answers.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Enrolled: it holds a certificate. Online: it has a session; Unknown: it has not come back since the
	// ledger was lost. Provisioned: its emulated board has booted; only devices with spec.emulation have it.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Gateway that holds the session, or held the last.
	// +optional
	Gateway string `json:"gateway,omitempty"`
	// Status of the Online condition: True, False or Unknown.
	// +optional
	Online string `json:"online,omitempty"`
	// Firmware version that the device said at its last connect.
	// +optional
	Firmware string `json:"firmware,omitempty"`
	// Boot id that the device said at its last connect: another one means that it restarted. Hex.
	// +optional
	BootID string `json:"bootID,omitempty"`
	// When the device was last heard of, as of the last write of this status.
	// +optional
	LastSeen *metav1.Time `json:"lastSeen,omitempty"`
	// The device's certificate.
	// +optional
	Certificate *CertificateStatus `json:"certificate,omitempty"`
	// What the device can hold, as it said at its last connect.
	// +optional
	Capabilities *Capabilities `json:"capabilities,omitempty"`
	// Applications that run on it as wanted.
	// +optional
	AppsReady int32 `json:"appsReady"`
	// Applications that are wanted on it.
	// +optional
	AppsDesired int32 `json:"appsDesired"`
	// appsReady/appsDesired.
	// +optional
	Apps string `json:"apps,omitempty"`
	// The emulated board, as the provisioner saw it last. Absent: nothing emulates this device.
	// +optional
	Board *BoardStatus `json:"board,omitempty"`
}

// BoardStatus is an emulated board, as the provisioner saw it last.
type BoardStatus struct {
	// Pending (nothing was made yet), Starting, Booted (the firmware runs), Running (and the device is
	// online), Stopped (as wanted) or Failed (reason says why; it is tried again with growing pauses).
	// +kubebuilder:validation:Enum=Pending;Starting;Booted;Running;Stopped;Failed
	Phase string `json:"phase"`
	// What runs the firmware.
	// +optional
	Backend string `json:"backend,omitempty"`
	// What carries the backend.
	// +optional
	Engine string `json:"engine,omitempty"`
	// How the board reaches the gateway.
	// +optional
	Transport string `json:"transport,omitempty"`
	// Where the board's serial line or its monitor is reached, for who debugs it.
	// +optional
	Endpoint string `json:"endpoint,omitempty"`
	// Container or process.
	// +optional
	Instance string `json:"instance,omitempty"`
	// Digest of the firmware image that was loaded: sha256:<hex>.
	// +optional
	Image string `json:"image,omitempty"`
	// Resets that were carried out, of spec.emulation.resets.
	// +optional
	Resets int64 `json:"resets,omitempty"`
	// Power cuts that were carried out, of spec.emulation.powerCuts.
	// +optional
	PowerCuts int64 `json:"powerCuts,omitempty"`
	// Times that the backend ended by itself and was started again.
	// +optional
	Restarts int64 `json:"restarts,omitempty"`
	// Why the board is in this phase, in one word.
	// +optional
	Reason string `json:"reason,omitempty"`
	// Why the board is in this phase, in a sentence.
	// +optional
	Message string `json:"message,omitempty"`
	// Since when the board is in this phase.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// Generation of the Device that this answers.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Order of what the provisioner said about this board: an older word never replaces a newer one.
	// +optional
	Sequence int64 `json:"sequence,omitempty"`
}

// CertificateStatus is a device's operational certificate.
type CertificateStatus struct {
	// Serial number, hex.
	Serial string `json:"serial"`
	// End of its life. The device renews it at two thirds.
	NotAfter metav1.Time `json:"notAfter"`
	// SHA-256 of the key's SubjectPublicKeyInfo, hex.
	Fingerprint string `json:"fingerprint"`
}

// Capabilities is what a device can hold.
type Capabilities struct {
	// RAM for one module, in bytes: linear memory, stack and the runtime's own.
	ModuleMemory int64 `json:"moduleMemory"`
	// Largest module that it stores, in bytes.
	ModuleSize int64 `json:"moduleSize"`
	// Applications at once.
	Apps int32 `json:"apps"`
	// Version of the module ABI.
	ABI int32 `json:"abi"`
	// Host function groups that exist on this board.
	// +optional
	// +listType=atomic
	Permissions []string `json:"permissions,omitempty"`
}
