// Package provisioner makes boards for Devices: it turns a Device into a specification of an emulated
// board and, in its engines, into something that runs. This file is the one table of boards.
package provisioner

import "slices"

// Transport is how a board reaches a gateway.
type Transport string

// Transports.
const (
	Ethernet Transport = "ethernet" // TLS over TCP over the board's own stack
	Serial   Transport = "serial"   // TLS straight over a UART, bridged to TCP
)

// Board is one MCU board. Sizes are bytes, of the part's data sheet; Ours is what this project has seen.
type Board struct {
	Name      string    // the word in Device.spec.board
	CPU       string    // core of the main MCU
	RAM       int64     // all internal SRAM that one image can use
	Flash     int64     // internal, or external where the board boots from it
	Transport Transport //
	Zephyr    string    // board name in Zephyr 3.4.0; empty: none, out-of-tree definition needed
	Renode    string    // platform file; empty: none known
	QEMU      string    // -machine; empty: none
	Refused   string    // why no firmware can run there; empty: it can
	// ModuleMemory is the RAM left for one module's instance and ModuleSize the largest module that a slot
	// holds. A host device that stands in for the board announces these, so that what fits is the same.
	ModuleMemory int64
	ModuleSize   int64
}

const kib = 1024

var boards = []Board{
	{Name: "Mps2An385", CPU: "Cortex-M3", RAM: 4096 * kib, Flash: 4096 * kib, Transport: Ethernet, Zephyr: "mps2_an385", QEMU: "mps2-an385", ModuleMemory: 1024 * kib, ModuleSize: 512 * kib},
	{Name: "Mps2An386", CPU: "Cortex-M4", RAM: 4096 * kib, Flash: 4096 * kib, Transport: Ethernet, QEMU: "mps2-an386", ModuleMemory: 1024 * kib, ModuleSize: 512 * kib},
	{Name: "Mps2An500", CPU: "Cortex-M7", RAM: 4096 * kib, Flash: 4096 * kib, Transport: Ethernet, QEMU: "mps2-an500", ModuleMemory: 1024 * kib, ModuleSize: 512 * kib},
	{Name: "Mps2An505", CPU: "Cortex-M33", RAM: 4096 * kib, Flash: 4096 * kib, Transport: Ethernet, QEMU: "mps2-an505", ModuleMemory: 1024 * kib, ModuleSize: 512 * kib},
	{Name: "Stm32Vldiscovery", CPU: "Cortex-M3", RAM: 8 * kib, Flash: 128 * kib, Transport: Serial, QEMU: "stm32vldiscovery", Refused: "8 KiB of RAM hold neither a TLS 1.3 session (about 12 KiB) nor a WebAssembly runtime"},
	{Name: "OlimexStm32H405", CPU: "Cortex-M4F", RAM: 192 * kib, Flash: 1024 * kib, Transport: Serial, Zephyr: "olimex_stm32_h405", QEMU: "olimex-stm32-h405", ModuleMemory: 80 * kib, ModuleSize: 64 * kib},
	{Name: "Nrf52840DK", CPU: "Cortex-M4F", RAM: 256 * kib, Flash: 1024 * kib, Transport: Serial, Zephyr: "nrf52840dk_nrf52840", Renode: "cpus/nrf52840.repl", ModuleMemory: 128 * kib, ModuleSize: 128 * kib},
	{Name: "Stm32F4Disco", CPU: "Cortex-M4F", RAM: 192 * kib, Flash: 1024 * kib, Transport: Serial, Zephyr: "stm32f4_disco", Renode: "boards/stm32f4_discovery.repl", ModuleMemory: 80 * kib, ModuleSize: 64 * kib},
	{Name: "Stm32F746gDisco", CPU: "Cortex-M7", RAM: 320 * kib, Flash: 1024 * kib, Transport: Serial, Zephyr: "stm32f746g_disco", Renode: "boards/stm32f7_discovery-bb.repl", ModuleMemory: 160 * kib, ModuleSize: 128 * kib},
	{Name: "FrdmK64f", CPU: "Cortex-M4F", RAM: 256 * kib, Flash: 1024 * kib, Transport: Ethernet, Zephyr: "frdm_k64f", Renode: "cpus/nxp-k6xf.repl", ModuleMemory: 96 * kib, ModuleSize: 128 * kib},
	{Name: "Esp32DevkitC", CPU: "Xtensa LX6", RAM: 520 * kib, Flash: 4096 * kib, Transport: Serial, Zephyr: "esp32_devkitc_wroom", ModuleMemory: 128 * kib, ModuleSize: 128 * kib},
	{Name: "RenodeArduinoNano33Ble", CPU: "Cortex-M4F", RAM: 256 * kib, Flash: 1024 * kib, Transport: Serial, Zephyr: "arduino_nano_33_ble", Renode: "boards/arduino_nano_33_ble.repl", ModuleMemory: 128 * kib, ModuleSize: 128 * kib},
	{Name: "RenodeStm32F4Discovery", CPU: "Cortex-M4F", RAM: 192 * kib, Flash: 1024 * kib, Transport: Serial, Zephyr: "stm32f4_disco", Renode: "boards/stm32f4_discovery.repl", ModuleMemory: 80 * kib, ModuleSize: 64 * kib},
}

// Boards returns the table, in its order.
func Boards() []Board { return slices.Clone(boards) }

// BoardNamed returns the board of that name.
func BoardNamed(name string) (Board, bool) {
	i := slices.IndexFunc(boards, func(b Board) bool { return b.Name == name })
	if i < 0 {
		return Board{}, false
	}
	return boards[i], true
}
