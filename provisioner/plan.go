package provisioner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner/blob"
)

// PlanOptions is what a plan needs beside Device and board.
type PlanOptions struct {
	// Gateway is host:port of the gateway's TLS address, as the engine's host reaches it.
	Gateway string
	// ServerName is the name that the gateway's certificate must carry; "": the gateway's host.
	ServerName string
	Trust      [][]byte // DER, 1 or 2
	// Claim lets the device enroll without a pairing window; nil when it is enrolled. Text, for it travels in a host
	// device's environment too.
	Claim []byte
	Seed  []byte    // 32 to 64 bytes for the board's entropy pool; a new one for each start
	Floor time.Time // certificates are not valid before
	// ImageDigest of the firmware image that ImageName names; "" for the host.
	ImageDigest string
	Provisioner string // LabelProvisioner
	// Forward is a program that QEMU starts as FORWARD HOST PORT for each connection that the board opens, and whose
	// standard input and output are that connection (nc does that). With it the board reaches the gateway and nothing
	// else. Without it the board has QEMU's user network: what the host reaches, the board reaches. That is the default
	// because it needs nothing: guestfwd to an address, without a program, connects once for QEMU's whole life, and a
	// board that reconnects would find it closed. Both were seen to work with the Zephyr firmware on QEMU 7.2.
	Forward string
	// Relay is socat as the board's program finds it. With it a QEMU board's connections go through a socket in its folder,
	// at which the engine listens, and the board has no network at all: containers. It wins over Forward.
	Relay string
	// Sandbox turns QEMU's own seccomp filter on; it must have been built with one.
	Sandbox bool
	// Tap is a TAP device for boards that have their network in Renode.
	Tap string
	// Limits and BootTimeout override the backend's.
	Limits      Limits
	BootTimeout time.Duration
}

// Files in a board's folder.
const (
	fileBlob    = "blob.bin"
	fileMemory  = "memory.bin"
	fileScript  = "board.resc"
	fileTrust   = "trust.pem"
	sockConsole = "console.sock"
	sockLink    = "link.sock"
	sockQMP     = "qmp.sock"
	sockControl = "control.sock"
	sockGateway = "gateway.sock"
)

// ImageName returns the file name of the firmware image of a board with a transport.
func ImageName(b Board, t Transport) string {
	if t != b.Transport {
		return b.Name + "-" + string(t) + ".elf"
	}
	return b.Name + ".elf"
}

// Resolve returns the transport of a Device on a board. Errors: Invalid, Unsupported.
func Resolve(d Device, b Board) (Transport, error) {
	switch {
	case b.Refused != "":
		return "", errs.New(errs.Unsupported, "board %s cannot be a device: %s", b.Name, b.Refused).WithMend("choose another board")
	case d.Backend == BackendHost:
		if d.Transport == Serial {
			return "", errs.New(errs.Unsupported, "a host device has no serial line").WithMend("leave spec.emulation.transport out")
		}
		return Ethernet, nil
	case d.Transport == "":
		return b.Transport, nil
	case slices.Contains(b.Transports(), d.Transport):
		return d.Transport, nil
	case d.Transport == Ethernet, d.Transport == Serial:
		return "", errs.New(errs.Unsupported, "there is no firmware for board %s with transport %s", b.Name, word(d.Transport)).
			WithMend("leave spec.emulation.transport out: it has %s", word(b.Transport))
	}
	return "", errs.New(errs.Invalid, "transport %q", d.Transport).WithMend("Ethernet or Serial")
}

// Plan says how a Device's board is started. It is pure: the same input gives the same Spec, and nothing is looked at
// beside its arguments. Errors: Unsupported (this board cannot run so), Invalid.
func Plan(d Device, b Board, o PlanOptions) (Spec, error) {
	t, err := Resolve(d, b)
	if err != nil {
		return Spec{}, err
	}
	host, port, err := splitGateway(o.Gateway)
	if err != nil {
		return Spec{}, err
	}
	if len(o.Trust) == 0 {
		return Spec{}, errs.New(errs.Invalid, "a board needs a trust anchor").WithMend("give the PEM file that the gateway's certificate is checked with")
	}
	s := Spec{
		Key: d.Key, UID: d.UID, Backend: d.Backend, Board: b.Name, Transport: t,
		ImageDigest: o.ImageDigest, Limits: DefaultLimits(d.Backend),
		Boot: Boot{Line: BootLine, Timeout: DefaultBootTimeout},
		Labels: map[string]string{
			LabelNamespace: d.Namespace, LabelDevice: d.Name, LabelUID: d.UID, LabelBackend: d.Backend, LabelBoard: b.Name, LabelTransport: string(t),
		},
	}
	if o.Provisioner != "" {
		s.Labels[LabelProvisioner] = o.Provisioner
	}
	if o.Limits.Memory > 0 {
		s.Limits.Memory = o.Limits.Memory
	}
	if o.Limits.CPU > 0 {
		s.Limits.CPU = o.Limits.CPU
	}
	if o.Limits.PIDs > 0 {
		s.Limits.PIDs = o.Limits.PIDs
	}
	switch d.Backend {
	case BackendHost:
		err = planHost(&s, b, o)
	case BackendQEMU:
		err = planQEMU(&s, b, o, host, port)
	case BackendRenode:
		err = planRenode(&s, b, o, host, port)
	default:
		err = errs.New(errs.Invalid, "backend %q", d.Backend).WithMend("host, qemu or renode")
	}
	if err != nil {
		return Spec{}, err
	}
	if o.BootTimeout > 0 {
		s.Boot.Timeout = o.BootTimeout
	}
	s.Storage = digest(d.UID, d.Backend, b.Name, string(t))
	s.Setup = digest(s.Storage, o.Gateway, o.ServerName, digestAll(o.Trust), o.Forward+o.Relay, o.Tap)
	return s, nil
}

// word is a transport as the API spells it.
func word(t Transport) string {
	if t == Serial {
		return "Serial"
	}
	return "Ethernet"
}

func splitGateway(address string) (string, uint16, error) {
	host, p, err := net.SplitHostPort(address)
	port, err2 := strconv.ParseUint(p, 10, 16)
	if err != nil || err2 != nil || host == "" || port == 0 {
		return "", 0, errs.New(errs.Invalid, "gateway address %q", address).WithMend("HOST:PORT of the gateway's TLS listener")
	}
	return host, uint16(port), nil
}

// planHost fills s with a process of the firmware's core.
func planHost(s *Spec, b Board, o PlanOptions) error {
	var trust []byte
	for _, der := range o.Trust {
		trust = append(trust, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	s.Program = "device"
	s.ImageDigest = ""
	s.Files = []File{{Name: fileTrust, Data: trust}}
	s.Env = []string{
		"WASMBED_DEVICE_GATEWAY=" + o.Gateway, "WASMBED_DEVICE_TRUST=" + fileTrust, "WASMBED_DEVICE_DIR=device",
		"WASMBED_DEVICE_NAME=" + s.Key.Name, "WASMBED_DEVICE_BOARD=" + b.Name,
	}
	if o.ServerName != "" {
		s.Env = append(s.Env, "WASMBED_DEVICE_SERVER_NAME="+o.ServerName)
	}
	if len(o.Claim) > 0 {
		if strings.ContainsAny(string(o.Claim), "\x00\n") {
			return errs.New(errs.Invalid, "a claim that is no text cannot travel in an environment")
		}
		s.Env = append(s.Env, "WASMBED_DEVICE_CLAIM="+string(o.Claim))
	}
	s.Console = Channel{Kind: ChannelOutput}
	s.Boot.Line = "msg=started" // cmd/device logs it when the core runs
	return nil
}

// makeBlob returns the provisioning blob of a board whose gateway is at host and port as the board sees it.
func makeBlob(s *Spec, b Board, o PlanOptions, host string, port uint16, network *blob.Network) ([]byte, error) {
	server := o.ServerName
	if server == "" {
		server, _, _ = net.SplitHostPort(o.Gateway)
	}
	v := blob.Blob{
		Board: b.Name, Name: s.Key.Name, Host: host, Port: port, ServerName: server,
		Trust: o.Trust, Claim: o.Claim, Seed: o.Seed, Network: network, Floor: o.Floor,
	}
	out, err := v.Encode()
	if err != nil {
		return nil, errs.New(errs.Invalid, "provisioning blob: %w", err)
	}
	if len(out) > blob.MaxSize {
		return nil, errs.New(errs.TooLarge, "provisioning blob of %d bytes, a board has %d", len(out), blob.MaxSize)
	}
	return out, nil
}

// loopback reports whether an address means the machine that is asked.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && (a.IsLoopback() || a.IsUnspecified())
}

func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

func digestAll(all [][]byte) string {
	parts := make([]string, len(all))
	for i, b := range all {
		parts[i] = string(b)
	}
	return digest(parts...)
}
