package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"wasmbed.io/wasmbed/internal/apply"
	"wasmbed.io/wasmbed/internal/testkube"
)

// manifests decodes config/admission strictly and returns what is in it by kind.
func manifests(t *testing.T) map[string][]any {
	t.Helper()
	types := map[string]func() any{
		"Deployment": func() any { return &appsv1.Deployment{} }, "Service": func() any { return &corev1.Service{} }, "Secret": func() any { return &corev1.Secret{} },
		"ServiceAccount": func() any { return &corev1.ServiceAccount{} }, "PodDisruptionBudget": func() any { return &policyv1.PodDisruptionBudget{} },
		"NetworkPolicy": func() any { return &networkingv1.NetworkPolicy{} }, "Role": func() any { return &rbacv1.Role{} }, "RoleBinding": func() any { return &rbacv1.RoleBinding{} },
		"ClusterRole": func() any { return &rbacv1.ClusterRole{} }, "ClusterRoleBinding": func() any { return &rbacv1.ClusterRoleBinding{} },
		"MutatingWebhookConfiguration":     func() any { return &admissionregistrationv1.MutatingWebhookConfiguration{} },
		"ValidatingWebhookConfiguration":   func() any { return &admissionregistrationv1.ValidatingWebhookConfiguration{} },
		"ValidatingAdmissionPolicy":        func() any { return &admissionregistrationv1.ValidatingAdmissionPolicy{} },
		"ValidatingAdmissionPolicyBinding": func() any { return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{} },
	}
	files, err := filepath.Glob(filepath.Join(testkube.Root(t), "config", "admission", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]any{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(f) == "kustomization.yaml" {
			for _, other := range files {
				if base := filepath.Base(other); base != "kustomization.yaml" && !strings.Contains(string(b), "- "+base) {
					t.Errorf("%s is not in the kustomization", base)
				}
			}
			continue
		}
		objects, err := apply.Decode(b)
		if err != nil {
			t.Fatal(f, err)
		}
		for _, o := range objects {
			raw, err := o.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			typ, ok := types[o.GetKind()]
			if !ok {
				t.Fatalf("%s: a %s", f, o.GetKind())
			}
			v := typ()
			if err := yaml.UnmarshalStrict(raw, v); err != nil {
				t.Errorf("%s: %s %s: %v", f, o.GetKind(), o.GetName(), err)
			}
			out[o.GetKind()] = append(out[o.GetKind()], v)
		}
	}
	return out
}

// TestManifests: what config/admission promises in its comments.
func TestManifests(t *testing.T) {
	all := manifests(t)
	d := all["Deployment"][0].(*appsv1.Deployment)
	pod, c := d.Spec.Template.Spec, d.Spec.Template.Spec.Containers[0]
	if *d.Spec.Replicas < 2 || !*pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
		!*c.SecurityContext.ReadOnlyRootFilesystem || *c.SecurityContext.AllowPrivilegeEscalation || !slices.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Error("the Deployment is not what Pod Security calls restricted, or is one process")
	}
	if s := all["Secret"][0].(*corev1.Secret); len(s.Data)+len(s.StringData) > 0 {
		t.Error("there is something in the Secret")
	}
	for _, o := range append(all["ClusterRole"], all["Role"]...) {
		rules := []rbacv1.PolicyRule{}
		switch r := o.(type) {
		case *rbacv1.ClusterRole:
			rules = r.Rules
		case *rbacv1.Role:
			rules = r.Rules
		}
		for _, r := range rules {
			if slices.Contains(slices.Concat(r.APIGroups, r.Resources, r.Verbs), "*") {
				t.Errorf("a wildcard: %+v", r)
			}
		}
	}
	policies := map[string]admissionregistrationv1.FailurePolicyType{}
	check := func(name string, fail *admissionregistrationv1.FailurePolicyType, rules []admissionregistrationv1.RuleWithOperations, effects *admissionregistrationv1.SideEffectClass, seconds *int32, service *admissionregistrationv1.ServiceReference, conditions []admissionregistrationv1.MatchCondition) {
		policies[name] = *fail
		if *effects != admissionregistrationv1.SideEffectClassNone || *seconds > 5 || *service.Port != 443 || len(conditions) != 2 {
			t.Errorf("%s: side effects %s, %d s, port %d, %d conditions", name, *effects, *seconds, *service.Port, len(conditions))
		}
		for _, r := range rules {
			for _, x := range r.Resources {
				if strings.ContainsAny(x, "/*") {
					t.Errorf("%s asks about %s", name, x)
				}
			}
		}
		// The parts that write Devices and Applications: the platform heals itself while nobody answers.
		for _, part := range []string{"enroll", "deploy", "rollback", "report", "board", "webhook", "provisioner"} {
			if !strings.Contains(conditions[0].Expression, `"system:serviceaccount:wasmbed-system:wasmbed-`+part+`"`) {
				t.Errorf("%s asks about what %s writes", name, part)
			}
		}
	}
	for _, w := range all["MutatingWebhookConfiguration"][0].(*admissionregistrationv1.MutatingWebhookConfiguration).Webhooks {
		check(w.Name, w.FailurePolicy, w.Rules, w.SideEffects, w.TimeoutSeconds, w.ClientConfig.Service, w.MatchConditions)
		if *w.ClientConfig.Service.Path != defaultPath {
			t.Error(w.Name)
		}
	}
	for _, w := range all["ValidatingWebhookConfiguration"][0].(*admissionregistrationv1.ValidatingWebhookConfiguration).Webhooks {
		check(w.Name, w.FailurePolicy, w.Rules, w.SideEffects, w.TimeoutSeconds, w.ClientConfig.Service, w.MatchConditions)
		if *w.ClientConfig.Service.Path != validatePath {
			t.Error(w.Name)
		}
	}
	if len(policies) != 3 || policies["default.admission.wasmbed.io"] != "Ignore" || policies["advise.admission.wasmbed.io"] != "Ignore" || policies["guard.admission.wasmbed.io"] != "Fail" {
		t.Errorf("%v", policies)
	}
}
