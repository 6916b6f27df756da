package admission

import (
	"encoding/json"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	kjson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
)

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// Default fills in what a CRD's defaults cannot, because it follows from the rest of the object:
//
//   - a Module's digest, of its bytes;
//   - a Device's label wasmbed.io/board, which Devices made at first contact have, so that selectors find both;
//   - the name of a Webhook's and a WebhookSource's Secret, as the REST API has it.
//
// Nothing that was given is changed, and nothing that grants something is filled in.
func (f *Function) Default(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	out := &admissionv1.AdmissionResponse{Allowed: true}
	if r.SubResource != "" || len(r.Object.Raw) == 0 || r.Operation != admissionv1.Create && r.Operation != admissionv1.Update {
		return out
	}
	ops, err := fill(kindOf(r), r.Name, r.Object.Raw)
	if err != nil {
		return undecodable(r, err)
	}
	if len(ops) == 0 {
		return out
	}
	if out.Patch, err = json.Marshal(ops); err != nil {
		return undecodable(r, err)
	}
	typ := admissionv1.PatchTypeJSONPatch
	out.PatchType = &typ
	return out
}

// Prefixes of the names of Secrets that hold the keys of webhooks; the REST API has the same.
const (
	secretOut = "webhook-"
	secretIn  = "hook-"
)

func fill(kind, name string, raw []byte) ([]operation, error) {
	switch kind {
	case v1alpha1.KindModule:
		var m v1alpha1.Module
		if err := kjson.Unmarshal(raw, &m); err != nil || m.Spec.Digest != "" || len(m.Spec.Bytes) == 0 || m.DeletionTimestamp != nil {
			return nil, err
		}
		return []operation{{"add", "/spec/digest", module.Digest(m.Spec.Bytes)}}, nil
	case v1alpha1.KindDevice:
		var d v1alpha1.Device
		if err := kjson.Unmarshal(raw, &d); err != nil || d.Spec.Board == "" || len(validation.IsValidLabelValue(d.Spec.Board)) > 0 || d.DeletionTimestamp != nil {
			return nil, err
		}
		if _, has := d.Labels[v1alpha1.LabelBoard]; has {
			return nil, nil
		}
		var top struct {
			Metadata *struct{} `json:"metadata"`
		}
		if err := kjson.Unmarshal(raw, &top); err != nil || top.Metadata == nil {
			return nil, err
		}
		if d.Labels == nil {
			return []operation{{"add", "/metadata/labels", map[string]string{v1alpha1.LabelBoard: d.Spec.Board}}}, nil
		}
		return []operation{{"add", "/metadata/labels/" + escape(v1alpha1.LabelBoard), d.Spec.Board}}, nil
	case v1alpha1.KindWebhook:
		var w v1alpha1.Webhook
		if err := kjson.Unmarshal(raw, &w); err != nil || w.Spec.URL == "" {
			return nil, err
		}
		return secretName(secretOut, name, w.Name, w.Spec.SecretRef), nil
	case v1alpha1.KindWebhookSource:
		var w v1alpha1.WebhookSource
		if err := kjson.Unmarshal(raw, &w); err != nil || len(w.Spec.Rules) == 0 {
			return nil, err
		}
		return secretName(secretIn, name, w.Name, w.Spec.SecretRef), nil
	}
	return nil, nil
}

// secretName: an object whose name the API server is still to make up gets none.
func secretName(prefix, requested, own string, ref v1alpha1.SecretReference) []operation {
	if own == "" {
		own = requested
	}
	if ref.Name != "" || own == "" {
		return nil
	}
	return []operation{{"add", "/spec/secretRef", v1alpha1.SecretReference{Name: prefix + own}}}
}

// escape writes a key of a JSON pointer (RFC 6901).
func escape(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }
