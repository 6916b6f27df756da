package stream_test

import (
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/stream"
	"wasmbed.io/wasmbed/internal/errs"
)

const shipped = "../../config/knative/triggers"

// The Triggers that ship load strictly, and every function hears what the catalogue says.
func TestShippedTriggers(t *testing.T) {
	ts, err := stream.LoadTriggers(os.DirFS(shipped))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tr := range ts {
		names = append(names, tr.Name)
		if tr.Namespace != "wasmbed-system" || tr.Broker != "default" || tr.Delivery.Retry != 10 || tr.Delivery.Delay != 200*time.Millisecond || tr.Delivery.Linear {
			t.Errorf("%+v", tr)
		}
		function := strings.TrimSuffix(tr.Name, "-send") // webhook has two: it hears in one and sends in the other
		if r := tr.Subscriber.Ref; r == nil || r.APIVersion != "serving.knative.dev/v1" || r.Kind != "Service" || r.Name != function || r.Namespace != "wasmbed-system" {
			t.Errorf("%s: subscriber %+v", tr, r)
		}
		if _, err := os.Stat(shipped + "/" + tr.Name + ".yaml"); err != nil {
			t.Errorf("one file per function: %v", err)
		}
	}
	if fmt.Sprint(names) != "[board command deploy enroll report rollback webhook webhook-send]" {
		t.Error(names)
	}
	// type, and the attribute by which functions choose → functions
	want := map[string]string{
		event.DeviceEnrollmentRequested: "enroll", event.GatewayChanged: "enroll", event.LedgerLost: "deploy enroll",
		event.DeviceConnected: "report", event.DeviceDisconnected: "report", event.DeviceReported: "report", event.DeviceTrapped: "report",
		event.DeviceCommandCompleted: "report", event.TelemetryReceived: "report", event.LogsReceived: "report",
		event.CommandRequested: "command", event.DeviceCommandAnswered: "command", event.TimerDue + " command": "command", event.TimerDue + " webhook": "webhook-send",
		event.BoardChangedType: "board", event.ModuleMissed: "deploy", event.RollbackDecided: "deploy", event.DeployRequested: "deploy", event.RolloutFailed: "rollback", event.RollbackRequested: "rollback",
		event.ApplicationActionRequested: "deploy", event.DeviceActionRequested: "enroll",
		event.TimerDue + " advance": "deploy", event.TimerDue + " deadline": "deploy", event.TimerDue + " status": "report", event.TimerDue + " other": "",
	}
	for _, typ := range []string{event.RefAdd, event.RefUpdate, event.RefDelete} {
		want[typ+" Device"], want[typ+" Application"], want[typ+" Module"], want[typ+" Gateway"], want[typ+" Revision"], want[typ+" Secret of another group"] =
			"deploy enroll", "deploy", "deploy", "enroll", "", ""
	}
	for _, en := range event.Catalogue() {
		if _, there := want[en.Type]; !there && en.Version > 0 && en.Type != event.TimerDue {
			want[en.Type] = ""
		}
	}
	silent := []string{event.TimerDue, event.TelemetryReceived, event.LogsReceived, event.DeviceEnrollmentRequested}
	for what, functions := range want {
		typ, choice, _ := strings.Cut(what, " ")
		attrs := map[string]string{"type": typ, "source": "/s", "id": "1", "timerkind": choice, "kind": choice, "apiversion": "wasmbed.io/v1alpha1"}
		if strings.HasSuffix(choice, "another group") {
			attrs["kind"], attrs["apiversion"] = "Device", "example.org/v1"
		}
		var got []string
		for _, tr := range ts {
			if tr.Filter.Match(func(n string) (string, bool) { v, ok := attrs[n]; return v, ok && v != "" }) {
				got = append(got, tr.Name)
			}
		}
		sort.Strings(got)
		if !slices.Contains(silent, typ) { // all else may go out
			functions = strings.TrimSpace(functions + " webhook")
		}
		if strings.Join(got, " ") != functions {
			t.Errorf("%s goes to %v, want %s", what, got, functions)
		}
	}
}

func TestParseTriggersRefuses(t *testing.T) {
	good := one("a", "t", "http://x", "")
	if _, err := stream.ParseTriggers([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, yaml := range map[string]string{
		"unknown field":         good + "  more: 1\n",
		"unknown delivery":      one("a", "t", "http://x", "{retries: 3}"),
		"another kind":          strings.Replace(good, "kind: Trigger", "kind: Broker", 1),
		"another version":       strings.Replace(good, "/v1", "/v1beta1", 1),
		"no broker":             strings.Replace(good, "broker: default", "broker: ''", 1),
		"no namespace":          strings.Replace(good, "namespace: plant", "namespace: ''", 1),
		"bad name":              strings.Replace(good, "name: a", "name: A_b", 1),
		"no subscriber":         strings.Replace(good, `{uri: "http://x"}`, "{}", 1),
		"relative subscriber":   strings.Replace(good, "http://x", "/x", 1),
		"another scheme":        strings.Replace(good, "http://x", "ftp://x", 1),
		"ref without a kind":    strings.Replace(good, `{uri: "http://x"}`, "{ref: {apiVersion: v1, name: x}}", 1),
		"two dialects":          strings.Replace(good, "{exact: {type: t}}", "{exact: {type: t}, prefix: {type: t}}", 1),
		"cesql":                 strings.Replace(good, "{exact: {type: t}}", "{cesql: \"type = 't'\"}", 1),
		"upper case attribute":  strings.Replace(good, "{exact: {type: t}}", "{exact: {Type: t}}", 1),
		"empty value":           strings.Replace(good, "{exact: {type: t}}", "{exact: {type: ''}}", 1),
		"nested too deep":       strings.Replace(good, "{exact: {type: t}}", strings.Repeat("{not: ", 20)+"{exact: {type: t}}"+strings.Repeat("}", 20), 1),
		"back-off policy":       one("a", "t", "http://x", "{backoffPolicy: sometimes}"),
		"negative retry":        one("a", "t", "http://x", "{retry: -1}"),
		"a Go duration":         one("a", "t", "http://x", "{backoffDelay: 200ms}"),
		"months":                one("a", "t", "http://x", "{backoffDelay: P1M}"),
		"empty duration":        one("a", "t", "http://x", "{backoffDelay: PT}"),
		"dead letter to nobody": one("a", "t", "http://x", "{deadLetterSink: {}}"),
		"no YAML":               "a: [",
	} {
		if ts, err := stream.ParseTriggers([]byte(yaml)); err == nil {
			t.Errorf("%s: taken as %+v", name, ts)
		} else if c := errs.CodeOf(err); c != errs.Invalid && c != errs.Unsupported {
			t.Errorf("%s: %s, %v", name, c, err)
		}
	}
}

func TestLoadTriggers(t *testing.T) {
	good := one("a", "t", "http://x", "")
	ts, err := stream.LoadTriggers(fstest.MapFS{
		"z.yaml":      {Data: []byte("# nothing but a comment\n---\n" + good + one("b", "t", "http://x", ""))},
		"deep/c.yml":  {Data: []byte(one("c", "t", "http://x", ""))},
		"README.md":   {Data: []byte("not a Trigger")},
		"a.yaml.orig": {Data: []byte("nor this")},
	})
	if err != nil || fmt.Sprint(ts[0], ts[1], ts[2]) != "plant/a plant/b plant/c" {
		t.Error(ts, err)
	}
	if _, err := stream.LoadTriggers(fstest.MapFS{"a.yaml": {Data: []byte(good)}, "b.yaml": {Data: []byte(good)}}); !errs.Is(err, errs.Invalid) {
		t.Error("the same twice:", err)
	}
	if _, err := stream.LoadTriggers(fstest.MapFS{"broken.yaml": {Data: []byte("kind: Trigger")}}); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "broken.yaml") {
		t.Error("the file is named:", err)
	}
	if _, err := stream.LoadTriggers(os.DirFS("/nonexistent")); !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
}

func TestPeriods(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"PT0.2S": 200 * time.Millisecond, "PT1S": time.Second, "PT1M30S": 90 * time.Second, "PT2H": 2 * time.Hour, "P1DT1H": 25 * time.Hour, "PT0S": 0,
	} {
		ts, err := stream.ParseTriggers([]byte(one("a", "t", "http://x", "{backoffDelay: "+s+"}")))
		if err != nil || ts[0].Delivery.Delay != want {
			t.Errorf("%s: %v, %v", s, ts, err)
		}
	}
}

func FuzzParseTriggers(f *testing.F) {
	for _, name := range []string{"enroll", "deploy", "rollback", "report", "board"} {
		b, err := os.ReadFile(shipped + "/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(one("a", "t", "http://x", "{retry: 1, backoffDelay: PT1S, deadLetterSink: {uri: 'http://y'}}")))
	f.Fuzz(func(t *testing.T, b []byte) {
		ts, err := stream.ParseTriggers(b)
		if err != nil {
			return
		}
		for _, tr := range ts {
			tr.Filter.Match(func(string) (string, bool) { return "x", true })
			if tr.Name == "" || tr.Namespace == "" || tr.Delivery.Backoff(3) < 0 {
				t.Fatalf("%+v", tr)
			}
		}
	})
}
