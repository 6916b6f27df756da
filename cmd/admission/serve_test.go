package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authn "k8s.io/api/authentication/v1"
	authz "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certresources "knative.dev/pkg/webhook/certificates/resources"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/apply"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/ports"
	"wasmbed.io/wasmbed/internal/testkube"
)

// The API server of the tests reaches no Services, but it reaches this machine: the configurations of config/admission get
// URLs in the Services' place, and the certificate is for the name that stands in those. Everything else is as on a
// cluster: the rules, the conditions, the policies, the rights of the service account.
const host = "localhost"

// suite is a server that runs beside an API server which asks it.
type suite struct {
	kube  *testkube.Server
	admin *client.Set
	core  kubernetes.Interface
	words *words
	cfg   Config
	own   *rest.Config // as admission's service account
	stop  func()
}

// words are the warnings that a client was told.
type words struct {
	mu   sync.Mutex
	text []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *words) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

func (w *words) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.text = nil }()
	return w.text
}

func start(t *testing.T) *suite {
	t.Helper()
	s := &suite{kube: testkube.Start(t), words: &words{}}
	s.cfg = Config{Port: freePort(t), Metrics: "127.0.0.1:" + fmt.Sprint(freePort(t)), Service: host, Secret: "wasmbed-admission-tls", Webhooks: "admission.wasmbed.io",
		Namespace: "wasmbed-system", Kubeconfig: filepath.Join(t.TempDir(), "kubeconfig"), Drain: time.Millisecond}
	t.Setenv("SYSTEM_NAMESPACE", s.cfg.Namespace)
	var err error
	if s.core, err = kubernetes.NewForConfig(s.kube.Config); err != nil {
		t.Fatal(err)
	}
	told := rest.CopyConfig(s.kube.Config)
	told.WarningHandler = s.words
	if s.admin, err = client.New(told); err != nil {
		t.Fatal(err)
	}
	s.install(t)
	s.kubeconfig(t)
	s.run(t)
	return s
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := ports.Listen("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// install applies config/admission, but for what needs Pods.
func (s *suite) install(t *testing.T) {
	t.Helper()
	a, err := apply.New(s.kube.Config)
	if err != nil {
		t.Fatal(err)
	}
	var all []*unstructured.Unstructured
	for _, f := range []string{"rbac.yaml", "admission.yaml", "webhooks.yaml", "policy.yaml"} {
		b, err := os.ReadFile(filepath.Join(testkube.Root(t), "config", "admission", f))
		if err != nil {
			t.Fatal(err)
		}
		objects, err := apply.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			switch o.GetKind() {
			case "Deployment", "Service", "PodDisruptionBudget":
				continue
			case "Role":
				// The lease's name begins with the Service's.
				b, err := o.MarshalJSON()
				if err == nil {
					err = o.UnmarshalJSON(bytes.ReplaceAll(b, []byte(`"wasmbed-admission.`), []byte(`"`+host+`.`)))
				}
				if err != nil {
					t.Fatal(err)
				}
			case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
				hooks, _, err := unstructured.NestedSlice(o.Object, "webhooks")
				if err != nil {
					t.Fatal(err)
				}
				for _, h := range hooks {
					path, _, _ := unstructured.NestedString(h.(map[string]any), "clientConfig", "service", "path")
					h.(map[string]any)["clientConfig"] = map[string]any{"url": fmt.Sprintf("https://%s:%d%s", host, s.cfg.Port, path)}
					h.(map[string]any)["timeoutSeconds"] = int64(30) // a busy machine is no refusal
				}
				if err := unstructured.SetNestedSlice(o.Object, hooks, "webhooks"); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, o)
		}
	}
	if err := a.Apply(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
}

// kubeconfig writes one with a token of admission's service account.
func (s *suite) kubeconfig(t *testing.T) {
	t.Helper()
	token, err := s.core.CoreV1().ServiceAccounts(s.cfg.Namespace).CreateToken(t.Context(), "wasmbed-admission", &authn.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := clientcmdapi.NewConfig()
	c.Clusters["x"] = &clientcmdapi.Cluster{Server: s.kube.Config.Host, CertificateAuthority: s.kube.Config.CAFile, CertificateAuthorityData: s.kube.Config.CAData}
	c.AuthInfos["x"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "x", AuthInfo: "x"}
	c.CurrentContext = "x"
	if err := clientcmd.WriteToFile(*c, s.cfg.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	if s.own, err = clientcmd.BuildConfigFromFlags("", s.cfg.Kubeconfig); err != nil {
		t.Fatal(err)
	}
}

func (s *suite) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	cfg := s.cfg
	go func() { done <- serve(ctx, &cfg, log) }()
	var once sync.Once
	s.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	t.Cleanup(s.stop)
	poll(t, "admission is asked and answers", func() error {
		select {
		case err := <-done:
			done <- err
			t.Fatal(err)
		default:
		}
		r, err := http.Get("http://" + s.cfg.Metrics + "/readyz")
		if err != nil {
			return err
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return fmt.Errorf("not ready: %s", r.Status)
		}
		for kind, bundles := range s.bundles(t) {
			for _, b := range bundles {
				if len(b) == 0 {
					return fmt.Errorf("%s has no caBundle", kind)
				}
			}
		}
		return s.asked(t)
	})
	s.words.take()
}

// asked says whether the API server asks, by all three webhooks.
func (s *suite) asked(t *testing.T) error {
	bad := &v1alpha1.Module{ObjectMeta: meta("probe"), Spec: v1alpha1.ModuleSpec{Bytes: []byte("\x00asm\x01\x00\x00\x00")}}
	if _, err := s.admin.Modules.Create(t.Context(), bad); err == nil {
		_ = s.admin.Modules.Delete(t.Context(), "default", "probe")
		return errors.New("a bad Module was taken")
	} else if !strings.Contains(err.Error(), "NoEntryPoint") {
		return err
	}
	d, err := s.admin.Devices.Create(t.Context(), &v1alpha1.Device{ObjectMeta: meta("probe"), Spec: v1alpha1.DeviceSpec{Board: "Mps2An385"}})
	if err != nil {
		return err
	}
	if err := s.admin.Devices.Delete(t.Context(), "default", "probe"); err != nil {
		return err
	}
	if d.Labels[v1alpha1.LabelBoard] == "" {
		return errors.New("a Device has no label")
	}
	return nil
}

func (s *suite) bundles(t *testing.T) map[string][][]byte {
	t.Helper()
	out := map[string][][]byte{}
	m, err := s.core.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), s.cfg.Webhooks, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range m.Webhooks {
		out["mutating"] = append(out["mutating"], w.ClientConfig.CABundle)
	}
	v, err := s.core.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), s.cfg.Webhooks, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range v.Webhooks {
		out["validating"] = append(out["validating"], w.ClientConfig.CABundle)
	}
	if len(out["mutating"]) != 1 || len(out["validating"]) != 2 {
		t.Fatalf("%d and %d webhooks", len(out["mutating"]), len(out["validating"]))
	}
	return out
}

func poll(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name}
}

func wasm(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../firmware/modules/" + name + ".wasm")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// refused checks that an error is a refusal with these parts in it, and not that of a webhook which did not answer.
func refused(t *testing.T, err error, parts ...string) {
	t.Helper()
	if !errs.Is(err, errs.Invalid) {
		t.Errorf("not refused: %v", err)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q is not in %q", p, err)
		}
	}
}

func warned(t *testing.T, s *suite, part string) {
	t.Helper()
	if got := s.words.take(); !slices.ContainsFunc(got, func(w string) bool { return strings.Contains(w, part) }) {
		t.Errorf("no warning has %q: %q", part, got)
	}
}

// TestAgainstAnAPIServer runs the webhooks as a cluster does: the API server asks over TLS, by the rules of
// config/admission, the server has no rights but its service account's.
func TestAgainstAnAPIServer(t *testing.T) {
	s := start(t)
	ctx := t.Context()

	t.Run("modules", func(t *testing.T) {
		m, err := s.admin.Modules.Create(ctx, &v1alpha1.Module{ObjectMeta: meta("hello"), Spec: v1alpha1.ModuleSpec{Bytes: wasm(t, "hello")}})
		if err != nil || m.Spec.Digest != module.Digest(m.Spec.Bytes) {
			t.Fatalf("%+v %v", m, err)
		}
		_, err = s.admin.Modules.Create(ctx, &v1alpha1.Module{ObjectMeta: meta("liar"), Spec: v1alpha1.ModuleSpec{Bytes: wasm(t, "hello"), Digest: module.Digest(nil)}})
		refused(t, err, "advise.admission.wasmbed.io", "spec.digest: DigestMismatch", "leave digest out")
	})
	t.Run("applications", func(t *testing.T) {
		app := func(name, mod string, permissions ...v1alpha1.Permission) *v1alpha1.Application {
			return &v1alpha1.Application{ObjectMeta: meta(name), Spec: v1alpha1.ApplicationSpec{
				Module: v1alpha1.ModuleSource{Name: mod}, Manifest: v1alpha1.Manifest{Permissions: permissions}, Targets: v1alpha1.Targets{Names: []string{"d"}}}}
		}
		_, err := s.admin.Applications.Create(ctx, app("a", "later"))
		if err != nil {
			t.Fatal(err)
		}
		warned(t, s, "ModuleNotFound")
		_, err = s.admin.Applications.Create(ctx, app("b", "hello", "kv"))
		refused(t, err, "spec.manifest.permissions: PermissionDenied")
		if _, err := s.admin.Applications.Create(ctx, app("c", "hello")); err != nil {
			t.Fatal(err)
		}
		s.words.take()
		if err := s.admin.Modules.Delete(ctx, "default", "hello"); err != nil {
			t.Fatal(err)
		}
		warned(t, s, "ModuleInUse")
	})
	t.Run("devices", func(t *testing.T) {
		_, err := s.admin.Devices.Create(ctx, &v1alpha1.Device{ObjectMeta: meta("never"), Spec: v1alpha1.DeviceSpec{Board: "Stm32Vldiscovery"}})
		refused(t, err, "guard.admission.wasmbed.io", "spec.board: Unsupported", "8 KiB")
		d, err := s.admin.Devices.Create(ctx, &v1alpha1.Device{ObjectMeta: meta("d"), Spec: v1alpha1.DeviceSpec{Board: "Mps2An385", Gateway: "none"}})
		if err != nil || d.Labels[v1alpha1.LabelBoard] != "Mps2An385" {
			t.Fatalf("%+v %v", d, err)
		}
		warned(t, s, "no Gateway none")
		d.Status.Certificate = &v1alpha1.CertificateStatus{Serial: "1", NotAfter: metav1.Now(), Fingerprint: "x"}
		if d, err = s.admin.Devices.UpdateStatus(ctx, d); err != nil {
			t.Fatal(err)
		}
		d.Spec.Board = "FrdmK64f"
		_, err = s.admin.Devices.Update(ctx, d)
		refused(t, err, "spec.board", "enrolled as a Mps2An385", "delete the Device")
	})
	t.Run("webhooks", func(t *testing.T) {
		w, err := s.admin.Webhooks.Create(ctx, &v1alpha1.Webhook{ObjectMeta: meta("w"), Spec: v1alpha1.WebhookSpec{URL: "https://example.org/x"}})
		if err != nil || w.Spec.SecretRef.Name != "webhook-w" {
			t.Fatalf("%+v %v", w, err)
		}
		warned(t, s, "SecretMissing")
		_, err = s.admin.Webhooks.Create(ctx, &v1alpha1.Webhook{ObjectMeta: meta("x"), Spec: v1alpha1.WebhookSpec{URL: "https://169.254.169.254/", SecretRef: v1alpha1.SecretReference{Name: "k"}}})
		refused(t, err, "spec.url", "never dialled")
	})
	t.Run("our functions are not asked about", func(t *testing.T) { s.ownFunctions(t) })
	t.Run("policy", func(t *testing.T) { s.writers(t) })
	t.Run("rights", func(t *testing.T) { s.rights(t) })
	t.Run("http", func(t *testing.T) { s.http(t) })
	t.Run("a new certificate", func(t *testing.T) { s.renewal(t) })
	t.Run("away", func(t *testing.T) { s.away(t) })
}

// bound gives one of our parts what config/rbac gives it on devices.
func (s *suite) as(t *testing.T, part string) *client.Set {
	t.Helper()
	a, err := apply.New(s.kube.Config)
	if err != nil {
		t.Fatal(err)
	}
	roles, err := apply.Files(os.DirFS(filepath.Join(testkube.Root(t), "config")), "rbac")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(t.Context(), roles...); err != nil {
		t.Fatal(err)
	}
	set, err := client.New(s.kube.As(t, part))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (s *suite) ownFunctions(t *testing.T) {
	enroll := s.as(t, "wasmbed-enroll")
	poll(t, "enroll's rights", func() error {
		d, err := enroll.Devices.Create(t.Context(), &v1alpha1.Device{ObjectMeta: meta("found"), Spec: v1alpha1.DeviceSpec{Board: "Stm32Vldiscovery"}})
		if err == nil && d.Labels[v1alpha1.LabelBoard] != "" {
			t.Error("enroll's Device went through the webhook")
		}
		return err
	})
}

// writers: RBAC lets these parts update Devices; the policy, nothing but their own fields.
func (s *suite) writers(t *testing.T) {
	if _, err := s.admin.Devices.Create(t.Context(), &v1alpha1.Device{ObjectMeta: meta("board"), Spec: v1alpha1.DeviceSpec{Board: "Mps2An385", Emulation: &v1alpha1.Emulation{Backend: "host"}}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		part   string
		name   string
		change func(*v1alpha1.Device)
		refuse string
	}{
		{"wasmbed-provisioner", "claim", func(d *v1alpha1.Device) {
			d.Spec.Identity = &v1alpha1.DeviceIdentity{ClaimDigest: module.Digest(nil)}
		}, ""},
		{"wasmbed-provisioner", "finalizer", func(d *v1alpha1.Device) { d.Finalizers = append(d.Finalizers, "wasmbed.io/board") }, ""},
		{"wasmbed-provisioner", "approval", func(d *v1alpha1.Device) { d.Spec.Approval = v1alpha1.ApprovalApproved }, "nothing of a device but its identity"},
		{"wasmbed-provisioner", "board", func(d *v1alpha1.Device) { d.Spec.Board = "FrdmK64f" }, "nothing of a device but its identity"},
		{"wasmbed-provisioner", "key", func(d *v1alpha1.Device) { d.Spec.Identity = &v1alpha1.DeviceIdentity{PublicKey: []byte("key")} }, "enroll's to pin"},
		{"wasmbed-enroll", "key", func(d *v1alpha1.Device) {
			d.Spec.Identity = &v1alpha1.DeviceIdentity{PublicKey: []byte("key")}
		}, ""},
		{"wasmbed-enroll", "hold", func(d *v1alpha1.Device) { d.Spec.Hold = true }, "nothing of a device but its identity"},
		{"wasmbed-deploy", "finalizer", func(d *v1alpha1.Device) { d.Finalizers = nil }, ""},
		{"wasmbed-deploy", "hold", func(d *v1alpha1.Device) { d.Spec.Hold = true }, "cannot update resource"}, // it patches, and only metadata
	} {
		t.Run(c.part+" "+c.name, func(t *testing.T) {
			set := s.as(t, c.part)
			poll(t, "a word", func() error {
				d, err := s.admin.Devices.Get(t.Context(), "default", "board")
				if err != nil {
					return err
				}
				c.change(d)
				if c.name == "finalizer" && c.part == "wasmbed-deploy" {
					_, err = set.Devices.UpdateMeta(t.Context(), d)
				} else {
					_, err = set.Devices.Update(t.Context(), d)
				}
				switch {
				case c.refuse == "" || errs.Is(err, errs.Conflict):
					return err
				case err == nil:
					t.Errorf("taken")
				case !strings.Contains(err.Error(), c.refuse):
					return err // the rights may take a moment
				}
				return nil
			})
		})
	}
}

// rights: what config/admission gives is enough, as the rest of this test shows, and no more than that.
func (s *suite) rights(t *testing.T) {
	kc, err := kubernetes.NewForConfig(s.own)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		a    authz.ResourceAttributes
		want bool
	}{
		{authz.ResourceAttributes{Verb: "get", Resource: "secrets", Namespace: "wasmbed-system", Name: "wasmbed-admission-tls"}, true},
		{authz.ResourceAttributes{Verb: "get", Resource: "secrets", Namespace: "wasmbed-system", Name: "wasmbed-ca"}, false},
		{authz.ResourceAttributes{Verb: "list", Resource: "secrets", Namespace: "wasmbed-system"}, false},
		{authz.ResourceAttributes{Verb: "create", Resource: "secrets", Namespace: "wasmbed-system"}, false},
		{authz.ResourceAttributes{Verb: "get", Resource: "secrets", Namespace: "default", Name: "x"}, true},
		{authz.ResourceAttributes{Verb: "list", Resource: "secrets", Namespace: "default"}, false},
		{authz.ResourceAttributes{Verb: "get", Resource: "secrets", Namespace: "kube-system", Name: "x"}, false},
		{authz.ResourceAttributes{Verb: "list", Resource: "configmaps", Namespace: "wasmbed-system"}, false},
		{authz.ResourceAttributes{Verb: "update", Group: v1alpha1.Group, Resource: "devices", Namespace: "default"}, false},
		{authz.ResourceAttributes{Verb: "watch", Group: v1alpha1.Group, Resource: "devices", Namespace: "default"}, false},
		{authz.ResourceAttributes{Verb: "update", Group: "admissionregistration.k8s.io", Resource: "validatingwebhookconfigurations", Name: "other"}, false},
		{authz.ResourceAttributes{Verb: "create", Group: "admissionregistration.k8s.io", Resource: "validatingwebhookconfigurations"}, false},
	} {
		r, err := kc.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authz.SelfSubjectAccessReview{Spec: authz.SelfSubjectAccessReviewSpec{ResourceAttributes: &c.a}}, metav1.CreateOptions{})
		if err != nil || r.Status.Allowed != c.want {
			t.Errorf("%s %s %s/%s: %v %v, want %v", c.a.Verb, c.a.Resource, c.a.Namespace, c.a.Name, r.Status.Allowed, err, c.want)
		}
	}
}

// renewal: a Secret that lost its certificate gets another, and the API server is told.
func (s *suite) renewal(t *testing.T) {
	secrets := s.core.CoreV1().Secrets(s.cfg.Namespace)
	before, err := secrets.Get(t.Context(), s.cfg.Secret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	empty := before.DeepCopy()
	empty.Data = nil
	if _, err := secrets.Update(t.Context(), empty, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	var now *corev1.Secret
	poll(t, "another certificate", func() error {
		if now, err = secrets.Get(t.Context(), s.cfg.Secret, metav1.GetOptions{}); err != nil {
			return err
		}
		if ca := now.Data[certresources.CACert]; len(ca) == 0 || bytes.Equal(ca, before.Data[certresources.CACert]) {
			return errors.New("none yet")
		}
		for kind, bundles := range s.bundles(t) {
			for _, b := range bundles {
				if !bytes.Equal(b, now.Data[certresources.CACert]) {
					return fmt.Errorf("%s knows the old one", kind)
				}
			}
		}
		return s.asked(t)
	})
}

// away: what admission only advises on goes on without it; what it guards does not, for people, and does for functions.
func (s *suite) away(t *testing.T) {
	s.stop()
	if _, err := s.admin.Modules.Create(t.Context(), &v1alpha1.Module{ObjectMeta: meta("meanwhile"), Spec: v1alpha1.ModuleSpec{Bytes: wasm(t, "hello")}}); err != nil {
		t.Errorf("a Module: %v", err)
	}
	if _, err := s.admin.Devices.Create(t.Context(), &v1alpha1.Device{ObjectMeta: meta("meanwhile"), Spec: v1alpha1.DeviceSpec{Board: "Mps2An385"}}); err == nil {
		t.Error("a Device was made by a person while nobody guards")
	}
	d, err := s.admin.Devices.Get(t.Context(), "default", "d")
	if err != nil {
		t.Fatal(err)
	}
	d.Status.Online = "True"
	if _, err := s.admin.Devices.UpdateStatus(t.Context(), d); err != nil {
		t.Errorf("a Device's status: %v", err)
	}
	enroll := s.as(t, "wasmbed-enroll")
	if _, err := enroll.Devices.Create(t.Context(), &v1alpha1.Device{ObjectMeta: meta("enrolled"), Spec: v1alpha1.DeviceSpec{Board: "Mps2An385"}}); err != nil {
		t.Errorf("a Device of enroll's: %v", err)
	}
}
