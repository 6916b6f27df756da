package provisioner

const (
	kib = 1024
	mib = 1024 * kib
)

// What the firmware was made of wherever it ran.
const (
	withFirmware = "Zephyr 3.4.0, mbedTLS 3.6.2, WAMR 2.4.3"
	withQEMU     = withFirmware + ", QEMU 7.2"
	withRenode   = withFirmware + ", Renode 1.13.3"
)

// psram is the storage of the MPS2 boards: their 16 MiB of PSRAM are the machine's RAM in QEMU, which is a file.
var psram = Storage{Where: "PSRAM, in QEMU a file", Size: mib, Keeps: true}

func table() []Board {
	return []Board{
		{
			Name: "Mps2An385", Part: "FPGA image AN385", CPU: "Cortex-M3", RAM: 4 * mib, Flash: 4 * mib,
			Transport: Ethernet, Also: []Transport{Serial}, Zephyr: "mps2_an385", QEMU: "mps2-an385",
			Blob: 0x21100000, Storage: psram, Entropy: EntropySeed, ModuleMemory: 32 * kib, ModuleSize: 240 * kib,
			Truth: truths["Mps2An385"],
		},
		{
			Name: "Mps2An386", Part: "FPGA image AN386", CPU: "Cortex-M4F", RAM: 4 * mib, Flash: 4 * mib,
			Transport: Ethernet, Also: []Transport{Serial}, Zephyr: "mps2_an386", OutOfTree: true, QEMU: "mps2-an386",
			Blob: 0x21100000, Storage: psram, Entropy: EntropySeed, ModuleMemory: 32 * kib, ModuleSize: 240 * kib,
			Truth: truths["Mps2An386"],
		},
		{
			Name: "Mps2An500", Part: "FPGA image AN500", CPU: "Cortex-M7F", RAM: 4 * mib, Flash: 4 * mib,
			Transport: Ethernet, Also: []Transport{Serial}, Zephyr: "mps2_an500", OutOfTree: true, QEMU: "mps2-an500",
			Blob: 0x60100000, Storage: psram, Entropy: EntropySeed, ModuleMemory: 32 * kib, ModuleSize: 240 * kib,
			Truth: truths["Mps2An500"],
		},
		{
			Name: "Mps2An505", Part: "FPGA image AN505 (SSE-200 IoT kit)", CPU: "Cortex-M33F", RAM: 4 * mib, Flash: 4 * mib,
			Transport: Ethernet, Also: []Transport{Serial}, Zephyr: "mps2_an505", OutOfTree: true, QEMU: "mps2-an505",
			Blob: 0x80100000, Storage: psram, Entropy: EntropySeed, ModuleMemory: 32 * kib, ModuleSize: 240 * kib,
			Truth: truths["Mps2An505"],
		},
		{
			Name: "Stm32Vldiscovery", Part: "STM32F100RB", CPU: "Cortex-M3", RAM: 8 * kib, Flash: 128 * kib,
			Transport: Serial, Zephyr: "stm32vl_disco", QEMU: "stm32vldiscovery",
			Refused: "8 KiB of RAM hold neither a TLS 1.3 session (about 12 KiB) nor a WebAssembly runtime",
			Truth:   truths["Stm32Vldiscovery"],
		},
		{
			Name: "OlimexStm32H405", Part: "STM32F405RG", CPU: "Cortex-M4F", RAM: 192 * kib, RAMNote: "128 KiB and 64 KiB of CCM, which is not used", Flash: mib,
			Transport: Serial, Zephyr: "olimex_stm32_h405", QEMU: "netduinoplus2",
			Blob: 0x08004000, Storage: Storage{Where: "internal flash", Size: 544 * kib}, Entropy: "st,stm32-rng",
			ModuleMemory: 40 * kib, ModuleSize: 128 * kib,
			Truth: truths["OlimexStm32H405"],
		},
		{
			Name: "Nrf52840DK", Part: "nRF52840", CPU: "Cortex-M4F", RAM: 256 * kib, Flash: mib,
			Transport: Serial, Zephyr: "nrf52840dk_nrf52840", Renode: "cpus/nrf52840.repl",
			Blob: 0xff000, Storage: Storage{Where: "internal flash", Size: 576 * kib}, Entropy: "nordic,nrf-rng",
			ModuleMemory: 128 * kib, ModuleSize: 128 * kib,
			Truth: truths["Nrf52840DK"],
		},
		{
			Name: "Stm32F4Disco", Part: "STM32F407VG", CPU: "Cortex-M4F", RAM: 192 * kib, RAMNote: "128 KiB and 64 KiB of CCM, which is not used", Flash: mib,
			Transport: Serial, Zephyr: "stm32f4_disco", Renode: "boards/stm32f4_discovery.repl",
			Blob: 0x08004000, Storage: Storage{Where: "internal flash", Size: 544 * kib}, Entropy: "st,stm32-rng",
			ModuleMemory: 40 * kib, ModuleSize: 128 * kib,
			Truth: truths["Stm32F4Disco"],
		},
		{
			Name: "Stm32F746gDisco", Part: "STM32F746NG", CPU: "Cortex-M7F", RAM: 320 * kib, RAMNote: "256 KiB and 64 KiB of DTCM, which is not used", Flash: mib,
			Transport: Serial, Zephyr: "stm32f746g_disco", Renode: "boards/stm32f7_discovery-bb.repl",
			Blob: 0x08008000, Storage: Storage{Where: "values in internal flash, modules where QSPI flash is mapped", Size: 1088 * kib}, Entropy: "st,stm32-rng",
			ModuleMemory: 128 * kib, ModuleSize: 128 * kib,
			Truth: truths["Stm32F746gDisco"],
		},
		{
			Name: "FrdmK64f", Part: "MK64FN1M0VLL12", CPU: "Cortex-M4F", RAM: 256 * kib, RAMNote: "192 KiB and 64 KiB below it, which Zephyr 3.4 does not use", Flash: mib,
			Transport: Ethernet, Also: []Transport{Serial}, Zephyr: "frdm_k64f", Renode: "cpus/nxp-k6xf.repl",
			Blob: 0xff000, Storage: Storage{Where: "internal flash", Size: 576 * kib}, Entropy: "nxp,kinetis-rnga",
			ModuleMemory: 64 * kib, ModuleSize: 128 * kib,
			Truth: truths["FrdmK64f"],
		},
		{
			Name: "Esp32DevkitC", Part: "ESP32", CPU: "Xtensa LX6", RAM: 520 * kib, Flash: 4 * mib,
			Transport: Serial, Zephyr: "esp32", Entropy: "espressif,esp32-trng",
			// What such a board could hold; there is no image to say so.
			ModuleMemory: 128 * kib, ModuleSize: 128 * kib,
			Truth: truths["Esp32DevkitC"],
		},
		{
			Name: "RenodeArduinoNano33Ble", Part: "nRF52840", CPU: "Cortex-M4F", RAM: 256 * kib, Flash: mib,
			Transport: Serial, Zephyr: "arduino_nano_33_ble", Renode: "boards/arduino_nano_33_ble.repl",
			Blob: 0xff000, Storage: Storage{Where: "internal flash", Size: 544 * kib}, Entropy: "nordic,nrf-rng",
			ModuleMemory: 128 * kib, ModuleSize: 128 * kib,
			Truth: truths["RenodeArduinoNano33Ble"],
		},
		{
			Name: "RenodeStm32F4Discovery", Part: "STM32F407VG", CPU: "Cortex-M4F", RAM: 192 * kib, RAMNote: "128 KiB and 64 KiB of CCM, which is not used", Flash: mib,
			Transport: Serial, Zephyr: "stm32f4_disco", Renode: "boards/stm32f4_discovery.repl",
			Blob: 0x08004000, Storage: Storage{Where: "internal flash", Size: 544 * kib}, Entropy: "st,stm32-rng",
			ModuleMemory: 40 * kib, ModuleSize: 128 * kib,
			Truth: truths["RenodeStm32F4Discovery"],
		},
		{
			Name: "SamE70Xplained", Part: "ATSAME70Q21", CPU: "Cortex-M7F", RAM: 384 * kib, Flash: 2 * mib,
			Transport: Ethernet, Also: []Transport{Serial}, Zephyr: "sam_e70_xplained", Renode: "cpus/sam_e70.repl",
			Blob: 0x005fe000, Storage: Storage{Where: "internal flash", Size: 1528 * kib}, Entropy: "atmel,sam-trng",
			ModuleMemory: 128 * kib, ModuleSize: 128 * kib,
			Truth: truths["SamE70Xplained"],
		},
	}
}
