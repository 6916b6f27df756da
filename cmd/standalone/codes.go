package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

const (
	codesFolder = "login"
	codeLife    = 15 * time.Minute
)

// existing opens the state folder of a platform that may run, without its lock.
func existing(dir string) (*state, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, errs.New(errs.Invalid, "state folder: %w", err)
	}
	return &state{dir: dir}, nil
}

// codeFile is where a code is: under its digest, so that who reads a listing cannot log in.
func (s *state) codeFile(code string) string {
	sum := sha256.Sum256([]byte(code))
	return s.path(codesFolder, hex.EncodeToString(sum[:]))
}

// makeCode makes a code that logs in once, within codeLife. Codes that are over are removed.
func (s *state) makeCode(now time.Time) (string, error) {
	if err := os.MkdirAll(s.path(codesFolder), 0o700); err != nil {
		return "", errs.New(errs.Internal, "state folder: %w", err)
	}
	old, err := os.ReadDir(s.path(codesFolder))
	if err != nil {
		return "", errs.New(errs.Internal, "state folder: %w", err)
	}
	for _, e := range old {
		if path := s.path(codesFolder, e.Name()); !fresh(path, now) {
			_ = os.Remove(path) // it cannot be used either way
		}
	}
	code := rand.Text()
	if err := os.WriteFile(s.codeFile(code), []byte(now.Add(codeLife).UTC().Format(time.RFC3339)+"\n"), 0o600); err != nil {
		return "", errs.New(errs.Internal, "state folder: %w", err)
	}
	return code, nil
}

// takeCode uses a code up, and reports whether it was good. Of several who come with the same one, one gets in: a file
// is removed once.
func (s *state) takeCode(code string, now time.Time) bool {
	if code == "" || len(code) > 128 {
		return false
	}
	path := s.codeFile(code)
	good := fresh(path, now)
	return os.Remove(path) == nil && good
}

// fresh reports whether the code in a file may still be used.
func fresh(path string, now time.Time) bool {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	until, err := time.Parse(time.RFC3339, strings.TrimSpace(string(b)))
	return err == nil && now.Before(until) && until.Sub(now) <= codeLife
}
