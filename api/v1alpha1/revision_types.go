package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Revision is an immutable snapshot of what an Application ran, named <application>-<number>-<hash>. It holds no
// module bytes. Revisions are made by the platform and are where a rollback can go.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=revisions,shortName=rev,categories=wasmbed
// +kubebuilder:printcolumn:name="Application",type=string,JSONPath=`.spec.application`
// +kubebuilder:printcolumn:name="Number",type=integer,JSONPath=`.spec.number`
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.spec.module.digest`
// +kubebuilder:printcolumn:name="Size",type=integer,JSONPath=`.spec.module.size`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Revision struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// The snapshot.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a Revision is immutable"
	Spec RevisionSpec `json:"spec"`
}

// RevisionList is a list of Revisions.
//
// +kubebuilder:object:root=true
type RevisionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Revision `json:"items"`
}

// RevisionSpec is a snapshot of an Application's module and manifest.
type RevisionSpec struct {
	// The Application.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Application string `json:"application"`
	// Its number among the Application's revisions, from 1.
	// +required
	// +kubebuilder:validation:Minimum=1
	Number int64 `json:"number"`
	// The module, resolved.
	// +required
	Module ResolvedModule `json:"module"`
	// The manifest, with its defaults.
	// +optional
	// +kubebuilder:default={}
	Manifest Manifest `json:"manifest,omitempty"`
	// SHA-256 of module digest and manifest, hex: the same hash is the same revision.
	// +required
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	Hash string `json:"hash"`
}

// ResolvedModule is a module by its digest.
type ResolvedModule struct {
	// Module object that holds the bytes.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// OCI reference by digest.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	OCI string `json:"oci,omitempty"`
	// sha256:<hex> of the bytes.
	// +required
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	Digest string `json:"digest"`
	// Bytes.
	// +required
	// +kubebuilder:validation:Minimum=1
	Size int64 `json:"size"`
}
