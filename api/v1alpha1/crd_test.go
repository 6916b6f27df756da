package v1alpha1_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/testkube"
)

const wasmHead = "AGFzbQEAAAA=" // \0asm, version 1

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// TestGenerated: config/crd and the deep copies are what the types say.
func TestGenerated(t *testing.T) {
	root := testkube.Root(t)
	dir := t.TempDir()
	cmd := exec.Command("go", "tool", "controller-gen", "object", "paths=./api/v1alpha1", "crd:crdVersions=v1",
		"output:crd:dir="+dir, "output:object:dir="+dir)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("controller-gen: %v\n%s", err, out)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 6 {
		t.Fatalf("controller-gen made %d files (%v)", len(files), err)
	}
	for _, f := range files {
		committed := filepath.Join(root, "config", "crd", f.Name())
		if strings.HasSuffix(f.Name(), ".go") {
			committed = filepath.Join(root, "api", "v1alpha1", f.Name())
		}
		want, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(committed)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the types say: go generate ./api/v1alpha1 (%v)", f.Name(), err)
		}
	}
}

// TestEveryFieldIsExplained: `kubectl explain` has a text for every field.
func TestEveryFieldIsExplained(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testkube.Root(t), "config", "crd", "*.yaml"))
	if err != nil || len(files) != 7 {
		t.Fatalf("%d CRDs, %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var crd map[string]any
		if err := yaml.Unmarshal(b, &crd); err != nil {
			t.Fatal(err)
		}
		versions, _, _ := unstructured.NestedSlice(crd, "spec", "versions")
		for _, v := range versions {
			s, _, _ := unstructured.NestedMap(v.(map[string]any), "schema", "openAPIV3Schema")
			explained(t, filepath.Base(f), s)
		}
	}
}

func explained(t *testing.T, path string, s map[string]any) {
	properties, _ := s["properties"].(map[string]any)
	for name, p := range properties {
		at, prop := path+"."+name, p.(map[string]any)
		if d, _ := prop["description"].(string); strings.TrimSpace(d) == "" && name != "metadata" {
			t.Errorf("%s has no description", at)
		}
		explained(t, at, prop)
		if items, ok := prop["items"].(map[string]any); ok {
			explained(t, at+"[]", items)
		}
	}
}

// object makes a manifest of one of our kinds in namespace default, from YAML of its spec.
func object(t *testing.T, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{}}
	o.SetAPIVersion(v1alpha1.GroupVersion.String())
	o.SetKind(kind)
	o.SetNamespace("default")
	o.SetName(name)
	var s any
	if err := yaml.Unmarshal([]byte(spec), &s); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, spec)
	}
	if s != nil {
		o.Object["spec"] = s
	}
	return o
}

func resource(kind string) schema.GroupVersionResource {
	return v1alpha1.GroupVersion.WithResource(strings.ToLower(kind) + "s")
}

// TestOnARealAPIServer is everything that only an API server can say.
func TestOnARealAPIServer(t *testing.T) {
	s := testkube.Start(t)
	dyn, err := dynamic.NewForConfig(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("Accepted", func(t *testing.T) { accepted(t, dyn) })
	t.Run("Refused", func(t *testing.T) { refused(t, dyn) })
	t.Run("RefusedUpdates", func(t *testing.T) { refusedUpdates(t, dyn) })
	t.Run("Defaults", func(t *testing.T) { defaults(t, dyn) })
	t.Run("Columns", func(t *testing.T) { columns(t, dyn, s.Config) })
	t.Run("Kubectl", func(t *testing.T) { kubectl(t, s.Kubeconfig) })
}

func accepted(t *testing.T, dyn dynamic.Interface) {
	for i, tc := range []struct{ kind, spec string }{
		{"Device", `{board: Mps2An385}`},
		{"Device", `{board: RenodeArduinoNano33Ble, approval: Approved, hold: true, gateway: main, identity: {claimDigest: "` + digest("a") + `"}, emulation: {backend: renode}}`},
		{"Device", `{board: Mps2An385, emulation: {backend: qemu, engine: docker, transport: Serial, resets: 2, powerCuts: 1, state: Stopped}}`},
		{"Device", `{board: Mps2An385, emulation: {backend: host, engine: process, transport: Ethernet}}`},
		{"Device", `{board: Mps2An385, emulation: {backend: qemu, engine: "", transport: ""}}`},
		{"Application", `{module: {name: hello}, targets: {all: true}}`},
		{"Application", `{module: {inline: ` + wasmHead + `}, targets: {selector: {matchLabels: {a: b}}}, rollout: {maxUnavailable: 100%, batchSize: 7, failureThreshold: 10%}}`},
		{"Application", `{module: {oci: "registry.example/hello@` + digest("b") + `"}, targets: {selector: {matchExpressions: [{key: a, operator: In, values: [b]}, {key: c, operator: Exists}]}}, rollout: {maxUnavailable: 1, progressDeadline: 1h30m}}`},
		{"Application", `{module: {name: hello}, targets: {names: [a, b]}, paused: true, state: Stopped, manifest: {permissions: [], config: {a.b-c_d: x}, timers: [{id: 1, period: 1s}, {id: 2, period: 1m30.5s}], health: {window: 2s}}}`},
		{"Module", `{bytes: "AGFzbQEAAAAA+/+/"}`},
		{"Application", `{module: {inline: "AGFzbQEAAAAA+/+/"}, targets: {all: true}}`},
		{"Module", `{bytes: ` + wasmHead + `, digest: "` + digest("c") + `"}`},
		{"Gateway", `{address: "localhost:8081"}`},
		{"Gateway", `{address: "[::1]:8081", heartbeat: 1s, pairing: {until: "2030-01-01T00:00:00Z", approval: Automatic}, attestation: {mode: Require, measurements: [{digest: "` + digest("d") + `"}]}}`},
		{"Webhook", `{url: "https://mes.example/x?y=1", secretRef: {name: key}}`},
		{"Webhook", `{url: "http://127.0.0.1:9/", allowPrivate: true, secretRef: {name: key}, types: ["*", "io.wasmbed.rollout.*", com.example.x], filter: {subjectPrefix: "plant/", application: hello}, format: JSON, handshake: Require, maxAttempts: 3, disableAfter: 1h, paused: true, enables: 2}`},
		{"WebhookSource", `{secretRef: {name: key}, rules: [{type: com.example.push}]}`},
		{"WebhookSource", `{secretRef: {name: key}, verify: {scheme: GitHub, timePath: $.at, tolerance: 1m}, ratePerMinute: 5, rules: [{type: io.wasmbed.deploy.requested.v1, when: [{path: header.X-GitHub-Event, in: [push]}], data: {application: hello, module: $.m}}, {type: io.wasmbed.command.requested.v1}]}`},
		{"Revision", `{application: hello, number: 1, module: {digest: "` + digest("e") + `", size: 8}, hash: ` + strings.Repeat("0a", 32) + `}`},
	} {
		o := object(t, tc.kind, fmt.Sprintf("ok-%d", i), tc.spec)
		if _, err := dyn.Resource(resource(tc.kind)).Namespace("default").Create(t.Context(), o, dryRun()); err != nil {
			t.Errorf("%s %s: %v", tc.kind, tc.spec, err)
		}
	}
}

func dryRun() metav1.CreateOptions {
	return metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
}

func refused(t *testing.T, dyn dynamic.Interface) {
	app := func(rest string) string { return `{module: {name: hello}, targets: {all: true}, ` + rest + `}` }
	long := func(n int) string { return strings.Repeat("x", n) }
	big := make([]byte, 512<<10+2) // base64 has groups of three
	copy(big, "\x00asm\x01\x00\x00\x00")
	bigJSON, _ := json.Marshal(big)
	for i, tc := range []struct{ kind, name, spec, text string }{
		{"Device", "", ``, "spec: Required value"},
		{"Device", "", `{}`, "spec.board: Required value"},
		{"Device", "", `{board: "no spaces"}`, "spec.board"},
		{"Device", "", `{board: X, approval: Perhaps}`, `supported values: "Pending", "Approved", "Rejected", "Revoked"`},
		{"Device", "", `{board: X, identity: {claimDigest: abc}}`, "claimDigest"},
		{"Device", "", `{board: X, emulation: {backend: vmware}}`, "emulation.backend"},
		{"Device", "", `{board: X, emulation: {}}`, "emulation.backend: Required value"},
		{"Device", "", `{board: X, emulation: {backend: qemu, engine: podman}}`, "emulation.engine"},
		{"Device", "", `{board: X, emulation: {backend: qemu, transport: serial}}`, "emulation.transport"},
		{"Device", "", `{board: X, emulation: {backend: qemu, state: Paused}}`, "emulation.state"},
		{"Device", "", `{board: X, emulation: {backend: qemu, resets: -1}}`, "emulation.resets"},
		{"Device", "", `{board: X, emulation: {backend: host, engine: docker}}`, "backend host is a process"},
		{"Device", "", `{board: X, emulation: {backend: host, transport: Serial}}`, "backend host has no serial line"},
		{"Device", "", `{board: X, unknown: 1}`, `unknown field "spec.unknown"`},
		{"Device", "a.b", `{board: X}`, "at most 63 characters, no dots"},
		{"Device", long(64), `{board: X}`, "at most 63 characters, no dots"},
		{"Webhook", "", `{url: "http://mes.example/", secretRef: {name: key}}`, "https is needed"},
		{"Webhook", "", `{url: "ftp://mes.example/", secretRef: {name: key}}`, "spec.url"},
		{"Webhook", "", `{url: "https://user:pw@mes.example/", secretRef: {name: key}}`, "spec.url"},
		{"Webhook", "", `{url: "https://mes.example/#x", secretRef: {name: key}}`, "spec.url"},
		{"Webhook", "", `{url: "https:///x", secretRef: {name: key}}`, "spec.url"},
		{"Webhook", "", `{url: "https://mes.example/"}`, "spec.secretRef: Required value"},
		{"Webhook", "", `{url: "https://mes.example/", secretRef: {name: key}, format: XML}`, "spec.format"},
		{"Webhook", "", `{url: "https://mes.example/", secretRef: {name: key}, types: ["a*b"]}`, "spec.types[0]"},
		{"Webhook", "", `{url: "https://mes.example/", secretRef: {name: key}, disableAfter: 1s}`, "between 1m and 720h"},
		{"Webhook", "", `{url: "https://mes.example/", secretRef: {name: key}, maxAttempts: 11}`, "spec.maxAttempts"},
		{"Webhook", "a.b", `{url: "https://mes.example/", secretRef: {name: key}}`, "no dots"},
		{"WebhookSource", "", `{secretRef: {name: key}}`, "spec.rules: Required value"},
		{"WebhookSource", "", `{secretRef: {name: key}, rules: []}`, "spec.rules"},
		{"WebhookSource", "", `{secretRef: {name: key}, rules: [{type: io.wasmbed.device.reported.v1}]}`, "only deploy.requested"},
		{"WebhookSource", "", `{secretRef: {name: key}, rules: [{type: dev.knative.apiserver.ref.add}]}`, "only deploy.requested"},
		{"WebhookSource", "", `{secretRef: {name: key}, verify: {scheme: MD5}, rules: [{type: x.y}]}`, "spec.verify.scheme"},
		{"WebhookSource", "", `{secretRef: {name: key}, verify: {tolerance: 2h}, rules: [{type: x.y}]}`, "between 1s and 1h"},
		{"Application", "", `{targets: {all: true}}`, "spec.module: Required value"},
		{"Application", "", `{module: {name: x}}`, "spec.targets: Required value"},
		{"Application", long(53), app(``), "at most 52 characters"},
		{"Application", "", `{module: {}, targets: {all: true}}`, "exactly one of inline, name and oci"},
		{"Application", "", `{module: {name: x, oci: z}, targets: {all: true}}`, "exactly one of inline, name and oci"},
		{"Application", "", `{module: {inline: aGVsbG8=}, targets: {all: true}}`, `NotWasm`},
		{"Application", "", `{module: {inline: AGFzbQ0AAQA=}, targets: {all: true}}`, `NotWasm`},
		{"Application", "", `{module: {inline: "***"}, targets: {all: true}}`, "spec.module.inline"},
		{"Application", "", `{module: {inline: ` + string(bigJSON) + `}, targets: {all: true}}`, "at most 512 KiB"},
		{"Application", "", `{module: {name: x}, targets: {}}`, "exactly one of names, selector and all: true"},
		{"Application", "", `{module: {name: x}, targets: {all: false}}`, "exactly one of names, selector and all: true"},
		{"Application", "", `{module: {name: x}, targets: {all: true, names: [a]}}`, "exactly one of names, selector and all: true"},
		{"Application", "", `{module: {name: x}, targets: {names: []}}`, "spec.targets.names"},
		{"Application", "", `{module: {name: x}, targets: {names: [a, a]}}`, "Duplicate value"},
		{"Application", "", `{module: {name: x}, targets: {selector: {}}}`, "an empty selector selects everything"},
		{"Application", "", `{module: {name: x}, targets: {selector: {matchExpressions: [{key: a, operator: Like, values: [b]}]}}}`, "operator is one of In, NotIn, Exists, DoesNotExist"},
		{"Application", "", `{module: {name: x}, targets: {selector: {matchExpressions: [{key: a, operator: In}]}}}`, "In and NotIn need values"},
		{"Application", "", `{module: {name: x}, targets: {selector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}}`, "Exists and DoesNotExist take none"},
		{"Application", "", app(`state: Sleeping`), "spec.state"},
		{"Application", "", app(`revisionHistoryLimit: 0`), "greater than or equal to 1"},
		{"Application", "", app(`manifest: {limits: {memoryPages: 0}}`), "memoryPages"},
		{"Application", "", app(`manifest: {limits: {memoryPages: 1025}}`), "less than or equal to 1024"},
		{"Application", "", app(`manifest: {limits: {stackBytes: 100}}`), "stackBytes"},
		{"Application", "", app(`manifest: {limits: {callTimeout: 0s}}`), "must be between 1ms and 1m"},
		{"Application", "", app(`manifest: {limits: {callTimeout: 2m}}`), "must be between 1ms and 1m"},
		{"Application", "", app(`manifest: {limits: {callTimeout: 1 day}}`), "callTimeout"},
		{"Application", "", app(`manifest: {limits: {callTimeout: 99999999999999h}}`), "callTimeout"},
		{"Application", "", app(`manifest: {permissions: [log, log]}`), "Duplicate value"},
		{"Application", "", app(`manifest: {permissions: [root]}`), `supported values: "log"`},
		{"Application", "", app(`manifest: {timers: [{id: 1, period: 1s}, {id: 1, period: 2s}]}`), "Duplicate value"},
		{"Application", "", app(`manifest: {timers: [{id: 1, period: 1ms}]}`), "must be between 10ms and 24h"},
		{"Application", "", app(`manifest: {timers: [` + timers(9) + `]}`), "must have at most 8 items"},
		{"Application", "", app(`manifest: {config: {` + long(65) + `: z}}`), "a name has 1 to 64 characters"},
		{"Application", "", app(`manifest: {config: {a: ` + long(257) + `}}`), "a value has at most 256 characters"},
		{"Application", "", app(`manifest: {config: {a: ` + long(256) + `, b: ` + long(256) + `, c: ` + long(256) + `, d: ` + long(256) + `}}`), "at most 1024 characters in all"},
		{"Application", "", app(`manifest: {config: {` + config(33) + `}}`), "must have at most 32 items"},
		{"Application", "", app(`manifest: {health: {window: 1ms}}`), "must be between 100ms and 1h"},
		{"Application", "", app(`manifest: {health: {maxTraps: 0}}`), "maxTraps"},
		{"Application", "", app(`rollout: {maxUnavailable: 0}`), "with 0 nothing would ever be updated"},
		{"Application", "", app(`rollout: {maxUnavailable: 0%}`), "with 0 nothing would ever be updated"},
		{"Application", "", app(`rollout: {maxUnavailable: 101%}`), "must be at least 1, or 1% to 100%"},
		{"Application", "", app(`rollout: {batchSize: many}`), "must be at least 1, or 1% to 100%"},
		{"Application", "", app(`rollout: {failureThreshold: -1}`), "must be at least 1, or 1% to 100%"},
		{"Application", "", app(`rollout: {progressDeadline: 1s}`), "must be between 5s and 24h"},
		{"Module", "", `{}`, "spec.bytes: Required value"},
		{"Module", "", `{bytes: aGVsbG8=}`, "NotWasm"},
		{"Module", "", `{bytes: ` + wasmHead + wasmHead + `}`, "spec.bytes"},
		{"Module", "", `{bytes: AGFzbQEAAA-_}`, "spec.bytes"},
		{"Module", "", `{bytes: ` + wasmHead + `, digest: abc}`, "spec.digest"},
		{"Gateway", "", `{}`, "spec.address: Required value"},
		{"Gateway", "", `{address: localhost}`, "spec.address"},
		{"Gateway", "", `{address: "localhost:0"}`, "the port is between 1 and 65535"},
		{"Gateway", "", `{address: "localhost:65536"}`, "the port is between 1 and 65535"},
		{"Gateway", "", `{address: "a:1", heartbeat: 10ms}`, "must be between 100ms and 1h"},
		{"Gateway", "", `{address: "a:1", pairing: {approval: Always}}`, "pairing.approval"},
		{"Gateway", "", `{address: "a:1", pairing: {until: tomorrow}}`, "pairing.until"},
		{"Gateway", "", `{address: "a:1", certificate: {life: 1s}}`, "must be between 2m and 8760h"},
		{"Gateway", "", `{address: "a:1", limits: {maxFrame: 10}}`, "limits.maxFrame"},
		{"Gateway", "", `{address: "a:1", attestation: {mode: Require}}`, "mode Require needs measurements"},
		{"Revision", "", `{application: hello, number: 0, module: {digest: "` + digest("e") + `", size: 8}, hash: ` + strings.Repeat("0a", 32) + `}`, "spec.number"},
		{"Revision", "", `{application: hello, number: 1, module: {digest: md5, size: 8}, hash: x}`, "spec.module.digest"},
	} {
		if tc.name == "" {
			tc.name = fmt.Sprintf("bad-%d", i)
		}
		_, err := dyn.Resource(resource(tc.kind)).Namespace("default").Create(t.Context(), object(t, tc.kind, tc.name, tc.spec), dryRun())
		if err == nil || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s %.120s: %v; want %q", tc.kind, tc.spec, err, tc.text)
		}
	}
}

func timers(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("{id: %d, period: 1s}", i))
	}
	return strings.Join(out, ", ")
}

func config(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("k%d: v", i))
	}
	return strings.Join(out, ", ")
}

func refusedUpdates(t *testing.T, dyn dynamic.Interface) {
	key := `identity: {publicKey: "A/+A"}`
	for i, tc := range []struct{ kind, before, after, text string }{
		{"Device", `{board: X, ` + key + `}`, `{board: X, identity: {publicKey: BBBB}}`, "identity.publicKey is pinned"},
		{"Device", `{board: X, ` + key + `}`, `{board: X, identity: {}}`, "identity.publicKey is pinned"},
		{"Device", `{board: X, ` + key + `}`, `{board: X}`, "identity.publicKey is pinned"},
		{"Device", `{board: X, ` + key + `}`, `{board: Z, approval: Revoked, ` + key + `}`, ""},
		{"Device", `{board: X}`, `{board: X, ` + key + `}`, ""},
		{"Device", `{board: X, emulation: {backend: qemu, resets: 2}}`, `{board: X, emulation: {backend: qemu, resets: 1}}`, "resets counts what was asked for"},
		{"Device", `{board: X, emulation: {backend: qemu, resets: 2}}`, `{board: X, emulation: {backend: qemu}}`, "resets counts what was asked for"},
		{"Device", `{board: X, emulation: {backend: qemu, powerCuts: 2}}`, `{board: X, emulation: {backend: qemu, powerCuts: 1}}`, "powerCuts counts what was asked for"},
		{"Device", `{board: X, emulation: {backend: qemu, powerCuts: 2, resets: 1}}`, `{board: X, emulation: {backend: renode, powerCuts: 3, resets: 1, state: Stopped}}`, ""},
		{"Device", `{board: X, emulation: {backend: qemu}}`, `{board: X, emulation: {backend: qemu, resets: 1}}`, ""},
		{"Device", `{board: X, emulation: {backend: qemu, resets: 1}}`, `{board: X}`, ""},
		{"Module", `{bytes: ` + wasmHead + `}`, `{bytes: AGFzbQEAAAAAAQA=}`, "a Module's bytes are immutable"},
		{"Revision", `{application: a, number: 1, module: {digest: "` + digest("e") + `", size: 8}, hash: ` + strings.Repeat("0a", 32) + `}`,
			`{application: a, number: 2, module: {digest: "` + digest("e") + `", size: 8}, hash: ` + strings.Repeat("0a", 32) + `}`, "a Revision is immutable"},
		{"Application", `{module: {name: a}, targets: {all: true}}`, `{module: {inline: ` + wasmHead + `}, targets: {names: [x]}}`, ""},
	} {
		r := dyn.Resource(resource(tc.kind)).Namespace("default")
		name := fmt.Sprintf("update-%d", i)
		before, err := r.Create(t.Context(), object(t, tc.kind, name, tc.before), metav1.CreateOptions{})
		if err != nil {
			t.Errorf("%s %s: %v", tc.kind, tc.before, err)
			continue
		}
		after := object(t, tc.kind, name, tc.after)
		after.SetResourceVersion(before.GetResourceVersion())
		_, err = r.Update(t.Context(), after, metav1.UpdateOptions{})
		if tc.text == "" && err != nil || tc.text != "" && (err == nil || !strings.Contains(err.Error(), tc.text)) {
			t.Errorf("%s from %s to %s: %v; want %q", tc.kind, tc.before, tc.after, err, tc.text)
		}
	}
}

// defaults: the API server's defaults are those of the Default methods.
func defaults(t *testing.T, dyn dynamic.Interface) {
	for i, tc := range []struct {
		kind, spec string
		typed      interface{ Default() }
	}{
		{"Device", `{board: X, emulation: {backend: host}}`, &v1alpha1.Device{}},
		{"Application", `{module: {name: a}, targets: {all: true}}`, &v1alpha1.Application{}},
		{"Application", `{module: {name: a}, targets: {all: true}, manifest: {limits: {memoryPages: 2}, permissions: []}, rollout: {automaticRollback: false}}`, &v1alpha1.Application{}},
		{"Application", `{module: {name: a}, targets: {all: true}, manifest: {permissions: null, health: {window: null}}}`, &v1alpha1.Application{}},
		{"Gateway", `{address: "a:1", limits: {maxDevices: 3}}`, &v1alpha1.Gateway{}},
		{"Webhook", `{url: "https://a/", secretRef: {name: k}}`, &v1alpha1.Webhook{}},
		{"WebhookSource", `{secretRef: {name: k}, rules: [{type: x.y}]}`, &v1alpha1.WebhookSource{}},
		{"Revision", `{application: a, number: 1, module: {digest: "` + digest("e") + `", size: 8}, hash: ` + strings.Repeat("0a", 32) + `}`, &v1alpha1.Revision{}},
	} {
		in := object(t, tc.kind, fmt.Sprintf("default-%d", i), tc.spec)
		decode(t, in.Object, tc.typed)
		tc.typed.Default()
		got, err := dyn.Resource(resource(tc.kind)).Namespace("default").Create(t.Context(), in, dryRun())
		if err != nil {
			t.Error(err)
			continue
		}
		back := reflect.New(reflect.TypeOf(tc.typed).Elem()).Interface()
		decode(t, got.Object, back)
		if g, w := specOf(t, back), specOf(t, tc.typed); g != w {
			t.Errorf("%s %s\nAPI server: %s\nDefault():  %s", tc.kind, tc.spec, g, w)
		}
	}
}

func decode(t *testing.T, in map[string]any, out any) {
	t.Helper()
	b, err := json.Marshal(in)
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func specOf(t *testing.T, o any) string {
	t.Helper()
	var m struct{ Spec any }
	b, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, _ = json.Marshal(m.Spec)
	return string(b)
}

// columns: what `kubectl get` shows, as the server's tables say it.
func columns(t *testing.T, dyn dynamic.Interface, cfg *rest.Config) {
	create := func(kind, name, spec, status string) {
		r := dyn.Resource(resource(kind)).Namespace("default")
		o, err := r.Create(t.Context(), object(t, kind, name, spec), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if status == "" {
			return
		}
		var st map[string]any
		if err := yaml.Unmarshal([]byte(status), &st); err != nil {
			t.Fatal(err)
		}
		o.Object["status"] = st
		if _, err := r.UpdateStatus(t.Context(), o, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("Device", "table", `{board: Mps2An385}`, `{gateway: main, online: "True", firmware: 1.2.3, apps: 1/2}`)
	create("Application", "table", `{module: {name: a}, targets: {all: true}}`,
		`{revision: table-2, stableRevision: table-1, readyDesired: 2/3, updated: 2, failed: 1, condition: Progressing}`)
	create("Gateway", "table", `{address: "gw:8081", pairing: {until: "2030-01-01T00:00:00Z"}}`,
		`{devices: 3, conditions: [{type: Ready, status: "True", reason: Up, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}]}`)
	create("Module", "table", `{bytes: `+wasmHead+`}`, `{digest: "sha256:ab", size: 8, memoryPages: 1}`)
	create("Revision", "table", `{application: a, number: 1, module: {digest: "`+digest("e")+`", size: 8}, hash: `+strings.Repeat("0a", 32)+`}`, "")

	for _, tc := range []struct{ kind, want string }{
		{"Device", "Name=table Board=Mps2An385 Gateway=main Online=True Firmware=1.2.3 Apps=1/2"},
		{"Application", "Name=table Revision=table-2 Ready=2/3 Updated=2 Failed=1 Condition=Progressing"},
		{"Gateway", "Name=table Address=gw:8081 Ready=True Devices=3 Pairing=2030-01-01T00:00:00Z"},
		{"Module", "Name=table Digest=sha256:ab Size=8 Pages=1"},
		{"Revision", "Name=table Application=a Number=1 Digest=" + digest("e") + " Size=8"},
	} {
		if got := row(t, cfg, tc.kind, "table"); got != tc.want {
			t.Errorf("%s\ngot  %s\nwant %s", tc.kind, got, tc.want)
		}
	}
}

// row asks for one object as `kubectl get` does, and returns its row without age and wide columns.
func row(t *testing.T, cfg *rest.Config, kind, name string) string {
	t.Helper()
	c := rest.CopyConfig(cfg)
	gv := v1alpha1.GroupVersion
	c.GroupVersion, c.APIPath, c.NegotiatedSerializer = &gv, "/apis", codecs()
	rc, err := rest.RESTClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := rc.Get().Namespace("default").Resource(resource(kind).Resource).Name(name).
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(b, &table); err != nil {
		t.Fatal(err)
	}
	var out []string
	for i, col := range table.ColumnDefinitions {
		if col.Priority == 0 && col.Name != "Age" {
			out = append(out, fmt.Sprintf("%s=%v", col.Name, table.Rows[0].Cells[i]))
		}
	}
	return strings.Join(out, " ")
}

// kubectl: the names and words that people type. It needs kubectl, which Wasmbed does not.
func kubectl(t *testing.T, kubeconfig string) {
	bin, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not on PATH")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, tc := range []struct{ args, want string }{
		{"get dev,app,gw,mod,rev table --no-headers", "application.wasmbed.io/table"},
		{"get wasmbed -o name", "device.wasmbed.io/table"},
		{"wait --for=condition=Ready gateway/table --timeout=20s", "condition met"},
		{"explain application.spec.rollout.maxUnavailable", "may be changing at once"},
		{"explain device.status.online", "Status of the Online condition"},
	} {
		cmd := exec.CommandContext(ctx, bin, strings.Fields(tc.args)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), tc.want) {
			t.Errorf("kubectl %s: %v\n%s", tc.args, err, out)
		}
	}
}
