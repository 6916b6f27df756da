// Package notice writes Kubernetes Events: what people should notice with `kubectl describe` and
// `kubectl get events`. Equal notices become one Event that counts, and the rate is bounded, so that a
// fleet in trouble does not become the API server's trouble.
package notice

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// Limits.
const (
	perSecond  = 5           // Events written a second, on average; what is over is dropped
	burst      = 100         //
	quiet      = time.Minute // an equal notice within this time is not counted again
	maxMessage = 1024        // bytes; the API server's limit
)

// About is the object that a notice is about.
type About struct {
	Kind            string // of wasmbed.io/v1alpha1
	Namespace, Name string
	UID             types.UID // may be unknown
}

// Writer writes notices. Safe for concurrent use.
type Writer struct {
	events    client.Resource[corev1.Event]
	component string
	now       func() time.Time
	limit     *rate.Limiter
}

// New returns a writer for a component, e.g. "wasmbed-deploy".
func New(events client.Resource[corev1.Event], component string, now func() time.Time) *Writer {
	return &Writer{events: events, component: component, now: now, limit: rate.NewLimiter(perSecond, burst)}
}

// Normal tells what went as it should. Errors: those of the client, and errs.Exhausted when the notice was
// dropped for the rate's sake. A caller logs them: a notice is never worth failing for.
func (w *Writer) Normal(ctx context.Context, about About, reason, message string) error {
	return w.write(ctx, about, corev1.EventTypeNormal, reason, message)
}

// Warning tells what did not. Errors as with Normal.
func (w *Writer) Warning(ctx context.Context, about About, reason, message string) error {
	return w.write(ctx, about, corev1.EventTypeWarning, reason, message)
}

func (w *Writer) write(ctx context.Context, about About, typ, reason, message string) error {
	now := w.now()
	if !w.limit.AllowN(now, 1) {
		return errs.New(errs.Exhausted, "notice %s about %s %s/%s: too many notices", reason, about.Kind, about.Namespace, about.Name)
	}
	message = clip(message, maxMessage)
	name := eventName(about, typ, reason, message)
	at := metav1.NewTime(now)
	_, err := w.events.Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: about.Namespace, Name: name},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: about.Kind, Namespace: about.Namespace, Name: about.Name, UID: about.UID,
		},
		Type: typ, Reason: reason, Message: message, Count: 1, FirstTimestamp: at, LastTimestamp: at,
		Source: corev1.EventSource{Component: w.component}, ReportingController: w.component,
	})
	if !errs.Is(err, errs.AlreadyExists) {
		return err
	}
	old, err := w.events.Get(ctx, about.Namespace, name)
	if err != nil || now.Sub(old.LastTimestamp.Time) < quiet {
		return err
	}
	old.Count++
	old.LastTimestamp = at
	if _, err = w.events.Update(ctx, old); errs.Is(err, errs.Conflict) {
		return nil // somebody else counted it
	}
	return err
}

// eventName is the same for equal notices about the same object.
func eventName(about About, typ, reason, message string) string {
	h := sha256.Sum256([]byte(strings.Join([]string{about.Kind, about.Namespace, about.Name, string(about.UID), typ, reason, message}, "\x00")))
	base := strings.Trim(about.Name[:min(len(about.Name), 200)], ".-")
	return base + "." + hex.EncodeToString(h[:8])
}

// clip cuts s to at most n bytes, between runes.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
