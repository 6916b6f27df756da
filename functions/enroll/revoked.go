package enroll

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// A deleted device's certificate lives on for days, and the deny-list in the ledger can be lost. So the keys
// of devices whose object is gone are kept in Kubernetes too: Secrets wasmbed-revoked-0 … -f beside the
// authority's, by the first hex digit of the fingerprint, until the certificate has ended. Their entries are
// named <namespace>.<fingerprint>.

type revokedKey struct {
	Until  time.Time `json:"until"`
	Reason string    `json:"reason"`
}

const revokedPrefix = "wasmbed-revoked-"

func revokedSecret(fp string) string { return revokedPrefix + fp[:1] }

func revokedEntry(namespace, fp string) string { return namespace + "." + fp }

const labelRevoked = "wasmbed.io/revoked-keys"

// revoke denies a key that no Device object stands for any more.
func (f *Function) revoke(ctx context.Context, namespace, fp, reason string, until time.Time) error {
	if err := f.editRevoked(ctx, namespace, fp, &revokedKey{Until: until.UTC(), Reason: reason}); err != nil {
		return err
	}
	return f.d.Ledger.Deny(ctx, namespace, fp, reason)
}

// allow takes a key off the deny-list, when it is on it.
func (f *Function) allow(ctx context.Context, namespace, fp string) error {
	denied, err := f.d.Ledger.Denied(ctx, namespace)
	if err != nil {
		return err
	}
	if _, ok := denied[fp]; !ok {
		return nil
	}
	if err := f.editRevoked(ctx, namespace, fp, nil); err != nil {
		return err
	}
	return f.d.Ledger.Allow(ctx, namespace, fp)
}

// editRevoked puts a key into its Secret, or takes it out (nil), and drops what has ended.
func (f *Function) editRevoked(ctx context.Context, namespace, fp string, key *revokedKey) error {
	name, entry := revokedSecret(fp), revokedEntry(namespace, fp)
	for range conflictAttempts {
		s, err := f.d.Client.Secrets.Get(ctx, CANamespace, name)
		absent := errs.Is(err, errs.NotFound)
		switch {
		case absent && key == nil:
			return nil
		case absent:
			s = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: CANamespace, Name: name,
				Labels: map[string]string{labelRevoked: "true", v1alpha1.LabelManagedBy: "wasmbed-" + Name}}}
		case err != nil:
			return err
		}
		if _, held := s.Data[entry]; key == nil && !held {
			return nil
		}
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		delete(s.Data, entry)
		f.dropEnded(s)
		if key != nil {
			b, err := json.Marshal(key)
			if err != nil {
				return errs.New(errs.Internal, "revoked key: %w", err)
			}
			s.Data[entry] = b
		}
		if absent {
			_, err = f.d.Client.Secrets.Create(ctx, s)
		} else {
			_, err = f.d.Client.Secrets.Update(ctx, s)
		}
		if !errs.Is(err, errs.Conflict) && !errs.Is(err, errs.AlreadyExists) && !errs.Is(err, errs.NotFound) {
			return err
		}
	}
	return errs.New(errs.Conflict, "Secret %s/%s changes too fast", CANamespace, name)
}

// dropEnded forgets keys whose certificates have ended, and the ones that end first when there are too many.
func (f *Function) dropEnded(s *corev1.Secret) {
	type entry struct {
		fp    string
		until time.Time
	}
	var live []entry
	for fp, b := range s.Data {
		var k revokedKey
		if err := json.Unmarshal(b, &k); err != nil || f.d.Now().After(k.Until) {
			delete(s.Data, fp)
			continue
		}
		live = append(live, entry{fp, k.Until})
	}
	if len(live) < maxRevoked {
		return
	}
	slices.SortFunc(live, func(a, b entry) int { return a.until.Compare(b.until) })
	for _, x := range live[:len(live)-maxRevoked+1] {
		delete(s.Data, x.fp)
	}
	f.d.Log.Warn("too many revoked keys: those whose certificates end first are forgotten", "secret", s.Namespace+"/"+s.Name)
}

// allRevoked hands over every entry that has not ended. It reads the Secrets by their names: who may list Secrets may read
// all of the namespace.
func (f *Function) allRevoked(ctx context.Context, each func(entry string, k revokedKey) error) error {
	for _, digit := range "0123456789abcdef" {
		s, err := f.d.Client.Secrets.Get(ctx, CANamespace, revokedSecret(string(digit)))
		if errs.Is(err, errs.NotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for entry, b := range s.Data {
			var k revokedKey
			if !strings.Contains(entry, ".") || json.Unmarshal(b, &k) != nil || f.d.Now().After(k.Until) {
				continue
			}
			if err := each(entry, k); err != nil {
				return err
			}
		}
	}
	return nil
}
