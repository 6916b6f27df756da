package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authn "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"wasmbed.io/wasmbed/internal/apply"
	"wasmbed.io/wasmbed/internal/testkube"
)

// TestTokens against a real Kubernetes API: a token does what its role may, where it may, until it is revoked, and nobody
// gives more than they have.
func TestTokens(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kubernetes API")
	}
	s := testkube.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	a, err := apply.New(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	roles, err := apply.Files(os.DirFS(filepath.Join(testkube.Root(t), "config")), "rbac")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(ctx, roles...); err != nil {
		t.Fatal(err)
	}
	admin, err := kubernetes.NewForConfig(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{"plant", "office"} {
		if _, err := admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// Two people: one may make accounts and bindings in plant and has what a viewer has, the other is an administrator.
	person := func(name string, bind ...rbac.RoleRef) string {
		t.Helper()
		if _, err := admin.CoreV1().ServiceAccounts("plant").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, ref := range bind {
			if _, err := admin.RbacV1().RoleBindings("plant").Create(ctx, &rbac.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name + "-" + ref.Name}, RoleRef: ref,
				Subjects: []rbac.Subject{{Kind: "ServiceAccount", Name: name, Namespace: "plant"}}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		tok, err := admin.CoreV1().ServiceAccounts("plant").CreateToken(ctx, name, &authn.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return tok.Status.Token
	}
	cluster := func(name string) rbac.RoleRef {
		return rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: name}
	}
	if _, err := admin.RbacV1().ClusterRoles().Create(ctx, &rbac.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "clerk"}, Rules: []rbac.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts", "serviceaccounts/token"}, Verbs: []string{"get", "list", "create", "update", "delete"}},
		{APIGroups: []string{rbac.GroupName}, Resources: []string{"rolebindings"}, Verbs: []string{"get", "list", "create", "delete"}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	clerk := person("clerk", cluster("clerk"), cluster("wasmbed-view"))
	boss := person("boss", cluster("clerk"), cluster("wasmbed-view"), cluster("wasmbed-edit"), cluster("wasmbed-operate"), cluster("wasmbed-admin"))
	nobody := person("nobody")

	h := newHouse(t)
	auth := NewKubernetesAuthority(admin, nil)
	h.api = New(Deps{Client: h.client, Ledger: h.ledger, Affinity: h.api.Affinity, Auth: auth, Events: h.posted, AsCaller: func(token string) (kubernetes.Interface, error) {
		cfg := rest.AnonymousClientConfig(s.Config)
		cfg.BearerToken = token
		return kubernetes.NewForConfig(cfg)
	}})
	srv := httptest.NewServer(h.api)
	t.Cleanup(srv.Close)
	h.url = srv.URL

	make := func(by, ns, body string, want int) tokenAnswer {
		t.Helper()
		code, _, b := h.do("POST", "/api/v1/namespaces/"+ns+"/tokens", by, body)
		var ans tokenAnswer
		if code != want || json.Unmarshal([]byte(b), &ans) != nil {
			t.Fatalf("%s: %d %s, want %d", body, code, b, want)
		}
		return ans
	}
	may := func(token, method, path string, want int) {
		t.Helper()
		if code, _, b := h.do(method, path, token, ""); code != want {
			t.Errorf("%s %s: %d %s, want %d", method, path, code, b, want)
		}
	}
	viewer := make(clerk, "plant", `{"name":"look","role":"viewer","for":"1h"}`, 201)
	if viewer.Token == "" || viewer.User != "system:serviceaccount:plant:token-look" || viewer.Expires.IsZero() {
		t.Fatalf("%+v", viewer)
	}
	make(clerk, "plant", `{"name":"look","role":"viewer"}`, 409)
	// No more than one has; and what was begun is taken back.
	make(clerk, "plant", `{"name":"more","role":"admin"}`, 403)
	make(clerk, "plant", `{"name":"more","role":"deployer"}`, 403)
	if _, err := admin.CoreV1().ServiceAccounts("plant").Get(ctx, "token-more", metav1.GetOptions{}); err == nil {
		t.Error("half a token stays")
	}
	make(clerk, "office", `{"name":"look","role":"viewer"}`, 403)
	make(nobody, "plant", `{"name":"mine","role":"viewer"}`, 403)
	make(viewer.Token, "plant", `{"name":"mine","role":"viewer"}`, 403)
	for _, bad := range []string{`{"name":"X","role":"viewer"}`, `{"name":"x","role":"root"}`, `{"name":"x","role":"viewer","for":"1m"}`, `{"name":"x","role":"viewer","for":"9000h"}`, `{"name":"` + strings.Repeat("x", 41) + `","role":"viewer"}`} {
		make(boss, "plant", bad, 400)
	}
	may(viewer.Token, "GET", "/api/v1/namespaces/plant/devices", 200)
	may(viewer.Token, "GET", "/api/v1/namespaces/office/devices", 403)
	may(viewer.Token, "POST", "/api/v1/namespaces/plant/applications/x/pause", 403)
	may(viewer.Token, "DELETE", "/api/v1/namespaces/plant/devices/x", 403)

	for role, x := range map[string]struct{ pause, power, approve, remove, hook int }{ // 404: past the lock
		"operator": {404, 404, 404, 403, 403}, "deployer": {404, 404, 403, 403, 403}, "admin": {404, 404, 404, 404, 404},
	} {
		tok := make(boss, "plant", `{"name":"`+role+`","role":"`+role+`"}`, 201).Token
		may(tok, "POST", "/api/v1/namespaces/plant/applications/x/pause", x.pause)
		may(tok, "POST", "/api/v1/namespaces/plant/devices/x/start", x.power)
		may(tok, "POST", "/api/v1/namespaces/plant/devices/x/approve", x.approve)
		may(tok, "DELETE", "/api/v1/namespaces/plant/devices/x", x.remove)
		may(tok, "DELETE", "/api/v1/namespaces/plant/webhooks/x", x.hook)
	}

	code, _, body := h.do("GET", "/api/v1/namespaces/plant/tokens", clerk, "")
	var list listAnswer[tokenInfo]
	if json.Unmarshal([]byte(body), &list) != nil || code != 200 || len(list.Items) != 4 || strings.Contains(body, viewer.Token) || list.Items[2].Name != "look" || list.Items[2].Role != "viewer" {
		t.Errorf("%d %s", code, body)
	}
	// What is no token of ours is not revoked, and a revoked one ends.
	may(clerk, "DELETE", "/api/v1/namespaces/plant/tokens/none", 404)
	may(nobody, "DELETE", "/api/v1/namespaces/plant/tokens/look", 403)
	may(clerk, "DELETE", "/api/v1/namespaces/plant/tokens/look", 200)
	end := time.Now().Add(time.Minute) // Kubernetes itself remembers a token for ten seconds
	for {
		auth.Forget()
		code, _, b := h.do("GET", "/api/v1/namespaces/plant/devices", viewer.Token, "")
		if code == http.StatusUnauthorized || code == http.StatusForbidden { // its bindings are gone at once
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a revoked token still opens: %d %s", code, b)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if bs, err := admin.RbacV1().RoleBindings("plant").List(ctx, metav1.ListOptions{LabelSelector: labelRole + "=viewer"}); err != nil || len(bs.Items) != 0 {
		t.Errorf("bindings stay: %v %v", bs, err)
	}
}
