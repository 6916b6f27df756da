package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	authv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"wasmbed.io/wasmbed/api/client"
)

// parts is what each service account may, all of it: "verbs of resources", in every namespace or as marked. What is not
// here must be refused.
var parts = map[string][]string{
	"wasmbed-enroll": {"get,list,create,update,patch of devices", "get,list,patch of gateways", "update of devices/status,gateways/status", "get,create,update of events",
		"create of secrets,configmaps in wasmbed-system"}, // the rest by name: TestNamedSecrets

	"wasmbed-deploy": {"get,list,create,update,patch of applications", "get,list,patch of devices", "get,list,create,update,delete of revisions,modules", "update of applications/status,modules/status",
		"get,create,update of events"},
	"wasmbed-rollback": {"get,list of applications,revisions", "update of applications/status", "get,create,update of events"},
	"wasmbed-report":   {"get,list of devices", "update of devices/status", "get,create,update of events"},
	"wasmbed-board":    {"get of devices", "update of devices/status", "get,create,update of events"},
	"wasmbed-webhook": {"get,list of webhooks,webhooksources", "update of webhooks/status,webhooksources/status", "get,create,update of events",
		"get,create,update,delete of secrets in default"},
	"wasmbed-command":     {},
	"wasmbed-gateway":     {},
	"wasmbed-journal":     {},
	"wasmbed-deadletter":  {},
	"wasmbed-webui":       {},
	"wasmbed-source":      {"get,list,watch of applications,devices,modules,gateways,revisions,webhooks,webhooksources"},
	"wasmbed-provisioner": {"get,list,watch,update of devices"},
}

// asked is all that is asked of each.
var asked = struct{ verbs, wasmbed, core, apps, rbac []string }{
	verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
	wasmbed: []string{"applications", "devices", "gateways", "modules", "revisions", "webhooks", "webhooksources",
		"applications/status", "devices/status", "gateways/status", "modules/status", "revisions/status", "webhooks/status", "webhooksources/status"},
	core: []string{"secrets", "configmaps", "pods", "pods/exec", "pods/log", "serviceaccounts/token", "events", "namespaces", "nodes", "services"},
	apps: []string{"deployments", "statefulsets"},
	rbac: []string{"roles", "rolebindings", "clusterroles", "clusterrolebindings"},
}

// may reads one of the lines of parts.
func may(lines []string, verb, resource, namespace string) bool {
	for _, l := range lines {
		verbs, rest, _ := strings.Cut(l, " of ")
		resources, where, limited := strings.Cut(rest, " in ")
		if slices.Contains(strings.Split(verbs, ","), verb) && slices.Contains(strings.Split(resources, ","), resource) && (!limited || where == namespace) {
			return true
		}
	}
	return false
}

// What each part may, and all that it may not, as Kubernetes itself answers.
func TestLeastPrivilege(t *testing.T) {
	w := reach(t)
	n := 0
	for account, lines := range parts {
		if _, err := w.core.CoreV1().ServiceAccounts(system).Get(w.ctx(), account, metav1.GetOptions{}); err != nil {
			if apierrors.IsNotFound(err) && account == "wasmbed-provisioner" {
				continue
			}
			t.Error(err)
			continue
		}
		ask := func(group, resource string) {
			for _, verb := range asked.verbs {
				for _, namespace := range []string{"default", system} {
					name, sub, _ := strings.Cut(resource, "/")
					r, err := w.core.AuthorizationV1().SubjectAccessReviews().Create(w.ctx(), &authzv1.SubjectAccessReview{Spec: authzv1.SubjectAccessReviewSpec{
						User: "system:serviceaccount:" + system + ":" + account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + system, "system:authenticated"},
						ResourceAttributes: &authzv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: group, Resource: name, Subresource: sub},
					}}, metav1.CreateOptions{})
					if err != nil {
						t.Fatal(err)
					}
					n++
					if want := may(lines, verb, resource, namespace); r.Status.Allowed != want {
						t.Errorf("%s: %s %s in %s: allowed %v, want %v %s", account, verb, resource, namespace, r.Status.Allowed, want, r.Status.Reason)
					}
				}
			}
		}
		for _, r := range asked.wasmbed {
			ask("wasmbed.io", r)
		}
		for _, r := range asked.core {
			ask("", r)
		}
		for _, r := range asked.apps {
			ask("apps", r)
		}
		for _, r := range asked.rbac {
			ask("rbac.authorization.k8s.io", r)
		}
	}
	t.Logf("%d questions", n)
}

// Of the Secrets in the platform's namespace enroll sees its own, and no other part any.
func TestNamedSecrets(t *testing.T) {
	w := reach(t)
	for account := range parts {
		for _, name := range []string{"wasmbed-ca", "wasmbed-gateway-tls", "wasmbed-redis-acl", "wasmbed-redis-functions", "wasmbed-admission-tls"} {
			for _, verb := range []string{"get", "update", "delete"} {
				r, err := w.core.AuthorizationV1().SubjectAccessReviews().Create(w.ctx(), &authzv1.SubjectAccessReview{Spec: authzv1.SubjectAccessReviewSpec{
					User:               "system:serviceaccount:" + system + ":" + account,
					ResourceAttributes: &authzv1.ResourceAttributes{Namespace: system, Verb: verb, Resource: "secrets", Name: name},
				}}, metav1.CreateOptions{})
				if err != nil {
					t.Fatal(err)
				}
				own := account == "wasmbed-enroll" && (name == "wasmbed-ca" || name == "wasmbed-gateway-tls") && verb != "delete"
				if r.Status.Allowed != own {
					t.Errorf("%s: %s secret %s: allowed %v", account, verb, name, r.Status.Allowed)
				}
			}
		}
	}
}

// tenant is somebody who may everything of Wasmbed in one namespace.
type tenant struct {
	namespace, token string
	kube             *client.Set
}

func (w *world) tenant(name string) tenant {
	w.t.Helper()
	space := w.namespace(name)
	sa, err := w.core.CoreV1().ServiceAccounts(space).Create(w.ctx(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "person"}}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, role := range []string{"view", "edit", "admin"} {
		_, err := w.core.RbacV1().RoleBindings(space).Create(w.ctx(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: sa.Name, Namespace: space}}}, metav1.CreateOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	token, err := w.core.CoreV1().ServiceAccounts(space).CreateToken(w.ctx(), sa.Name, &authv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := rest.AnonymousClientConfig(w.cfg)
	cfg.BearerToken = token.Status.Token
	set, err := client.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return tenant{namespace: space, token: token.Status.Token, kube: set}
}

const apiURL = "http://wasmbed-api." + system + ".svc.cluster.local:3001"

// rest asks the REST API as somebody.
func (w *world) rest(token, method, path, contentType, body string) (status int, answer string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.ctx(), method, apiURL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(b)
}

// A tenant can neither see nor touch another's things, through any door.
func TestTenants(t *testing.T) {
	w := reach(t)
	a, b := w.tenant("a"), w.tenant("b")
	f := &fleet{world: w, names: []string{"theirs"}}
	theirs := f.application("theirs", "hello")
	theirs.Namespace = b.namespace
	if _, err := b.kube.Applications.Create(w.ctx(), theirs); err != nil {
		t.Fatalf("the other tenant's own: %v", err)
	}
	base := "/api/v1/namespaces/" + b.namespace

	// Their own door is open, so that what is refused below is refused for whose it is.
	if status, body := w.rest(b.token, "GET", base+"/applications", "", ""); status != http.StatusOK {
		t.Fatalf("the other tenant's own: %d %s", status, body)
	}

	for name, err := range map[string]error{
		"kubectl get":    second(a.kube.Applications.Get(w.ctx(), b.namespace, "theirs")),
		"kubectl list":   third(a.kube.Devices.List(w.ctx(), b.namespace, client.ListOptions{})),
		"kubectl create": second(a.kube.Applications.Create(w.ctx(), theirs.DeepCopy())),
		"kubectl delete": a.kube.Applications.Delete(w.ctx(), b.namespace, "theirs"),
		"list all":       third(a.kube.Devices.List(w.ctx(), "", client.ListOptions{})),
	} {
		if err == nil || !strings.Contains(err.Error(), "forbidden") {
			t.Errorf("%s: %v", name, err)
		}
	}

	event := func(namespace string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":"x-%d","source":"/ci","type":"io.wasmbed.rollback.requested.v1","namespace":%q,"datacontenttype":"application/json","data":{"application":"theirs"}}`,
			time.Now().UnixNano(), namespace)
	}
	const ce, json = "application/cloudevents+json", "application/json"
	for _, c := range []struct{ method, path, contentType, body string }{
		{"GET", base + "/applications", "", ""},
		{"GET", base + "/applications/theirs", "", ""},
		{"GET", base + "/applications/theirs/explain", "", ""},
		{"GET", base + "/devices", "", ""},
		{"GET", base + "/devices/theirs", "", ""},
		{"GET", base + "/devices/theirs/telemetry", "", ""},
		{"GET", base + "/devices/theirs/logs", "", ""},
		{"GET", base + "/gateways", "", ""},
		{"GET", base + "/modules", "", ""},
		{"GET", base + "/revisions", "", ""},
		{"GET", base + "/webhooks", "", ""},
		{"GET", base + "/watch", "", ""},
		{"PUT", base + "/applications/theirs", json, `{"spec":{}}`},
		{"DELETE", base + "/applications/theirs", "", ""},
		{"POST", base + "/applications/theirs/rollback", json, `{}`},
		{"POST", base + "/applications/theirs/pause", json, `{}`},
		{"POST", base + "/devices/theirs/approve", json, `{}`},
		{"POST", base + "/devices/theirs/invoke", json, `{"application":"theirs","function":"f"}`},
		{"POST", base + "/events", ce, event(b.namespace)},
		{"POST", "/api/v1/events?namespace=" + b.namespace, ce, event(b.namespace)},
		{"POST", "/api/v1/events?namespace=" + a.namespace, ce, event(b.namespace)},
		{"GET", "/api/v1/events", "", ""},
		{"GET", "/api/v1/deadletters", "", ""},
		{"GET", "/api/v1/overview?namespace=" + b.namespace, "", ""},
	} {
		status, body := w.rest(a.token, c.method, c.path, c.contentType, c.body)
		if status != http.StatusForbidden && status != http.StatusNotFound && status != http.StatusUnauthorized || strings.Contains(body, "sha256:") {
			t.Errorf("%s %s: %d %.200s", c.method, c.path, status, body)
		}
	}

	// What the gateway alone says cannot be said from outside, not even about one's own.
	for _, typ := range []string{"io.wasmbed.device.connected.v1", "io.wasmbed.device.reported.v1", "io.wasmbed.timer.due.v1", "io.wasmbed.ledger.lost.v1", "dev.knative.apiserver.ref.update"} {
		body := strings.Replace(event(a.namespace), "io.wasmbed.rollback.requested.v1", typ, 1)
		if status, answer := w.rest(a.token, "POST", "/api/v1/events?namespace="+a.namespace, ce, body); status < 400 || status >= 500 {
			t.Errorf("forged %s: %d %s", typ, status, answer)
		}
	}

	// Live: a subscription to another's topic is refused, and nothing of theirs comes.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, apiURL+"/api/v1/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + a.token}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := wsjson.Write(ctx, c, map[string]any{"subscribe": []map[string]string{{"id": "x", "topic": "devices", "namespace": b.namespace}}}); err != nil {
		t.Fatal(err)
	}
	for {
		var m map[string]any
		if err := wsjson.Read(ctx, c, &m); err != nil {
			break // it hung up: as good as a refusal
		}
		if m["items"] != nil {
			t.Fatalf("somebody else's: %v", m)
		}
		if m["error"] != nil {
			break
		}
	}
}

func second[T any](_ T, err error) error        { return err }
func third[T, U any](_ T, _ U, err error) error { return err }
