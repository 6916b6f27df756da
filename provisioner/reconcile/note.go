package reconcile

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
)

// note is what the provisioner remembers of one Device over its own lives. It can be lost: then the Device's status
// tells what was carried out, and a new claim is made.
type note struct {
	UID       string `json:"uid"`
	Claim     string `json:"claim,omitempty"`
	Resets    int64  `json:"resets"` // carried out
	PowerCuts int64  `json:"powerCuts"`
	Cutting   string `json:"cutting,omitempty"` // life whose power is being cut: when it is gone, it was
	Restarts  int64  `json:"restarts"`
	Booted    string `json:"booted,omitempty"`  // life that said that it has booted
	Stopped   string `json:"stopped,omitempty"` // life that was ended because of the spec: its end is no failure
	// Said is what was told last.
	Said event.BoardChanged `json:"said"`
}

// notes keeps notes as files; an empty dir keeps none.
type notes struct{ dir string }

func (n notes) path(k provisioner.Key) string {
	return filepath.Join(n.dir, k.Namespace, k.Name+".json")
}

// read returns the note of a Device, false when there is none that can be read.
func (n notes) read(k provisioner.Key) (note, bool) {
	if n.dir == "" {
		return note{}, false
	}
	b, err := os.ReadFile(n.path(k))
	if err != nil {
		return note{}, false
	}
	var v note
	if err := json.Unmarshal(b, &v); err != nil {
		return note{}, false
	}
	return v, true
}

// write replaces a note, at once or not at all.
func (n notes) write(k provisioner.Key, v note) error {
	if n.dir == "" {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return errs.New(errs.Internal, "note of %s: %w", k, err)
	}
	path := n.path(k)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return errs.New(errs.Internal, "note of %s: %w", k, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".note*")
	if err != nil {
		return errs.New(errs.Internal, "note of %s: %w", k, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errs.New(errs.Internal, "note of %s: %w", k, err)
	}
	return nil
}

func (n notes) remove(k provisioner.Key) error {
	if n.dir == "" {
		return nil
	}
	if err := os.Remove(n.path(k)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errs.New(errs.Internal, "note of %s: %w", k, err)
	}
	return nil
}
