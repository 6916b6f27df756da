package api

import (
	"net/http"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// Board is one row of the table of boards. Sizes are bytes.
type Board struct {
	Name         string   `json:"name"`
	CPU          string   `json:"cpu"`
	RAM          int64    `json:"ram"`
	Flash        int64    `json:"flash"`
	Transports   []string `json:"transports"` // the first is the default
	Zephyr       string   `json:"zephyr,omitempty"`
	Renode       string   `json:"renode,omitempty"`
	QEMU         string   `json:"qemu,omitempty"`
	ModuleMemory int64    `json:"moduleMemory,omitempty"` // RAM for one module
	ModuleSize   int64    `json:"moduleSize,omitempty"`   // the largest module that is stored
	Refused      string   `json:"refused,omitempty"`      // why no firmware can run there
	Truth        string   `json:"truth"`                  // the best that was seen: run, boots, builds, not built, refused
	Seen         []Seen   `json:"seen,omitempty"`         // all that was seen, newest first
}

// Seen is one thing that was seen of a board.
type Seen struct {
	Status    string `json:"status"`
	Transport string `json:"transport,omitempty"`
	When      string `json:"when,omitempty"` // date
	With      string `json:"with,omitempty"` // versions
	Test      string `json:"test,omitempty"` // the command that repeats it
	Note      string `json:"note,omitempty"`
}

// listBoards answers the table of boards.
func (a *API) listBoards(w http.ResponseWriter, _ *request) error {
	items := a.Boards
	if items == nil {
		items = []Board{}
	}
	return writeJSON(w, http.StatusOK, listAnswer[Board]{Items: items})
}

// createDevice makes a Device. The body is one; what it says of the namespace must agree with the path, and its
// status is not taken.
func (a *API) createDevice(w http.ResponseWriter, r *request) error {
	var in v1alpha1.Device
	if err := decode(r, &in); err != nil {
		return err
	}
	if in.Name == "" {
		return errs.New(errs.Invalid, "metadata.name is missing")
	}
	if in.Namespace != "" && in.Namespace != r.namespace {
		return errs.New(errs.Invalid, "the body says namespace %s, the path says %s", in.Namespace, r.namespace)
	}
	in.Namespace = r.namespace
	in.Status = v1alpha1.DeviceStatus{}
	if e := in.Spec.Emulation; e != nil && e.Backend != v1alpha1.BackendHost {
		if err := a.boardFits(in.Spec.Board, e); err != nil {
			return err
		}
	}
	made, err := a.Client.Devices.Create(r.Context(), &in)
	if err != nil {
		return err
	}
	a.audit(r, "created", made.Name)
	return writeJSON(w, http.StatusCreated, made)
}

// boardFits refuses what the table of boards says cannot be; without a table nothing is known to be wrong.
func (a *API) boardFits(name string, e *v1alpha1.Emulation) error {
	if len(a.Boards) == 0 {
		return nil
	}
	for _, b := range a.Boards {
		switch {
		case b.Name != name:
			continue
		case e.Backend == v1alpha1.BackendQEMU && b.QEMU == "", e.Backend == v1alpha1.BackendRenode && b.Renode == "":
			return errs.New(errs.Invalid, "board %s is not known to backend %s", name, e.Backend).WithMend("wasmbed boards shows which backends know it")
		}
		return nil
	}
	return errs.New(errs.Invalid, "there is no board %q", name).WithMend("wasmbed boards lists them")
}

func (a *API) deleteDevice(w http.ResponseWriter, r *request) error {
	if err := remove(r, a.Client.Devices); err != nil {
		return err
	}
	a.audit(r, "deleted", "")
	return writeJSON(w, http.StatusAccepted, map[string]string{"status": "deleting"})
}

func (a *API) startBoard(w http.ResponseWriter, r *request) error {
	return a.power(w, r, "start", func(e *v1alpha1.Emulation) error {
		e.State = v1alpha1.EmulationRunning
		return nil
	})
}

func (a *API) stopBoard(w http.ResponseWriter, r *request) error {
	return a.power(w, r, "stop", func(e *v1alpha1.Emulation) error {
		e.State = v1alpha1.EmulationStopped
		return nil
	})
}

func (a *API) resetBoard(w http.ResponseWriter, r *request) error {
	return a.power(w, r, "reset", func(e *v1alpha1.Emulation) error {
		e.Resets++
		return running(e, r.name)
	})
}

func (a *API) cutPower(w http.ResponseWriter, r *request) error {
	return a.power(w, r, "power-cut", func(e *v1alpha1.Emulation) error {
		e.PowerCuts++
		return running(e, r.name)
	})
}

func running(e *v1alpha1.Emulation, name string) error {
	if e.State == v1alpha1.EmulationStopped {
		return errs.New(errs.Conflict, "device %s is stopped", name).WithMend("wasmbed device start %s", name)
	}
	return nil
}

// power writes what is wanted of the device's emulated board; the provisioner carries it out, and status.board
// says when it has.
func (a *API) power(w http.ResponseWriter, r *request, verb string, change func(*v1alpha1.Emulation) error) error {
	for try := 1; ; try++ {
		d, err := a.Client.Devices.Get(r.Context(), r.namespace, r.name)
		if err != nil {
			return err
		}
		if err := emulated(d); err != nil {
			return err
		}
		before := *d.Spec.Emulation
		if err := change(d.Spec.Emulation); err != nil {
			return err
		}
		if *d.Spec.Emulation != before {
			d, err = a.Client.Devices.Update(r.Context(), d)
			if errs.Is(err, errs.Conflict) && try < maxTries {
				continue
			}
			if err != nil {
				return err
			}
			a.audit(r, "power", verb)
		}
		return writeJSON(w, http.StatusOK, d)
	}
}
