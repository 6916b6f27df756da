package main

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/functions"
	"wasmbed.io/wasmbed/functions/enroll"
	"wasmbed.io/wasmbed/internal/errs"
)

// authorityName is the value of WASMBED_FUNCTION that makes the devices' authority when there is none, and ends. Whoever
// installs runs it (config/authority): a function never makes one, for one made by mistake locks every device out.
const authorityName = "authority"

func makeAuthority(ctx context.Context, cfg *functions.Config, log *slog.Logger) error {
	kube, err := kubernetesConfig(cfg)
	if err != nil {
		return err
	}
	set, err := client.New(kube)
	if err != nil {
		return err
	}
	if _, _, err := enroll.EnsureAuthority(ctx, set.Secrets, cfg.TrustDomain, time.Now()); err != nil {
		return err
	}
	log.Info("the devices' authority is there", "secret", enroll.CANamespace+"/"+enroll.CASecret)
	return nil
}

func kubernetesConfig(cfg *functions.Config) (*rest.Config, error) {
	var kube *rest.Config
	var err error
	if cfg.Kubeconfig != "" {
		kube, err = clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig)
	} else {
		kube, err = rest.InClusterConfig()
	}
	if err != nil {
		return nil, errs.New(errs.Invalid, "kubernetes: %w", err).WithMend("set KUBECONFIG, or run in a Pod")
	}
	return kube, nil
}
