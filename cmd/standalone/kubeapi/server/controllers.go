package server

import (
	"context"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/controller/clusterroleaggregation"
	namespacecontroller "k8s.io/kubernetes/pkg/controller/namespace"

	"wasmbed.io/wasmbed/internal/errs"
)

// controllers runs the two controllers of a kube-controller-manager that are missed without one: the one that
// empties a namespace which is deleted (it would stay Terminating for ever), and the one that adds our roles to
// Kubernetes' view, edit and admin. Nothing here makes objects with owners that nobody else deletes, so there
// is no garbage collector: its caches of everything would cost more than all the rest.
func controllers(ctx context.Context, loopback *rest.Config) error {
	cfg := rest.CopyConfig(loopback)
	cfg.QPS = -1
	cfg.ContentType = "" // of each client its own
	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return errs.New(errs.Internal, "controllers: %w", err)
	}
	meta, err := metadata.NewForConfig(cfg)
	if err != nil {
		return errs.New(errs.Internal, "controllers: %w", err)
	}
	shared := informers.NewSharedInformerFactory(kube, 0)
	namespaces := namespacecontroller.NewNamespaceController(ctx, kube, meta, kube.Discovery().ServerPreferredNamespacedResources,
		shared.Core().V1().Namespaces(), 5*time.Minute, corev1.FinalizerKubernetes)
	roles := clusterroleaggregation.NewClusterRoleAggregation(shared.Rbac().V1().ClusterRoles(), kube.RbacV1())
	shared.Start(ctx.Done())
	go namespaces.Run(ctx, 2)
	go roles.Run(ctx, 2)
	return nil
}
