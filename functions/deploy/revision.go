package deploy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

const (
	// labelDigest carries the first 40 hex digits of the module's digest, so that the revisions of a module
	// are found without reading all.
	labelDigest = "wasmbed.io/module-digest"
	// annotationCompleted says since when a revision has proven itself: the time when its rollout
	// completed. rollback goes back to such ones only.
	annotationCompleted = "wasmbed.io/completed-at"
	// annotationOrigin is the OCI reference as it was written in the spec.
	annotationOrigin = "wasmbed.io/origin"
	// annotationUID is the Application's uid: one deleted and made again begins anew.
	annotationUID = "wasmbed.io/application-uid"
)

func digestLabel(digest string) string {
	const prefix = len("sha256:")
	return digest[min(len(digest), prefix):min(len(digest), prefix+40)]
}

// revisions are an application's, oldest first.
func (f *Function) revisions(ctx context.Context, app *v1alpha1.Application) ([]v1alpha1.Revision, error) {
	var out []v1alpha1.Revision
	err := client.All(ctx, f.d.Client.Revisions, app.Namespace, v1alpha1.LabelApplication+"="+app.Name, func(r *v1alpha1.Revision) error {
		if r.Spec.Application == app.Name && r.DeletionTimestamp == nil {
			out = append(out, *r.DeepCopy())
		}
		return nil
	})
	slices.SortFunc(out, func(a, b v1alpha1.Revision) int { return cmp.Compare(a.Spec.Number, b.Spec.Number) })
	return out, err
}

func find(revs []v1alpha1.Revision, name string) *v1alpha1.Revision {
	for i := range revs {
		if revs[i].Name == name {
			return &revs[i]
		}
	}
	return nil
}

// revise returns the revision of a resolved spec: the one with the same hash, or a new one. Conflict when
// somebody else made one meanwhile.
func (f *Function) revise(ctx context.Context, app *v1alpha1.Application, revs []v1alpha1.Revision, r resolved) (rev *v1alpha1.Revision, created bool, err error) {
	hash, err := revisionHash(r.module.Digest, app.Spec.Manifest)
	if err != nil {
		return nil, false, err
	}
	number := int64(1)
	for i := range revs {
		if revs[i].Spec.Hash == hash {
			return &revs[i], false, nil
		}
		number = max(number, revs[i].Spec.Number+1)
	}
	rev = &v1alpha1.Revision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: app.Namespace, Name: revisionName(app.Name, number, hash),
			Labels:      map[string]string{v1alpha1.LabelApplication: app.Name, labelDigest: digestLabel(r.module.Digest), v1alpha1.LabelManagedBy: "wasmbed-" + Name},
			Annotations: map[string]string{annotationUID: string(app.UID)},
		},
		Spec: v1alpha1.RevisionSpec{Application: app.Name, Number: number, Module: r.module, Manifest: *app.Spec.Manifest.DeepCopy(), Hash: hash},
	}
	if r.origin != "" {
		rev.Annotations[annotationOrigin] = r.origin
	}
	if rev, err = f.d.Client.Revisions.Create(ctx, rev); err != nil {
		if errs.Is(err, errs.AlreadyExists) {
			err = errs.New(errs.Conflict, "revision %s was made meanwhile", revisionName(app.Name, number, hash))
		}
		return nil, false, err
	}
	if r.module.Name != "" && len(app.Spec.Module.Inline) > 0 {
		// The Module may have been pruned as another application's between the look at it and the revision
		// that now holds it.
		if _, err := f.keepInline(ctx, app, r.module.Digest, r.bytes); err != nil {
			return nil, false, err
		}
	}
	return rev, true, nil
}

// revisionName is <application>-<number>-<the first six digits of the hash>. The hash is what makes a name speak
// of one content for ever: an application that is deleted and made again counts from 1 again, and a device that
// was away meanwhile reports names only.
func revisionName(app string, number int64, hash string) string {
	return fmt.Sprintf("%s-%d-%s", app, number, hash[:min(len(hash), 6)])
}

// proven notes that a revision's rollout completed.
func (f *Function) proven(ctx context.Context, rev *v1alpha1.Revision, at time.Time) error {
	if rev.Annotations[annotationCompleted] != "" {
		return nil
	}
	if rev.Annotations == nil {
		rev.Annotations = map[string]string{}
	}
	rev.Annotations[annotationCompleted] = at.UTC().Format(time.RFC3339)
	_, err := f.d.Client.Revisions.Update(ctx, rev)
	return ignoreNotFound(err)
}

// prune deletes the oldest revisions over the history limit, never one in use, and then the inline Modules
// that no revision needs any more.
func (f *Function) prune(ctx context.Context, app *v1alpha1.Application, revs []v1alpha1.Revision) error {
	limit := historyLimit
	if l := app.Spec.RevisionHistoryLimit; l != nil {
		limit = int(min(max(0, *l), maxHistory))
	}
	used := []string{app.Status.StableRevision, app.Status.Revision}
	if ro := app.Status.Rollout; ro != nil {
		used = append(used, ro.To, ro.From, ro.SpecRevision)
	}
	var spare []v1alpha1.Revision
	for _, r := range revs {
		if !slices.Contains(used, r.Name) {
			spare = append(spare, r)
		}
	}
	if len(spare) <= limit {
		return nil
	}
	for _, r := range spare[:len(spare)-limit] {
		if err := ignoreNotFound(f.d.Client.Revisions.Delete(ctx, r.Namespace, r.Name)); err != nil {
			return err
		}
		if err := f.pruneModule(ctx, r.Namespace, r.Spec.Module); err != nil {
			return err
		}
	}
	return nil
}

// pruneModule deletes the Module of inline bytes that no revision of any application needs.
func (f *Function) pruneModule(ctx context.Context, namespace string, m v1alpha1.ResolvedModule) error {
	if m.Name == "" || m.Name != inlineName(m.Digest) {
		return nil
	}
	needed := false
	err := client.All(ctx, f.d.Client.Revisions, namespace, labelDigest+"="+digestLabel(m.Digest), func(r *v1alpha1.Revision) error {
		needed = needed || r.Spec.Module.Name == m.Name && r.DeletionTimestamp == nil
		return nil
	})
	if err != nil || needed {
		return err
	}
	o, err := f.d.Client.Modules.Get(ctx, namespace, m.Name)
	if err != nil || o.Labels[labelInline] != "true" {
		return ignoreNotFound(err)
	}
	return ignoreNotFound(f.d.Client.Modules.Delete(ctx, namespace, m.Name))
}

func ignoreNotFound(err error) error {
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}
