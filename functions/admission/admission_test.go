package admission_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/api/validate"
	"wasmbed.io/wasmbed/functions/admission"
)

func function(t testing.TB) (*admission.Function, *client.Set) {
	t.Helper()
	set := client.NewMemory()
	return admission.New(validate.New(validate.Client{Set: set}, []validate.Board{{Name: "Big", QEMU: true, ModuleMemory: 1 << 20}}, nil)), set
}

func hello(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("../../firmware/modules/hello.wasm")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// request asks about an object; either may be nil.
func request(t testing.TB, op admissionv1.Operation, kind string, old, o any) *admissionv1.AdmissionRequest {
	t.Helper()
	raw := func(v any) runtime.RawExtension {
		if v == nil {
			return runtime.RawExtension{}
		}
		if s, ok := v.(string); ok {
			return runtime.RawExtension{Raw: []byte(s)}
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return runtime.RawExtension{Raw: b}
	}
	return &admissionv1.AdmissionRequest{
		UID: "1", Kind: metav1.GroupVersionKind{Group: v1alpha1.Group, Version: "v1alpha1", Kind: kind}, Operation: op, Namespace: "plant", Name: "x", Object: raw(o), OldObject: raw(old),
	}
}

func TestRefusal(t *testing.T) {
	f, _ := function(t)
	m := v1alpha1.Module{Spec: v1alpha1.ModuleSpec{Bytes: []byte("x"), Digest: module.Digest(nil)}}
	a := f.Validate(t.Context(), request(t, admissionv1.Create, "Module", nil, m))
	if a.Allowed || a.Result.Code != 422 || a.Result.Reason != metav1.StatusReasonInvalid || len(a.Result.Details.Causes) != 2 {
		t.Fatalf("%+v", a)
	}
	for _, part := range []string{"spec.digest: DigestMismatch", "spec.bytes: NotWasm", "leave digest out"} {
		if !strings.Contains(a.Result.Message, part) {
			t.Errorf("%q is not in %q", part, a.Result.Message)
		}
	}
	if c := a.Result.Details.Causes[0]; c.Field != "spec.digest" || strings.Contains(c.Message, "spec.digest") {
		t.Errorf("%+v", c)
	}
	m.Spec = v1alpha1.ModuleSpec{Bytes: hello(t)}
	if a := f.Validate(t.Context(), request(t, admissionv1.Create, "Module", nil, m)); !a.Allowed || len(a.Warnings) > 0 {
		t.Errorf("%+v", a)
	}
}

func TestWarning(t *testing.T) {
	f, set := function(t)
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "a"}, Spec: v1alpha1.ApplicationSpec{
		Module: v1alpha1.ModuleSource{Name: "m"}, Targets: v1alpha1.Targets{Names: []string{"d"}}}}
	a := f.Validate(t.Context(), request(t, admissionv1.Create, "Application", nil, app))
	if !a.Allowed || len(a.Warnings) != 2 || !strings.Contains(a.Warnings[0], "no Module m in namespace plant") {
		t.Errorf("%+v", a)
	}
	if _, err := set.Applications.Create(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	m := v1alpha1.Module{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Spec: v1alpha1.ModuleSpec{Bytes: hello(t)}}
	a = f.Validate(t.Context(), request(t, admissionv1.Delete, "Module", m, nil))
	if !a.Allowed || len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "1 application (a)") {
		t.Errorf("%+v", a)
	}
}

// TestTheRequestSaysTheNamespace: what stands in the object is the sender's word, and looks nothing up elsewhere.
func TestTheRequestSaysTheNamespace(t *testing.T) {
	f, set := function(t)
	m := &v1alpha1.Module{ObjectMeta: metav1.ObjectMeta{Namespace: "office", Name: "m"}, Spec: v1alpha1.ModuleSpec{Bytes: hello(t)}}
	if _, err := set.Modules.Create(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	app := v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "office", Name: "a"}, Spec: v1alpha1.ApplicationSpec{
		Module: v1alpha1.ModuleSource{Name: "m"}, Targets: v1alpha1.Targets{All: true}}}
	a := f.Validate(t.Context(), request(t, admissionv1.Create, "Application", nil, app))
	if len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "no Module m in namespace plant") {
		t.Errorf("%+v", a)
	}
}

func TestNotOurs(t *testing.T) {
	f, _ := function(t)
	status := request(t, admissionv1.Update, "Device", `{}`, `{"spec":{"board":"Never"}}`)
	status.SubResource = "status"
	other := request(t, admissionv1.Create, "Device", nil, `{"spec":{"board":7}}`)
	other.Kind.Group = "example.org"
	later := request(t, admissionv1.Create, "Device", nil, `{"spec":{"board":7}}`)
	later.Kind.Version = "v1"
	for i, r := range []*admissionv1.AdmissionRequest{status, other, later, request(t, admissionv1.Connect, "Device", nil, nil), request(t, admissionv1.Create, "Pod", nil, `{}`),
		request(t, admissionv1.Create, "Device", nil, nil), request(t, admissionv1.Update, "Device", nil, `{}`), request(t, admissionv1.Delete, "Device", `{}`, nil), {}} {
		if a := f.Validate(t.Context(), r); !a.Allowed {
			t.Errorf("%d: %+v", i, a.Result)
		}
		if a := f.Default(r); !a.Allowed || a.Patch != nil {
			t.Errorf("%d: %+v", i, a)
		}
	}
	for _, raw := range []string{`{"spec":{"board":7}}`, `[`, `"x"`} {
		r := request(t, admissionv1.Create, "Device", nil, raw)
		if a := f.Validate(t.Context(), r); a.Allowed || a.Result.Code != 400 {
			t.Errorf("%s: %+v", raw, a)
		}
		if a := f.Default(r); a.Allowed {
			t.Errorf("%s: %+v", raw, a)
		}
	}
}

func TestDefault(t *testing.T) {
	f, _ := function(t)
	b := hello(t)
	for _, c := range []struct {
		name, kind string
		object     any
		patch      string
	}{
		{"digest", "Module", v1alpha1.Module{Spec: v1alpha1.ModuleSpec{Bytes: b}}, `[{"op":"add","path":"/spec/digest","value":"` + module.Digest(b) + `"}]`},
		{"digest given", "Module", v1alpha1.Module{Spec: v1alpha1.ModuleSpec{Bytes: b, Digest: "sha256:x"}}, ``},
		{"label", "Device", `{"metadata":{"name":"x"},"spec":{"board":"Big"}}`, `[{"op":"add","path":"/metadata/labels","value":{"wasmbed.io/board":"Big"}}]`},
		{"one more label", "Device", `{"metadata":{"labels":{}},"spec":{"board":"Big"}}`, `[{"op":"add","path":"/metadata/labels/wasmbed.io~1board","value":"Big"}]`},
		{"label given", "Device", `{"metadata":{"labels":{"wasmbed.io/board":"other"}},"spec":{"board":"Big"}}`, ``},
		{"no label's value", "Device", `{"metadata":{},"spec":{"board":"a b"}}`, ``},
		{"secret", "Webhook", `{"metadata":{"name":"w"},"spec":{"url":"https://example.org"}}`, `[{"op":"add","path":"/spec/secretRef","value":{"name":"webhook-w"}}]`},
		{"secret of the request's name", "WebhookSource", `{"metadata":{},"spec":{"rules":[{"type":"a.b"}]}}`, `[{"op":"add","path":"/spec/secretRef","value":{"name":"hook-x"}}]`},
		{"secret given", "Webhook", `{"metadata":{"name":"w"},"spec":{"url":"https://example.org","secretRef":{"name":"k"}}}`, ``},
		{"nothing to do", "Gateway", `{"spec":{}}`, ``},
		{"empty", "Webhook", `{}`, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(t, admissionv1.Create, c.kind, nil, c.object)
			a := f.Default(r)
			if !a.Allowed || string(a.Patch) != c.patch {
				t.Fatalf("%s, want %s", a.Patch, c.patch)
			}
			if c.patch == "" {
				return
			}
			p, err := jsonpatch.DecodePatch(a.Patch)
			if err != nil {
				t.Fatal(err)
			}
			r.Object.Raw, err = p.Apply(r.Object.Raw)
			if err != nil {
				t.Fatal(err)
			}
			if a := f.Default(r); a.Patch != nil {
				t.Errorf("there is still something to do: %s", a.Patch)
			}
		})
	}
}

// FuzzAdmissionReview: whatever comes in, an answer goes out that Kubernetes understands, and a patch that can be applied.
func FuzzAdmissionReview(f *testing.F) {
	fn, _ := function(f)
	module, err := json.Marshal(v1alpha1.Module{Spec: v1alpha1.ModuleSpec{Bytes: hello(f)}})
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range [][3]string{
		{"Module", "", string(module)}, {"Module", string(module), `{"spec":{"bytes":"AGFzbQEAAAA="}}`}, {"Device", `{"spec":{"board":"a"}}`, `{"spec":{"board":"b","identity":{"publicKey":"MFkw"}}}`},
		{"Application", "", `{"spec":{"module":{"oci":"a/b@"},"targets":{"selector":{"matchLabels":{"a":"b"}}}}}`}, {"Gateway", `null`, `{"spec":{"address":"[::]:1","attestation":{"mode":"Require"}}}`},
		{"Webhook", "", `{"spec":{"url":"https://[::1]/"}}`}, {"WebhookSource", "", `{"spec":{"rules":[{"data":{"a":"{$"}}]}}`}, {"Revision", `{"spec":{}}`, `{"spec":{"number":1}}`}, {"Pod", "[", "]"},
	} {
		for _, op := range []string{"CREATE", "UPDATE", "DELETE"} {
			f.Add(op, c[0], []byte(c[1]), []byte(c[2]))
		}
	}
	f.Fuzz(func(t *testing.T, op, kind string, old, object []byte) {
		r := request(t, admissionv1.Operation(op), kind, nil, nil)
		var o map[string]any
		if json.Unmarshal(object, &o) == nil && o != nil { // without keys that stand twice: the API server sends what it has encoded
			var err error
			if object, err = json.Marshal(o); err != nil {
				t.Fatal(err)
			}
		}
		r.OldObject.Raw, r.Object.Raw = old, object
		for _, a := range []*admissionv1.AdmissionResponse{fn.Validate(t.Context(), r), fn.Default(r)} {
			if !a.Allowed && (a.Result == nil || a.Result.Message == "" || a.Result.Code < 400) {
				t.Fatalf("a refusal without a cause: %+v", a)
			}
			for _, w := range a.Warnings {
				if strings.ContainsAny(w, "\n\r\x00") {
					t.Fatalf("the API server would drop %q", w)
				}
			}
			if a.Patch == nil {
				continue
			}
			p, err := jsonpatch.DecodePatch(a.Patch)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Apply(object); err != nil {
				t.Fatalf("%s on %s: %v", a.Patch, object, err)
			}
		}
	})
}

func BenchmarkModule64KiB(b *testing.B) {
	f, _ := function(b)
	wasm := append(hello(b), 0) // a custom section that fills it up
	pad := 64<<10 - len(wasm) - 3
	wasm = append(wasm, byte(pad&0x7f|0x80), byte(pad>>7&0x7f|0x80), byte(pad>>14))
	wasm = append(append(wasm, 1, 'x'), make([]byte, pad-2)...)
	r := request(b, admissionv1.Create, "Module", nil, v1alpha1.Module{Spec: v1alpha1.ModuleSpec{Bytes: wasm}})
	b.SetBytes(int64(len(wasm)))
	for b.Loop() {
		if a := f.Validate(b.Context(), r); !a.Allowed {
			b.Fatal(a.Result.Message)
		}
	}
}
