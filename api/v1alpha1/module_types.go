package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Module holds the bytes of a WebAssembly module.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=modules,shortName=mod,categories=wasmbed
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.status.digest`
// +kubebuilder:printcolumn:name="Size",type=integer,JSONPath=`.status.size`
// +kubebuilder:printcolumn:name="Pages",type=integer,JSONPath=`.status.memoryPages`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Valid",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Valid")].status`
type Module struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// The bytes.
	// +required
	Spec ModuleSpec `json:"spec"`
	// What is in them.
	// +optional
	Status ModuleStatus `json:"status,omitempty"`
}

// ModuleList is a list of Modules.
//
// +kubebuilder:object:root=true
type ModuleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Module `json:"items"`
}

// ModuleSpec is a module's bytes.
type ModuleSpec struct {
	// The module's bytes, base64; at most 1 MiB of them. Immutable: a changed module is a new Module.
	// +required
	// +kubebuilder:validation:Format=""
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$`
	// +kubebuilder:validation:MaxLength=1450000
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a Module's bytes are immutable: make a new Module"
	// +kubebuilder:validation:XValidation:rule="self.size() <= 1398104",message="a Module has at most 1 MiB: put it into a registry"
	// +kubebuilder:validation:XValidation:rule="self.matches('^AGFzbQEAAA[A-D]')",message="not a WebAssembly module (NotWasm): its bytes must begin with \\0asm and binary version 1"
	Bytes []byte `json:"bytes"`
	// sha256:<hex> of the bytes, checked when it is given.
	// +optional
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	Digest string `json:"digest,omitempty"`
}

// ModuleStatus is what is in a module.
type ModuleStatus struct {
	// Generation of the spec that the rest of the status answers.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Valid: it is a module that a device could run, and its digest is the one that spec says.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// sha256:<hex> of the bytes.
	// +optional
	Digest string `json:"digest,omitempty"`
	// Bytes.
	// +optional
	Size int64 `json:"size,omitempty"`
	// Initial linear memory, in pages of 64 KiB.
	// +optional
	MemoryPages int32 `json:"memoryPages,omitempty"`
	// What it imports, as module.name.
	// +optional
	// +listType=atomic
	Imports []string `json:"imports,omitempty"`
	// What it exports.
	// +optional
	// +listType=atomic
	Exports []string `json:"exports,omitempty"`
}
