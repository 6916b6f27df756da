package main

import (
	"log/slog"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"knative.dev/pkg/system"

	"wasmbed.io/wasmbed/internal/errs"
)

// Config is the manual of the command.
type Config struct {
	Port       int           `default:"8443" desc:"TCP port of the webhooks, TLS 1.3."`
	Metrics    string        `default:":9090" desc:"Address of /metrics, /healthz and /readyz, HTTP."`
	Service    string        `default:"wasmbed-admission" desc:"Service in the namespace by which the API server reaches this process: its name is in the certificate."`
	Secret     string        `default:"wasmbed-admission-tls" desc:"Secret in the namespace that holds the certificate. It must be there, empty or not; it is filled and renewed here."`
	Webhooks   string        `default:"admission.wasmbed.io" desc:"Name of the MutatingWebhookConfiguration and the ValidatingWebhookConfiguration whose caBundle is kept right."`
	Namespace  string        `envconfig:"SYSTEM_NAMESPACE" default:"wasmbed-system" desc:"Namespace of this process."`
	Kubeconfig string        `desc:"Kubeconfig file; empty: the service account of the pod."`
	Drain      time.Duration `default:"10s" desc:"How long the process goes on answering after it was asked to end, without a request in between."`
}

// kube returns the configuration of a client, and tells knative.dev/pkg the namespace, which it reads from the environment.
func (c *Config) kube(log *slog.Logger) (*rest.Config, error) {
	if os.Getenv(system.NamespaceEnvKey) == "" {
		if err := os.Setenv(system.NamespaceEnvKey, c.Namespace); err != nil {
			return nil, errs.New(errs.Internal, "environment: %w", err)
		}
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, errs.New(errs.Invalid, "kubernetes: %w", err).WithMend("WASMBED_KUBECONFIG names a kubeconfig file outside of a cluster")
	}
	cfg.UserAgent = "wasmbed-admission"
	cfg.WarningHandler = rest.NoWarnings{}
	log.Debug("kubernetes", "host", cfg.Host, "namespace", c.Namespace)
	return cfg, nil
}
