package config_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"wasmbed.io/wasmbed/broker/event"
)

const eventTypesFile = "knative/eventtypes.yaml"

// TestEventTypesAreCurrent: the EventTypes of the Broker are the catalogue of broker/event.
func TestEventTypesAreCurrent(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Generated from broker/event (go generate ./config). What may be subscribed to at the Broker; docs/spec/events.md has the\n# data of each.\n")
	for i, e := range event.Catalogue() {
		if i > 0 {
			b.WriteString("---\n")
		}
		fmt.Fprintf(&b, `apiVersion: eventing.knative.dev/v1beta3
kind: EventType
metadata:
  name: %s
  namespace: wasmbed-system
  labels: {app.kubernetes.io/part-of: wasmbed}
spec:
  reference: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: default}
  description: %q
  attributes:
    - {name: type, required: true, value: %s}
    - {name: source, required: true, value: %q}
    - {name: specversion, required: true, value: "1.0"}
    - {name: id, required: true}
    - {name: subject, value: %q}
`, e.Type, oneLine(e.Description), e.Type, placeholders(e.Source), placeholders(e.Subject))
	}
	if *update {
		if err := os.WriteFile(eventTypesFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if read(t, eventTypesFile) != b.String() {
		t.Errorf("%s is not current: go generate ./config", eventTypesFile)
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// placeholders writes <x> as {x}, as EventTypes do.
func placeholders(s string) string { return strings.NewReplacer("<", "{", ">", "}").Replace(s) }
