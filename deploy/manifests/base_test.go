package manifests_test

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/deploy/manifests"
	"wasmbed.io/wasmbed/functions"
)

const system = "wasmbed-system"

// base decodes the objects of the base, as they are applied, strictly: into Kubernetes' types, ours, and those parts of
// Knative's that are written here.
func base(t *testing.T, folder string) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, rbacv1.AddToScheme, apiextensionsv1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme,
		autoscalingv2.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme, admissionv1.AddToScheme, addKnative} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	us, err := manifests.Objects(os.DirFS("../.."), folder)
	if err != nil {
		t.Fatal(err)
	}
	var out []runtime.Object
	for _, u := range us {
		b, err := yaml.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		o, _, err := strict.Decode(b, nil, nil)
		if err != nil {
			t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
			continue
		}
		out = append(out, o)
	}
	return out
}

// pods returns the pod templates of what runs, by kind and name.
func pods(os []runtime.Object) map[string]corev1.PodTemplateSpec {
	out := map[string]corev1.PodTemplateSpec{}
	for _, o := range os {
		switch o := o.(type) {
		case *appsv1.Deployment:
			out["Deployment/"+o.Name] = o.Spec.Template
		case *appsv1.StatefulSet:
			out["StatefulSet/"+o.Name] = o.Spec.Template
		case *batchv1.Job:
			out["Job/"+o.Name] = o.Spec.Template
		case *knService:
			out["ksvc/"+o.Name] = corev1.PodTemplateSpec{ObjectMeta: o.Spec.Template.ObjectMeta, Spec: o.Spec.Template.Spec.PodSpec}
		}
	}
	return out
}

// TestBaseDecodes: nothing in it that Kubernetes or Knative do not know, everything where it belongs.
func TestBaseDecodes(t *testing.T) {
	for folder, least := range map[string]int{"config": 120, "config/first": 1, "config/authority": 1, "config/components/backstop": 1, "config/components/broker-policy": 1, "config/provisioner": 5} {
		os := base(t, folder)
		if len(os) < least {
			t.Errorf("%s has %d objects, %d are expected", folder, len(os), least)
		}
		for _, o := range os {
			m := o.(metav1.Object)
			if m.GetLabels()["app.kubernetes.io/part-of"] != "wasmbed" && folder == "config" {
				switch o.(type) {
				case *appsv1.Deployment, *appsv1.StatefulSet, *knService, *corev1.Service, *networkingv1.NetworkPolicy, *policyv1.PodDisruptionBudget:
					t.Errorf("%s %s has no label app.kubernetes.io/part-of", o.GetObjectKind().GroupVersionKind().Kind, m.GetName())
				}
			}
			if _, ok := o.(*corev1.Secret); ok && len(o.(*corev1.Secret).Data)+len(o.(*corev1.Secret).StringData) > 0 {
				t.Errorf("Secret %s has something in it", m.GetName())
			}
		}
	}
}

// TestRestricted: Kubernetes' own checks of Pod Security, level restricted, for all that runs but the provisioner.
func TestRestricted(t *testing.T) {
	checks, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	all := pods(append(base(t, "config"), base(t, "config/authority")...))
	if len(all) < 14 {
		t.Errorf("%d things run", len(all))
	}
	for name, p := range all {
		for _, r := range checks.EvaluatePod(podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}, &p.ObjectMeta, &p.Spec) {
			if !r.Allowed {
				t.Errorf("%s: %s: %s", name, r.ForbiddenReason, r.ForbiddenDetail)
			}
		}
		if p.Spec.EnableServiceLinks == nil || *p.Spec.EnableServiceLinks {
			t.Errorf("%s: with service links Kubernetes sets WASMBED_GATEWAY_PORT and the like, which are settings", name)
		}
		if p.Spec.ServiceAccountName == "" {
			t.Errorf("%s runs as the namespace's default account", name)
		}
		for _, c := range p.Spec.Containers {
			if c.SecurityContext == nil || c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
				t.Errorf("%s can write its root", name)
			}
			if c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s has no bounds of memory, or asks for no CPU", name)
			}
			if c.ReadinessProbe == nil && !strings.HasPrefix(name, "Job/") {
				t.Errorf("%s says not when it is ready", name)
			}
			for _, e := range c.Env {
				if e.Value != "" && regexp.MustCompile("(?i)(password|token|_key$|redis_url)").MatchString(e.Name) && !strings.HasPrefix(e.Value, "/") {
					t.Errorf("%s: %s is given in the open", name, e.Name)
				}
			}
		}
	}
}

// TestFunctionsHaveServices: each function has a Knative Service, with an account of its own, and Triggers that name Services
// that are there and say how hard to try and where to give up.
func TestFunctionsHaveServices(t *testing.T) {
	all := base(t, "config")
	services, accounts := map[string]*knService{}, map[string]bool{}
	for _, o := range all {
		switch o := o.(type) {
		case *knService:
			services[o.Name] = o
		case *corev1.ServiceAccount:
			accounts[o.Name] = true
		}
	}
	for _, name := range append(functions.Names(), functions.Sinks()...) {
		s := services[name]
		if s == nil {
			t.Errorf("the function %s has no Service", name)
			continue
		}
		p := s.Spec.Template
		if p.Spec.ServiceAccountName != "wasmbed-"+name || !accounts["wasmbed-"+name] {
			t.Errorf("%s runs as %q", name, p.Spec.ServiceAccountName)
		}
		c := p.Spec.Containers[0]
		env := map[string]corev1.EnvVar{}
		for _, e := range c.Env {
			env[e.Name] = e
		}
		if env["WASMBED_FUNCTION"].Value != name {
			t.Errorf("%s serves %q", name, env["WASMBED_FUNCTION"].Value)
		}
		if p.Spec.ContainerConcurrency == nil || *p.Spec.ContainerConcurrency == 0 || p.Spec.TimeoutSeconds == nil {
			t.Errorf("%s has no bound of concurrency or time", name)
		}
		for _, a := range []string{"min-scale", "max-scale"} {
			if p.Annotations["autoscaling.knative.dev/"+a] == "" {
				t.Errorf("%s has no %s", name, a)
			}
		}
		if c.Resources.Limits.Memory().Value() > 128<<20 {
			t.Errorf("%s may take %s", name, c.Resources.Limits.Memory())
		}
		if s.Labels["networking.knative.dev/visibility"] != "cluster-local" {
			t.Errorf("%s is reachable from outside", name)
		}
		delete(services, name)
	}
	for name := range services {
		t.Errorf("the Service %s is no function", name)
	}
	triggers := 0
	for _, o := range all {
		tr, ok := o.(*knTrigger)
		if !ok {
			continue
		}
		triggers++
		d := tr.Spec.Delivery
		if d == nil || d.Retry == nil || d.BackoffPolicy == "" || d.BackoffDelay == "" || d.DeadLetterSink == nil || d.DeadLetterSink.Ref == nil || d.DeadLetterSink.Ref.Name != "deadletter" {
			t.Errorf("Trigger %s: delivery %+v", tr.Name, d)
		}
		if ref := tr.Spec.Subscriber.Ref; ref == nil || !slices.Contains(append(functions.Names(), functions.Sinks()...), ref.Name) {
			t.Errorf("Trigger %s is for nobody: %+v", tr.Name, ref)
		}
	}
	if triggers < 9 {
		t.Errorf("%d Triggers", triggers)
	}
}

// TestLeastPrivilege: no wildcard, no escalation, no Secrets of all namespaces.
func TestLeastPrivilege(t *testing.T) {
	secrets := map[string]bool{} // ClusterRoles with Secrets in them: to be bound by namespace only
	all := append(base(t, "config"), base(t, "config/provisioner")...)
	for _, o := range all {
		var rules []rbacv1.PolicyRule
		name := o.(metav1.Object).GetName()
		switch r := o.(type) {
		case *rbacv1.ClusterRole:
			rules = r.Rules
			for _, x := range rules {
				secrets[name] = secrets[name] || slices.Contains(x.Resources, "secrets")
			}
		case *rbacv1.Role:
			rules = r.Rules
		}
		for _, r := range rules {
			for _, x := range slices.Concat(r.APIGroups, r.Resources, r.Verbs) {
				if strings.Contains(x, "*") {
					t.Errorf("%s: wildcard in %+v", name, r)
				}
			}
			for _, v := range r.Verbs {
				if slices.Contains([]string{"escalate", "bind", "impersonate"}, v) {
					t.Errorf("%s may %s", name, v)
				}
			}
		}
	}
	for _, o := range all {
		if b, ok := o.(*rbacv1.ClusterRoleBinding); ok && secrets[b.RoleRef.Name] {
			t.Errorf("%s gives Secrets of all namespaces", b.Name)
		}
	}
}

// TestSourceMayWatch: the resources of the two sources together are those that their account may watch, and none is of both.
func TestSourceMayWatch(t *testing.T) {
	var kinds, may []string
	for _, o := range base(t, "config") {
		switch o := o.(type) {
		case *knSource:
			if o.Spec.Mode != "Reference" || o.Spec.ServiceAccountName != "wasmbed-source" {
				t.Errorf("source %+v", o.Spec)
			}
			for _, r := range o.Spec.Resources {
				kinds = append(kinds, strings.ToLower(r.Kind)+"s")
			}
		case *appsv1.Deployment:
			if o.Name == "wasmbed-source" {
				for _, e := range o.Spec.Template.Spec.Containers[0].Env {
					if e.Name == "WASMBED_SOURCE_AT_ONCE" { // what Knative's cannot watch
						kinds = append(kinds, strings.Split(e.Value, ",")...)
					}
				}
			}
		case *rbacv1.ClusterRole:
			if o.Name == "wasmbed-source" {
				may = slices.Clone(o.Rules[0].Resources)
			}
		}
	}
	slices.Sort(kinds)
	slices.Sort(may)
	if !slices.Equal(kinds, may) {
		t.Errorf("the sources watch %v, their account may %v", kinds, may)
	}
}

// TestSecretsExist: each Secret that something takes is made by secrets.sh, by enroll, or by admission.
func TestSecretsExist(t *testing.T) {
	acl, err := os.ReadFile("../../config/redis/users.acl")
	if err != nil {
		t.Fatal(err)
	}
	made := []string{"wasmbed-redis-acl", "wasmbed-gateway-tls"}
	for _, m := range regexp.MustCompile(`(?m)^user ([a-z]+) on @`).FindAllStringSubmatch(string(acl), -1) {
		made = append(made, "wasmbed-redis-"+m[1])
	}
	all := base(t, "config")
	for _, o := range all {
		if s, ok := o.(*corev1.Secret); ok {
			made = append(made, s.Name)
		}
	}
	for name, p := range pods(all) {
		var used []string
		for _, c := range p.Spec.Containers {
			for _, e := range c.Env {
				if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
					used = append(used, e.ValueFrom.SecretKeyRef.Name)
				}
			}
		}
		for _, v := range p.Spec.Volumes {
			if v.Secret != nil {
				used = append(used, v.Secret.SecretName)
			}
		}
		for _, s := range used {
			if !slices.Contains(made, s) {
				t.Errorf("%s takes the Secret %s, which nobody makes", name, s)
			}
		}
	}
}

// TestPoliciesSelect: each policy selects something that runs (but the source's, whose pod is Knative's), and everything that
// runs may be reached or reach something.
func TestPoliciesSelect(t *testing.T) {
	all := base(t, "config")
	ps := pods(all)
	for _, o := range all {
		n, ok := o.(*networkingv1.NetworkPolicy)
		if !ok {
			continue
		}
		sel, err := metav1.LabelSelectorAsSelector(&n.Spec.PodSelector)
		if err != nil {
			t.Fatal(err)
		}
		hit := n.Name == "source"
		for _, p := range ps {
			hit = hit || sel.Matches(labelsOf(p.Labels))
		}
		if !hit {
			t.Errorf("NetworkPolicy %s selects nothing", n.Name)
		}
	}
}

// TestOwnFilesAreListed: no file of the base is forgotten in its kustomization.
func TestOwnFilesAreListed(t *testing.T) {
	for _, folder := range []string{"crd", "rbac", "knative", "knative/triggers", "knative/functions", "redis", "gateway", "api", "webui", "networkpolicies"} {
		folder = path.Join("../../config", folder)
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		var text string
		for _, k := range []string{"Kustomization", "kustomization.yaml"} {
			if b, err := os.ReadFile(path.Join(folder, k)); err == nil {
				text = string(b)
			}
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".yaml") && e.Name() != "kustomization.yaml" && !strings.Contains(text, e.Name()) {
				t.Errorf("%s/%s is not in its kustomization", folder, e.Name())
			}
		}
	}
}
