package source

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wasmbed.io/wasmbed/broker/event"
)

// asKnative reads a request of testdata/knative: what a subscriber gets from Knative Eventing 0.49.2, ApiServerSource in
// mode Reference or PingSource, through the channel based broker. The files follow pkg/adapter/apiserver (events.go,
// delegate.go), pkg/adapter/mtping/runner.go, pkg/adapter/v2/cloudevents.go and pkg/broker/{ingress,filter} of that
// release.
func asKnative(t *testing.T, name string) ce.Event {
	t.Helper()
	b, err := os.ReadFile("testdata/knative/" + name + ".http")
	if err != nil {
		t.Fatal(err)
	}
	head, body, ok := strings.Cut(string(b), "\n\n")
	if !ok {
		t.Fatalf("%s has no end of its head", name)
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	body = strings.TrimSpace(body)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	e, err := event.ReadRequest(r, 0)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestSameAsKnative: functions cannot tell which of the two sources an event is of. Ours has every attribute that
// Knative's has, with the same value, and no other, but those that name the event and the moment: id, source and time.
func TestSameAsKnative(t *testing.T) {
	resource := schema.GroupVersionResource{Group: "wasmbed.io", Version: "v1alpha1", Resource: "devices"}
	s := &Source{o: Options{Source: "https://10.96.0.1:443"}, nonce: "n"}
	for op, typ := range map[string]string{"add": event.RefAdd, "update": event.RefUpdate, "delete": event.RefDelete} {
		theirs := asKnative(t, "ref-"+op)
		ours, err := s.event(change{key: object{resource, "plant", "press-7"}, kind: "Device", typ: typ, version: version{uid: "u", resource: "7"}})
		if err != nil {
			t.Fatal(err)
		}
		of := func(e ce.Event) map[string]string {
			out := map[string]string{}
			for _, a := range event.Attributes(&e) {
				out[a.Name] = a.Value
			}
			for _, name := range []string{"id", "time"} {
				if out[name] == "" {
					t.Errorf("%s has no %s", op, name)
				}
				delete(out, name)
			}
			delete(out, "knativearrivaltime") // the broker's
			return out
		}
		if a, b := of(theirs), of(ours); !reflect.DeepEqual(a, b) {
			t.Errorf("%s: Knative's has %v\nours has %v", op, a, b)
		}
		var a, b any
		if err := json.Unmarshal(theirs.Data(), &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(ours.Data(), &b); err != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s: data %s and %s, %v", op, theirs.Data(), ours.Data(), err)
		}
		ref, err := event.Data[event.ObjectReference](theirs)
		if err != nil || ref != (event.ObjectReference{APIVersion: "wasmbed.io/v1alpha1", Kind: "Device", Namespace: "plant", Name: "press-7"}) {
			t.Errorf("%+v %v", ref, err)
		}
	}
	ping := asKnative(t, "ping")
	if ping.Type() != event.Ping || !bytes.Equal(ping.Data(), nil) || ping.Source() == "" {
		t.Errorf("%v", ping)
	}
}
