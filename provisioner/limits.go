package provisioner

import "time"

// Limits of an emulated board, and the times that it has. DefaultLimits returns them for a backend.
const (
	// ConsoleRing is how much of a board's console is kept, bytes.
	ConsoleRing = 64 << 10
	// machineRAM is the RAM of the mps2 machines, the file that is their storage: 16 MiB, as the FPGA images have it.
	machineRAM = 16 << 20
	// translation is QEMU's buffer of translated code, MiB. A firmware image of 256 KiB needs less than 4; QEMU's own
	// default is a quarter of the host's memory, up to 1 GiB.
	translation = 16

	// DefaultBootTimeout is how long a board may take from its start to its first console line. QEMU needs 0.1 s, Renode
	// on a slow host 20.
	DefaultBootTimeout = 30 * time.Second
	renodeBootTimeout  = 90 * time.Second
)

// Limits bound what one board may take of its host. An engine enforces what it can and says what it cannot.
type Limits struct {
	Memory int64 `json:"memory"` // bytes of RAM, PSS
	CPU    int64 `json:"cpu"`    // thousandths of a core
	PIDs   int64 `json:"pids"`   // processes and threads
}

// DefaultLimits returns the limits of a board of that backend.
func DefaultLimits(backend string) Limits {
	switch backend {
	case BackendRenode:
		return Limits{Memory: 512 << 20, CPU: 1000, PIDs: 128}
	case BackendQEMU:
		return Limits{Memory: 128 << 20, CPU: 1000, PIDs: 32}
	}
	return Limits{Memory: 256 << 20, CPU: 1000, PIDs: 64}
}
