// Package server is an embedded Kubernetes API: Kubernetes' own generic control plane (namespaces, RBAC,
// service accounts and their tokens, secrets, events, custom resources) over an embedded etcd. It is the
// one package that imports k8s.io/kubernetes and etcd, and it runs in a process of its own, so that its
// memory, its global flags and its death are its own too.
//
// It has no kubelet, no scheduler and, but for what controllers.go says, no controller manager: there are no
// Pods and no Services.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	generic "k8s.io/kubernetes/pkg/controlplane/apiserver/samples/generic/server"

	"wasmbed.io/wasmbed/internal/errs"
)

// Options of the embedded API.
type Options struct {
	// Dir holds everything that it keeps: the store, keys, tokens, kubeconfig. It is made when missing,
	// readable by its owner alone.
	Dir string
	// Address to listen on. Port 0: the one of the last time when it is free, else any.
	Address string
	// OIDC is an issuer whose tokens are taken beside the API's own.
	OIDC OIDC
	// Ready is called once, when the API answers.
	Ready func(Endpoint)
}

// OIDC is an OpenID Connect issuer; without Issuer, none. CA is a file; empty: the system's certificates.
type OIDC struct{ Issuer, ClientID, UsernameClaim, GroupsClaim, CA string }

// Endpoint is where a running API is.
type Endpoint struct {
	URL        string `json:"url"`
	Kubeconfig string `json:"kubeconfig"` // path
}

// shutdownTimeout bounds the API server's own graceful end, so that its store is closed in any case. Watches
// stay open until their clients go, so the grace of Kubernetes (a minute) is not for us.
const shutdownTimeout = 2 * time.Second

// Run serves until ctx ends, then stops the API server and after it the store. It changes the working
// directory of the process to o.Dir, because the store listens on unix sockets and their paths are limited
// to 107 bytes. Its errors are errs.Unavailable (a port or the store is in use) and errs.Internal.
func Run(ctx context.Context, o Options) error {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return errs.New(errs.Invalid, "kubernetes api: %w", err)
	}
	o.Dir = dir
	f, err := prepare(dir)
	if err != nil {
		return err
	}
	l, err := listen(o.Address, f.port)
	if err != nil {
		return err
	}
	defer l.Close()
	endpoint := Endpoint{URL: "https://" + l.Addr().String(), Kubeconfig: f.kubeconfig}
	if err := f.writeEndpoint(endpoint.URL, l.Addr()); err != nil {
		return err
	}
	if err := os.Chdir(o.Dir); err != nil {
		return errs.New(errs.Internal, "kubernetes api: %w", err)
	}
	store, err := startStore(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	return serve(ctx, o, f, l, endpoint)
}

// serve runs the API server over a store that is ready.
func serve(ctx context.Context, o Options, f *files, l net.Listener, endpoint Endpoint) error {
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	opts := serverOptions(f, l)
	if o.OIDC.Issuer != "" {
		d := opts.Authentication.OIDC
		d.IssuerURL, d.ClientID, d.CAFile, d.FlagsSet = o.OIDC.Issuer, o.OIDC.ClientID, o.OIDC.CA, true
		d.UsernameClaim, d.GroupsClaim, d.GroupsPrefix = o.OIDC.UsernameClaim, o.OIDC.GroupsClaim, "oidc:"
		d.SigningAlgs = []string{"RS256", "ES256"}
	}
	if err := logsapi.ValidateAndApply(opts.Logs, nil); err != nil {
		return errs.New(errs.Internal, "kubernetes api: %w", err)
	}
	completed, err := opts.Complete(ctx, nil, []net.IP{net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return errs.New(errs.Internal, "kubernetes api: %w", err)
	}
	if es := completed.Validate(); len(es) > 0 {
		return errs.New(errs.Internal, "kubernetes api: %w", utilerrors.NewAggregate(es))
	}
	config, err := generic.NewConfig(completed)
	if err != nil {
		return errs.New(errs.Internal, "kubernetes api: %w", err)
	}
	// There is one API server. With more, a new CRD is not served before the others can have heard of it: 5 s.
	config.APIExtensions.ExtraConfig.MasterCount = 1
	cc, err := config.Complete()
	if err != nil {
		return errs.New(errs.Internal, "kubernetes api: %w", err)
	}
	chain, err := generic.CreateServerChain(cc)
	if err != nil {
		return errs.New(errs.Internal, "kubernetes api: %w", err)
	}
	chain.GenericAPIServer.ShutdownTimeout = shutdownTimeout / 4
	prepared, err := chain.PrepareRun()
	if err != nil {
		return errs.New(errs.Internal, "kubernetes api: %w", err)
	}

	// The API server ends with its own context; the store must outlive it.
	done := make(chan error, 1)
	go func() { done <- prepared.Run(ctx) }()
	go func() {
		if waitReady(ctx, chain.GenericAPIServer.LoopbackClientConfig) != nil {
			return
		}
		if o.Ready != nil {
			o.Ready(endpoint)
		}
		if err := controllers(ctx, chain.GenericAPIServer.LoopbackClientConfig); err != nil {
			klog.ErrorS(err, "Controllers do not run")
		}
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
		case <-time.After(shutdownTimeout):
		}
	}
	if err != nil && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return errs.New(errs.Internal, "kubernetes api: %w", err)
	}
	return nil
}

func serverOptions(f *files, l net.Listener) *options.Options {
	s := generic.NewOptions()
	s.SecureServing.Listener = l
	s.SecureServing.BindPort = l.Addr().(*net.TCPAddr).Port
	s.SecureServing.BindAddress = l.Addr().(*net.TCPAddr).IP
	s.SecureServing.ServerCert.CertKey.CertFile = f.servingCert
	s.SecureServing.ServerCert.CertKey.KeyFile = f.servingKey

	s.Etcd.StorageConfig.Transport.ServerList = []string{"unix://" + storeSocket}
	s.Etcd.EnableGarbageCollection = true

	s.Authentication.TokenFile.TokenFile = f.tokens
	s.Authentication.Anonymous.Allow = false
	s.Authentication.ServiceAccounts.Issuers = []string{"https://kubernetes.wasmbed.local"}
	s.Authentication.ServiceAccounts.KeyFiles = []string{f.serviceAccountKey}
	s.ServiceAccountSigningKeyFile = f.serviceAccountKey
	s.Authorization.Modes = []string{"RBAC"}

	s.Features.EnableProfiling = false
	s.GenericServerRunOptions.MaxRequestsInFlight = 400
	s.GenericServerRunOptions.MaxMutatingRequestsInFlight = 200
	return s
}

// The store's sockets, relative to the working directory.
const (
	storeDir    = "etcd"
	storeSocket = "client.sock"
	peerSocket  = "peer.sock"
)

// startStore starts etcd on unix sockets, so that nobody but this user reaches it. What it said to have
// written survives a power cut: fsync stays on.
func startStore(ctx context.Context) (*embed.Etcd, error) {
	for _, s := range []string{storeSocket, peerSocket} { // of a process that was killed
		if err := os.Remove(s); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, errs.New(errs.Internal, "kubernetes api's store: %w", err)
		}
	}
	wal.SegmentSizeBytes = 8 << 20 // etcd preallocates two; its 64 MB are meant for clusters
	client, peer := url.URL{Scheme: "unix", Path: storeSocket}, url.URL{Scheme: "unix", Path: peerSocket}
	c := embed.NewConfig()
	c.Name = "wasmbed"
	c.Dir = storeDir
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	// One member elects itself at once: nobody else can be the leader.
	c.TickMs, c.ElectionMs = 10, 100
	c.SnapshotCount = 10_000
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "kubernetes api's store in %s: %w", storeDir, err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, nil
	case err := <-e.Err():
		e.Close()
		return nil, errs.New(errs.Unavailable, "kubernetes api's store: %w", err)
	case <-ctx.Done():
		e.Close()
		return nil, errs.New(errs.CodeOf(ctx.Err()), "kubernetes api's store: %w", context.Cause(ctx))
	}
}

// ready is what waitReady asks. Kubernetes' own roles are left out: they take a second longer at the first start,
// and our users have roles of their own, or need none.
const ready = "/readyz?exclude=poststarthook/rbac/bootstrap-roles"

// waitReady polls until the API server says that it is ready.
func waitReady(ctx context.Context, cfg *rest.Config) error {
	c := rest.CopyConfig(cfg)
	c.QPS = -1
	rc, err := rest.UnversionedRESTClientFor(withCodec(c))
	if err != nil {
		return fmt.Errorf("loopback client: %w", err)
	}
	for {
		if err := rc.Get().RequestURI(ready).Do(ctx).Error(); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
