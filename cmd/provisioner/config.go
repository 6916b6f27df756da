package main

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/docker"
)

// Config is the command's environment, and its manual.
type Config struct {
	Provisioner struct {
		Engine      string        `default:"auto" desc:"What carries boards of Devices that do not say: process (children of this one), docker (containers), or auto: docker when its socket answers and QEMU_IMAGE is there, else process. A board that there is stays in its engine. Host devices are always processes."`
		Dir         string        `default:"provisioner" desc:"State folder: boards, their storage, notes. One provisioner for a folder."`
		Firmware    string        `default:"build/firmware" desc:"Folder of firmware images, BOARD.elf and BOARD-serial.elf; make firmware BOARD=... writes them."`
		Gateway     string        `required:"true" desc:"host:port of the gateway's TLS listener, as this machine reaches it."`
		ServerName  string        `split_words:"true" desc:"Name in the gateway's certificate. Default: the host of GATEWAY."`
		Trust       string        `required:"true" desc:"PEM file with the one or two trust anchors of the gateway's certificate. Read again for each board."`
		Kubeconfig  string        `desc:"kubeconfig of the API. Empty: the Pod's own service account."`
		Namespace   string        `desc:"The one namespace to look after. Empty: all."`
		Sink        string        `desc:"URL of the broker's ingress. K_SINK wins when it is set."`
		Listen      string        `default:"127.0.0.1:8084" desc:"host:port of consoles, health and metrics."`
		Token       string        `desc:"Bearer token that opens the consoles. Empty: they are shut."`
		OnExit      string        `split_words:"true" default:"keep" desc:"What becomes of boards when this program is told to end: keep (they run on, and the next one takes them over) or stop (storage stays)."`
		Instance    string        `desc:"Name of this provisioner in events and labels. Default: the host's name."`
		Qemu        string        `default:"qemu-system-arm" desc:"QEMU."`
		Renode      string        `default:"renode" desc:"Renode."`
		Device      string        `desc:"The program device. Default: beside this one, else on PATH."`
		Forward     string        `desc:"Program that is started as PROGRAM HOST PORT for each connection of a QEMU board (nc does what is needed). With it boards reach the gateway and nothing else. Empty: what this machine reaches, they reach."`
		Sandbox     bool          `default:"true" desc:"QEMU's own seccomp filter. Off when QEMU was built without one, or FORWARD is set."`
		Tap         string        `desc:"TAP device for boards that have their network in Renode."`
		DockerHost  string        `split_words:"true" desc:"Docker's socket, unix:///PATH. Default: DOCKER_HOST, else unix:///var/run/docker.sock."`
		DockerDir   string        `split_words:"true" desc:"DIR/containers as Docker's host names it, when this program is itself in a container. Default: the same."`
		DockerUser  string        `split_words:"true" desc:"UID:GID of what runs in containers. Default: this program's own, 65534:65534 when that is root."`
		QemuImage   string        `split_words:"true" default:"wasmbed-qemu:local" desc:"Image that boards of QEMU run in; made from deploy/docker, never pulled."`
		RenodeImage string        `split_words:"true" default:"wasmbed-renode:local" desc:"Image that boards of Renode run in."`
		BootTimeout time.Duration `split_words:"true" desc:"How long a board may take to its first line. Default: 30s, in Renode 90s."`
		Memory      int64         `desc:"Bytes of memory that one board may take. Default: 128 MiB in QEMU, 512 in Renode, 256 on the host."`
		Grace       time.Duration `default:"10s" desc:"How long boards may take to end when ON_EXIT is stop."`
	}
	// sandbox is what was asked for, whatever this machine's own QEMU can.
	sandbox bool
}

// Values of ON_EXIT.
const (
	onExitKeep = "keep"
	onExitStop = "stop"
)

// check refuses settings that cannot work, and fills in those that the environment gives otherwise. Errors: Invalid.
func (c *Config) check() error {
	p := &c.Provisioner
	c.sandbox = p.Sandbox
	if sink := os.Getenv("K_SINK"); sink != "" { // a SinkBinding of Knative's
		p.Sink = sink
	}
	if p.Sink == "" {
		return errs.New(errs.Invalid, "WASMBED_PROVISIONER_SINK is not set").WithMend("set it to the URL of the broker's ingress")
	}
	if p.OnExit != onExitKeep && p.OnExit != onExitStop {
		return errs.New(errs.Invalid, "WASMBED_PROVISIONER_ON_EXIT is %q", p.OnExit).WithMend("keep or stop")
	}
	if p.Instance == "" {
		name, err := os.Hostname()
		if err != nil {
			return errs.New(errs.Invalid, "WASMBED_PROVISIONER_INSTANCE is not set and the host has no name: %w", err)
		}
		p.Instance = name
	}
	if p.DockerHost == "" {
		p.DockerHost = os.Getenv("DOCKER_HOST")
	}
	if p.Device == "" {
		p.Device = "device"
		if own, err := os.Executable(); err == nil {
			beside := filepath.Join(filepath.Dir(own), "device")
			if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
				p.Device = beside
			}
		}
	}
	_, err := c.plan("") // a wrong file name is told at once, not at the first board
	return err
}

// plan returns what every plan for an engine needs. Errors: Invalid, Unavailable.
func (c *Config) plan(engine string) (provisioner.PlanOptions, error) {
	p := c.Provisioner
	trust, err := anchors(p.Trust)
	if err != nil {
		return provisioner.PlanOptions{}, err
	}
	o := provisioner.PlanOptions{
		Gateway: p.Gateway, ServerName: p.ServerName, Trust: trust, Provisioner: p.Instance, Forward: p.Forward, Sandbox: p.Sandbox, Tap: p.Tap,
		Limits: provisioner.Limits{Memory: p.Memory}, BootTimeout: p.BootTimeout,
	}
	if engine == engineDocker { // a container has neither this machine's network nor its programs
		o.Forward, o.Tap, o.Relay, o.Sandbox = "", "", docker.Socat, c.sandbox
	}
	return o, nil
}

// anchors reads the certificates of a PEM file.
func anchors(path string) ([][]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "trust anchors: %w", err).WithMend("WASMBED_PROVISIONER_TRUST names the file")
	}
	var out [][]byte
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			out = append(out, block.Bytes)
		}
	}
	if len(out) == 0 {
		return nil, errs.New(errs.Invalid, "no certificate in %s", path)
	}
	return out, nil
}
