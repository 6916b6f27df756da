package provisioner

import (
	_ "embed"
	"fmt"
	"net/netip"
	"strings"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner/blob"
)

//go:embed renode/memory.cs
var renodeMemory string

//go:embed renode/sockets.cs
var renodeSockets string

// renodeBoard is where a board of Renode has what its firmware was built for.
type renodeBoard struct {
	console string // UART of the console
	link    string // UART that carries TLS; "": none is known to work
	nic     string // network controller; "": none works
	repl    string // what is added to the platform file
	tags    string // registers that nothing models, beside the core's
	hook    string // arguments of SetHookAfterPeripheralRead; "": none
	flash   string // arguments of AddFlash; "": none
	// files are parts of memory.bin by their addresses.
	files []renodeFile
}

type renodeFile struct{ address, size uint64 }

// The same parts on several boards. External memory is in no image: 256 MiB of it cost Renode 64 MiB of translation cache.
var (
	nrf52840 = renodeBoard{
		console: "uart0", link: "uart1", flash: `"nrf52" 0x4001e000 0 0`,
		files: []renodeFile{{0x60000, 0x90000}},
		tags:  ficr,
	}
	stm32f407 = renodeBoard{
		console: "usart2", link: "usart1", flash: `"stm32" 0x40023c00 0x08000000 0x4000`,
		files: []renodeFile{{0x08008000, 0x8000}, {0x08080000, 0x80000}},
		repl:  smallFSMC,
	}
)

// ficr has the size of a page and their number, which the flash's driver asks for.
const ficr = `        Tag <0x10000010, 0x10000013> "CODEPAGESIZE" 0x1000
        Tag <0x10000014, 0x10000017> "CODESIZE" 0x100
`

const smallFSMC = `fsmcBank1:
    size: 0x100000
`

// renodeBoards by the board's name, as firmware/app/boards/*.overlay has them.
var renodeBoards = map[string]renodeBoard{
	"Stm32F746gDisco": {
		console: "usart1", link: "usart6", flash: `"stm32" 0x40023c00 0x08000000 0x8000`,
		files: []renodeFile{{0x08010000, 0x10000}, {0x90000000, 0x100000}},
		repl: smallFSMC + `
iwdg: Timers.STM32_IndependentWatchdog @ sysbus 0x40003000
    frequency: 32000
    windowOption: true
    defaultPrescaler: 0
`,
	},
	"Stm32F4Disco":           stm32f407,
	"RenodeStm32F4Discovery": stm32f407,
	"Nrf52840DK":             nrf52840,
	"RenodeArduinoNano33Ble": {
		console: "uart0", link: "uart1", flash: `"nrf52" 0x4001e000 0 0`,
		files: []renodeFile{{0x70000, 0x88000}},
		tags:  ficr,
		repl: `uart0:
    easyDMA: false
`,
	},
	"SamE70Xplained": {
		console: "usart1", link: "usart0", nic: "gem", flash: `"sam" 0x400e0c00 0x00400000 0`,
		files: []renodeFile{{0x00480000, 0x10000}, {0x00490000, 0x16e000}},
		repl: `flash:
    size: 0x600000
sram:
    size: 0x460000
`,
		tags: `        Tag <0x400e0940, 0x400e0943> "CIDR" 0xa1020e00
`,
	},
	"FrdmK64f": {
		console: "uart0", link: "uart3", flash: `"kinetis" 0x40020000 0 0`,
		files: []renodeFile{{0x60000, 0x90000}},
		repl: `uart3: UART.K6xF_UART @ sysbus 0x4006d000
    IRQ -> nvic@37
`,
		// FCFG1 says that there is 1 MiB of flash; without it the flash's driver refuses everything.
		hook: `sysbus.sim "if offset == 0x104c: value = 0x0b000000"`,
	},
}

// Addresses of a board behind a TAP device, of the block for tests (RFC 2544), which is routed nowhere. The host's end has
// the router's.
const (
	tapGuest  = "198.18.82.2"
	tapRouter = "198.18.82.1"
	tapPrefix = 24
)

func planRenode(s *Spec, b Board, o PlanOptions, host string, port uint16) error {
	if b.Renode == "" {
		e := errs.New(errs.Unsupported, "Renode has no platform for board %s", b.Name)
		if _, ok := qemuMachines[b.QEMU]; ok {
			return e.WithMend("set spec.emulation.backend to qemu")
		}
		return e.WithMend("set spec.emulation.backend to host")
	}
	r, ok := renodeBoards[b.Name]
	if !ok {
		return errs.New(errs.Unsupported, "nobody knows where board %s has its UARTs and its storage in Renode", b.Name).WithMend("set spec.emulation.backend to host")
	}
	var network *blob.Network
	switch {
	case s.Transport == Serial && r.link == "":
		return errs.New(errs.Unsupported, "board %s has no free UART in Renode", b.Name).WithMend("leave spec.emulation.transport out")
	case s.Transport == Ethernet && r.nic == "":
		return errs.New(errs.Unsupported, "the network of board %s does not work in Renode", b.Name).WithMend("set spec.emulation.transport to Serial")
	case s.Transport == Ethernet && o.Tap == "":
		return errs.New(errs.Unsupported, "a board with its network in Renode needs a TAP device").
			WithMend("make one with %s/%d on the host and set WASMBED_PROVISIONER_TAP, or set spec.emulation.transport to Serial", tapRouter, tapPrefix)
	case s.Transport == Ethernet:
		network = &blob.Network{Static: true, Address: addr(tapGuest), Prefix: tapPrefix, Router: addr(tapRouter), DNS: addr(tapRouter)}
		if loopback(host) {
			host = tapRouter
		}
	}
	data, err := makeBlob(s, b, o, host, port, network)
	if err != nil {
		return err
	}
	var size uint64
	for _, f := range r.files {
		size += f.size
	}
	s.Program = "renode"
	s.Image = ImageName(b, s.Transport)
	s.HoldInput = true // its monitor is its console, which ends it at the end of input; without one it listens to everybody
	s.Args = []string{"--disable-xwt", "--plain", "--console", "--config", "renode.config", "-e", "include $CWD/" + fileScript}
	s.Console = Channel{Kind: ChannelSocket, Path: sockConsole}
	if s.Transport == Serial {
		s.Link = Channel{Kind: ChannelSocket, Path: sockLink}
	}
	s.Control = Control{Kind: ControlRenode, Path: sockControl}
	s.Files = []File{
		{Name: fileBlob, Data: data, Secret: true},
		{Name: fileMemory, Keep: true, Size: int64(size), Fill: 0xff, Secret: true},
		{Name: "board.cs", Data: []byte(renodeMemory + renodeSockets)},
		{Name: "board.repl", Data: []byte(renodePlatform(b, r))},
		{Name: fileScript, Data: []byte(renodeScript(s, b, r, o))},
	}
	s.Boot.Timeout = renodeBootTimeout
	return nil
}

// renodePlatform is the platform file with another init: Renode's own downloads a description of registers.
func renodePlatform(b Board, r renodeBoard) string {
	return fmt.Sprintf("using \"platforms/%s\"\n\nsysbus:\n    init:\n        Tag <0xE0001000, 0xE0001FFF> \"DWT\"\n%s\n%s", b.Renode, r.tags, r.repl)
}

// renodeScript returns the .resc. Names in it are of our own tables and of Kubernetes' alphabet: nothing needs quoting.
func renodeScript(s *Spec, b Board, r renodeBoard, o PlanOptions) string {
	var w strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&w, format+"\n", args...) }
	line("# %s: board %s, transport %s", s.Key, b.Name, s.Transport)
	line("logLevel 3")
	line("include $CWD/board.cs")
	line(`mach create "board"`)
	line("machine LoadPlatformDescription $CWD/board.repl")
	offset := uint64(0)
	for _, f := range r.files {
		line("emulation MapFile $CWD/%s %#x %#x %#x", fileMemory, offset, f.address, f.size)
		offset += f.size
	}
	if r.flash != "" {
		line("emulation AddFlash %s", r.flash)
	}
	if r.hook != "" {
		line("sysbus SetHookAfterPeripheralRead %s", r.hook)
	}
	line(`emulation CreateControlSocket "control" $CWD/%s`, sockControl)
	line(`emulation CreateUnixTerminal "console" $CWD/%s %d 0`, sockConsole, ConsoleRing)
	line("connector Connect sysbus.%s console", r.console)
	if s.Transport == Serial {
		line(`emulation CreateUnixTerminal "link" $CWD/%s 0 %d`, sockLink, renodeLineRate)
		line("connector Connect sysbus.%s link", r.link)
	} else {
		line(`emulation CreateSwitch "switch"`)
		line("connector Connect sysbus.%s switch", r.nic)
		line(`emulation CreateTap "%s" "tap"`, o.Tap)
		line("connector Connect host.tap switch")
	}
	line(`emulation SetGlobalQuantum "0.001"`)
	line("macro reset")
	line(`"""`)
	line("    sysbus LoadELF $CWD/%s", ImageFile)
	line("    sysbus LoadBinary $CWD/%s %#x", fileBlob, b.Blob)
	line(`"""`)
	line("runMacro $reset")
	line("start")
	return w.String()
}

// renodeLineRate is how fast a UART's model is fed, bytes a second of the machine's time.
const renodeLineRate = 32768

// addr parses one of the constants above.
func addr(s string) netip.Addr {
	a, _ := netip.ParseAddr(s) // the zero Addr would be refused by the blob
	return a
}
