package source

import (
	"maps"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/trace"
)

// version is what is remembered of an object.
type version struct {
	uid, resource string
	trace         string // of the request that last changed it, when it says one (trace.Annotation)
	round         int    // in which it is said again
}

// watched is what a reflector writes to: one resource. It remembers which version of which object it has
// announced, so that a new list says what changed while nobody watched.
type watched struct {
	s        *Source
	resource schema.GroupVersionResource
	kind     string

	mu     sync.Mutex
	known  map[string]version // by namespace/name
	listed bool
	round  int      // of saying everything again
	left   []string // keys that this round has still to say
}

var _ cache.TransformingStore = (*watched)(nil)

// Transformer drops everything of an object but its name and version, before anything keeps it: an
// annotation may repeat a whole module (kubectl apply does that).
func (w *watched) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		m, ok := obj.(*metav1.PartialObjectMetadata)
		if !ok {
			return obj, nil // cache.DeletedFinalStateUnknown; not seen by a reflector's store
		}
		keep := metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
		if tp := trace.Annotated(m.Annotations[trace.Annotation], m.Generation, time.Now()); tp != "" {
			keep.Annotations = map[string]string{trace.Annotation: tp}
		}
		m.ObjectMeta = keep
		return m, nil
	}
}

func split(obj any) (key string, ns, name string, v version, err error) {
	m, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return "", "", "", v, errs.New(errs.Internal, "%T where metadata is expected", obj)
	}
	return m.Namespace + "/" + m.Name, m.Namespace, m.Name, version{uid: string(m.UID), resource: m.ResourceVersion, trace: m.Annotations[trace.Annotation]}, nil
}

// Add, Update: an object is there.
func (w *watched) Add(obj any) error { return w.there(obj) }

func (w *watched) Update(obj any) error { return w.there(obj) }

func (w *watched) there(obj any) error {
	key, ns, name, v, err := split(obj)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.see(key, ns, name, v)
	return nil
}

// see compares an object with what is known of it.
func (w *watched) see(key, ns, name string, v version) {
	old, known := w.known[key]
	switch {
	case known && old.uid == v.uid && old.resource == v.resource:
		return
	case known && old.uid == v.uid:
		said := v
		if old.trace == v.trace {
			said.trace = "" // that request's change was announced: this is another
		}
		w.say(event.RefUpdate, ns, name, said)
	default:
		if known {
			w.say(event.RefDelete, ns, name, old) // another object under the same name
		}
		w.say(event.RefAdd, ns, name, v)
	}
	w.known[key] = v
}

// Delete: an object is gone.
func (w *watched) Delete(obj any) error {
	key, ns, name, v, err := split(obj)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.known, key)
	w.say(event.RefDelete, ns, name, v)
	return nil
}

// Replace: a new list, at start or after the watch could not go on.
func (w *watched) Replace(list []any, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	there := make(map[string]bool, len(list))
	for _, obj := range list {
		key, ns, name, v, err := split(obj)
		if err != nil {
			return err
		}
		there[key] = true
		w.see(key, ns, name, v)
	}
	for key, v := range w.known {
		if !there[key] {
			delete(w.known, key)
			ns, name := cut(key)
			w.say(event.RefDelete, ns, name, v)
		}
	}
	if !w.listed {
		w.listed = true
		w.s.listed.Add(1)
	}
	return nil
}

// again begins to say everything that is there once more. It mends what a broker took and lost.
func (w *watched) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.round++
	w.left = slices.Sorted(maps.Keys(w.known))
}

// some says a part of it, at most n objects; what went meanwhile is left out. False: that was all.
func (w *watched) some(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ; n > 0 && len(w.left) > 0; n-- {
		key := w.left[0]
		w.left = w.left[1:]
		v, there := w.known[key]
		if !there {
			continue
		}
		v.trace, v.round = "", w.round
		ns, name := cut(key)
		w.say(event.RefUpdate, ns, name, v)
	}
	return len(w.left) > 0
}

// Resync is never asked for.
func (w *watched) Resync() error { return nil }

func cut(key string) (ns, name string) {
	for i := range len(key) {
		if key[i] == '/' {
			return key[:i], key[i+1:]
		}
	}
	return "", key
}

func (w *watched) say(typ, ns, name string, v version) {
	if typ == event.RefDelete {
		v.trace = "" // the last change is not what deletes it
	}
	w.s.queue.put(change{key: object{w.resource, ns, name}, kind: w.kind, typ: typ, version: v})
}
