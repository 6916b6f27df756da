package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"golang.org/x/sync/errgroup"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/config"
	"wasmbed.io/wasmbed/functions/enroll"
	"wasmbed.io/wasmbed/internal/apply"
	"wasmbed.io/wasmbed/internal/errs"
)

// Files of the state folder that the gateway and the devices read.
const (
	serverCertFile = "tls/gateway.crt"
	serverKeyFile  = "tls/gateway.key"
	trustFile      = "trust.pem"
	seededFile     = "seeded"
	sampleFile     = "hello.yaml"
	sampleName     = "hello"
)

// setup brings Kubernetes to where the platform can work: CRDs, roles, the device authority, the Gateway and,
// once in the life of the state folder, the sample application.
func (p *platform) setup(ctx context.Context, c call) error {
	admin, err := p.admin(ctx)
	if err != nil {
		return err
	}
	set, err := client.New(admin)
	if err != nil {
		return err
	}
	a, err := apply.New(admin)
	if err != nil {
		return err
	}
	crds, err := apply.Files(config.FS(), config.CRDs)
	if err != nil {
		return err
	}
	roles, err := apply.Files(config.FS(), config.RBAC)
	if err != nil {
		return err
	}
	b, err := apply.New(admin) // another one: an Applier is for one goroutine
	if err != nil {
		return err
	}
	c1, err := apply.New(admin)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer p.reached("the CRDs are served")
		if err := a.Apply(gctx, crds...); err != nil {
			return err
		}
		if err := a.Settle(gctx, crds...); err != nil {
			return err
		}
		return warm(gctx, admin, crds)
	})
	g.Go(func() error {
		// The authority's Secret needs its namespace, which is the first of the roles' objects.
		if err := b.Apply(gctx, roles[:1]...); err != nil {
			return err
		}
		if err := p.certificates(gctx, set); err != nil {
			return err
		}
		defer p.reached("the parts have their roles")
		return b.Apply(gctx, roles[1:]...)
	})
	g.Go(func() error { return p.ensureNamespace(gctx, c1) })
	if err := g.Wait(); err != nil {
		return err
	}
	if err := p.gatewayObject(ctx, set, c); err != nil {
		return err
	}
	if c.with(partProvisioner) {
		if err := p.seedEmulated(ctx, set); err != nil {
			return err
		}
	}
	return p.seed(ctx, a)
}

// warm lists every resource once, until the API server has it at hand. It fills its cache of a resource at the first
// question for it, and says meanwhile "too many requests, come again in a second": without this, the first
// application would wait for that second.
func warm(ctx context.Context, cfg *rest.Config, crds []*unstructured.Unstructured) error {
	hc, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return errs.New(errs.Internal, "kubernetes client: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, crd := range crds {
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		for _, v := range versions {
			version, _ := v.(map[string]any)
			address := cfg.Host + fmt.Sprintf("/apis/%s/%v/%s?limit=1", group, version["name"], plural)
			g.Go(func() error {
				for {
					req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
					if err != nil {
						return errs.New(errs.Internal, "%w", err)
					}
					resp, err := hc.Do(req)
					if err != nil {
						return nil // it is a help, not a need
					}
					resp.Body.Close()
					if resp.StatusCode != http.StatusTooManyRequests {
						return nil
					}
					select {
					case <-ctx.Done():
						return nil
					case <-time.After(10 * time.Millisecond):
					}
				}
			})
		}
	}
	return g.Wait()
}

// ensureNamespace makes the namespace of our devices when it is not there. The API server makes "default" itself,
// but perhaps later than we need it.
func (p *platform) ensureNamespace(ctx context.Context, a *apply.Applier) error {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	o.SetAPIVersion("v1")
	o.SetKind("Namespace")
	o.SetName(p.ends.Namespace)
	_, err := a.Create(ctx, o)
	return err
}

// admin returns the configuration of who may do everything, once the API answers, and leaves the kubeconfig and
// the token where people and the CLI look for them.
func (p *platform) admin(ctx context.Context) (*rest.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Patience)
	defer cancel()
	for {
		cfg, err := p.account("wasmbed")
		if err == nil {
			if err = answers(ctx, cfg); err == nil {
				return cfg, p.credentials()
			}
		}
		select {
		case <-ctx.Done():
			return nil, errs.New(errs.Unavailable, "the Kubernetes API at %s does not answer: %w", p.ends.Kubernetes, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func answers(ctx context.Context, cfg *rest.Config) error {
	hc, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return err
	}
	rc, err := rest.UnversionedRESTClientForConfigAndClient(plain(cfg), hc)
	if err != nil {
		return err
	}
	// Its own roles come a second later at the first start; we do not need them.
	return rc.Get().RequestURI("/readyz?exclude=poststarthook/rbac/bootstrap-roles").Do(ctx).Error()
}

// plain completes a configuration for a client that reads status objects only.
func plain(cfg *rest.Config) *rest.Config {
	c := rest.CopyConfig(cfg)
	c.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	return c
}

func (p *platform) credentials() error {
	all, err := clientcmd.LoadFromFile(p.state.path(partKube, "kubeconfig"))
	if err != nil {
		return errs.New(errs.Internal, "kubeconfig: %w", err)
	}
	for name := range all.Contexts {
		if name != "wasmbed" {
			delete(all.AuthInfos, all.Contexts[name].AuthInfo)
			delete(all.Contexts, name)
		}
	}
	b, err := clientcmd.Write(*all)
	if err != nil {
		return errs.New(errs.Internal, "kubeconfig: %w", err)
	}
	for name, content := range map[string][]byte{
		"kubeconfig": b,
		"server":     []byte("http://" + p.ends.API + "\n"),
		"token":      []byte(p.state.read(partKube+"/tokens/admin") + "\n"),
		"redis-url":  []byte(p.ends.Redis + "\n"),
	} {
		if err := p.state.write(name, content); err != nil {
			return err
		}
	}
	return nil
}

// gatewayLife is the life of the gateway's server certificate; it is made anew when a third of it is left.
const gatewayLife = 365 * 24 * time.Hour

// certificates makes sure of the device authority, and of a server certificate under it for the gateway.
func (p *platform) certificates(ctx context.Context, set *client.Set) error {
	now := time.Now()
	certPEM, keyPEM, err := enroll.EnsureAuthority(ctx, set.Secrets, p.ends.TrustDomain, now)
	if err != nil {
		return err
	}
	if err := p.state.write(trustFile, certPEM); err != nil {
		return err
	}
	caBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if caBlock == nil || keyBlock == nil {
		return errs.New(errs.Invalid, "the Secret %s/%s holds no certificate and key", enroll.CANamespace, enroll.CASecret)
	}
	ca, err := x509.ParseCertificate(caBlock.Bytes)
	if err != nil {
		return errs.New(errs.Invalid, "the device authority's certificate: %w", err)
	}
	hosts := p.hosts()
	if p.serverCertificateFits(ca, hosts, now) {
		return nil
	}
	caKey, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return errs.New(errs.Invalid, "the device authority's key: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return errs.New(errs.Internal, "gateway's key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return errs.New(errs.Internal, "gateway's certificate: %w", err)
	}
	leaf := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "wasmbed gateway"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(gatewayLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return errs.New(errs.Internal, "gateway's certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return errs.New(errs.Internal, "gateway's key: %w", err)
	}
	// The key first: a certificate without its key is made anew at the next start.
	if err := p.state.write(serverKeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})); err != nil {
		return err
	}
	return p.state.write(serverCertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// hosts are the names under which devices may dial the gateway.
func (p *platform) hosts() []string {
	out := []string{"localhost", "127.0.0.1", "::1"}
	for _, a := range []string{p.ends.Address, p.ends.TLS} {
		if h, _, err := net.SplitHostPort(a); err == nil && h != "" && !slices.Contains(out, h) {
			if ip := net.ParseIP(h); ip == nil || !ip.IsUnspecified() {
				out = append(out, h)
			}
		}
	}
	return out
}

func (p *platform) serverCertificateFits(ca *x509.Certificate, hosts []string, now time.Time) bool {
	b, err := os.ReadFile(p.state.path(serverCertFile))
	if err != nil || !p.state.has(serverKeyFile) {
		return false
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || cert.CheckSignatureFrom(ca) != nil || cert.NotAfter.Sub(now) < gatewayLife/3 {
		return false
	}
	return !slices.ContainsFunc(hosts, func(h string) bool { return cert.VerifyHostname(h) != nil })
}

// gatewayObject makes the Gateway at the first start, and keeps its address right when ports move. The pairing
// window opens again only for devices of ours that never got in.
func (p *platform) gatewayObject(ctx context.Context, set *client.Set, c call) error {
	until := metav1.NewTime(time.Now().Add(p.cfg.Pairing).Truncate(time.Second))
	g, err := set.Gateways.Get(ctx, p.ends.Namespace, p.ends.Gateway)
	if errs.Is(err, errs.NotFound) {
		_, err := set.Gateways.Create(ctx, &v1alpha1.Gateway{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.ends.Namespace, Name: p.ends.Gateway},
			Spec: v1alpha1.GatewaySpec{
				Address: p.ends.Address,
				Pairing: v1alpha1.Pairing{Until: &until, Approval: v1alpha1.PairingAutomatic},
			},
		})
		return err
	}
	if err != nil {
		return err
	}
	missing, err := p.notEnrolled(ctx, set, c)
	if err != nil {
		return err
	}
	reopen := missing && (g.Spec.Pairing.Until == nil || g.Spec.Pairing.Until.Before(&until))
	if g.Spec.Address == p.ends.Address && !reopen {
		return nil
	}
	g.Spec.Address = p.ends.Address
	if reopen {
		g.Spec.Pairing.Until = &until
	}
	_, err = set.Gateways.Update(ctx, g)
	return err
}

// notEnrolled reports whether a device of ours has no key pinned yet.
func (p *platform) notEnrolled(ctx context.Context, set *client.Set, c call) (bool, error) {
	if !c.with(partDevices) {
		return false, nil
	}
	for _, d := range p.boards() {
		o, err := set.Devices.Get(ctx, p.ends.Namespace, d.name)
		switch {
		case errs.Is(err, errs.NotFound):
			return true, nil
		case err != nil:
			return false, err
		case o.Spec.Identity == nil || len(o.Spec.Identity.PublicKey) == 0:
			return true, nil
		}
	}
	return false, nil
}

// seed deploys the sample once: who deletes it does not find it again.
func (p *platform) seed(ctx context.Context, a *apply.Applier) error {
	if !p.cfg.Sample || p.state.has(seededFile) {
		return nil
	}
	b, err := fs.ReadFile(config.FS(), path.Join(config.Samples, sampleFile))
	if err != nil {
		return errs.New(errs.Internal, "sample: %w", err)
	}
	samples, err := apply.Decode(b)
	if err != nil {
		return err
	}
	for _, o := range samples {
		// As kubectl apply leaves it, so that it can be applied over without a warning.
		last, err := o.MarshalJSON()
		if err != nil {
			return errs.New(errs.Internal, "sample: %w", err)
		}
		o.SetAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": string(last)})
		if _, err := a.Create(ctx, o); err != nil {
			return err
		}
	}
	return p.state.write(seededFile, []byte("the sample application was deployed; without this file it is deployed again\n"))
}
