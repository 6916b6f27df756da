package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const sample = `Discarded input sections

 .text.gone     0x00000000       0x40 app/libapp.a(cbor.c.obj)

Linker script and memory map

text            0x00000200      0x130
 *(SORT_BY_ALIGNMENT(.text))
 .text.short    0x00000200       0x10 app/libapp.a(cbor.c.obj)
 .text.with_a_rather_long_name
                0x00000210       0x20 zephyr/subsys/net/ip/libsubsys__net__ip.a(tcp.c.obj)
                0x00000210                with_a_rather_long_name
 *fill*         0x00000230       0x0c 
 .text.empty    0x0000023c        0x0 app/libapp.a(main.c.obj)

bss             0x20000000       0x80
 .bss.pool      0x20000000       0x80 app/libapp.a(board.c.obj)
`

func TestReadMap(t *testing.T) {
	pieces, err := readMap(strings.NewReader(sample))
	if err != nil {
		t.Fatal(err)
	}
	want := []piece{
		{"text", 0x200, 0x10, ".text.short", "app/libapp.a(cbor.c.obj)"},
		{"text", 0x210, 0x20, ".text.with_a_rather_long_name", "zephyr/subsys/net/ip/libsubsys__net__ip.a(tcp.c.obj)"},
		{"text", 0x230, 0xc, "*fill*", ""},
		{"bss", 0x20000000, 0x80, ".bss.pool", "app/libapp.a(board.c.obj)"},
	}
	if len(pieces) != len(want) {
		t.Fatalf("%d pieces: %+v", len(pieces), pieces)
	}
	for i := range want {
		if pieces[i] != want[i] {
			t.Errorf("piece %d: %+v, want %+v", i, pieces[i], want[i])
		}
	}
	if _, err := readMap(strings.NewReader("nothing\n")); err == nil {
		t.Error("a file without a memory map was taken")
	}
}

func TestParts(t *testing.T) {
	s, err := newSorter("..")
	if err != nil {
		t.Fatal(err)
	}
	for object, want := range map[string]string{
		"app/libapp.a(cbor.c.obj)":                                     partCore,
		"app/libapp.a(storage.c.obj)":                                  partPort,
		"app/libapp.a(main.c.obj)":                                     partApp,
		"libwasmbed_wamr.a(wasm_loader.c.obj)":                         partWAMR,
		"libwasmbed_mbedtls.a(aes.c.obj)":                              partTLS,
		"zephyr/subsys/net/ip/libsubsys__net__ip.a(tcp.c.obj)":         partNetwork,
		"zephyr/drivers/ethernet/libdrivers__ethernet.a(eth_mcux.o)":   partNetwork,
		"zephyr/kernel/libkernel.a(sched.c.obj)":                       partZephyr,
		"zephyr/libzephyr.a(nvs.c.obj)":                                partZephyr,
		"zephyr/CMakeFiles/zephyr_final.dir/isr_tables.c.obj":          partZephyr,
		"/usr/lib/gcc/arm-none-eabi/12/thumb/libgcc.a(_muldf3.o)":      partLibc,
		"zephyr/lib/libc/minimal/liblib__libc__minimal.a(printf.c.ob)": partLibc,
		"": partRest,
	} {
		if got := s.part(object); got != want {
			t.Errorf("%s: %s, want %s", object, got, want)
		}
	}
}

func TestBudgets(t *testing.T) {
	b, err := readBudgets("../boards/budgets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r := Report{Board: "Mps2An385", Transport: "ethernet", Use: Use{Flash: 290000, RAM: 121000}}
	if err := b.judge(&r); err != nil || r.Over {
		t.Errorf("within: %v, %+v", err, r)
	}
	r.RAM++
	if err := b.judge(&r); err != nil || !r.Over {
		t.Errorf("over: %v, %+v", err, r)
	}
	r.Board = "Nobody"
	if err := b.judge(&r); err == nil {
		t.Error("a board without a budget passed")
	}
	for _, bad := range []string{"boards: {A: {serial: {flash: 0, ram: 1}}}", "boards: {A: {wifi: {flash: 1, ram: 1}}}", "bords: {}", "boards: {A: {serial: {flash: 1, ram: 1, heap: 1}}}"} {
		name := filepath.Join(t.TempDir(), "b.yaml")
		if err := os.WriteFile(name, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readBudgets(name); err == nil {
			t.Errorf("taken: %s", bad)
		}
	}
}

// TestImage measures an image that is linked here, as Zephyr's are: by the names of their symbols.
func TestImage(t *testing.T) {
	gcc, err := exec.LookPath("arm-none-eabi-gcc")
	if err != nil {
		t.Skip("not run: no arm-none-eabi-gcc")
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	source := write("main.c", "char pool[1000]; int set = 7; const char text[64] = \"x\"; void _start(void) { pool[set] = text[set]; for (;;); }\n")
	script := write("ld", `MEMORY { FLASH (rx) : ORIGIN = 0, LENGTH = 64K RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 64K }
SECTIONS { text : { *(.text*) *(.rodata*) } > FLASH
 _image_ram_start = 0x20000000; datas : { *(.data*) } > RAM AT > FLASH bss (NOLOAD) : { *(.bss*) *(COMMON) } > RAM _image_ram_end = .;
 /DISCARD/ : { *(.ARM.*) *(.comment) } }`)
	elf := filepath.Join(dir, "build", "zephyr", "zephyr.elf")
	write("build/zephyr/.config", "CONFIG_WASMBED_BOARD_NAME=\"Mps2An385\"\nCONFIG_WASMBED_TRANSPORT_SERIAL=y\n")
	cmd := exec.Command(gcc, "-mcpu=cortex-m3", "-mthumb", "-nostdlib", "-ffreestanding", "-Os", "-T", script, "-Wl,-Map="+strings.TrimSuffix(elf, ".elf")+".map", "-o", elf, source)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var out bytes.Buffer
	over, err := run([]string{"--json", "--firmware", "..", "--top", "3", filepath.Join(dir, "build")}, &out)
	if err != nil || over {
		t.Fatalf("over %v: %v", over, err)
	}
	var r Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Board != "Mps2An385" || r.Transport != "serial" || r.RAM != 1004 || r.Flash < 72 || r.Flash > 200 || r.Budget == nil || len(r.Top) == 0 {
		t.Errorf("%s", out.String())
	}
	sum := Use{}
	for _, p := range r.Parts {
		sum.Flash += p.Flash
		sum.RAM += p.RAM
	}
	if sum != r.Use {
		t.Errorf("the parts make %+v, the image %+v", sum, r.Use)
	}
	out.Reset()
	if over, err := run([]string{"--firmware", "..", filepath.Join(dir, "build")}, &out); err != nil || over || !strings.Contains(out.String(), "budget") {
		t.Errorf("%v %v %s", over, err, out.String())
	}
	for _, args := range [][]string{{}, {"a", "b"}, {filepath.Join(dir, "nothing")}, {script}, {"--board", "Mps2An385"}} {
		t.Setenv("WASMBED_FIRMWARE", dir)
		if _, err := run(args, &out); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}
