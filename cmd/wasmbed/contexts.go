package main

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of the contexts file.
const (
	maxContextsFile = 1 << 20 // bytes
	maxContexts     = 200
	maxTokenBytes   = 64 << 10
)

// contexts is the file that `wasmbed login` keeps: servers, and as whom to speak to them.
type contexts struct {
	Current  string    `json:"current,omitempty"` // the selected one; none is fine
	Contexts []account `json:"contexts,omitempty"`
}

// account is one server, as somebody.
type account struct {
	Name      string `json:"name"`
	Server    string `json:"server"`              // URL of the REST API
	Namespace string `json:"namespace,omitempty"` // empty: default
	Token     string `json:"token,omitempty"`
	// Context of the kubeconfig whose token is asked for at each use, so that short-lived ones work.
	KubeconfigContext string `json:"kubeconfigContext,omitempty"`
	CA                string `json:"ca,omitempty"` // PEM certificates that the server's may be signed by; empty: the system's
}

var contextName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}$`)

// contextsPath is wasmbed/config.yaml below XDG_CONFIG_HOME, or below ~/.config.
func contextsPath() (string, error) {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) { // the specification says that a relative one is to be ignored
		home, err := os.UserHomeDir()
		if err != nil {
			return "", errs.New(errs.Invalid, "where are contexts kept? %w", err).WithMend("set HOME or XDG_CONFIG_HOME")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "wasmbed", "config.yaml"), nil
}

// loadContexts reads the file; one that is not there is empty. Errors: Invalid.
func loadContexts(path string) (*contexts, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &contexts{}, nil
	}
	if err != nil {
		return nil, errs.New(errs.Invalid, "%w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxContextsFile+1))
	if err != nil {
		return nil, errs.New(errs.Invalid, "%w", err)
	}
	s, err := readContexts(b)
	if err != nil {
		return nil, errs.New(errs.Invalid, "%s: %w", path, err).WithMend("mend it, or remove it and log in again: wasmbed login")
	}
	return s, nil
}

// readContexts decodes and checks. What it does not know it refuses: a misspelt word would be lost with the next write.
func readContexts(b []byte) (*contexts, error) {
	if len(b) > maxContextsFile {
		return nil, fmt.Errorf("more than %d bytes", maxContextsFile)
	}
	var s contexts
	if err := yaml.UnmarshalStrict(b, &s); err != nil {
		return nil, err
	}
	if len(s.Contexts) > maxContexts {
		return nil, fmt.Errorf("more than %d contexts", maxContexts)
	}
	for i := range s.Contexts {
		a := &s.Contexts[i]
		if err := a.check(); err != nil {
			return nil, err
		}
		if s.find(a.Name) != a {
			return nil, fmt.Errorf("context %s is there twice", a.Name)
		}
	}
	return &s, nil
}

func (a *account) check() error {
	if !contextName.MatchString(a.Name) {
		return fmt.Errorf("%q is no name of a context: letters, digits and . _ : @ -", a.Name)
	}
	if _, err := parseServer(a.Server); err != nil {
		return fmt.Errorf("context %s: %w", a.Name, err)
	}
	if a.Token != "" && a.KubeconfigContext != "" {
		return fmt.Errorf("context %s: token and kubeconfigContext exclude each other", a.Name)
	}
	if err := checkToken(a.Token); err != nil {
		return fmt.Errorf("context %s: %w", a.Name, err)
	}
	if strings.ContainsFunc(a.Namespace, func(r rune) bool { return r <= ' ' || r == '/' || r > '~' }) {
		return fmt.Errorf("context %s: %q is no namespace", a.Name, a.Namespace)
	}
	if a.CA != "" {
		if _, err := certificates([]byte(a.CA)); err != nil {
			return fmt.Errorf("context %s: ca: %w", a.Name, err)
		}
	}
	return nil
}

// checkToken refuses what cannot stand in a header.
func checkToken(t string) error {
	if len(t) > maxTokenBytes {
		return fmt.Errorf("a token of more than %d bytes", maxTokenBytes)
	}
	if strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the token has characters that no token has")
	}
	return nil
}

// certificates reads PEM; at least one certificate must be in it.
func certificates(b []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(c)
		n++
	}
	if n == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return pool, nil
}

func (s *contexts) find(name string) *account {
	for i := range s.Contexts {
		if s.Contexts[i].Name == name {
			return &s.Contexts[i]
		}
	}
	return nil
}

// get returns a context by name. Errors: NotFound.
func (s *contexts) get(name string) (*account, error) {
	if a := s.find(name); a != nil {
		return a, nil
	}
	mend := "wasmbed login makes one"
	if len(s.Contexts) > 0 {
		mend = "there are " + strings.Join(s.names(), ", ")
	}
	return nil, errs.New(errs.NotFound, "there is no context %q", name).WithMend("%s", mend)
}

func (s *contexts) names() []string {
	out := make([]string, len(s.Contexts))
	for i := range s.Contexts {
		out[i] = s.Contexts[i].Name
	}
	return out
}

// put adds a context, or takes the place of the one with its name.
func (s *contexts) put(a account) {
	if have := s.find(a.Name); have != nil {
		*have = a
		return
	}
	s.Contexts = append(s.Contexts, a)
	slices.SortFunc(s.Contexts, func(a, b account) int { return cmp.Compare(a.Name, b.Name) })
}

// save writes the file, for its owner alone, at once: a reader sees the old or the new one.
func (s *contexts) save(path string) (err error) {
	defer func() {
		if err != nil {
			err = errs.New(errs.Invalid, "the contexts file cannot be written: %w", err)
		}
	}()
	for i := range s.Contexts {
		if err := s.Contexts[i].check(); err != nil {
			return err
		}
	}
	if len(s.Contexts) > maxContexts {
		return fmt.Errorf("more than %d contexts", maxContexts)
	}
	b, err := yaml.Marshal(s)
	if err != nil {
		return err
	}
	b = append([]byte("# Servers that wasmbed knows, and as whom it speaks to them. Tokens are secrets.\n"), b...)
	if bytes.Equal(bytes.TrimSpace(b[bytes.IndexByte(b, '\n'):]), []byte("{}")) {
		b = b[:bytes.IndexByte(b, '\n')+1]
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".config-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it is gone when all went well
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
