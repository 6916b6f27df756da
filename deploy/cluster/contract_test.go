package cluster

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"

	"wasmbed.io/wasmbed/broker/stream/contract"
)

var (
	brokers  = schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "brokers"}
	triggers = schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "triggers"}
)

// The contract that the embedded broker keeps (broker/stream), case by case, from the same file, is Knative's.
func TestContract(t *testing.T) {
	w := reach(t)
	l, err := net.Listen("tcp", net.JoinHostPort(w.host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := contract.New(t, l, w.host)
	space := w.namespace("contract")
	b := object("eventing.knative.dev/v1", "Broker", space, "default")
	b.SetAnnotations(map[string]string{"messaging.knative.dev/async-handler": "true"}) // as config/knative/broker.yaml has it
	// What Knative's own in-memory broker does otherwise than its specification says, and nothing of ours relies on.
	s.Skip = map[string]string{
		"the body of a 202 is not routed": "Knative's MTChannelBasedBroker routes the event in a subscriber's 202 as it does that of a 200; no function of ours answers 202 with an event",
		"redirects are not followed":      "Knative follows a redirect of a subscriber within its network; no function of ours redirects, and what goes out of the cluster is sent by the function webhook",
	}
	w.create(brokers, b)
	var ingress string
	w.until("the Broker is Ready", func() (err error) {
		o, err := w.dyn.Resource(brokers).Namespace(space).Get(w.ctx(), "default", metav1.GetOptions{})
		if err != nil {
			return err
		}
		ingress, _, _ = unstructured.NestedString(o.Object, "status", "address", "url")
		return isReady(o)
	})
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(s.Triggers(space, "default")), 4096)
	for {
		u := &unstructured.Unstructured{}
		if err := d.Decode(&u.Object); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(u.Object) > 0 {
			w.create(triggers, u)
		}
	}
	w.until("the Triggers are Ready", func() error {
		all, err := w.dyn.Resource(triggers).Namespace(space).List(w.ctx(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range all.Items {
			if err := isReady(&all.Items[i]); err != nil {
				return err
			}
		}
		if len(all.Items) == 0 {
			return fmt.Errorf("there are none")
		}
		return nil
	})
	s.Run(t, ingress)
}
