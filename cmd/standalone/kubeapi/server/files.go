package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/ports"
)

// User is who a token of the embedded API speaks for.
type User struct {
	Name   string // of its file in Dir/tokens, and of its context in a kubeconfig
	User   string // Kubernetes user name
	Groups []string
}

// Admin may do everything.
const Admin = "admin"

// systemNamespace is where Wasmbed's own service accounts live.
const systemNamespace = "wasmbed-system"

// Users returns whose tokens are made at the first start: the person at the keyboard, and Wasmbed's parts as
// the service accounts that they are on a cluster, so that the same RBAC rules are in force.
func Users() []User {
	account := func(name string) User {
		return User{
			Name: name, User: "system:serviceaccount:" + systemNamespace + ":" + name,
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + systemNamespace},
		}
	}
	return []User{
		{Name: Admin, User: "wasmbed:admin", Groups: []string{"system:masters"}},
		account("wasmbed-enroll"), account("wasmbed-deploy"), account("wasmbed-rollback"), account("wasmbed-report"),
		account("wasmbed-api"), account("wasmbed-source"), account("wasmbed-board"), account("wasmbed-provisioner"),
		account("wasmbed-webhook"),
		account("wasmbed-command"), // it may do nothing there: it works in the ledger alone
	}
}

// files is where everything is in Options.Dir.
type files struct {
	dir, ca, servingCert, servingKey, serviceAccountKey, tokens, kubeconfig, portFile string

	port int // of the last time, 0: none
}

// prepare makes what is missing in dir. What is there is kept: a restart has the same identities.
func prepare(dir string) (*files, error) {
	f := &files{
		dir: dir, ca: filepath.Join(dir, "ca.crt"), servingCert: filepath.Join(dir, "serving.crt"), servingKey: filepath.Join(dir, "serving.key"),
		serviceAccountKey: filepath.Join(dir, "service-account.key"), tokens: filepath.Join(dir, "tokens.csv"),
		kubeconfig: filepath.Join(dir, "kubeconfig"), portFile: filepath.Join(dir, "port"),
	}
	if err := os.MkdirAll(filepath.Join(dir, "tokens"), 0o700); err != nil {
		return nil, errs.New(errs.Invalid, "kubernetes api: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, errs.New(errs.Invalid, "kubernetes api: %w", err)
	}
	steps := []struct {
		last string // the file that is written last: when it is there, the step is done
		do   func() error
	}{
		{f.servingCert, f.makeServing},
		{f.serviceAccountKey, func() error { return writeKey(f.serviceAccountKey, nil) }},
	}
	for _, s := range steps {
		if _, err := os.Stat(s.last); err == nil {
			continue
		}
		if err := s.do(); err != nil {
			return nil, errs.New(errs.Internal, "kubernetes api: %w", err)
		}
	}
	if err := f.makeTokens(); err != nil {
		return nil, errs.New(errs.Internal, "kubernetes api: %w", err)
	}
	if b, err := os.ReadFile(f.portFile); err == nil {
		f.port, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	return f, nil
}

// listen takes address; with port 0 there, the port of the last time is tried first, so that kubeconfigs
// that people copied stay right.
func listen(address string, last int) (net.Listener, error) {
	l, err := ports.Listen(address, net.JoinHostPort("", strconv.Itoa(last)))
	if err != nil {
		return nil, errs.New(errs.Unavailable, "kubernetes api: %w", err)
	}
	return l, nil
}

// writeEndpoint writes the port and a kubeconfig with one context per user.
func (f *files) writeEndpoint(url string, addr net.Addr) error {
	ca, err := os.ReadFile(f.ca)
	if err != nil {
		return errs.New(errs.Internal, "kubernetes api: %w", err)
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["wasmbed"] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: ca}
	for _, u := range Users() {
		token, err := os.ReadFile(filepath.Join(f.dir, "tokens", u.Name))
		if err != nil {
			return errs.New(errs.Internal, "kubernetes api: %w", err)
		}
		cfg.AuthInfos[u.Name] = &clientcmdapi.AuthInfo{Token: string(token)}
		name := "wasmbed"
		if u.Name != Admin {
			name = u.Name
		}
		cfg.Contexts[name] = &clientcmdapi.Context{Cluster: "wasmbed", AuthInfo: u.Name, Namespace: "default"}
	}
	cfg.CurrentContext = "wasmbed"
	b, err := clientcmd.Write(*cfg)
	if err != nil {
		return errs.New(errs.Internal, "kubernetes api: %w", err)
	}
	if err := write(f.kubeconfig, b); err != nil {
		return errs.New(errs.Internal, "kubernetes api: %w", err)
	}
	if err := write(f.portFile, []byte(strconv.Itoa(addr.(*net.TCPAddr).Port)+"\n")); err != nil {
		return errs.New(errs.Internal, "kubernetes api: %w", err)
	}
	return nil
}

// makeTokens makes the tokens that are missing: all of them at the first start, and those of users that came with a
// later version.
func (f *files) makeTokens() error {
	var csv strings.Builder
	for i, u := range Users() {
		path := filepath.Join(f.dir, "tokens", u.Name)
		token, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			token = []byte(rand.Text())
			err = write(path, token)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(&csv, "%s,%s,%d,%q\n", token, u.User, i+1, strings.Join(u.Groups, ","))
	}
	return write(f.tokens, []byte(csv.String()))
}

// makeServing makes a CA and a serving certificate under it, and forgets the CA's key: it signs nothing else.
func (f *files) makeServing() error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "wasmbed standalone kubernetes api"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kubernetes"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost", "kubernetes", "kubernetes.default"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	return errors.Join(
		write(f.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})),
		writeKey(f.servingKey, key),
		write(f.servingCert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER})),
	)
}

// writeKey writes key, or a new one.
func writeKey(path string, key *ecdsa.PrivateKey) error {
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return err
		}
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return write(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

// write replaces a file atomically, readable by its owner alone.
func write(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// withCodec completes a configuration for a client that reads status objects only.
func withCodec(c *rest.Config) *rest.Config {
	c.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	return c
}
