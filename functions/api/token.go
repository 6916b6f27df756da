package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	authn "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of service tokens.
const (
	minTokenLife = 10 * time.Minute // Kubernetes' own
	maxTokenLife = 366 * 24 * time.Hour
	defTokenLife = 90 * 24 * time.Hour
	maxTokenName = 40
	tokenPrefix  = "token-" // of the names of the service accounts
	labelRole    = "wasmbed.io/token-role"
	noteExpires  = "wasmbed.io/token-expires"
	noteMadeBy   = "wasmbed.io/made-by"
)

// AsCaller makes a Kubernetes client that speaks with a caller's own token, so that Kubernetes decides about what is done
// with it, and not what this API may.
type AsCaller func(token string) (kubernetes.Interface, error)

// tokenRoles are the cluster roles behind each role; the words are the same in every namespace.
func tokenRoles() map[string][]string {
	return map[string][]string{
		"viewer":   {"wasmbed-view"},
		"operator": {"wasmbed-view", "wasmbed-operate"},
		"deployer": {"wasmbed-view", "wasmbed-edit"},
		"admin":    {"wasmbed-view", "wasmbed-edit", "wasmbed-operate", "wasmbed-admin"},
	}
}

func (a *API) tokenRoutes() []route {
	const ns = "/api/v1/namespaces/:namespace"
	return []route{ // Kubernetes is asked with the caller's own token: there is no verb of ours
		{"GET", ns + "/tokens", "", "", a.listTokens},
		{"POST", ns + "/tokens", "", "", a.createToken},
		{"DELETE", ns + "/tokens/:name", "", "", a.revokeToken},
	}
}

type tokenBody struct {
	Name string `json:"name"`
	Role string `json:"role"`          // viewer, operator, deployer, admin
	For  string `json:"for,omitempty"` // a duration like 720h; 90 days when not given
}

// tokenInfo is a service token without the token.
type tokenInfo struct {
	Name    string    `json:"name"`
	Role    string    `json:"role"`
	User    string    `json:"user"` // as Kubernetes calls who has it
	MadeBy  string    `json:"madeBy,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
	Expired bool      `json:"expired"`
}

// tokenAnswer is the one moment in which the token is seen.
type tokenAnswer struct {
	tokenInfo `json:",inline"`
	Token     string `json:"token"`
}

// caller is a Kubernetes client that is the caller.
func (a *API) caller(r *request) (kubernetes.Interface, error) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if a.AsCaller == nil {
		return nil, errs.New(errs.Unsupported, "service tokens are not made here").WithMend("kubectl create serviceaccount, kubectl create token")
	}
	return a.AsCaller(token)
}

// createToken makes a service account, binds it to the role, and asks Kubernetes for a token of it. All of it is asked as
// the caller, so nobody can give more than they may give: Kubernetes refuses to bind a role to who could not bind it.
func (a *API) createToken(w http.ResponseWriter, r *request) error {
	var body tokenBody
	if err := decode(r, &body); err != nil {
		return err
	}
	roles, life, err := body.check()
	if err != nil {
		return err
	}
	k, err := a.caller(r)
	if err != nil {
		return err
	}
	ctx, name := r.Context(), tokenPrefix+body.Name
	expires := a.Now().Add(life).UTC()
	meta := metav1.ObjectMeta{Name: name, Namespace: r.namespace, Labels: map[string]string{v1alpha1.LabelManagedBy: madeHere, labelRole: body.Role},
		Annotations: map[string]string{noteExpires: expires.Format(time.RFC3339), noteMadeBy: r.user.Name}}
	off := false
	made, err := k.CoreV1().ServiceAccounts(r.namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta, AutomountServiceAccountToken: &off}, metav1.CreateOptions{})
	if err != nil {
		return kubeError(err, "make a service account", "there is a token "+body.Name, "revoke it first, or take another name")
	}
	answer, err := a.bindAndIssue(ctx, k, r.namespace, made, roles, life)
	if err != nil {
		// What was begun is taken back, or the name would be taken by half a token.
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditPatience)
		defer cancel()
		if undo := dropToken(back, k, r.namespace, made); undo != nil {
			a.Log.Warn("half a token stays", "namespace", r.namespace, "name", name, "err", undo)
		}
		return err
	}
	info := a.tokenInfo(made)
	info.Expires = answer.Status.ExpirationTimestamp.UTC()
	if d := info.Expires.Sub(expires); d < -time.Minute || d > time.Minute { // Kubernetes shortens what is longer than it allows
		made.Annotations[noteExpires] = info.Expires.Format(time.RFC3339)
		if _, err := k.CoreV1().ServiceAccounts(r.namespace).Update(ctx, made, metav1.UpdateOptions{}); err != nil {
			a.Log.Warn("the list will show a later end than the token has", "name", name, "err", err)
		}
	}
	r.name = body.Name
	a.audit(r, "created", body.Role+" until "+info.Expires.Format(time.RFC3339))
	return writeJSON(w, http.StatusCreated, tokenAnswer{info, answer.Status.Token})
}

func (b *tokenBody) check() (roles []string, life time.Duration, err error) {
	if bad := validation.IsDNS1123Label(b.Name); len(bad) > 0 || len(b.Name) > maxTokenName {
		return nil, 0, errs.New(errs.Invalid, "name %q: at most %d of a-z, 0-9 and -, like ci-plant-1", b.Name, maxTokenName)
	}
	roles, ok := tokenRoles()[b.Role]
	if !ok {
		return nil, 0, errs.New(errs.Invalid, "there is no role %q", b.Role).WithMend("it is viewer, operator, deployer or admin")
	}
	life = defTokenLife
	if b.For != "" {
		if life, err = time.ParseDuration(b.For); err != nil || life < minTokenLife || life > maxTokenLife {
			return nil, 0, errs.New(errs.Invalid, "for %q: a duration from %v to %v, like 720h", b.For, minTokenLife, maxTokenLife)
		}
	}
	return roles, life, nil
}

func (a *API) bindAndIssue(ctx context.Context, k kubernetes.Interface, ns string, sa *corev1.ServiceAccount, roles []string, life time.Duration) (*authn.TokenRequest, error) {
	for _, role := range roles {
		_, err := k.RbacV1().RoleBindings(ns).Create(ctx, &rbac.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: bindingName(sa.Name, role), Labels: sa.Labels,
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ServiceAccount", Name: sa.Name, UID: sa.UID}}},
			RoleRef:  rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbac.Subject{{Kind: "ServiceAccount", Name: sa.Name, Namespace: ns}},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, kubeError(err, "bind role "+role, "there is a binding of that name", "revoke the token of that name first")
		}
	}
	seconds := int64(life / time.Second)
	t, err := k.CoreV1().ServiceAccounts(ns).CreateToken(ctx, sa.Name, &authn.TokenRequest{Spec: authn.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil {
		return nil, kubeError(err, "ask for a token", "", "")
	}
	return t, nil
}

func bindingName(account, role string) string {
	return account + "-" + strings.TrimPrefix(role, "wasmbed-")
}

// dropToken removes a service account, which ends its tokens, and its bindings.
func dropToken(ctx context.Context, k kubernetes.Interface, ns string, sa *corev1.ServiceAccount) error {
	err := k.CoreV1().ServiceAccounts(ns).Delete(ctx, sa.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &sa.UID}})
	if apierrors.IsNotFound(err) {
		err = nil
	}
	for _, role := range tokenRoles()["admin"] { // it has them all
		e := k.RbacV1().RoleBindings(ns).Delete(ctx, bindingName(sa.Name, role), metav1.DeleteOptions{})
		if e != nil && !apierrors.IsNotFound(e) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// revokeToken ends a token: Kubernetes does not know it any more, and this API asks Kubernetes again within ten seconds.
func (a *API) revokeToken(w http.ResponseWriter, r *request) error {
	k, err := a.caller(r)
	if err != nil {
		return err
	}
	sa, err := k.CoreV1().ServiceAccounts(r.namespace).Get(r.Context(), tokenPrefix+r.name, metav1.GetOptions{})
	if err != nil {
		return kubeError(err, "read the service account", "", "")
	}
	if sa.Labels[v1alpha1.LabelManagedBy] != madeHere || sa.Labels[labelRole] == "" {
		return errs.New(errs.NotFound, "there is no token %s", r.name)
	}
	if err := dropToken(r.Context(), k, r.namespace, sa); err != nil {
		return kubeError(err, "remove the service account", "", "")
	}
	if f, ok := a.Auth.(interface{ Forget() }); ok {
		f.Forget()
	}
	a.audit(r, "revoked", sa.Labels[labelRole])
	return writeJSON(w, http.StatusOK, map[string]string{"status": "revoked"})
}

func (a *API) listTokens(w http.ResponseWriter, r *request) error {
	after, n, err := page(r)
	if err != nil {
		return err
	}
	k, err := a.caller(r)
	if err != nil {
		return err
	}
	list, err := k.CoreV1().ServiceAccounts(r.namespace).List(r.Context(), metav1.ListOptions{LabelSelector: v1alpha1.LabelManagedBy + "=" + madeHere + "," + labelRole, Limit: int64(n), Continue: after})
	if err != nil {
		return kubeError(err, "list service accounts", "", "")
	}
	items := []tokenInfo{}
	for i := range list.Items {
		items = append(items, a.tokenInfo(&list.Items[i]))
	}
	slices.SortFunc(items, func(x, y tokenInfo) int { return strings.Compare(x.Name, y.Name) })
	return writeJSON(w, http.StatusOK, listAnswer[tokenInfo]{items, list.Continue})
}

func (a *API) tokenInfo(sa *corev1.ServiceAccount) tokenInfo {
	t := tokenInfo{Name: strings.TrimPrefix(sa.Name, tokenPrefix), Role: sa.Labels[labelRole], User: "system:serviceaccount:" + sa.Namespace + ":" + sa.Name,
		MadeBy: sa.Annotations[noteMadeBy], Created: sa.CreationTimestamp.UTC()}
	if at, err := time.Parse(time.RFC3339, sa.Annotations[noteExpires]); err == nil {
		t.Expires, t.Expired = at, a.Now().After(at)
	}
	return t
}

// kubeError says what Kubernetes refused. there and mend are for what exists already.
func kubeError(err error, what, there, mend string) error {
	var s apierrors.APIStatus
	switch {
	case apierrors.IsAlreadyExists(err) && there != "":
		return errs.New(errs.AlreadyExists, "%s", there).WithMend("%s", mend)
	case apierrors.IsForbidden(err):
		return errs.New(errs.Denied, "%s: %v", what, err).WithMend("Kubernetes decides this: it needs create serviceaccounts, serviceaccounts/token and rolebindings in the namespace, and bind on the role (or all that the role grants)")
	case apierrors.IsNotFound(err):
		return errs.New(errs.NotFound, "%s: %v", what, err)
	case apierrors.IsConflict(err):
		return errs.New(errs.Conflict, "%s: %v", what, err)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsResourceExpired(err):
		return errs.New(errs.Invalid, "%s: %v", what, err)
	case apierrors.IsUnauthorized(err):
		return errs.New(errs.Unauthenticated, "%s: %v", what, err)
	case apierrors.IsTooManyRequests(err):
		return errs.New(errs.Exhausted, "%s: %v", what, err)
	case errors.As(err, &s) && s.Status().Code >= 400 && s.Status().Code < 500:
		return errs.New(errs.Invalid, "%s: %v", what, err)
	}
	return errs.New(errs.Unavailable, "%s: %w", what, err)
}
