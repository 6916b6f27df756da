package enroll

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

const serverSecret = "wasmbed-gateway-tls"

// serves has enroll make the certificate of the Gateway main.
func (b *bench) serves() {
	b.f = New(Deps{Client: b.set, Ledger: b.l, Instances: &b.up, TrustDomain: "wasmbed.local", Now: func() time.Time { return b.now }, Log: b.f.d.Log,
		Servers: Servers{Secrets: map[string]string{ns + "/main": serverSecret}, Names: []string{"wasmbed-gateway"}}})
}

func (b *bench) secret(name string) *corev1.Secret {
	b.Helper()
	s, err := b.set.Secrets.Get(b.Context(), CANamespace, name)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// leaf is the certificate in a Secret, verified as a device verifies it.
func (b *bench) leaf(s *corev1.Secret, hosts ...string) *x509.Certificate {
	b.Helper()
	pair, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		b.Fatal(err)
	}
	m, err := b.set.ConfigMaps.Get(b.Context(), CANamespace, TrustConfigMap)
	if err != nil || m.Data[TrustKey] != string(s.Data[TrustKey]) {
		b.Fatal(m, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(m.Data[TrustKey]))
	for _, h := range hosts {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: h, CurrentTime: b.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
			b.Errorf("%s: %v", h, err)
		}
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: b.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		b.Error("it may be a client's")
	}
	if len(pair.Leaf.URIs) != 0 || pair.Leaf.IsCA {
		b.Errorf("it is more than a server's: %v", pair.Leaf.URIs)
	}
	return pair.Leaf
}

// due gives out what is due of a kind.
func (b *bench) due(kind string) (out []event.Timer) {
	b.Helper()
	for shard := range b.l.Shards() {
		ts, err := b.l.Due(b.Context(), shard, 100)
		if err != nil {
			b.Fatal(err)
		}
		if err := b.l.DoneDue(b.Context(), shard, ts); err != nil {
			b.Fatal(err)
		}
		for _, t := range ts {
			if t.Kind == kind {
				out = append(out, t)
			}
		}
	}
	return out
}

func TestServerCertificate(t *testing.T) {
	b := start(t)
	b.serves()
	b.gateway(func(g *v1alpha1.Gateway) { g.Spec.Address = "Gateway.Example:8081" })
	inCluster := []string{"wasmbed-gateway", "wasmbed-gateway.wasmbed-system", "wasmbed-gateway.wasmbed-system.svc", "wasmbed-gateway.wasmbed-system.svc.cluster.local"}
	s := b.secret(serverSecret)
	first := b.leaf(s, append(inCluster, "gateway.example")...)
	if s.Type != corev1.SecretTypeTLS || s.Annotations[annotationGateway] != ns+"/main" {
		t.Errorf("%+v", s.ObjectMeta)
	}
	if first.VerifyHostname("other.example") == nil || first.NotAfter.Sub(b.now) != serverLife {
		t.Errorf("%v until %v", first.DNSNames, first.NotAfter)
	}
	rv := func() string { return b.secret(serverSecret).ResourceVersion }
	was := rv()
	b.changed("Gateway", "main")
	if rv() != was {
		t.Error("a certificate that fits was made again")
	}
	// Another address: another certificate, also for an IP.
	g, err := b.set.Gateways.Get(t.Context(), ns, "main")
	if err != nil {
		t.Fatal(err)
	}
	g.Spec.Address = "[2001:db8::1]:8081"
	if _, err := b.set.Gateways.Update(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	b.changed("Gateway", "main")
	second := b.leaf(b.secret(serverSecret), append(inCluster, "2001:db8::1")...)
	if second.VerifyHostname("gateway.example") == nil || len(second.IPAddresses) != 1 || !second.IPAddresses[0].Equal(net.ParseIP("2001:db8::1")) {
		t.Errorf("%v %v", second.DNSNames, second.IPAddresses)
	}
	b.changed("Gateway", "main")
	if b.leaf(b.secret(serverSecret)).SerialNumber.Cmp(second.SerialNumber) != 0 {
		t.Error("a certificate for an address was made again")
	}
	// Its timer comes at two thirds of its life, not before, and renews it.
	if ts := b.due(ledger.DueCertificate); len(ts) != 0 {
		t.Errorf("due at once: %v", ts)
	}
	b.now = b.now.Add(serverLife * 2 / 3)
	ts := b.due(ledger.DueCertificate)
	if len(ts) != 1 || ts[0].Namespace != ns || ts[0].Name != "main" {
		t.Fatalf("%v", ts)
	}
	b.redo = true
	b.handle(b.event(event.TimerDue, "gw", ts[0]))
	third := b.leaf(b.secret(serverSecret), inCluster...)
	if third.SerialNumber.Cmp(second.SerialNumber) == 0 || third.NotAfter.Sub(b.now) != serverLife {
		t.Errorf("not renewed: until %v", third.NotAfter)
	}
	// A ledger that was lost takes its timer with it: the backstop renews.
	b.due("")
	b.now = b.now.Add(serverLife)
	b.handle(b.event(event.Ping, "/apis/v1/namespaces/wasmbed-system/pingsources/wasmbed-backstop", nil))
	if fourth := b.leaf(b.secret(serverSecret), inCluster...); fourth.SerialNumber.Cmp(third.SerialNumber) == 0 {
		t.Error("the backstop did not renew")
	}
	// So does another authority, and the anchor with it.
	if err := b.set.Secrets.Delete(t.Context(), CANamespace, CASecret); err != nil {
		t.Fatal(err)
	}
	if _, _, err := EnsureAuthority(t.Context(), b.set.Secrets, "wasmbed.local", b.now); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(caCache + time.Second)
	b.changed("Gateway", "main")
	b.leaf(b.secret(serverSecret), inCluster...)
}

// TestServerBackstop: a Gateway that nobody told of is found.
func TestServerBackstop(t *testing.T) {
	b := start(t)
	b.serves()
	if _, err := b.set.Gateways.Create(t.Context(), &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "main"}, Spec: v1alpha1.GatewaySpec{Address: "gw:8081"}}); err != nil {
		t.Fatal(err)
	}
	b.redo = true
	b.handle(b.event(event.Ping, "/p", nil))
	b.leaf(b.secret(serverSecret), "gw")
	if _, err := b.l.Gateway(t.Context(), ns, "main"); err != nil {
		t.Errorf("its settings: %v", err)
	}
}

// TestServerNotOurs: nobody gets a certificate by making a Gateway object, and no Secret of somebody else's is touched.
func TestServerNotOurs(t *testing.T) {
	b := start(t)
	b.serves()
	theirs := &corev1.Secret{Type: corev1.SecretTypeTLS, ObjectMeta: metav1.ObjectMeta{Namespace: CANamespace, Name: serverSecret}, Data: map[string][]byte{"tls.crt": []byte("theirs")}}
	if _, err := b.set.Secrets.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	b.gateway(nil)
	if s := b.secret(serverSecret); string(s.Data["tls.crt"]) != "theirs" {
		t.Error("somebody else's Secret was overwritten")
	}
	if _, err := b.set.Gateways.Create(t.Context(), &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "another"}, Spec: v1alpha1.GatewaySpec{Address: "gw:8081"}}); err != nil {
		t.Fatal(err)
	}
	b.changed("Gateway", "another")
	n := 0
	all, _, err := b.set.Secrets.List(t.Context(), "", client.ListOptions{})
	for _, s := range all {
		if s.Type == corev1.SecretTypeTLS && s.Name != CASecret {
			n++
		}
	}
	if n != 1 || err != nil {
		t.Errorf("%d server certificates, %v", n, err)
	}
}

func TestParseServers(t *testing.T) {
	got, err := ParseServers([]string{"default/default=wasmbed-gateway-tls", " plant/main=tls-plant ", ""})
	if err != nil || fmt.Sprint(got) != "map[default/default:wasmbed-gateway-tls plant/main:tls-plant]" {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{"x", "a/b", "a=b", "a/=c", "/b=c", "a/b/c=d", "a/b=", "a/b=wasmbed-ca", "a/b=wasmbed-revoked-0", "a/b=x,c/d=x"} {
		if _, err := ParseServers(strings.Split(bad, ",")); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
