package provisioner

// truths is the record of what was seen, by board. A new entry goes on top, with the command that repeats it. Sizes are those of
// the build that was run.
var truths = map[string][]Truth{
	"Mps2An385": {
		{Status: StatusRun, Transport: Ethernet, When: "2026-11-23", With: withQEMU, Flash: 240536, RAM: 103152, Test: "go test ./firmware/boards -run TestBoardsRun/Mps2An385/Ethernet", Note: "enrolled and ran the sample Application, again after reset and power cut"},
		{Status: StatusRun, Transport: Serial, When: "2026-11-23", With: withQEMU, Flash: 174048, RAM: 87320, Test: "go test ./firmware/boards -run TestBoardsRun/Mps2An385/Serial", Note: "the same"},
	},
	"Mps2An386": {
		{Status: StatusRun, Transport: Ethernet, When: "2026-11-23", With: withQEMU, Flash: 241648, RAM: 103024, Test: "go test ./firmware/boards -run TestBoardsRun/Mps2An386/Ethernet", Note: "enrolled and ran the sample Application, again after reset and power cut"},
		{Status: StatusRun, Transport: Serial, When: "2026-11-23", With: withQEMU, Flash: 179928, RAM: 87192, Test: "go test ./firmware/boards -run TestBoardsRun/Mps2An386/Serial", Note: "the same; 5,848 bytes over its flash budget"},
	},
	"Mps2An500": {
		{Status: StatusRun, Transport: Ethernet, When: "2026-11-23", With: withQEMU, Flash: 241552, RAM: 103024, Test: "go test ./firmware/boards -run TestBoardsRun/Mps2An500/Ethernet", Note: "enrolled and ran the sample Application, again after reset and power cut"},
		{Status: StatusRun, Transport: Serial, When: "2026-11-23", With: withQEMU, Flash: 179960, RAM: 87192, Test: "go test ./firmware/boards -run TestBoardsRun/Mps2An500/Serial", Note: "the same; 5,880 bytes over its flash budget"},
	},
	"Mps2An505": {
		{Status: StatusRun, Transport: Ethernet, When: "2026-11-23", With: withQEMU, Flash: 242624, RAM: 102576, Test: "go test ./firmware/boards -run TestBoardsRun/Mps2An505/Ethernet", Note: "enrolled and ran the sample Application, again after reset and power cut"},
		{Status: StatusRun, Transport: Serial, When: "2026-11-23", With: withQEMU, Flash: 181160, RAM: 86968, Test: "go test ./firmware/boards -run TestBoardsRun/Mps2An505/Serial", Note: "the same; 7,080 bytes over its flash budget"},
	},
	"Stm32Vldiscovery": {{Status: StatusRefused, Note: "8 KiB of RAM"}},
	"OlimexStm32H405": {
		{Status: StatusBuilds, Transport: Serial, When: "2026-11-23", With: withFirmware, Flash: 188848, RAM: 97064, Test: "make firmware-size BOARD=OlimexStm32H405", Note: "tried on QEMU 7.2's netduinoplus2, which has the same part: Zephyr waits for the clock for ever (the machine has no RCC), and its USART raises no interrupt for sending. From QEMU 8.0 there is olimex-stm32-h405, not tried"},
	},
	"Nrf52840DK": {
		{Status: StatusRun, Transport: Serial, When: "2026-11-23", With: withRenode, Flash: 186240, RAM: 186008, Test: "go test ./firmware/boards -run TestBoardsRun/Nrf52840DK/Serial", Note: "enrolled and ran the sample Application, again after reset and power cut"},
	},
	"Stm32F4Disco": {
		{Status: StatusRun, Transport: Serial, When: "2026-11-23", With: withRenode, Flash: 182672, RAM: 97048, Test: "go test ./firmware/boards -run TestBoardsRun/Stm32F4Disco/Serial", Note: "enrolled and ran the sample Application, again after reset and power cut"},
	},
	"Stm32F746gDisco": {
		{Status: StatusRun, Transport: Serial, When: "2026-11-23", With: withRenode, Flash: 189988, RAM: 187176, Test: "go test ./firmware/boards -run TestBoardsRun/Stm32F746gDisco/Serial", Note: "enrolled and ran the sample Application, again after reset and power cut. Its modules lie where the board has QSPI flash, which Renode plays; on a physical board that needs a driver"},
	},
	"FrdmK64f": {
		{Status: StatusRun, Transport: Serial, When: "2026-11-23", With: withRenode, Flash: 181412, RAM: 120152, Test: "go test ./firmware/boards -run TestBoardsRun/FrdmK64f/Serial", Note: "enrolled and ran the sample Application, again after reset and power cut. UART3 and the flash's controller are ours: Renode's platform has neither"},
		{Status: StatusBuilds, Transport: Ethernet, When: "2026-11-23", With: withFirmware, Flash: 254104, RAM: 150464, Test: "make firmware-size BOARD=FrdmK64f", Note: "an earlier image booted and sent in Renode 1.13.3; what it should have received was not handled there"},
	},
	"Esp32DevkitC": {{Status: StatusNotBuilt, Note: "no toolchain for the Xtensa LX6 at hand (Debian packages one for the LX106 only), nor its HAL"}},
	"RenodeArduinoNano33Ble": {
		{Status: StatusRun, Transport: Serial, When: "2026-11-23", With: withRenode, Flash: 187048, RAM: 185944, Test: "go test ./firmware/boards -run TestBoardsRun/RenodeArduinoNano33Ble/Serial", Note: "enrolled and ran the sample Application, again after reset and power cut"},
	},
	"RenodeStm32F4Discovery": {
		{Status: StatusRun, Transport: Serial, When: "2026-11-23", With: withRenode, Flash: 182904, RAM: 97048, Test: "go test ./firmware/boards -run TestBoardsRun/RenodeStm32F4Discovery/Serial", Note: "enrolled and ran the sample Application, again after reset and power cut"},
	},
	"SamE70Xplained": {
		{Status: StatusRun, Transport: Ethernet, When: "2026-11-23", With: withRenode, Flash: 246128, RAM: 230480, Test: "WASMBED_PROVISIONER_TAP=... go test ./firmware/boards -run TestBoardsRun/SamE70Xplained/Ethernet", Note: "enrolled and ran the sample Application, again after reset and power cut. The provisioner needs a TAP device, and the gateway must be reached at its address"},
		{Status: StatusRun, Transport: Serial, When: "2026-11-23", With: withRenode, Flash: 177800, RAM: 185496, Test: "go test ./firmware/boards -run TestBoardsRun/SamE70Xplained/Serial", Note: "enrolled and ran the sample Application, again after reset and power cut"},
	},
}
