package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"

	"wasmbed.io/wasmbed/api/validate"
	"wasmbed.io/wasmbed/internal/errs"
)

// world asks whether a Secret is there without reading what is in it.
type world struct {
	validate.Client
	meta metadata.Interface
}

// Secret implements validate.World.
func (w world) Secret(ctx context.Context, namespace, name string) error {
	_, err := w.meta.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return errs.New(errs.NotFound, "%w", err)
	case apierrors.IsForbidden(err):
		return errs.New(errs.Denied, "%w", err)
	}
	return errs.New(errs.Unavailable, "%w", err)
}
