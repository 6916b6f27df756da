package manifests_test

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The parts of Knative's objects that the manifests use (Serving 1.23, Eventing 1.22: the modules v0.50 and v0.49); the
// modules themselves are large, and are not needed for more than this. Decoding is strict, so a field that is not here is an
// error until somebody has looked whether Knative has it.

type knService struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Template struct {
			metav1.ObjectMeta `json:"metadata"`
			Spec              struct {
				corev1.PodSpec       `json:",inline"`
				ContainerConcurrency *int64 `json:"containerConcurrency,omitempty"`
				TimeoutSeconds       *int64 `json:"timeoutSeconds,omitempty"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

type knRef struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Namespace  string `json:"namespace,omitempty"`
}

type knDestination struct {
	Ref *knRef `json:"ref,omitempty"`
	URI string `json:"uri,omitempty"`
}

type knDelivery struct {
	Retry          *int32         `json:"retry,omitempty"`
	BackoffPolicy  string         `json:"backoffPolicy,omitempty"`
	BackoffDelay   string         `json:"backoffDelay,omitempty"`
	Timeout        string         `json:"timeout,omitempty"`
	DeadLetterSink *knDestination `json:"deadLetterSink,omitempty"`
}

type knBroker struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Config   *knRef      `json:"config,omitempty"`
		Delivery *knDelivery `json:"delivery,omitempty"`
	} `json:"spec"`
}

type knFilter struct {
	Exact  map[string]string `json:"exact,omitempty"`
	Prefix map[string]string `json:"prefix,omitempty"`
	Suffix map[string]string `json:"suffix,omitempty"`
	Not    *knFilter         `json:"not,omitempty"`
	Any    []knFilter        `json:"any,omitempty"`
	All    []knFilter        `json:"all,omitempty"`
}

type knTrigger struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Broker     string        `json:"broker"`
		Filters    []knFilter    `json:"filters,omitempty"`
		Subscriber knDestination `json:"subscriber"`
		Delivery   *knDelivery   `json:"delivery,omitempty"`
	} `json:"spec"`
}

type knSource struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Mode               string               `json:"mode"`
		ServiceAccountName string               `json:"serviceAccountName"`
		NamespaceSelector  metav1.LabelSelector `json:"namespaceSelector"`
		Resources          []struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		} `json:"resources"`
		Sink knDestination `json:"sink"`
	} `json:"spec"`
}

type knPing struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Schedule    string        `json:"schedule"`
		ContentType string        `json:"contentType,omitempty"`
		Data        string        `json:"data,omitempty"`
		Sink        knDestination `json:"sink"`
	} `json:"spec"`
}

type knEventType struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Reference   *knRef `json:"reference"`
		Description string `json:"description"`
		Attributes  []struct {
			Name     string `json:"name"`
			Required bool   `json:"required"`
			Value    string `json:"value,omitempty"`
		} `json:"attributes"`
	} `json:"spec"`
}

func (o *knService) DeepCopyObject() runtime.Object   { c := *o; return &c }
func (o *knBroker) DeepCopyObject() runtime.Object    { c := *o; return &c }
func (o *knTrigger) DeepCopyObject() runtime.Object   { c := *o; return &c }
func (o *knSource) DeepCopyObject() runtime.Object    { c := *o; return &c }
func (o *knPing) DeepCopyObject() runtime.Object      { c := *o; return &c }
func (o *knEventType) DeepCopyObject() runtime.Object { c := *o; return &c }

func addKnative(s *runtime.Scheme) error {
	for gvk, o := range map[schema.GroupVersionKind]runtime.Object{
		{Group: "serving.knative.dev", Version: "v1", Kind: "Service"}:         &knService{},
		{Group: "eventing.knative.dev", Version: "v1", Kind: "Broker"}:         &knBroker{},
		{Group: "eventing.knative.dev", Version: "v1", Kind: "Trigger"}:        &knTrigger{},
		{Group: "eventing.knative.dev", Version: "v1beta3", Kind: "EventType"}: &knEventType{},
		{Group: "sources.knative.dev", Version: "v1", Kind: "ApiServerSource"}: &knSource{},
		{Group: "sources.knative.dev", Version: "v1", Kind: "PingSource"}:      &knPing{},
	} {
		s.AddKnownTypeWithName(gvk, o)
	}
	return nil
}

func labelsOf(m map[string]string) labels.Set { return labels.Set(m) }
