package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// operator is the token of somebody who may look at everything in the namespace of the fleet.
func (w *world) operator() string {
	w.t.Helper()
	sa, err := w.core.CoreV1().ServiceAccounts(ns).Create(w.ctx(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{GenerateName: "operator-"}}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	role, err := w.core.RbacV1().RoleBindings(ns).Create(w.ctx(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "operator-"}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "admin"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: sa.Name, Namespace: ns}}}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = w.core.RbacV1().RoleBindings(ns).Delete(w.ctx(), role.Name, metav1.DeleteOptions{})
		_ = w.core.CoreV1().ServiceAccounts(ns).Delete(w.ctx(), sa.Name, metav1.DeleteOptions{})
	})
	token, err := w.core.CoreV1().ServiceAccounts(ns).CreateToken(w.ctx(), sa.Name, &authv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return token.Status.Token
}

// hops prints the way of the last change of an application, all of it in one trace: from Knative's source or ours through
// the functions, the ledger, a gateway and a device and back into the status. of names what must be among them.
func (w *world) hops(token, app string, of ...string) {
	w.t.Helper()
	var way struct {
		Trace string `json:"trace"`
		Hops  []struct {
			Name      string    `json:"name"`
			Component string    `json:"component"`
			Subject   string    `json:"subject"`
			Start     time.Time `json:"start"`
			Duration  int64     `json:"duration_us"`
		} `json:"hops"`
	}
	w.until("the trace of "+app+" is whole", func() error {
		status, body := w.rest(token, http.MethodGet, "/api/v1/namespaces/"+ns+"/applications/"+app+"/trace", "", "")
		if status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		}
		if err := json.Unmarshal([]byte(body), &way); err != nil {
			return err
		}
		there := map[string]bool{}
		for _, h := range way.Hops {
			there[h.Component] = true
		}
		for _, c := range of {
			if !there[c] {
				return fmt.Errorf("%d hops, none of %s: %v", len(way.Hops), c, there)
			}
		}
		return nil
	})
	w.t.Logf("trace %s: %d hops", way.Trace, len(way.Hops))
	told := map[string]bool{}
	for _, h := range way.Hops {
		what := h.Component + " " + h.Name
		if strings.Count(h.Subject, "/") == 1 && told[what] { // one device is enough
			continue
		}
		told[what] = true
		w.t.Logf("  +%8.3f s %10.3f ms  %s  %s", h.Start.Sub(way.Hops[0].Start).Seconds(), float64(h.Duration)/1000, what, h.Subject)
	}
}

// TestTrace: a change by kubectl is one trace, whose hops are told.
func TestTrace(t *testing.T) {
	w := reach(t)
	w.pairing()
	f := w.devices("traced", 2)
	w.apply(f.application("traced", "hello"))
	w.ready("traced", 2)
	w.hops(w.operator(), "traced", "deploy", "gateway", "device", "report")
}
