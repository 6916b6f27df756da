package api

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"
	"time"

	authn "k8s.io/api/authentication/v1"
	authz "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"wasmbed.io/wasmbed/internal/errs"
)

// User is who asks, as Kubernetes knows them.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// Authority says who a token is and what they may. Errors: Unauthenticated for a token that nobody issued,
// Unavailable when the authority cannot be asked.
type Authority interface {
	Authenticate(ctx context.Context, token string) (User, error)
	Allowed(ctx context.Context, u User, a Access) (bool, error)
}

// Access is what is asked for, in RBAC's words. Group is wasmbed.io.
type Access struct{ Verb, Resource, Subresource, Namespace, Name string }

func (a *API) admit(r *http.Request, rt route, namespace, name string) (User, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return User{}, errs.New(errs.Unauthenticated, "a bearer token is required").WithMend("send Authorization: Bearer …; standalone writes one to its state folder, kubectl create token makes one")
	}
	u, err := a.Auth.Authenticate(r.Context(), token)
	if err != nil {
		return User{}, err
	}
	if rt.verb == "" {
		return u, nil
	}
	resource, sub, _ := strings.Cut(rt.resource, "/")
	acc := Access{Verb: rt.verb, Resource: resource, Subresource: sub, Namespace: namespace, Name: name}
	may, err := a.Auth.Allowed(r.Context(), u, acc)
	if err != nil {
		return User{}, err
	}
	if !may {
		where := "in namespace " + namespace
		if namespace == "" {
			where = "in all namespaces"
		}
		return User{}, errs.New(errs.Denied, "%s may not %s %s %s", u.Name, rt.verb, rt.resource, where).WithMend("an RBAC Role for group wasmbed.io grants it")
	}
	return u, nil
}

// KubernetesAuthority asks Kubernetes: TokenReview and SubjectAccessReview, each answer kept for ten
// seconds. Tokens are kept as their digests only.
type KubernetesAuthority struct {
	client kubernetes.Interface
	now    func() time.Time

	mu    sync.Mutex
	users map[[32]byte]cached[User]
	may   map[string]cached[bool]
}

type cached[T any] struct {
	value T
	until time.Time
}

// NewKubernetesAuthority makes an authority on a client that may create both kinds of review.
func NewKubernetesAuthority(c kubernetes.Interface, now func() time.Time) *KubernetesAuthority {
	if now == nil {
		now = time.Now
	}
	return &KubernetesAuthority{client: c, now: now, users: map[[32]byte]cached[User]{}, may: map[string]cached[bool]{}}
}

// Authenticate implements Authority by a TokenReview.
func (k *KubernetesAuthority) Authenticate(ctx context.Context, token string) (User, error) {
	key := sha256.Sum256([]byte(token))
	if u, ok := look(k, k.users, key); ok {
		return u, nil
	}
	r, err := k.client.AuthenticationV1().TokenReviews().Create(ctx, &authn.TokenReview{Spec: authn.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return User{}, errs.New(errs.Unavailable, "ask Kubernetes who this is: %w", err)
	}
	if !r.Status.Authenticated {
		return User{}, errs.New(errs.Unauthenticated, "Kubernetes does not know this token").WithMend("it may have expired: make a new one")
	}
	u := User{Name: r.Status.User.Username, UID: r.Status.User.UID, Groups: r.Status.User.Groups, Extra: map[string][]string{}}
	for n, v := range r.Status.User.Extra {
		u.Extra[n] = v
	}
	keep(k, k.users, key, u)
	return u, nil
}

// Allowed implements Authority by a SubjectAccessReview.
func (k *KubernetesAuthority) Allowed(ctx context.Context, u User, a Access) (bool, error) {
	key := strings.Join(append([]string{u.Name, u.UID, a.Verb, a.Resource, a.Subresource, a.Namespace, a.Name}, u.Groups...), "\x00")
	if may, ok := look(k, k.may, key); ok {
		return may, nil
	}
	extra := map[string]authz.ExtraValue{}
	for n, v := range u.Extra {
		extra[n] = v
	}
	r, err := k.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authz.SubjectAccessReview{Spec: authz.SubjectAccessReviewSpec{
		User: u.Name, UID: u.UID, Groups: u.Groups, Extra: extra,
		ResourceAttributes: &authz.ResourceAttributes{Group: "wasmbed.io", Verb: a.Verb, Resource: a.Resource, Subresource: a.Subresource, Namespace: a.Namespace, Name: a.Name},
	}}, metav1.CreateOptions{})
	if err != nil {
		return false, errs.New(errs.Unavailable, "ask Kubernetes whether %s may: %w", u.Name, err)
	}
	keep(k, k.may, key, r.Status.Allowed)
	return r.Status.Allowed, nil
}

// Forget drops what is remembered: somebody's token or role has just ended.
func (k *KubernetesAuthority) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.users)
	clear(k.may)
}

func look[K comparable, V any](k *KubernetesAuthority, m map[K]cached[V], key K) (V, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, ok := m[key]
	if !ok || !k.now().Before(c.until) {
		var zero V
		return zero, false
	}
	return c.value, true
}

// keep remembers; when the cache is full it is emptied, which costs reviews and never a wrong answer.
func keep[K comparable, V any](k *KubernetesAuthority, m map[K]cached[V], key K, v V) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(m) >= maxAuthCache {
		clear(m)
	}
	m[key] = cached[V]{v, k.now().Add(authCacheFor)}
}
