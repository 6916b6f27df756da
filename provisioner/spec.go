package provisioner

import (
	"slices"
	"strings"
	"time"
)

// Backends: what runs the firmware.
const (
	BackendHost   = "host"   // a process with the firmware's core, cmd/device
	BackendQEMU   = "qemu"   //
	BackendRenode = "renode" //
)

// Key names a Device.
type Key struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (k Key) String() string { return k.Namespace + "/" + k.Name }

// Device is what a plan needs to know of a Device object.
type Device struct {
	Key
	UID       string
	Backend   string
	Transport Transport // "": the board's own
}

// Labels of what an engine makes, so that it is found again.
const (
	LabelNamespace   = "wasmbed.io/namespace"
	LabelDevice      = "wasmbed.io/device"
	LabelUID         = "wasmbed.io/uid"
	LabelBackend     = "wasmbed.io/backend"
	LabelBoard       = "wasmbed.io/board"
	LabelTransport   = "wasmbed.io/transport"
	LabelProvisioner = "wasmbed.io/provisioner" // whose it is, where several share an engine
)

// Spec is everything that an engine needs to start a board. It is complete, and its paths are relative to the folder that
// the engine gives the board as its working directory (where a program needs more than that, {dir}: see Fill). So the same
// Spec starts a child process or a container, and the same Device gives the same Spec.
type Spec struct {
	Key     Key    `json:"key"`
	UID     string `json:"uid"`
	Backend string `json:"backend"`
	Board   string `json:"board"`
	// Transport is how it reaches the gateway.
	Transport Transport `json:"transport"`
	// Program is the name of what is run: qemu-system-arm, renode, device. Where it lies is the engine's business.
	Program string   `json:"program"`
	Args    []string `json:"args,omitempty"`
	Env     []string `json:"env,omitempty"`
	// Image is the firmware: a file name in the folder of images. It is copied to ImageFile in the board's folder, so
	// that a new build does not change a running board. Empty: the program is the firmware (host).
	Image       string `json:"image,omitempty"`
	ImageDigest string `json:"imageDigest,omitempty"` // sha256:<hex>
	Files       []File `json:"files,omitempty"`
	// HoldInput: the program's standard input stays open and says nothing.
	HoldInput bool    `json:"holdInput,omitempty"`
	Console   Channel `json:"console"`
	// Link is the UART that carries TLS; a zero Kind when the board has a network.
	Link    Channel `json:"link,omitzero"`
	Control Control `json:"control,omitzero"`
	// Relay is the board's way to the gateway where it has no network of its own.
	Relay  Relay             `json:"relay,omitzero"`
	Limits Limits            `json:"limits"`
	Boot   Boot              `json:"boot"`
	Labels map[string]string `json:"labels"`
	// Setup names what a running board cannot change: another Setup means that it must be started again. Storage names
	// what the stored bytes belong to: another Storage means that they are wiped first.
	Setup   string `json:"setup"`
	Storage string `json:"storage"`
}

// ImageFile is the name of the firmware in a board's folder.
const ImageFile = "image.elf"

// File is a file in a board's folder.
type File struct {
	Name string `json:"name"`
	// Data is written at each start.
	Data []byte `json:"data,omitempty"`
	// Keep: the file outlives the board's power. Made with Size bytes of Fill when it is not there; then Data is not used.
	Keep bool  `json:"keep,omitempty"`
	Size int64 `json:"size,omitempty"`
	Fill byte  `json:"fill,omitempty"`
	// Secret: for the board's user alone.
	Secret bool `json:"secret,omitempty"`
}

// ChannelKind is what a stream of a board is made of.
type ChannelKind string

// Kinds of channels.
const (
	ChannelSocket ChannelKind = "socket" // a Unix socket in the board's folder
	ChannelOutput ChannelKind = "output" // the program's standard output and error
)

// Channel is a byte stream of a board: its console, its link.
type Channel struct {
	Kind ChannelKind `json:"kind"`
	Path string      `json:"path,omitempty"` // socket
	// Waits: the board does not begin before somebody has opened the channel.
	Waits bool `json:"waits,omitempty"`
}

// ControlKind is what a board's program is controlled by.
type ControlKind string

// Kinds of control.
const (
	ControlNone   ControlKind = ""       // signals: a reset is a new start
	ControlQMP    ControlKind = "qmp"    // QEMU's machine protocol
	ControlRenode ControlKind = "renode" // lines: "reset", answered by "ok" (provisioner/renode/sockets.cs)
)

// Control is how a board is reset.
type Control struct {
	Kind ControlKind `json:"kind"`
	Path string      `json:"path,omitempty"` // socket
}

// Relay is a socket in the board's folder that the engine listens at. Each connection to it is carried to the address, and
// to nothing else.
type Relay struct {
	Path    string `json:"path"`
	Address string `json:"address"` // host:port, as the provisioner reaches it
}

// Boot says when a board has booted.
type Boot struct {
	Line    string        `json:"line"` // a console line that has this in it
	Timeout time.Duration `json:"timeout"`
}

// BootLine is what every firmware image says first.
const BootLine = "wasmbed: boot"

// Fill returns the Spec with the board's folder, as its program sees it, in place of {dir} in arguments and environment.
func (s Spec) Fill(dir string) Spec {
	fill := func(in []string) []string {
		out := slices.Clone(in)
		for i := range out {
			out[i] = strings.ReplaceAll(out[i], "{dir}", dir)
		}
		return out
	}
	s.Args, s.Env = fill(s.Args), fill(s.Env)
	return s
}
