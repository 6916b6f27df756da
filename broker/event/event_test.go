package event_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	cetest "github.com/cloudevents/sdk-go/v2/test"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

var update = flag.Bool("update", false, "write the golden files and docs/spec/events.md anew")

func TestNew(t *testing.T) {
	dev := event.Device{Namespace: "plant", Name: "press-7"}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	cause := ce.New()
	cause.SetExtension(event.ExtTraceParent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	e, err := event.New(event.DeviceDisconnected, "/wasmbed/test", "", "id-1", event.Disconnected{Device: dev, Epoch: 3},
		event.About(dev), event.At(at), event.After(cause), event.Ext(event.ExtEra, "00ff00ff00ff00ff"))
	if err != nil {
		t.Fatal(err)
	}
	cetest.AssertEvent(t, e,
		cetest.IsValid(),
		cetest.HasType(event.DeviceDisconnected), cetest.HasSource("/wasmbed/test"), cetest.HasId("id-1"),
		cetest.HasSubject("plant/press-7"), cetest.HasTime(at), cetest.HasDataContentType(event.JSON),
		cetest.HasExtension(event.ExtNamespace, "plant"), cetest.HasExtension(event.ExtPartitionKey, "plant/press-7"),
		cetest.HasExtension(event.ExtEra, "00ff00ff00ff00ff"),
		cetest.HasExtension(event.ExtTraceParent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
	)
	if event.Namespace(e) != "plant" {
		t.Error("namespace", event.Namespace(e))
	}
	got, err := event.Data[event.Disconnected](e)
	if err != nil || got.Epoch != 3 || got.Device != dev {
		t.Error(got, err)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, f := range map[string]func() (ce.Event, error){
		"no type":   func() (ce.Event, error) { return event.New("", "/s", "", "1", nil) },
		"no source": func() (ce.Event, error) { return event.New("t", "", "", "1", nil) },
		"data":      func() (ce.Event, error) { return event.New("t", "/s", "", "1", make(chan int)) },
		"extension": func() (ce.Event, error) { return event.New("t", "/s", "", "1", nil, event.Ext("not_allowed", 1)) },
	} {
		if _, err := f(); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIDs(t *testing.T) {
	in, _ := event.New("t", "/s", "", "1", nil)
	again, _ := event.New("t2", "/s", "sub", "1", 5)
	other, _ := event.New("t", "/s", "", "2", nil)
	if event.ReplyID(in, "deploy") != event.ReplyID(again, "deploy") {
		t.Error("the same source and id give another reply id")
	}
	if event.ReplyID(in, "deploy") == event.ReplyID(other, "deploy") || event.ReplyID(in, "deploy") == event.ReplyID(in, "report") {
		t.Error("different facts give the same reply id")
	}
	if event.DeriveID("ab", "c") == event.DeriveID("a", "bc") {
		t.Error("parts run into each other")
	}
	a, _ := event.New("t", "/s", "", "", nil)
	b, _ := event.New("t", "/s", "", "", nil)
	if a.ID() == b.ID() || len(a.ID()) != 32 {
		t.Error("random ids", a.ID(), b.ID())
	}
}

func TestData(t *testing.T) {
	raw := func(typ, format, data string) ce.Event {
		e := ce.New()
		e.SetType(typ)
		e.SetSource("/s")
		e.SetID("1")
		if format != "" {
			e.SetDataContentType(format)
		}
		e.DataEncoded = []byte(data)
		return e
	}
	ok := raw(event.LedgerLost, "application/json; charset=utf-8", `{"era":"e","by":"b","of a later version":1}`)
	if v, err := event.Data[event.Lost](ok); err != nil || v != (event.Lost{Era: "e", By: "b"}) {
		t.Error(v, err)
	}
	if v, err := event.Data[event.Lost](raw(event.LedgerLost, "", `{"era":"e"}`)); err != nil || v.Era != "e" {
		t.Error("no datacontenttype means JSON:", v, err)
	}
	for name, e := range map[string]ce.Event{
		"wrong JSON type": raw(event.LedgerLost, event.JSON, `{"era":5}`),
		"not JSON":        raw(event.LedgerLost, event.JSON, `{"era":`),
		"trailing":        raw(event.LedgerLost, event.JSON, `{} {}`),
		"empty":           raw(event.LedgerLost, event.JSON, ``),
		"null":            raw(event.LedgerLost, event.JSON, ` null `),
		"another type":    raw(event.TimerDue, event.JSON, `{}`),
		"format":          raw(event.LedgerLost, "text/plain", `x`),
		"bad format":      raw(event.LedgerLost, ";;", `x`),
		"bad CBOR":        raw(event.LedgerLost, event.CBOR, "\xbf"),
	} {
		if v, err := event.Data[event.Lost](e); !errs.Is(err, errs.Invalid) || v != (event.Lost{}) {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}

// The golden files are the public contract: what a released version wrote, every later one must read.
func TestGolden(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.json")
	if len(files) == 0 && !*update {
		t.Fatal("no golden files")
	}
	want := map[string]bool{}
	for _, en := range event.Catalogue() {
		t.Run(en.Type, func(t *testing.T) {
			e, err := en.Event()
			if err != nil {
				t.Fatal(err)
			}
			cetest.AssertEvent(t, e, cetest.IsValid())
			file := filepath.Join("testdata", en.Type+".json")
			want[file] = true
			now := pretty(t, e)
			if *update {
				if err := os.WriteFile(file, now, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v (go test ./broker/event -update writes it)", err)
			}
			if !bytes.Equal(golden, now) {
				t.Errorf("%s differs from what is emitted now. A field may be added (-update); anything else needs a new version of the type.\n%s", file, now)
			}
			var back ce.Event
			if err := json.Unmarshal(golden, &back); err != nil {
				t.Fatal(err)
			}
			cetest.AssertEvent(t, back, cetest.HasType(en.Type), cetest.HasSubject(e.Subject()))
			if !bytes.Equal(pretty(t, back), golden) {
				t.Errorf("read back: %s", back)
			}
			for name := range en.Extensions {
				if back.Extensions()[name] == nil {
					t.Errorf("the example lacks extension %s", name)
				}
			}
		})
	}
	for _, f := range files {
		if !want[f] {
			t.Errorf("%s belongs to no type of the catalogue", f)
		}
	}
}

func pretty(t *testing.T, e ce.Event) []byte {
	t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, sorted(t, b), "", "  "); err != nil {
		t.Fatal(err)
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// sorted gives JSON with its object keys in order: sdk-go writes extensions in the order of a map.
func sorted(t *testing.T, b []byte) []byte {
	t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Every constant of types.go that is a type is in the catalogue, once, with everything said.
func TestCatalogueIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, en := range event.Catalogue() {
		if seen[en.Type] {
			t.Errorf("%s twice", en.Type)
		}
		seen[en.Type] = true
		if en.Description == "" || len(en.Emitters) == 0 || len(en.Consumers) == 0 || en.Source == "" || en.Subject == "" || en.Example == nil || en.Format == "" {
			t.Errorf("%s: not described whole: %+v", en.Type, en)
		}
		if ours := strings.HasPrefix(en.Type, "io.wasmbed."); ours != (en.Version > 0) || ours && !strings.HasSuffix(en.Type, ".v1") {
			t.Errorf("%s: version %d", en.Type, en.Version)
		}
		if _, ok := event.Lookup(en.Type); !ok {
			t.Errorf("%s is not found", en.Type)
		}
	}
	consts := typeConstants(t)
	if len(consts) < 20 {
		t.Fatalf("found %d constants only", len(consts))
	}
	for name, typ := range consts {
		if !seen[typ] {
			t.Errorf("%s (%s) is not in the catalogue", name, typ)
		}
	}
	if len(consts) != len(seen) {
		t.Errorf("%d constants, %d entries", len(consts), len(seen))
	}
}

// Decoding every example as its own type gives the example: no field is lost on the wire.
func TestExamplesRoundTrip(t *testing.T) {
	for _, en := range event.Catalogue() {
		e, err := en.Event()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeAs(e, en.Example)
		if err != nil {
			t.Errorf("%s: %v", en.Type, err)
		} else if !reflect.DeepEqual(got, en.Example) {
			t.Errorf("%s: %+v became %+v", en.Type, en.Example, got)
		}
	}
}

func decodeAs(e ce.Event, example any) (any, error) {
	switch example.(type) {
	case event.EnrollmentRequest:
		return event.Data[event.EnrollmentRequest](e)
	case event.EnrollmentVerdict:
		return event.Data[event.EnrollmentVerdict](e)
	case event.BoardChanged:
		return event.Data[event.BoardChanged](e)
	case event.Connected:
		return event.Data[event.Connected](e)
	case event.Disconnected:
		return event.Data[event.Disconnected](e)
	case event.Reported:
		return event.Data[event.Reported](e)
	case event.Trapped:
		return event.Data[event.Trapped](e)
	case event.CommandCompleted:
		return event.Data[event.CommandCompleted](e)
	case event.Audit:
		return event.Data[event.Audit](e)
	case event.WebhookTest:
		return event.Data[event.WebhookTest](e)
	case event.WebhookRedelivery:
		return event.Data[event.WebhookRedelivery](e)
	case event.WebhookStopped:
		return event.Data[event.WebhookStopped](e)
	case event.ApplicationAction:
		return event.Data[event.ApplicationAction](e)
	case event.DeviceAction:
		return event.Data[event.DeviceAction](e)
	case event.ActionOutcome:
		return event.Data[event.ActionOutcome](e)
	case event.WebhookPermission:
		return event.Data[event.WebhookPermission](e)
	case event.DeployOutcome:
		return event.Data[event.DeployOutcome](e)
	case event.CommandRequest:
		return event.Data[event.CommandRequest](e)
	case event.CommandAnswer:
		return event.Data[event.CommandAnswer](e)
	case event.CommandOutcome:
		return event.Data[event.CommandOutcome](e)
	case event.AppMessage:
		return event.Data[event.AppMessage](e)
	case event.TelemetryBatch:
		return event.Data[event.TelemetryBatch](e)
	case event.ModuleMiss:
		return event.Data[event.ModuleMiss](e)
	case event.Timer:
		return event.Data[event.Timer](e)
	case event.Lost:
		return event.Data[event.Lost](e)
	case event.GatewayInstance:
		return event.Data[event.GatewayInstance](e)
	case event.StateChanged:
		return event.Data[event.StateChanged](e)
	case event.Rollout:
		return event.Data[event.Rollout](e)
	case event.RollbackRequest:
		return event.Data[event.RollbackRequest](e)
	case event.DeployRequest:
		return event.Data[event.DeployRequest](e)
	case event.ObjectReference:
		return event.Data[event.ObjectReference](e)
	}
	return nil, errs.New(errs.Internal, "no case for %T", example)
}

func sortedKeys[V any](m map[string]V) []string {
	ks := make([]string, 0, len(m))
	for k := range m {
		ks = append(ks, k)
	}
	sort.Strings(ks)
	return ks
}
