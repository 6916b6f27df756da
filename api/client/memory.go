package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// MemoryOptions configures the in-memory twin. Zero values are defaults.
type MemoryOptions struct {
	Now func() time.Time // of creation and deletion timestamps
	// OnChange is called after each change, outside of any lock, in the goroutine that made it.
	OnChange func(Change)
	// Fail, when it returns an error, makes the call fail with it, before anything was done. Verbs are
	// get, list, create, update, updatestatus, delete; name is empty for list.
	Fail func(verb, resource, namespace, name string) error
}

// Change is one change of an object in the in-memory twin.
type Change struct {
	Verb            string // add, update, delete: the last word of a dev.knative.apiserver.ref.* type
	Kind            string
	Namespace, Name string
}

// NewMemory returns an empty in-memory twin of an API server: resourceVersion conflicts, generations,
// finalizers, the status subresource and the defaults of our types behave as there. It does not validate
// what CEL and the schemas validate; the tests of config/crd do that on a real API server.
func NewMemory() *Set { return NewMemoryWith(MemoryOptions{}) }

// NewMemoryWith is NewMemory with options.
func NewMemoryWith(o MemoryOptions) *Set {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &memoryServer{o: o}
	return &Set{
		Devices:      newMemory[v1alpha1.Device](s, v1alpha1.GroupVersion.WithKind(v1alpha1.KindDevice), "devices", true),
		Applications: newMemory[v1alpha1.Application](s, v1alpha1.GroupVersion.WithKind(v1alpha1.KindApplication), "applications", true),
		Revisions:    newMemory[v1alpha1.Revision](s, v1alpha1.GroupVersion.WithKind(v1alpha1.KindRevision), "revisions", false),
		Modules:      newMemory[v1alpha1.Module](s, v1alpha1.GroupVersion.WithKind(v1alpha1.KindModule), "modules", true),
		Gateways:     newMemory[v1alpha1.Gateway](s, v1alpha1.GroupVersion.WithKind(v1alpha1.KindGateway), "gateways", true),
		Webhooks:     newMemory[v1alpha1.Webhook](s, v1alpha1.GroupVersion.WithKind(v1alpha1.KindWebhook), "webhooks", true),
		HookSources:  newMemory[v1alpha1.WebhookSource](s, v1alpha1.GroupVersion.WithKind(v1alpha1.KindWebhookSource), "webhooksources", true),
		Secrets:      newMemory[corev1.Secret](s, corev1.SchemeGroupVersion.WithKind("Secret"), "secrets", false),
		ConfigMaps:   newMemory[corev1.ConfigMap](s, corev1.SchemeGroupVersion.WithKind("ConfigMap"), "configmaps", false),
		Events:       newMemory[corev1.Event](s, corev1.SchemeGroupVersion.WithKind("Event"), "events", false),
	}
}

// memoryServer is what the resources of one twin share.
type memoryServer struct {
	o  MemoryOptions
	mu sync.Mutex
	rv uint64 // guarded by mu
}

// next returns a new resourceVersion. mu is held.
func (s *memoryServer) next() string {
	s.rv++
	return strconv.FormatUint(s.rv, 10)
}

func (s *memoryServer) begin(ctx context.Context, verb, resource, namespace, name string) error {
	if err := ctx.Err(); err != nil {
		return errs.New(errs.CodeOf(err), "%s %s %s/%s: %w", verb, resource, namespace, name, err)
	}
	if s.o.Fail != nil {
		return s.o.Fail(verb, resource, namespace, name)
	}
	return nil
}

func (s *memoryServer) tell(c Change) {
	if s.o.OnChange != nil {
		s.o.OnChange(c)
	}
}

// defaulter is a type whose defaults are also written in Go.
type defaulter interface{ Default() }

type memoryResource[T any, PT object[T]] struct {
	s        *memoryServer
	gvk      schema.GroupVersionKind
	resource string
	status   bool
	objects  map[types.NamespacedName]PT // guarded by s.mu
}

func newMemory[T any, PT object[T]](s *memoryServer, gvk schema.GroupVersionKind, resource string, status bool) Resource[T] {
	return &memoryResource[T, PT]{s: s, gvk: gvk, resource: resource, status: status, objects: map[types.NamespacedName]PT{}}
}

func (r *memoryResource[T, PT]) Get(ctx context.Context, namespace, name string) (*T, error) {
	if err := needName(r.resource, namespace, name); err != nil {
		return nil, err
	}
	if err := r.s.begin(ctx, "get", r.resource, namespace, name); err != nil {
		return nil, err
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	o, ok := r.objects[types.NamespacedName{Namespace: namespace, Name: name}]
	if !ok {
		return nil, r.errorf(errs.NotFound, namespace, name, "not found")
	}
	return r.out(o), nil
}

func (r *memoryResource[T, PT]) List(ctx context.Context, namespace string, o ListOptions) ([]T, string, error) {
	if err := r.s.begin(ctx, "list", r.resource, namespace, ""); err != nil {
		return nil, "", err
	}
	sel, err := labels.Parse(o.Labels)
	if err != nil {
		return nil, "", errs.New(errs.Invalid, "list %s: %w", r.resource, err)
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var names []string
	for k := range r.objects {
		if namespace == "" || k.Namespace == namespace {
			names = append(names, k.String())
		}
	}
	slices.Sort(names)
	var items []T
	for _, n := range names {
		if n <= o.Continue { // "" is before every name
			continue
		}
		ns, name, _ := strings.Cut(n, "/")
		obj := r.objects[types.NamespacedName{Namespace: ns, Name: name}]
		if !sel.Matches(labels.Set(obj.GetLabels())) {
			continue
		}
		if o.Limit > 0 && int64(len(items)) == o.Limit {
			last := PT(&items[len(items)-1])
			return items, last.GetNamespace() + "/" + last.GetName(), nil
		}
		items = append(items, *r.out(obj))
	}
	return items, "", nil
}

func (r *memoryResource[T, PT]) Create(ctx context.Context, in *T) (*T, error) {
	o := r.copy(in)
	if o.GetName() == "" && o.GetGenerateName() != "" {
		o.SetName(o.GetGenerateName() + strings.ToLower(rand.Text()[:5]))
	}
	if err := needName(r.resource, o.GetNamespace(), o.GetName()); err != nil {
		return nil, err
	}
	if err := r.s.begin(ctx, "create", r.resource, o.GetNamespace(), o.GetName()); err != nil {
		return nil, err
	}
	if msgs := validation.IsDNS1123Subdomain(o.GetName()); len(msgs) > 0 {
		return nil, r.errorf(errs.Invalid, o.GetNamespace(), o.GetName(), "metadata.name: %s", msgs[0])
	}
	if o.GetResourceVersion() != "" {
		return nil, r.errorf(errs.Invalid, o.GetNamespace(), o.GetName(), "resourceVersion should not be set on objects to be created")
	}
	out, err := func() (*T, error) {
		r.s.mu.Lock()
		defer r.s.mu.Unlock()
		key := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
		if _, ok := r.objects[key]; ok {
			return nil, r.errorf(errs.AlreadyExists, key.Namespace, key.Name, "already exists")
		}
		if r.status {
			setStatus(o, nil)
		}
		if d, ok := any(o).(defaulter); ok {
			d.Default()
		}
		o.SetUID(newUID())
		o.SetCreationTimestamp(metav1.NewTime(r.s.o.Now().Truncate(time.Second)))
		o.SetDeletionTimestamp(nil)
		o.SetGeneration(1)
		o.SetResourceVersion(r.s.next())
		r.objects[key] = o
		return r.out(o), nil
	}()
	if err == nil {
		r.s.tell(Change{"add", r.gvk.Kind, o.GetNamespace(), o.GetName()})
	}
	return out, err
}

func (r *memoryResource[T, PT]) Update(ctx context.Context, in *T) (*T, error) {
	return r.write(ctx, in, "update", func(old, o PT) {
		if r.status {
			setStatus(o, old)
		}
		if d, ok := any(o).(defaulter); ok {
			d.Default()
		}
	})
}

func (r *memoryResource[T, PT]) UpdateStatus(ctx context.Context, in *T) (*T, error) {
	if !r.status {
		return nil, errs.New(errs.Unsupported, "%s have no status", r.resource)
	}
	return r.write(ctx, in, "updatestatus", func(old, o PT) {
		keep := r.copy((*T)(old))
		setStatus(keep, o)
		*o = *keep
	})
}

func (r *memoryResource[T, PT]) UpdateMeta(ctx context.Context, in *T) (*T, error) {
	return r.write(ctx, in, "update", func(old, o PT) {
		keep := r.copy((*T)(old))
		keep.SetLabels(o.GetLabels())
		keep.SetAnnotations(o.GetAnnotations())
		keep.SetFinalizers(o.GetFinalizers())
		*o = *keep
	})
}

func (r *memoryResource[T, PT]) write(ctx context.Context, in *T, verb string, merge func(old, o PT)) (*T, error) {
	o := r.copy(in)
	ns, name := o.GetNamespace(), o.GetName()
	if err := needName(r.resource, ns, name); err != nil {
		return nil, err
	}
	if err := r.s.begin(ctx, verb, r.resource, ns, name); err != nil {
		return nil, err
	}
	out, change, err := r.replace(o, merge)
	if err == nil && change != "" {
		r.s.tell(Change{change, r.gvk.Kind, ns, name})
	}
	return out, err
}

func (r *memoryResource[T, PT]) replace(o PT, merge func(old, o PT)) (out *T, change string, err error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	key := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
	old, ok := r.objects[key]
	switch {
	case !ok:
		return nil, "", r.errorf(errs.NotFound, key.Namespace, key.Name, "not found")
	case o.GetUID() != "" && o.GetUID() != old.GetUID():
		return nil, "", r.errorf(errs.Conflict, key.Namespace, key.Name, "it was deleted and created again")
	case o.GetResourceVersion() == "" && r.gvk.Group == v1alpha1.Group:
		return nil, "", r.errorf(errs.Invalid, key.Namespace, key.Name, "metadata.resourceVersion: must be specified for an update")
	case o.GetResourceVersion() != "" && o.GetResourceVersion() != old.GetResourceVersion():
		return nil, "", r.errorf(errs.Conflict, key.Namespace, key.Name, "the object has been modified")
	}
	merge(old, o)
	o.SetUID(old.GetUID())
	o.SetCreationTimestamp(old.GetCreationTimestamp())
	o.SetDeletionTimestamp(old.GetDeletionTimestamp())
	o.SetResourceVersion(old.GetResourceVersion())
	o.SetGeneration(old.GetGeneration())
	if equality.Semantic.DeepEqual(old, o) { // a real API server writes nothing then, and no watcher hears of it
		return r.out(old), "", nil
	}
	if !equality.Semantic.DeepEqual(spec(old), spec(o)) {
		o.SetGeneration(old.GetGeneration() + 1)
	}
	o.SetResourceVersion(r.s.next())
	if o.GetDeletionTimestamp() != nil && len(o.GetFinalizers()) == 0 {
		delete(r.objects, key)
		return r.out(o), "delete", nil
	}
	r.objects[key] = o
	return r.out(o), "update", nil
}

func (r *memoryResource[T, PT]) Delete(ctx context.Context, namespace, name string, version ...string) error {
	if err := needName(r.resource, namespace, name); err != nil {
		return err
	}
	if err := r.s.begin(ctx, "delete", r.resource, namespace, name); err != nil {
		return err
	}
	verb, err := func() (string, error) {
		r.s.mu.Lock()
		defer r.s.mu.Unlock()
		key := types.NamespacedName{Namespace: namespace, Name: name}
		o, ok := r.objects[key]
		switch {
		case !ok:
			return "", r.errorf(errs.NotFound, namespace, name, "not found")
		case len(version) > 0 && o.GetResourceVersion() != version[0]:
			return "", r.errorf(errs.Conflict, namespace, name, "it was changed meanwhile")
		case len(o.GetFinalizers()) == 0:
			r.s.next()
			delete(r.objects, key)
			return "delete", nil
		case o.GetDeletionTimestamp() != nil:
			return "", nil
		}
		o = PT(r.out(o))
		now := metav1.NewTime(r.s.o.Now().Truncate(time.Second))
		o.SetDeletionTimestamp(&now)
		o.SetGeneration(o.GetGeneration() + 1)
		o.SetResourceVersion(r.s.next())
		r.objects[key] = o
		return "update", nil
	}()
	if err == nil && verb != "" {
		r.s.tell(Change{verb, r.gvk.Kind, namespace, name})
	}
	return err
}

// copy returns what is left of an object after a trip through JSON, as through an API server: times at
// their precision, empty slices and maps as absent as omitempty makes them.
func (r *memoryResource[T, PT]) copy(in *T) PT {
	o := PT(new(T))
	b, err := json.Marshal(in)
	if err == nil {
		err = json.Unmarshal(b, o)
	}
	if err != nil { // a value that JSON cannot carry: keep it as it is, the caller's test will see it
		o = PT(in).DeepCopyObject().(PT)
	}
	o.GetObjectKind().SetGroupVersionKind(r.gvk)
	return o
}

// out returns a copy for a caller.
func (r *memoryResource[T, PT]) out(o PT) *T { return (*T)(o.DeepCopyObject().(PT)) }

func (r *memoryResource[T, PT]) errorf(code errs.Code, namespace, name, format string, args ...any) error {
	return errs.New(code, "%s %s/%s: %s", r.resource, namespace, name, fmt.Sprintf(format, args...))
}

// setStatus sets o's Status to from's, or to its zero value when from is nil.
func setStatus[T any, PT object[T]](o PT, from PT) {
	field := reflect.ValueOf(o).Elem().FieldByName("Status")
	if !field.IsValid() {
		return
	}
	field.SetZero()
	if from != nil {
		field.Set(reflect.ValueOf(from.DeepCopyObject()).Elem().FieldByName("Status"))
	}
}

// spec returns everything of an object but its metadata and status: what its generation counts.
func spec[T any, PT object[T]](o PT) map[string]any {
	out := map[string]any{}
	v := reflect.ValueOf(o).Elem()
	for i := range v.NumField() {
		switch name := v.Type().Field(i).Name; name {
		case "TypeMeta", "ObjectMeta", "Status":
		default:
			out[name] = v.Field(i).Interface()
		}
	}
	return out
}

func newUID() types.UID {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}
