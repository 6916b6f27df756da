// Package tlsfile serves a certificate from files that somebody else renews: a mounted Secret, for instance.
package tlsfile

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// lookEvery is how often the files are looked at; handshakes in between cost nothing.
const lookEvery = 5 * time.Second

// Files is a certificate and its key. Safe for concurrent use.
type Files struct {
	cert, key string
	now       func() time.Time
	log       *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]time.Time // of the files
	looked  time.Time
}

// New reads the files. Errors: errs.Invalid.
func New(cert, key string, log *slog.Logger, now func() time.Time) (*Files, error) {
	f := &Files{cert: cert, key: key, log: log, now: now, looked: now()}
	if err := f.load(); err != nil {
		return nil, err
	}
	return f, nil
}

// Get is for tls.Config.GetCertificate: the certificate as the files have it, at most a few seconds ago. A pair that
// does not load leaves the one before it.
func (f *Files) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); now.Sub(f.looked) >= lookEvery {
		f.looked = now
		if err := f.load(); err != nil {
			f.log.Warn("the certificate is not read again", "err", err)
		}
	}
	return f.current, nil
}

// load reads the pair when one of its files has changed. mu is held, or f is new.
func (f *Files) load() error {
	var stamp [2]time.Time
	for i, name := range []string{f.cert, f.key} {
		st, err := os.Stat(name)
		if err != nil {
			return errs.New(errs.Invalid, "certificate: %w", err)
		}
		stamp[i] = st.ModTime()
	}
	if f.current != nil && stamp == f.stamp {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return errs.New(errs.Invalid, "certificate: %w", err)
	}
	f.current, f.stamp = &pair, stamp
	return nil
}
