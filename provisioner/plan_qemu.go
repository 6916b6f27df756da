package provisioner

import (
	"crypto/sha256"
	"fmt"
	"net/netip"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner/blob"
)

// Addresses of QEMU's user network.
var (
	qemuGuest   = netip.MustParsePrefix("10.0.2.15/24")
	qemuHost    = netip.MustParseAddr("10.0.2.2") // the host's loopback address, seen from the guest
	qemuDNS     = netip.MustParseAddr("10.0.2.3")
	qemuForward = netip.MustParseAddr("10.0.2.100")
)

// qemuMachines have memory that outlives a power cut: 16 MiB of PSRAM that are the machine's RAM, and a file on the host.
// The value is the model of their network controller. QEMU's STM32 machines have no such memory: their flash is read-only,
// and a device that forgets its key at each power cut cannot come back under its name.
var qemuMachines = map[string]string{"mps2-an385": "lan9118", "mps2-an386": "lan9118", "mps2-an500": "lan9118", "mps2-an505": "lan9118"}

func planQEMU(s *Spec, b Board, o PlanOptions, host string, port uint16) error {
	if b.QEMU == "" {
		e := errs.New(errs.Unsupported, "QEMU has no machine for board %s", b.Name)
		if b.Renode != "" {
			return e.WithMend("set spec.emulation.backend to renode")
		}
		return e.WithMend("set spec.emulation.backend to host")
	}
	model, ok := qemuMachines[b.QEMU]
	if !ok {
		return errs.New(errs.Unsupported, "QEMU's machine %s has no memory that outlives a power cut", b.QEMU).
			WithMend("set spec.emulation.backend to host, or to renode where the board has it")
	}
	var network *blob.Network
	nic := "none"
	if s.Transport == Ethernet {
		nic = "user,model=" + model + ",mac=" + mac(s.Key) + ",ipv6=off"
		network = &blob.Network{Static: true, Address: qemuGuest.Addr(), Prefix: uint8(qemuGuest.Bits()), Router: qemuHost, DNS: qemuDNS}
		switch {
		case o.Relay != "":
			nic += fmt.Sprintf(",restrict=on,guestfwd=tcp:%s:%d-cmd:%s - UNIX-CONNECT:%s", qemuForward, port, escape(o.Relay), sockGateway)
			s.Relay = Relay{Path: sockGateway, Address: o.Gateway}
			host = qemuForward.String()
		case o.Forward != "":
			nic += fmt.Sprintf(",restrict=on,guestfwd=tcp:%s:%d-cmd:%s %s %d", qemuForward, port, escape(o.Forward), escape(host), port)
			host = qemuForward.String()
		case loopback(host):
			host = qemuHost.String()
		}
	}
	data, err := makeBlob(s, b, o, host, port, network)
	if err != nil {
		return err
	}
	s.Program = "qemu-system-arm"
	s.Image = ImageName(b, s.Transport)
	s.Files = []File{{Name: fileBlob, Data: data, Secret: true}, {Name: fileMemory, Keep: true, Size: machineRAM, Secret: true}}
	s.Console = Channel{Kind: ChannelSocket, Path: sockConsole, Waits: true}
	s.Control = Control{Kind: ControlQMP, Path: sockQMP}
	s.Args = []string{
		"-name", s.Key.String(),
		"-no-user-config", "-nodefaults", "-display", "none",
		"-accel", fmt.Sprintf("tcg,thread=single,tb-size=%d", translation),
		"-object", fmt.Sprintf("memory-backend-file,id=mps.ram,size=%d,mem-path=%s,share=on", machineRAM, fileMemory),
		"-machine", b.QEMU + ",memory-backend=mps.ram",
		"-kernel", ImageFile,
		"-device", fmt.Sprintf("loader,file=%s,addr=%#x,force-raw=on", fileBlob, b.Blob),
		// wait=on: the board begins when its console is read, so its first line is never lost. A console that nobody reads
		// any more does not stop the board: QEMU drops what it says.
		"-chardev", "socket,id=console,path=" + sockConsole + ",server=on,wait=on",
		"-serial", "chardev:console",
	}
	if s.Transport == Serial {
		s.Link = Channel{Kind: ChannelSocket, Path: sockLink}
		s.Args = append(s.Args, "-chardev", "socket,id=link,path="+sockLink+",server=on,wait=off", "-serial", "chardev:link")
	}
	s.Args = append(s.Args, "-nic", nic,
		"-chardev", "socket,id=qmp,path="+sockQMP+",server=on,wait=off", "-mon", "chardev=qmp,mode=control")
	if o.Sandbox && o.Forward+o.Relay == "" { // the filter forbids to start programs
		s.Args = append(s.Args, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
	}
	return nil
}

// mac returns a locally administered address for a Device.
func mac(k Key) string {
	sum := sha256.Sum256([]byte(k.String()))
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}

// escape doubles commas, as QEMU's options want them.
func escape(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] == ',' {
			out = append(out, ',')
		}
		out = append(out, s[i])
	}
	return string(out)
}
