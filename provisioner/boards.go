// Package provisioner makes boards for Devices: it turns a Device into a specification of an emulated
// board and, in its engines, into something that runs. This file and boards_table.go are the one table of boards.
package provisioner

import "slices"

//go:generate go test . -run TestBoardsPageIsCurrent -update-boards

// Transport is how a board reaches a gateway.
type Transport string

// Transports.
const (
	Ethernet Transport = "ethernet" // TLS over TCP over the board's own stack
	Serial   Transport = "serial"   // TLS straight over a UART, bridged to TCP
)

// Board is one MCU board. Sizes are bytes, of the part's data sheet and Zephyr's devicetree.
type Board struct {
	Name      string      // the word in Device.spec.board
	Part      string      // the MCU, or the FPGA image
	CPU       string      // core of the main MCU
	RAM       int64       // internal SRAM (FPGA: SSRAM) that one image can use
	RAMNote   string      // how it is divided, when it is not one piece
	Flash     int64       // internal, or external where the board boots from it
	Transport Transport   // of the image that has no suffix
	Also      []Transport // that an image can be built for too
	Zephyr    string      // board name of the build: Zephyr 3.4.0's, or one below firmware/boards; empty: none
	OutOfTree bool        // the definition is ours, below firmware/boards
	Renode    string      // platform file; empty: none known
	QEMU      string      // -machine; empty: none
	Refused   string      // why no firmware can run there; empty: it can
	Blob      uint64      // address of the provisioning blob; 0: none
	Storage   Storage     // where modules and values are kept
	Entropy   string      // Zephyr's driver of the hardware generator, or EntropySeed
	// ModuleMemory is the RAM of the firmware for one module's instance and ModuleSize the largest module that a slot
	// holds: CONFIG_WASMBED_MODULE_MEMORY and _SIZE of firmware/app/boards.
	ModuleMemory int64
	ModuleSize   int64
	Truth        []Truth // what this project has seen, newest first
}

// EntropySeed says that the board has no generator: the blob's seed, jitter and a persisted pool are all there is.
const EntropySeed = "seed"

// Storage is where a board keeps modules and values.
type Storage struct {
	Where string // in words
	Size  int64  // bytes of both partitions
	// Keeps says whether an emulator's board has it after a power cut.
	Keeps bool
}

// Status is what was seen of a board.
type Status string

// Statuses, from most to least.
const (
	StatusRun      Status = "run"       // booted, enrolled and ran the sample Application
	StatusBoots    Status = "boots"     // the image starts in the emulator and says why it gets no further
	StatusBuilds   Status = "builds"    // the image links within its budgets
	StatusNotBuilt Status = "not built" // Note says why
	StatusRefused  Status = "refused"   // Note says why
)

// Truth is one thing that was seen.
type Truth struct {
	Status    Status
	Transport Transport // "" for what has no image
	When      string    // date, ISO 8601
	With      string    // versions
	Test      string    // the command that repeats it
	Flash     int64     // bytes of the image; 0: not measured
	RAM       int64     // bytes of static RAM, pool and stacks included
	Note      string
}

// standInMemory is the least that a host device needs: one page of 64 KiB, which its engine cannot shrink, and the largest
// stack that a manifest usually asks for.
const standInMemory = 80 * kib

// StandIn returns the module memory and size that a host device announces in this board's place.
func (b Board) StandIn() (memory, size int64) {
	return max(b.ModuleMemory, standInMemory), b.ModuleSize
}

// Transports returns those that an image can be built for, the default first.
func (b Board) Transports() []Transport {
	return append([]Transport{b.Transport}, b.Also...)
}

// Best returns the best status that was seen.
func (b Board) Best() Status {
	order := []Status{StatusRun, StatusBoots, StatusBuilds, StatusNotBuilt, StatusRefused}
	for _, s := range order {
		if slices.ContainsFunc(b.Truth, func(t Truth) bool { return t.Status == s }) {
			return s
		}
	}
	return StatusNotBuilt
}

// Boards returns the table, in its order.
func Boards() []Board { return table() }

// BoardNamed returns the board of that name.
func BoardNamed(name string) (Board, bool) {
	all := table()
	i := slices.IndexFunc(all, func(b Board) bool { return b.Name == name })
	if i < 0 {
		return Board{}, false
	}
	return all[i], true
}
