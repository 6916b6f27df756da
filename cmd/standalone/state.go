package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"wasmbed.io/wasmbed/internal/errs"
)

// state is the state folder. What is in it:
//
//	endpoints.json  where every part is; `standalone part` reads it
//	kubeconfig      of the Kubernetes API; its default context may do everything
//	server, token   of the REST API, one line each; the CLI reads them
//	login/          codes of links that log in to the dashboard, each usable once
//	redis-url       of Redis
//	provisioner-token, provisioner.kubeconfig   of the provisioner alone
//	trust.pem       what devices trust: the certificate of their authority
//	kubeapi/ redis/ devices/ boards/ tls/   what the parts keep
//	log/            of the parts; log/NAME.old is of the time before
//	seeded          the sample was deployed once and is not deployed again
//	emulated        emulated devices that were made once and are not made again
//	lock            held while standalone runs
type state struct {
	dir  string
	lock *os.File
}

// openState makes the folder when it is missing, and takes its lock. Errors: errs.Conflict when somebody
// holds it, errs.Invalid when the folder cannot be used.
func openState(dir string) (*state, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, errs.New(errs.Invalid, "state folder: %w", err)
	}
	for _, d := range []string{dir, filepath.Join(dir, "log"), filepath.Join(dir, "tls")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, errs.New(errs.Invalid, "state folder: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, errs.New(errs.Invalid, "state folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid := make([]byte, 32)
		n, _ := lock.Read(pid)
		lock.Close()
		return nil, errs.New(errs.Conflict, "a platform runs in %s already (process %s)", dir, strings.TrimSpace(string(pid[:n]))).
			WithMend("stop it, or set WASMBED_DIR and the ports to run another one beside it")
	}
	if err := errors.Join(lock.Truncate(0), writeAt(lock, fmt.Sprintln(os.Getpid()))); err != nil {
		lock.Close()
		return nil, errs.New(errs.Invalid, "state folder: %w", err)
	}
	return &state{dir: dir, lock: lock}, nil
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

func (s *state) Close() {
	if s.lock != nil {
		s.lock.Close() // the kernel drops the lock with it
	}
}

func (s *state) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// write replaces a file atomically, readable by its owner alone.
func (s *state) write(name string, b []byte) error {
	path := s.path(name)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return errs.New(errs.Internal, "state folder: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return errs.New(errs.Internal, "state folder: %w", err)
	}
	return nil
}

// read returns a file without the white space around it, "" when it is missing.
func (s *state) read(name string) string {
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (s *state) has(name string) bool {
	_, err := os.Stat(s.path(name))
	return err == nil
}

// endpoints is where every part is.
type endpoints struct {
	Dashboard   string `json:"dashboard"`             // host:port, as the next three
	API         string `json:"api"`                   //
	HTTP        string `json:"http"`                  // the gateway's
	TLS         string `json:"tls"`                   // the gateway's
	Kubernetes  string `json:"kubernetes"`            // host:port
	Kubeconfig  string `json:"kubeconfig"`            // path
	Broker      string `json:"broker"`                // host:port
	Functions   string `json:"functions"`             // host:port
	Provisioner string `json:"provisioner,omitempty"` // host:port
	Redis       string `json:"redis"`                 // URL with its password
	Address     string `json:"address"`               // host:port that devices dial
	Namespace   string `json:"namespace"`
	Gateway     string `json:"gateway"` // Gateway object
	TrustDomain string `json:"trustDomain"`
}

func (e *endpoints) sink() string { return "http://" + e.Broker + "/" }

const endpointsFile = "endpoints.json"

// loadEndpoints returns what the last start wrote, zero when there was none.
func (s *state) loadEndpoints() endpoints {
	var e endpoints
	if b, err := os.ReadFile(s.path(endpointsFile)); err == nil {
		_ = json.Unmarshal(b, &e) // a file that cannot be read is as good as none: everything in it is chosen again
	}
	return e
}

func (s *state) saveEndpoints(e endpoints) error {
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return errs.New(errs.Internal, "state folder: %w", err)
	}
	return s.write(endpointsFile, append(b, '\n'))
}

// logFile opens a part's log, and keeps the one before.
func (s *state) logFile(name string) (*os.File, error) {
	path := s.path("log", name+".log")
	if err := os.Rename(path, path+".old"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errs.New(errs.Invalid, "log of %s: %w", name, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, errs.New(errs.Invalid, "log of %s: %w", name, err)
	}
	return f, nil
}
