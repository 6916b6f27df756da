package main

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authn "k8s.io/api/authentication/v1"
	authz "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/config"
	"wasmbed.io/wasmbed/internal/apply"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testkube"
)

func clientset(t *testing.T, cfg *rest.Config) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func set(t *testing.T, cfg *rest.Config) *client.Set {
	t.Helper()
	s, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDataSurvives: what was written is there after an orderly end and after kill -9, at the same address and
// with the same credentials.
func TestDataSurvives(t *testing.T) {
	s := testkube.Start(t)
	host, token := s.Config.Host, s.Config.BearerToken
	gw := func(name string) *v1alpha1.Gateway {
		return &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: v1alpha1.GatewaySpec{Address: "a:1"}}
	}
	for i, end := range []func(testing.TB){s.Stop, s.Kill, s.Kill} {
		name := string(rune('a' + i))
		if _, err := set(t, s.Config).Gateways.Create(t.Context(), gw(name)); err != nil {
			t.Fatal(err)
		}
		end(t)
		s.Restart(t)
		if s.Config.Host != host || s.Config.BearerToken != token {
			t.Errorf("the endpoint moved from %s to %s", host, s.Config.Host)
		}
		items, _, err := set(t, s.Config).Gateways.List(t.Context(), "", client.ListOptions{})
		if err != nil || len(items) != i+1 {
			t.Fatalf("after end %d: %d objects, %v", i, len(items), err)
		}
	}
	st, err := os.Stat(s.Dir)
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("its folder is open to others: %v, %v", st.Mode(), err)
	}
	for _, f := range []string{"tokens.csv", "service-account.key", "serving.key", "kubeconfig"} {
		if st, err := os.Stat(filepath.Join(s.Dir, f)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, st, err)
		}
	}
}

// TestTokensAndRBAC: tokens are known, service accounts get tokens, and the parts may do what config/rbac says and
// nothing else.
func TestTokensAndRBAC(t *testing.T) {
	s := testkube.Start(t)
	a, err := apply.New(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	roles, err := apply.Files(config.FS(), config.RBAC)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(t.Context(), roles...); err != nil {
		t.Fatal(err)
	}
	admin := clientset(t, s.Config)

	// A person's service account, its token, who it is and what it may.
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "ann"}}
	if _, err := admin.CoreV1().ServiceAccounts("default").Create(t.Context(), sa, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	tr, err := admin.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "ann", &authn.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	api := clientset(t, s.As(t, "wasmbed-api"))
	review, err := api.AuthenticationV1().TokenReviews().Create(t.Context(), &authn.TokenReview{Spec: authn.TokenReviewSpec{Token: tr.Status.Token}}, metav1.CreateOptions{})
	if err != nil || !review.Status.Authenticated || review.Status.User.Username != "system:serviceaccount:default:ann" {
		t.Errorf("token review: %+v, %v", review.Status, err)
	}
	may := func(verb, resource string) bool {
		t.Helper()
		r, err := api.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authz.SubjectAccessReview{Spec: authz.SubjectAccessReviewSpec{
			User:               "system:serviceaccount:default:ann",
			ResourceAttributes: &authz.ResourceAttributes{Group: "wasmbed.io", Namespace: "default", Verb: verb, Resource: resource},
		}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Allowed
	}
	if may("list", "devices") {
		t.Error("somebody without a role may list devices")
	}
	binding, err := apply.Decode([]byte(`{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: ann, namespace: default},
		roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: wasmbed-view}, subjects: [{kind: ServiceAccount, name: ann, namespace: default}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(t.Context(), binding...); err != nil {
		t.Fatal(err)
	}
	// The authorizer learns of it from its informers.
	poll(t, "the binding counts", func() bool { return may("list", "devices") })
	if may("create", "applications") {
		t.Error("who may look may write")
	}

	// Each part does its own and not its neighbour's.
	type try struct {
		part string
		do   func(*client.Set) error
		want errs.Code
	}
	secret := func(c *client.Set) error {
		_, err := c.Secrets.Get(t.Context(), "wasmbed-system", "wasmbed-ca")
		return err
	}
	devices := func(c *client.Set) error {
		_, _, err := c.Devices.List(t.Context(), "", client.ListOptions{})
		return err
	}
	create := func(c *client.Set) error {
		_, err := c.Devices.Create(t.Context(), &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "d"}, Spec: v1alpha1.DeviceSpec{Board: "X"}})
		return err
	}
	change := func(status bool) func(*client.Set) error {
		return func(c *client.Set) error {
			d, err := c.Devices.Get(t.Context(), "default", "d")
			if err != nil {
				return err
			}
			if status {
				d.Status.Board = &v1alpha1.BoardStatus{Phase: v1alpha1.BoardPending}
				_, err = c.Devices.UpdateStatus(t.Context(), d)
			} else {
				d.Finalizers = append(d.Finalizers, v1alpha1.FinalizerBoard)
				_, err = c.Devices.Update(t.Context(), d)
			}
			return err
		}
	}
	remove := func(c *client.Set) error { return c.Devices.Delete(t.Context(), "default", "d") }
	for _, x := range []try{
		{"wasmbed-enroll", secret, errs.NotFound}, {"wasmbed-deploy", secret, errs.Denied}, {"wasmbed-api", secret, errs.Denied}, {"wasmbed-webhook", secret, errs.Denied},
		{"wasmbed-report", devices, ""}, {"wasmbed-rollback", devices, errs.Denied}, {"wasmbed-source", devices, ""},
		{"wasmbed-deploy", create, errs.Denied}, {"wasmbed-enroll", create, ""},
		{"wasmbed-board", change(true), ""}, {"wasmbed-board", change(false), errs.Denied}, {"wasmbed-board", devices, errs.Denied}, {"wasmbed-board", secret, errs.Denied},
		{"wasmbed-provisioner", change(false), ""}, {"wasmbed-provisioner", change(true), errs.Denied}, {"wasmbed-provisioner", devices, ""},
		{"wasmbed-provisioner", create, errs.Denied}, {"wasmbed-provisioner", remove, errs.Denied}, {"wasmbed-provisioner", secret, errs.Denied},
	} {
		if err := x.do(set(t, s.As(t, x.part))); errs.CodeOf(err) != x.want {
			t.Errorf("%s: %v, want %q", x.part, err, x.want)
		}
	}
}

// TestUsersOfALaterVersion: a user that this version does not have in its folder yet gets a token at the next start;
// the others keep theirs.
func TestUsersOfALaterVersion(t *testing.T) {
	s := testkube.StartBare(t)
	admin := s.Config.BearerToken
	s.Stop(t)
	all, err := os.ReadFile(filepath.Join(s.Dir, "tokens.csv"))
	if err != nil {
		t.Fatal(err)
	}
	older := slices.DeleteFunc(strings.SplitAfter(string(all), "\n"), func(l string) bool { return strings.Contains(l, "wasmbed-provisioner") })
	if err := os.WriteFile(filepath.Join(s.Dir, "tokens.csv"), []byte(strings.Join(older, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.Dir, "tokens", "wasmbed-provisioner")); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	if s.Config.BearerToken != admin {
		t.Error("the administrator's token is another one")
	}
	token := s.As(t, "wasmbed-provisioner").BearerToken
	r, err := clientset(t, s.Config).AuthenticationV1().TokenReviews().Create(t.Context(), &authn.TokenReview{Spec: authn.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil || r.Status.User.Username != "system:serviceaccount:wasmbed-system:wasmbed-provisioner" {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestControllers: a deleted namespace goes with what is in it, and who may edit may edit Applications.
func TestControllers(t *testing.T) {
	s := testkube.Start(t)
	a, err := apply.New(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	roles, err := apply.Files(config.FS(), config.RBAC)
	if err != nil {
		t.Fatal(err)
	}
	tenant, err := apply.Decode([]byte(`{apiVersion: v1, kind: Namespace, metadata: {name: tenant}}
---
{apiVersion: wasmbed.io/v1alpha1, kind: Gateway, metadata: {name: g, namespace: tenant}, spec: {address: "a:1"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(t.Context(), append(roles, tenant...)...); err != nil {
		t.Fatal(err)
	}
	kube := clientset(t, s.Config)
	if err := kube.CoreV1().Namespaces().Delete(t.Context(), "tenant", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	poll(t, "the namespace is gone", func() bool {
		_, err := kube.CoreV1().Namespaces().Get(t.Context(), "tenant", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	if _, err := set(t, s.Config).Gateways.Get(t.Context(), "tenant", "g"); !errs.Is(err, errs.NotFound) {
		t.Errorf("its Gateway: %v", err)
	}
	poll(t, "edit has our rules", func() bool {
		r, err := kube.RbacV1().ClusterRoles().Get(t.Context(), "edit", metav1.GetOptions{})
		return err == nil && slices.ContainsFunc(r.Rules, func(p rbacv1.PolicyRule) bool {
			return slices.Contains(p.Resources, "applications") && slices.Contains(p.Verbs, "update")
		})
	})
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// TestNobodyIsRefused: there is no anonymous access.
func TestNobodyIsRefused(t *testing.T) {
	s := testkube.StartBare(t)
	nobody := rest.CopyConfig(s.Config)
	nobody.BearerToken = ""
	if _, err := clientset(t, nobody).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("got %v", err)
	}
	hc, err := rest.HTTPClientFor(nobody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := hc.Get(s.Config.Host + "/version")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("/version answers %s", resp.Status)
	}
}
