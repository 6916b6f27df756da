// +kubebuilder:object:generate=true
// +groupName=wasmbed.io

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

//go:generate go tool controller-gen object paths=. crd:crdVersions=v1 output:crd:dir=../../config/crd output:object:dir=.

// Group is the API group of Wasmbed.
const Group = "wasmbed.io"

// GroupVersion is the group and version of the types of this package.
var GroupVersion = schema.GroupVersion{Group: Group, Version: "v1alpha1"}

// Resources of this package, as they stand in URLs.
var (
	Devices      = GroupVersion.WithResource("devices")
	Applications = GroupVersion.WithResource("applications")
	Revisions    = GroupVersion.WithResource("revisions")
	Modules      = GroupVersion.WithResource("modules")
	Gateways     = GroupVersion.WithResource("gateways")

	Webhooks       = GroupVersion.WithResource("webhooks")
	WebhookSources = GroupVersion.WithResource("webhooksources")
)

// Kinds of this package, as they stand in manifests and in the `kind` of change events.
const (
	KindDevice      = "Device"
	KindApplication = "Application"
	KindRevision    = "Revision"
	KindModule      = "Module"
	KindGateway     = "Gateway"

	KindWebhook       = "Webhook"
	KindWebhookSource = "WebhookSource"
)

// Resource qualifies a resource's name with the group, as runtime.Scheme's users expect it.
func Resource(resource string) schema.GroupResource {
	return GroupVersion.WithResource(resource).GroupResource()
}

// AddToScheme registers the types of this package.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&Device{}, &DeviceList{},
		&Application{}, &ApplicationList{},
		&Revision{}, &RevisionList{},
		&Module{}, &ModuleList{},
		&Gateway{}, &GatewayList{},
		&Webhook{}, &WebhookList{},
		&WebhookSource{}, &WebhookSourceList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
