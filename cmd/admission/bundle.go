package main

import (
	"bytes"
	"context"
	"crypto/tls"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	admissionlisters "k8s.io/client-go/listers/admissionregistration/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/reconciler"
	certresources "knative.dev/pkg/webhook/certificates/resources"

	"wasmbed.io/wasmbed/internal/errs"
)

// bundle writes the certificate's authority into the two webhook configurations, by which the API server knows this
// process. knative.dev/pkg's own reconcilers would also write the rules, and those with the status subresources: then
// every status write of the fleet would come by here. The rules are the manifest's.
type bundle struct {
	reconciler.LeaderAwareFuncs
	kube                    kubernetes.Interface
	secrets                 corelisters.SecretLister
	validating              admissionlisters.ValidatingWebhookConfigurationLister
	mutating                admissionlisters.MutatingWebhookConfigurationLister
	namespace, secret, name string
}

var _ controller.Reconciler = (*bundle)(nil)

// newBundle returns the controller; the informers begin to run later.
func newBundle(ctx context.Context, c *Config, kc kubernetes.Interface, secret coreinformers.SecretInformer, f informers.SharedInformerFactory) *controller.Impl {
	vs, ms := f.Admissionregistration().V1().ValidatingWebhookConfigurations(), f.Admissionregistration().V1().MutatingWebhookConfigurations()
	b := &bundle{kube: kc, secrets: secret.Lister(), validating: vs.Lister(), mutating: ms.Lister(), namespace: c.Namespace, secret: c.Secret, name: c.Webhooks}
	key := types.NamespacedName{Name: c.Webhooks}
	b.PromoteFunc = func(bkt reconciler.Bucket, enq func(reconciler.Bucket, types.NamespacedName)) error {
		enq(bkt, key)
		return nil
	}
	impl := controller.NewContext(ctx, b, controller.ControllerOptions{WorkQueueName: "Bundle", Logger: logging.FromContext(ctx), Concurrency: 1})
	again := controller.HandleAll(func(any) { impl.EnqueueKey(key) })
	// Handlers of an informer that does not run yet are always taken.
	_, _ = secret.Informer().AddEventHandler(again)
	_, _ = vs.Informer().AddEventHandler(again)
	_, _ = ms.Informer().AddEventHandler(again)
	return impl
}

// Reconcile implements controller.Reconciler. An error is tried again.
func (b *bundle) Reconcile(ctx context.Context, key string) error {
	if !b.IsLeaderFor(types.NamespacedName{Name: b.name}) {
		return controller.NewSkipKey(key)
	}
	s, err := b.secrets.Secrets(b.namespace).Get(b.secret)
	if apierrors.IsNotFound(err) {
		return nil // who installs makes it
	} else if err != nil {
		return err
	}
	ca := s.Data[certresources.CACert]
	if len(ca) == 0 {
		return nil // its controller fills it, and that comes by here
	}
	if err := b.validatingOne(ctx, ca); err != nil {
		return err
	}
	return b.mutatingOne(ctx, ca)
}

func (b *bundle) validatingOne(ctx context.Context, ca []byte) error {
	have, err := b.validating.Get(b.name)
	if err != nil {
		return ignoreNotFound(err)
	}
	w := have.DeepCopy()
	changed := false
	for i := range w.Webhooks {
		changed = set(&w.Webhooks[i].ClientConfig, ca) || changed
	}
	if changed {
		_, err = b.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Update(ctx, w, metav1.UpdateOptions{})
	}
	return err
}

func (b *bundle) mutatingOne(ctx context.Context, ca []byte) error {
	have, err := b.mutating.Get(b.name)
	if err != nil {
		return ignoreNotFound(err)
	}
	w := have.DeepCopy()
	changed := false
	for i := range w.Webhooks {
		changed = set(&w.Webhooks[i].ClientConfig, ca) || changed
	}
	if changed {
		_, err = b.kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(ctx, w, metav1.UpdateOptions{})
	}
	return err
}

func set(c *admissionregistrationv1.WebhookClientConfig, ca []byte) bool {
	if bytes.Equal(c.CABundle, ca) {
		return false
	}
	c.CABundle = ca
	return true
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil // who installs makes it
	}
	return err
}

// certified says whether there is a certificate to serve with. Errors: Unavailable.
func certified(l corelisters.SecretLister, namespace, name string) error {
	s, err := l.Secrets(namespace).Get(name)
	if err != nil {
		return errs.New(errs.Unavailable, "secret: %w", err)
	}
	if _, err := tls.X509KeyPair(s.Data[certresources.ServerCert], s.Data[certresources.ServerKey]); err != nil {
		return errs.New(errs.Unavailable, "secret %s holds no certificate yet", name)
	}
	return nil
}
