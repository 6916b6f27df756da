package enroll

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Where the gateways' server certificates and the devices' trust anchor are, all beside the authority.
const (
	// TrustConfigMap has the trust anchor under TrustKey, for people and for what provisions devices.
	TrustConfigMap = "wasmbed-trust"
	TrustKey       = "ca.crt"

	// annotationGateway names the Gateway (namespace/name) whose certificate a Secret is. A Secret without it is
	// somebody else's and is left alone: a certificate of another authority may be put there by hand.
	annotationGateway = "wasmbed.io/gateway"
)

// Servers says which Gateways get a server certificate from the devices' authority. That is the installation's to say
// and not the Gateway object's: objects belong to tenants, and these Secrets are the platform's.
type Servers struct {
	Secrets map[string]string // Gateway (namespace/name) → name of the Secret, in wasmbed-system
	Names   []string          // Services before the gateways in wasmbed-system; a certificate is good for them too
	Domain  string            // of the cluster; "": cluster.local
}

// ParseServers reads namespace/name=secret, several separated by commas. Errors: Invalid.
func ParseServers(list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, x := range list {
		if x = strings.TrimSpace(x); x == "" {
			continue
		}
		gateway, secret, ok := strings.Cut(x, "=")
		ns, name, ok2 := strings.Cut(gateway, "/")
		if !ok || !ok2 || ns == "" || name == "" || secret == "" || strings.Contains(name, "/") {
			return nil, errs.New(errs.Invalid, "%q is not namespace/name=secret", x)
		}
		if secret == CASecret || strings.HasPrefix(secret, revokedPrefix) {
			return nil, errs.New(errs.Invalid, "%s is enroll's own Secret", secret)
		}
		for other, s := range out {
			if s == secret {
				return nil, errs.New(errs.Invalid, "gateways %s and %s cannot share the Secret %s", other, gateway, secret)
			}
		}
		out[gateway] = secret
	}
	return out, nil
}

// hosts are the names that a Gateway's certificate is good for: the host of its address, and the Services.
func (s Servers) hosts(g *v1alpha1.Gateway) []string {
	host, _, err := net.SplitHostPort(g.Spec.Address)
	if err != nil {
		host = g.Spec.Address
	}
	domain := s.Domain
	if domain == "" {
		domain = "cluster.local"
	}
	out := []string{strings.ToLower(host)}
	for _, n := range s.Names {
		for _, full := range []string{n, n + "." + CANamespace, n + "." + CANamespace + ".svc", n + "." + CANamespace + ".svc." + domain} {
			if !slices.Contains(out, full) {
				out = append(out, full)
			}
		}
	}
	return out
}

// IssueServer signs a server certificate for hosts (names and addresses): usage serverAuth only. It does not outlive the
// authority. It returns the chain and the key in PEM.
func (a *Authority) IssueServer(hosts []string, now time.Time, life time.Duration) (certPEM, keyPEM []byte, err error) {
	if !now.Before(a.cert.NotAfter) {
		return nil, nil, errs.New(errs.Unavailable, "the device authority's certificate ended %s", a.cert.NotAfter.Format(time.RFC3339)).
			WithMend("renew the Secret %s/%s", CANamespace, CASecret)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, errs.New(errs.Internal, "generate a server key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	notAfter := now.Add(life)
	if notAfter.After(a.cert.NotAfter) {
		notAfter = a.cert.NotAfter
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "wasmbed gateway"}, NotBefore: now.Add(-backdate).UTC(), NotAfter: notAfter.UTC(),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, errs.New(errs.Internal, "sign a server certificate: %w", err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, errs.New(errs.Internal, "encode a server key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}), nil
}

// server makes or renews a Gateway's server certificate, when the installation wants one of it, and asks to be woken
// when it is to be renewed. Gateway processes read their files again when they change.
func (f *Function) server(ctx context.Context, g *v1alpha1.Gateway) error {
	secret, ok := f.d.Servers.Secrets[g.Namespace+"/"+g.Name]
	if !ok || g.DeletionTimestamp != nil {
		return nil
	}
	ca, err := f.ca.get(ctx, f.d.Now())
	if err != nil {
		return err
	}
	if err := f.trustAnchor(ctx, ca); err != nil {
		return err
	}
	for range conflictAttempts {
		var renew time.Time
		if renew, err = f.tryServer(ctx, g, secret, ca); err == nil {
			if renew.IsZero() {
				return nil // not ours
			}
			return f.d.Ledger.MarkDue(ctx, event.Timer{Kind: ledger.DueCertificate, Namespace: g.Namespace, Name: g.Name, Due: renew})
		}
		if !errs.Is(err, errs.Conflict) && !errs.Is(err, errs.AlreadyExists) {
			return err
		}
	}
	return err
}

// tryServer returns when the certificate is to be renewed.
func (f *Function) tryServer(ctx context.Context, g *v1alpha1.Gateway, name string, ca *Authority) (renew time.Time, err error) {
	now, owner, hosts := f.d.Now(), g.Namespace+"/"+g.Name, f.d.Servers.hosts(g)
	s, err := f.d.Client.Secrets.Get(ctx, CANamespace, name)
	absent := errs.Is(err, errs.NotFound)
	switch {
	case absent:
		s = &corev1.Secret{Type: corev1.SecretTypeTLS, ObjectMeta: metav1.ObjectMeta{Namespace: CANamespace, Name: name,
			Labels: map[string]string{v1alpha1.LabelManagedBy: "wasmbed-" + Name}, Annotations: map[string]string{annotationGateway: owner}}}
	case err != nil:
		return time.Time{}, err
	case s.Annotations[annotationGateway] != owner:
		f.d.Log.Debug("the server certificate is somebody else's", "secret", name, "gateway", owner, "of", s.Annotations[annotationGateway])
		return time.Time{}, nil
	default:
		if renew, ok := fits(s.Data, ca, hosts, now); ok {
			return renew, nil
		}
	}
	crt, key, err := ca.IssueServer(hosts, now, serverLife)
	if err != nil {
		return time.Time{}, err
	}
	s.Data = map[string][]byte{corev1.TLSCertKey: crt, corev1.TLSPrivateKeyKey: key, TrustKey: ca.PEM()}
	if absent {
		_, err = f.d.Client.Secrets.Create(ctx, s)
	} else {
		_, err = f.d.Client.Secrets.Update(ctx, s)
	}
	if err != nil {
		return time.Time{}, err
	}
	renew, ok := fits(s.Data, ca, hosts, now)
	if !ok { // the authority itself is about to end: there is no use in making one after the other
		renew = now.Add(serverRetry)
	}
	f.d.Log.Info("server certificate made", "gateway", owner, "secret", name, "hosts", hosts, "renewed", renew)
	return renew, nil
}

// fits reports whether a Secret's certificate is what is wanted, and until when: it is renewed at two thirds of its life.
func fits(data map[string][]byte, ca *Authority, hosts []string, now time.Time) (renew time.Time, ok bool) {
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil || pair.Leaf.CheckSignatureFrom(ca.cert) != nil || !bytes.Equal(data[TrustKey], ca.PEM()) {
		return time.Time{}, false
	}
	have := map[string]bool{}
	for _, n := range pair.Leaf.DNSNames {
		have[n] = true
	}
	for _, ip := range pair.Leaf.IPAddresses {
		have[ip.String()] = true
	}
	want := map[string]bool{}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			h = ip.String()
		}
		want[h] = true
	}
	if !maps.Equal(have, want) {
		return time.Time{}, false
	}
	renew = pair.Leaf.NotBefore.Add(pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore) * 2 / 3)
	return renew, now.Before(renew)
}

// trustAnchor keeps the ConfigMap with what devices verify gateways by.
func (f *Function) trustAnchor(ctx context.Context, ca *Authority) error {
	for range conflictAttempts {
		m, err := f.d.Client.ConfigMaps.Get(ctx, CANamespace, TrustConfigMap)
		want := string(ca.PEM())
		switch {
		case errs.Is(err, errs.NotFound):
			_, err = f.d.Client.ConfigMaps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: CANamespace, Name: TrustConfigMap,
				Labels: map[string]string{v1alpha1.LabelManagedBy: "wasmbed-" + Name}}, Data: map[string]string{TrustKey: want}})
		case err != nil:
			return err
		case m.Data[TrustKey] == want:
			return nil
		default:
			if m.Data == nil {
				m.Data = map[string]string{}
			}
			m.Data[TrustKey] = want
			_, err = f.d.Client.ConfigMaps.Update(ctx, m)
		}
		if !errs.Is(err, errs.Conflict) && !errs.Is(err, errs.AlreadyExists) {
			return err
		}
	}
	return errs.New(errs.Conflict, "ConfigMap %s/%s changes too fast", CANamespace, TrustConfigMap)
}

// backstop looks at every Gateway that gets a certificate here: Knative's source does not tell of objects that were
// there before it, nor of what changed while it was away, and a timer is lost with the ledger.
func (f *Function) backstop(ctx context.Context) error {
	var failed error
	for _, x := range slices.Sorted(maps.Keys(f.d.Servers.Secrets)) {
		ns, name, _ := strings.Cut(x, "/")
		if err := f.gateway(ctx, ns, name); err != nil && !errs.Is(err, errs.NotFound) {
			failed = err // the others are looked at all the same
		}
	}
	return failed
}

// certificateDue is a timer of a Gateway's server certificate.
func (f *Function) certificateDue(ctx context.Context, t event.Timer) error {
	g, err := f.d.Client.Gateways.Get(ctx, t.Namespace, t.Name)
	if err != nil {
		return ignoreNotFound(err)
	}
	return f.server(ctx, g)
}
