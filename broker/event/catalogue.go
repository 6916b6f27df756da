package event

import (
	"reflect"
	"slices"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/internal/errs"
)

// Entry describes one type of event: the contract that docs/spec/events.md and the golden files under
// testdata are made of.
type Entry struct {
	Type        string
	Version     int // the n of .vn; 0: the type is not ours
	Description string
	Emitters    []string
	Consumers   []string
	Source      string            // form of the source attribute
	Subject     string            // form of the subject attribute
	Extensions  map[string]string // name → meaning, beside traceparent
	Example     any               // the data; its Go type is the data's type
	Format      string            // datacontenttype: JSON, CBOR
	example     exampleAttributes
}

type exampleAttributes struct {
	source, subject string
	ext             map[string]string
}

// Event returns the entry's example as an event with a fixed id and time.
func (en Entry) Event() (ce.Event, error) {
	if en.Type == "" {
		return ce.Event{}, errs.New(errs.NotFound, "no such type")
	}
	opts := []Option{At(exampleTime)}
	for k, v := range en.example.ext {
		opts = append(opts, Ext(k, v))
	}
	return newEvent(en.Type, en.example.source, en.example.subject, DeriveID(en.Type), en.Format, en.Example, opts)
}

// Lookup returns the entry of a type.
func Lookup(typ string) (Entry, bool) {
	for _, e := range Catalogue() {
		if e.Type == typ {
			return e, true
		}
	}
	return Entry{}, false
}

// dataTypes is type → Go type of its data. Never written after initialization.
var dataTypes = func() map[string]reflect.Type {
	m := map[string]reflect.Type{}
	for _, e := range Catalogue() {
		m[e.Type] = reflect.TypeOf(e.Example)
	}
	return m
}()

var exampleTime = time.Date(2026, 3, 14, 15, 9, 26, 535000000, time.UTC)

const (
	sourceGateway  = "/wasmbed/namespaces/<namespace>/gateways/<gateway>/<instance>"
	sourceFunction = "/wasmbed/functions/<function>"
	sourceBoards   = "/wasmbed/provisioner/<instance>"
	sourceAPI      = "/wasmbed/api/<user or system>"
	subjectDevice  = "<namespace>/<device>"
	subjectApp     = "<namespace>/<application>"
	apiServer      = "https://kubernetes.default.svc"
)

var (
	inNamespace = map[string]string{ExtNamespace: "the namespace"}
	ofDevice    = map[string]string{ExtNamespace: "the device's namespace", ExtPartitionKey: "namespace/name of the device"}
)

func fromGateway(subject string) exampleAttributes {
	return exampleAttributes{source: "/wasmbed/namespaces/plant/gateways/main/gw-7f9c", subject: subject, ext: map[string]string{ExtNamespace: "plant"}}
}

func fromFunction(name, subject string) exampleAttributes {
	return exampleAttributes{source: "/wasmbed/functions/" + name, subject: subject, ext: map[string]string{ExtNamespace: "plant"}}
}

func (x exampleAttributes) with(name, value string) exampleAttributes {
	m := map[string]string{name: value}
	for k, v := range x.ext {
		m[k] = v
	}
	x.ext = m
	return x
}

func (x exampleAttributes) device() exampleAttributes {
	return x.with(ExtPartitionKey, "plant/press-7")
}

// Catalogue lists every type that Wasmbed emits or takes. It is made anew for each call.
func Catalogue() []Entry {
	return slices.Concat(gatewayEvents(), functionEvents(), commandEvents(), webhookEvents(), actionEvents(), provisionerEvents(), outsideEvents())
}

func gatewayEvents() []Entry {
	var (
		device   = Device{Namespace: "plant", Name: "press-7"}
		notAfter = exampleTime.Add(7 * 24 * time.Hour)
		gw       = []string{"gateway"}
		report   = []string{"report"}
		at       = fromGateway("plant/press-7").device()
	)
	return []Entry{
		{
			Type: DeviceEnrollmentRequested, Version: 1, Format: JSON, Emitters: gw, Consumers: []string{"enroll"},
			Description: "A device without an operational certificate asks for one, or an enrolled one renews. The session waits for a verdict in the ledger.",
			Source:      sourceGateway, Subject: "<namespace>/<key fingerprint>, or the device's when it renews", Extensions: inNamespace,
			Example: EnrollmentRequest{
				Namespace: "plant", Gateway: "main", Instance: "gw-7f9c", Session: "gw-7f9c/00000000000004d2",
				KeyFingerprint: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", CSR: []byte("0\x82\x01\x00"),
				WantedName: "press-7", Board: "Stm32F746gDisco", Firmware: "0.1.0", Nonce: []byte("0123456789abcdef"), RemoteAddress: "192.0.2.17",
			},
			example: fromGateway("plant/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
		}, {
			Type: DeviceConnected, Version: 1, Format: JSON, Emitters: gw, Consumers: report,
			Description: "A device's session is open. Said again with announced=true after the ledger was lost.",
			Source:      sourceGateway, Subject: subjectDevice, Extensions: ofDevice,
			Example: Connected{
				Device: device, Gateway: "main", Instance: "gw-7f9c", Epoch: 12, Era: "5f2b1c0d9e8a7766", BootID: "a1b2c3d4e5f60718", Board: "Stm32F746gDisco", Firmware: "0.1.0",
				Capabilities: Capabilities{ModuleMemory: 98304, ModuleSize: 131072, Chunk: 1024, Frame: 4096, Apps: 2, ABI: 1, Permissions: []string{"clock", "log", "telemetry"}},
				Serial:       "4d2", NotAfter: &notAfter, Time: exampleTime,
			},
			example: at,
		}, {
			Type: DeviceDisconnected, Version: 1, Format: JSON, Emitters: gw, Consumers: report,
			Description: "A device's session is closed. It changes nothing when the device has a newer epoch.",
			Source:      sourceGateway, Subject: subjectDevice, Extensions: ofDevice,
			Example: Disconnected{Device: device, Instance: "gw-7f9c", Epoch: 12, Era: "5f2b1c0d9e8a7766", Reason: "LeaseExpired", Time: exampleTime},
			example: at,
		}, {
			Type: DeviceReported, Version: 1, Format: JSON, Emitters: gw, Consumers: report,
			Description: "What a device runs: all of it, or what changed. (epoch, version) orders the reports of one era.",
			Source:      sourceGateway, Subject: subjectDevice, Extensions: ofDevice,
			Example: Reported{
				Device: device, Epoch: 12, Era: "5f2b1c0d9e8a7766", Version: 3, SeenDesired: 9, Full: true, StateDigest: "00c0ffee00c0ffee", Time: exampleTime,
				Apps: map[string]AppState{"vibration": {State: "Running", Revision: "vibration-4", Attempt: 5, Running: "vibration-4", Confirmed: true}},
			},
			example: at,
		}, {
			Type: DeviceTrapped, Version: 1, Format: JSON, Emitters: gw, Consumers: report,
			Description: "A module trapped on a device. (bootId, seq) names the trap, however often it is said.",
			Source:      sourceGateway, Subject: subjectDevice, Extensions: ofDevice,
			Example: Trapped{Device: device, BootID: "a1b2c3d4e5f60718", Seq: 1, App: "vibration", Revision: "vibration-4", Reason: "Trap", Where: "wasmbed_timer", Message: "out of bounds memory access", Time: exampleTime},
			example: at,
		}, {
			Type: DeviceCommandCompleted, Version: 1, Format: JSON, Emitters: gw, Consumers: report,
			Description: "A device's word on a command.",
			Source:      sourceGateway, Subject: subjectDevice, Extensions: ofDevice,
			Example: CommandCompleted{Device: device, Command: "0102030405060708", Status: "Done", Time: exampleTime},
			example: at,
		}, {
			Type: TelemetryReceived, Version: 1, Format: CBOR, Emitters: gw, Consumers: report,
			Description: "Measured values of one or more devices of one gateway, in batches. The records stay CBOR as the device wrote them.",
			Source:      sourceGateway, Subject: "<namespace>/<gateway>", Extensions: inNamespace,
			Example: TelemetryBatch{Devices: []TelemetryDevice{{Namespace: "plant", Name: "press-7", BootID: []byte{0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 7, 0x18}, Seq: 41,
				Records: []byte{0x81, 0x84, 0x1b, 0, 0, 1, 0x9c, 0xec, 0x94, 0x2a, 0x57, 0x69, 'v', 'i', 'b', 'r', 'a', 't', 'i', 'o', 'n', 0x63, 'r', 'm', 's', 0xf9, 0x3e, 0}}}},
			example: fromGateway("plant/main"),
		}, {
			Type: LogsReceived, Version: 1, Format: CBOR, Emitters: gw, Consumers: report,
			Description: "Log lines of one or more devices of one gateway, in batches.",
			Source:      sourceGateway, Subject: "<namespace>/<gateway>", Extensions: inNamespace,
			Example: LogBatch{Devices: []TelemetryDevice{{Namespace: "plant", Name: "press-7", BootID: []byte{0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 7, 0x18}, Seq: 7,
				Records: []byte{0x81, 0x84, 0, 0x69, 'v', 'i', 'b', 'r', 'a', 't', 'i', 'o', 'n', 2, 0x65, 'r', 'e', 'a', 'd', 'y'}}}},
			example: fromGateway("plant/main"),
		}, {
			Type: ModuleMissed, Version: 1, Format: JSON, Emitters: gw, Consumers: []string{"deploy"},
			Description: "A gateway needs a module's bytes that Redis does not hold (any more).",
			Source:      sourceGateway, Subject: "<namespace>/<digest>", Extensions: inNamespace,
			Example: ModuleMiss{Namespace: "plant", Digest: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
			example: fromGateway("plant/sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
		}, {
			Type: TimerDue, Version: 1, Format: JSON, Emitters: []string{"gateway, under the lease of the ledger's shard"}, Consumers: []string{"deploy (advance, deadline)", "report (status)", "command (command)", "enroll (certificate)", "webhook (webhook, webhooksource)"},
			Description: "A deadline or delay of the ledger has come. Nothing else ticks; what is a minute late, because no gateway is up, deploy says when it is pinged.",
			Source:      sourceGateway, Subject: "<namespace>/<name>",
			Extensions: map[string]string{ExtNamespace: "the namespace", ExtTimerKind: "advance, deadline, status, command, certificate, webhook or webhooksource: what Triggers choose by"},
			Example:    Timer{Kind: "advance", Namespace: "plant", Name: "vibration", Shard: 3, Due: exampleTime},
			example:    fromGateway("plant/vibration").with(ExtTimerKind, "advance"),
		}, {
			Type: LedgerLost, Version: 1, Format: JSON, Emitters: []string{"gateway", "functions: whoever finds the era missing and sets it"}, Consumers: []string{"deploy", "enroll"},
			Description: "The ledger was empty and has a new era: rebuild it from the custom resources and from the devices.",
			Source:      sourceGateway + " or " + sourceFunction, Subject: "<era>",
			Example: Lost{Era: "5f2b1c0d9e8a7766", By: "gw-7f9c"},
			example: exampleAttributes{source: "/wasmbed/namespaces/plant/gateways/main/gw-7f9c", subject: "5f2b1c0d9e8a7766"},
		}, {
			Type: GatewayChanged, Version: 1, Format: JSON, Emitters: gw, Consumers: []string{"enroll"},
			Description: "A gateway process came, drains, went, or its number of devices changed notably.",
			Source:      sourceGateway, Subject: "<namespace>/<gateway>", Extensions: inNamespace,
			Example: GatewayInstance{Namespace: "plant", Gateway: "main", Instance: "gw-7f9c", State: "Up", Devices: 1},
			example: fromGateway("plant/main"),
		},
	}
}

func functionEvents() []Entry {
	var (
		device  = Device{Namespace: "plant", Name: "press-7"}
		verdict = EnrollmentVerdict{Device: device, KeyFingerprint: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", Status: "Accepted"}
		pended  = verdict
		refused = verdict
		revoked = verdict
		enroll  = []string{"enroll"}
		deploy  = []string{"deploy"}
		outside = []string{"outside systems, by Trigger"}
		rollout = Rollout{Namespace: "plant", Application: "vibration", Generation: 4, Sequence: 5, From: "vibration-3", To: "vibration-4", Reason: "SpecChanged"}
		failed  = rollout
		back    = Rollout{Namespace: "plant", Application: "vibration", Generation: 4, Sequence: 6, From: "vibration-4", To: "vibration-3", Reason: "RolloutFailed", Message: "1 of 20 devices failed: TrapLoop"}
		ofEn    = fromFunction("enroll", "plant/press-7").device()
		ofApp   = fromFunction("deploy", "plant/vibration")
	)
	pended.Status, pended.Reason = "Pending", "AwaitingApproval"
	refused.Status, refused.Reason = "Rejected", "ClaimInvalid"
	revoked.Status, revoked.Reason = "Revoked", "Revoked"
	failed.Reason, failed.Message = "FailureThreshold", "1 of 20 devices failed"
	failed.Counts, failed.Reasons = map[string]int{"desired": 20, "failed": 1, "updated": 4}, map[string]int{"TrapLoop": 1}
	return []Entry{
		{
			Type: DeviceEnrolled, Version: 1, Format: JSON, Emitters: enroll, Consumers: outside,
			Description: "A device has an operational certificate.",
			Source:      sourceFunction, Subject: subjectDevice, Extensions: ofDevice, Example: verdict, example: ofEn,
		}, {
			Type: DeviceEnrollmentPended, Version: 1, Format: JSON, Emitters: enroll, Consumers: outside,
			Description: "A device waits for a person's approval.",
			Source:      sourceFunction, Subject: subjectDevice, Extensions: ofDevice, Example: pended, example: ofEn,
		}, {
			Type: DeviceEnrollmentRejected, Version: 1, Format: JSON, Emitters: enroll, Consumers: outside,
			Description: "A device was refused, and why.",
			Source:      sourceFunction, Subject: subjectDevice, Extensions: ofDevice, Example: refused, example: ofEn,
		}, {
			Type: DeviceRevoked, Version: 1, Format: JSON, Emitters: enroll, Consumers: outside,
			Description: "A device's key is on the deny-list; its live sessions end.",
			Source:      sourceFunction, Subject: subjectDevice, Extensions: ofDevice, Example: revoked, example: ofEn,
		}, {
			Type: DeviceStateChanged, Version: 1, Format: JSON, Emitters: []string{"report"}, Consumers: outside,
			Description: "Applications of a device moved between the work sets of their rollouts.",
			Source:      sourceFunction, Subject: subjectDevice, Extensions: ofDevice,
			Example: StateChanged{Device: device, Changes: []Change{{App: "vibration", From: "inflight", To: "done", State: "Running", Revision: "vibration-4"}}},
			example: fromFunction("report", "plant/press-7").device(),
		}, {
			Type: ApplicationRevised, Version: 1, Format: JSON, Emitters: deploy, Consumers: outside,
			Description: "An application's specification became a new revision.",
			Source:      sourceFunction, Subject: subjectApp, Extensions: inNamespace, Example: rollout, example: ofApp,
		}, {
			Type: RolloutStarted, Version: 1, Format: JSON, Emitters: deploy, Consumers: outside,
			Description: "A revision starts to cross the fleet.",
			Source:      sourceFunction, Subject: subjectApp, Extensions: inNamespace, Example: rollout, example: ofApp,
		}, {
			Type: RolloutCompleted, Version: 1, Format: JSON, Emitters: deploy, Consumers: outside,
			Description: "Every device that can have the revision has it.",
			Source:      sourceFunction, Subject: subjectApp, Extensions: inNamespace, Example: rollout, example: ofApp,
		}, {
			Type: RolloutFailed, Version: 1, Format: JSON, Emitters: deploy, Consumers: []string{"rollback", "outside systems, by Trigger"},
			Description: "A rollout passed its failure threshold and is halted until somebody decides.",
			Source:      sourceFunction, Subject: subjectApp, Extensions: inNamespace, Example: failed, example: ofApp,
		}, {
			Type: RollbackDecided, Version: 1, Format: JSON, Emitters: []string{"rollback"}, Consumers: deploy,
			Description: "The application goes back: a new rollout of an old revision. deploy carries it out.",
			Source:      sourceFunction, Subject: subjectApp, Extensions: inNamespace, Example: back, example: fromFunction("rollback", "plant/vibration"),
		},
	}
}

func provisionerEvents() []Entry {
	return []Entry{{
		Type: BoardChangedType, Version: 1, Format: JSON, Emitters: []string{"provisioner"}, Consumers: []string{"board"},
		Description: "An emulated board was made, booted, failed, was reset, stopped or removed. Said on change only.",
		Source:      sourceBoards, Subject: subjectDevice, Extensions: ofDevice,
		Example: BoardChanged{
			Device: Device{Namespace: "plant", Name: "press-7"}, UID: "0b4d5f6e-7a21-4c2a-9d55-6f0f8d1c2b3a", Generation: 3, Sequence: 1773500966535000,
			Phase: "Booted", Backend: "qemu", Engine: "process", Transport: "Ethernet", Endpoint: "unix:monitor.sock", Instance: "4242",
			Image: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", Resets: 1, Restarts: 1,
			Reason: "FirmwareBooted", Message: "the console said so 0.8 s after the start", Since: exampleTime,
		},
		example: exampleAttributes{source: "/wasmbed/provisioner/pv-1", subject: "plant/press-7", ext: map[string]string{ExtNamespace: "plant"}}.device(),
	}}
}

func outsideEvents() []Entry {
	var (
		people  = []string{"REST API, dashboard, CLI", "outside systems at /events, when their identity may"}
		ref     = ObjectReference{APIVersion: "wasmbed.io/v1alpha1", Kind: "Application", Namespace: "plant", Name: "vibration"}
		subject = "/apis/<group>/<version>/namespaces/<namespace>/<resource>/<name>"
		ext     = map[string]string{
			"apiversion": "apiVersion of the object", ExtKind: "kind of the object", ExtName: "name of the object", ExtNamespace: "namespace of the object",
		}
		asked   = exampleAttributes{source: "/wasmbed/api/alice", subject: "plant/vibration", ext: map[string]string{ExtNamespace: "plant"}}
		changed = exampleAttributes{source: apiServer, subject: "/apis/wasmbed.io/v1alpha1/namespaces/plant/applications/vibration",
			ext: map[string]string{"apiversion": ref.APIVersion, ExtKind: ref.Kind, ExtName: ref.Name, ExtNamespace: ref.Namespace}}
		source    = []string{"broker/source", "Knative's ApiServerSource, mode Reference"}
		functions = []string{"deploy (Application, Device, Module)", "enroll (Device, Gateway)"}
	)
	return []Entry{
		{
			Type: RollbackRequested, Version: 1, Format: JSON, Emitters: people, Consumers: []string{"rollback"},
			Description: "Somebody asks to go back to a revision, or to the last one whose rollout completed.",
			Source:      sourceAPI, Subject: subjectApp, Extensions: inNamespace,
			Example: RollbackRequest{Namespace: "plant", Application: "vibration", To: "vibration-3", Reason: "noisy readings", By: "alice"}, example: asked,
		}, {
			Type: AuditRecorded, Version: 1, Format: JSON, Emitters: []string{"REST API"}, Consumers: []string{"outside systems, by Trigger"},
			Description: "Somebody changed something through the REST API, the dashboard or the CLI. Changes by kubectl are in the Kubernetes API's own audit log.",
			Source:      sourceAPI, Subject: "<namespace>/<name>", Extensions: inNamespace,
			Example: Audit{User: "alice", Groups: []string{"operators"}, Method: "POST", Path: "/api/v1/namespaces/plant/applications/vibration/pause", Namespace: "plant", Name: "vibration", What: "paused", Value: "true", Address: "192.0.2.9:50123", Time: exampleTime}, example: asked,
		}, {
			Type: DeployRequested, Version: 1, Format: JSON, Emitters: people, Consumers: []string{"deploy"},
			Description: "An outside system, a CI job or a registry, asks to set an application's module, or with spec to make the application or give it that spec.",
			Source:      sourceAPI, Subject: subjectApp, Extensions: inNamespace,
			Example: DeployRequest{Namespace: "plant", Application: "vibration", Module: "m-9f86d081884c7d65"}, example: asked,
		}, {
			Type: RefAdd, Format: JSON, Emitters: source, Consumers: functions,
			Description: "A custom resource exists: it was made, or the source started and names what there is.",
			Source:      "<URL of the Kubernetes API>", Subject: subject, Extensions: ext, Example: ref, example: changed,
		}, {
			Type: RefUpdate, Format: JSON, Emitters: source, Consumers: functions,
			Description: "A custom resource changed, its status included; or nothing changed and the source listed again.",
			Source:      "<URL of the Kubernetes API>", Subject: subject, Extensions: ext, Example: ref, example: changed,
		}, {
			Type: RefDelete, Format: JSON, Emitters: source, Consumers: functions,
			Description: "A custom resource is gone. Not said of one that went while nobody watched.",
			Source:      "<URL of the Kubernetes API>", Subject: subject, Extensions: ext, Example: ref, example: changed,
		},
	}
}
