package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	secrets "knative.dev/pkg/injection/clients/namespacedkube/informers/core/v1/secret"
	secretfactory "knative.dev/pkg/injection/clients/namespacedkube/informers/factory"
	"knative.dev/pkg/leaderelection"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/webhook"
	"knative.dev/pkg/webhook/certificates"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/validate"
	"wasmbed.io/wasmbed/functions/admission"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// Times.
const (
	syncTime = 30 * time.Second // to read the Secret and the webhook configurations at the start
	resync   = 10 * time.Hour   // between two looks at a certificate that nobody touched: it is renewed a day before its end
	// Of the leases: two processes must not make a certificate each.
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// serve runs the command. Of knative.dev/pkg it uses the webhook's server, the controller of its certificate, the leader
// election and the controllers' runtime, and puts them together by hand: sharedmain would watch every Secret and every
// ConfigMap of the namespace - the key of the devices' authority among them -, take its settings from ConfigMaps of its
// own, and end the process where an error can be returned.
func serve(ctx context.Context, c *Config, log *slog.Logger) error {
	cfg, err := c.kube(log)
	if err != nil {
		return err
	}
	f, err := function(cfg)
	if err != nil {
		return err
	}
	meters, err := newMeters()
	if err != nil {
		return err
	}
	ctx = logging.WithLogger(ctx, knativeLogger(log))
	p, err := newParts(ctx, c, cfg, f, meters, log)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return meters.serve(ctx, c.Metrics, p.ready) })
	g.Go(func() error { return p.run(ctx) })
	return g.Wait()
}

// function is what decides.
func function(cfg *rest.Config) (*admission.Function, error) {
	set, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	meta, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, errs.New(errs.Invalid, "kubernetes client: %w", err)
	}
	return admission.New(validate.New(world{validate.Client{Set: set}, meta}, boards(), nil)), nil
}

func boards() []validate.Board {
	var out []validate.Board
	for _, b := range provisioner.Boards() {
		out = append(out, validate.Board{Name: b.Name, Refused: b.Refused, QEMU: b.QEMU != "", Renode: b.Renode != "", ModuleMemory: b.ModuleMemory, ModuleSize: b.ModuleSize})
	}
	return out
}

// parts are what runs.
type parts struct {
	webhook     *webhook.Webhook
	controllers []*controller.Impl
	factories   []informers.SharedInformerFactory
	ready       func() error
}

// newParts puts the parts together. The contexts of knative.dev/pkg carry what injection would put into them: here the
// Secret's informer sees one Secret, by name, so that the service account may read no other.
func newParts(ctx context.Context, c *Config, cfg *rest.Config, f *admission.Function, m *meters, log *slog.Logger) (*parts, error) {
	kc, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, errs.New(errs.Invalid, "kubernetes client: %w", err)
	}
	named := func(name string) informers.SharedInformerOption {
		return informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
		})
	}
	own := informers.NewSharedInformerFactoryWithOptions(kc, resync, informers.WithNamespace(c.Namespace), named(c.Secret))
	configurations := informers.NewSharedInformerFactoryWithOptions(kc, resync, named(c.Webhooks))
	secret := own.Core().V1().Secrets()
	ctx = context.WithValue(ctx, kubeclient.Key{}, kubernetes.Interface(kc))
	ctx = context.WithValue(ctx, secretfactory.Key{}, own)
	ctx = context.WithValue(ctx, secrets.Key{}, secret)
	ctx = webhook.WithOptions(ctx, webhook.Options{
		ServiceName: c.Service, SecretName: c.Secret, Port: c.Port, GracePeriod: c.Drain, MeterProvider: m.provider,
	})
	ctx = leaderelection.WithStandardLeaderElectorBuilder(ctx, kc, leaderelection.ComponentConfig{
		Component: c.Service, Buckets: 1, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
	})
	p := &parts{
		factories:   []informers.SharedInformerFactory{own, configurations},
		controllers: []*controller.Impl{certificates.NewController(ctx, configmap.NewStaticWatcher()), newBundle(ctx, c, kc, secret, configurations)},
	}
	p.webhook, err = webhook.New(ctx, []any{validating{f: f, log: log}, mutating{f: f, log: log}})
	if err != nil {
		return nil, errs.New(errs.Internal, "webhook: %w", err)
	}
	p.ready = func() error { return certified(secret.Lister(), c.Namespace, c.Secret) }
	return p, nil
}

// run serves until the context ends, and then for the drain.
func (p *parts) run(ctx context.Context) error {
	for _, f := range p.factories {
		f.Start(ctx.Done())
	}
	sync, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	for _, f := range p.factories {
		for typ, ok := range f.WaitForCacheSync(sync.Done()) {
			if !ok {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return errs.New(errs.Unavailable, "%s could not be read within %v", strings.TrimPrefix(typ.String(), "*"), syncTime).
					WithMend("config/admission/rbac.yaml says what the service account needs")
			}
		}
	}
	p.webhook.InformersHaveSynced()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.webhook.Run(ctx.Done()) })
	g.Go(func() error { return controller.StartAll(ctx, p.controllers...) })
	return g.Wait()
}
