package provisioner_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/provisioner"
)

const (
	page    = "../docs/boards.md"
	builds  = "../firmware/app/boards"
	ownRoot = "../firmware/boards/arm"
)

var updateBoards = flag.Bool("update-boards", false, "write docs/boards.md anew")

func TestBoardsPageIsCurrent(t *testing.T) {
	want := render(provisioner.Boards())
	if *updateBoards {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(page); err != nil || string(have) != want {
		t.Errorf("docs/boards.md is not what the table says: go generate ./provisioner (%v)", err)
	}
}

// The table is of use only while it is true: what can be checked without building anything is checked here.
func TestBoardsAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range provisioner.Boards() {
		if seen[b.Name] || b.Name == "" {
			t.Errorf("board %q stands twice or has no name", b.Name)
		}
		seen[b.Name] = true
		if b.RAM <= 0 || b.Flash <= 0 || b.CPU == "" || b.Part == "" || b.Transport == "" {
			t.Errorf("%s: %+v lacks something", b.Name, b)
		}
		if slices.Contains(b.Also, b.Transport) {
			t.Errorf("%s: transport %s twice", b.Name, b.Transport)
		}
		if (b.Refused != "") != (b.Best() == provisioner.StatusRefused) {
			t.Errorf("%s: refused %q, but its truth says %q", b.Name, b.Refused, b.Best())
		}
		if b.OutOfTree {
			if _, err := os.Stat(filepath.Join(ownRoot, b.Zephyr, b.Zephyr+".dts")); err != nil {
				t.Errorf("%s: %v", b.Name, err)
			}
		}
		if len(b.Truth) == 0 {
			t.Errorf("%s: nothing is said about what was seen", b.Name)
		}
		for _, x := range b.Truth {
			checkTruth(t, b, x)
		}
	}
	if got, ok := provisioner.BoardNamed("Mps2An500"); !ok || got.Blob != 0x60100000 {
		t.Errorf("BoardNamed: %+v, %v", got, ok)
	}
	if _, ok := provisioner.BoardNamed("Mps2"); ok {
		t.Error("BoardNamed knows a board that is not there")
	}
}

func checkTruth(t *testing.T, b provisioner.Board, x provisioner.Truth) {
	t.Helper()
	switch x.Status {
	case provisioner.StatusRun, provisioner.StatusBoots, provisioner.StatusBuilds:
		if x.With == "" || x.Test == "" || !slices.Contains(b.Transports(), x.Transport) {
			t.Errorf("%s: %q needs with what it was, the command that repeats it and one of the board's transports: %+v", b.Name, x.Status, x)
		}
		if _, err := time.Parse(time.DateOnly, x.When); err != nil {
			t.Errorf("%s: when: %v", b.Name, err)
		}
	case provisioner.StatusNotBuilt, provisioner.StatusRefused:
		if x.Note == "" {
			t.Errorf("%s: %q needs a reason", b.Name, x.Status)
		}
	default:
		t.Errorf("%s: status %q", b.Name, x.Status)
	}
}

var setting = regexp.MustCompile(`(?m)^CONFIG_WASMBED_(BOARD_NAME|BLOB_ADDRESS|MODULE_SIZE|MODULE_MEMORY|TRANSPORT_SERIAL)=(.*)$`)

// TestBoardsMatchTheirBuilds compares the table with the settings that the images are built with.
func TestBoardsMatchTheirBuilds(t *testing.T) {
	for _, b := range provisioner.Boards() {
		data, err := os.ReadFile(filepath.Join(builds, b.Zephyr+".conf"))
		if err != nil {
			if best := b.Best(); best != provisioner.StatusRefused && best != provisioner.StatusNotBuilt {
				t.Errorf("%s is said to be %s: %v", b.Name, best, err)
			}
			continue
		}
		have := map[string]string{"MODULE_SIZE": "65536", "MODULE_MEMORY": "32768"} // the defaults of firmware/port/zephyr/Kconfig
		for _, m := range setting.FindAllStringSubmatch(string(data), -1) {
			have[m[1]] = strings.Trim(m[2], `"`)
		}
		// Two names of the table may be one board of Zephyr.
		if other, ok := provisioner.BoardNamed(have["BOARD_NAME"]); !ok || other.Zephyr != b.Zephyr {
			t.Errorf("%s: its image is built as %q", b.Name, have["BOARD_NAME"])
		}
		for key, want := range map[string]int64{"BLOB_ADDRESS": int64(b.Blob), "MODULE_SIZE": b.ModuleSize, "MODULE_MEMORY": b.ModuleMemory} {
			if got, err := strconv.ParseInt(have[key], 0, 64); err != nil || got != want {
				t.Errorf("%s: table %s %#x, build %q", b.Name, key, want, have[key])
			}
		}
		if serial := have["TRANSPORT_SERIAL"] == "y"; serial != (b.Transport == provisioner.Serial) {
			t.Errorf("%s: table %s, build serial %v", b.Name, b.Transport, serial)
		}
	}
}

func TestStandIn(t *testing.T) {
	for _, b := range provisioner.Boards() {
		memory, size := b.StandIn()
		if memory < 72<<10 || memory < b.ModuleMemory || size != b.ModuleSize {
			t.Errorf("%s: %d, %d", b.Name, memory, size)
		}
	}
}

func size(n int64) string {
	switch {
	case n == 0:
		return ""
	case n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

func bytes(n int64) string {
	if n == 0 {
		return "–"
	}
	return strconv.FormatInt(n, 10)
}

func code(s string) string {
	if s == "" {
		return "–"
	}
	return "`" + s + "`"
}

func render(all []provisioner.Board) string {
	var out strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&out, format+"\n", a...) }
	p("<!-- Generated from provisioner/boards_table.go and boards_truth.go: go generate ./provisioner -->")
	p("# Boards\n")
	p("What a Device's `spec.board` may name, and what this project has really seen of it. *run*: the board booted, enrolled and ran")
	p("the sample Application. *boots*: the image starts in an emulator and says on its console why it gets no further. *builds*: the")
	p("image links; flash and RAM are what it takes, in bytes (budgets: `firmware/boards/budgets.yaml`). Nothing here was run on a physical board: [firmware.md](firmware.md)")
	p("says how to. Any other name works too, as a host device's.\n")
	p("| board | MCU | CPU | RAM | flash | transports | best seen |")
	p("|---|---|---|---|---|---|---|")
	for _, b := range all {
		words := make([]string, 0, 2)
		for i, t := range b.Transports() {
			if w := string(t); b.Refused != "" {
				words = append(words, "–")
			} else if i == 0 {
				words = append(words, "**"+w+"**")
			} else {
				words = append(words, w)
			}
		}
		p("| [%s](#%s) | %s | %s | %s | %s | %s | %s |", b.Name, strings.ToLower(b.Name), b.Part, b.CPU, size(b.RAM), size(b.Flash), strings.Join(words, ", "), b.Best())
	}
	p("\nThe transport in bold is the default image's (`BOARD.elf`); the other one's is `BOARD-serial.elf`.\n")
	p("| board | Zephyr 3.4.0 | QEMU machine | Renode platform | blob at | storage | entropy | module memory | largest module |")
	p("|---|---|---|---|---|---|---|---|---|")
	for _, b := range all {
		zephyr, blob, storage, entropy := code(b.Zephyr), "–", "–", "–"
		if b.OutOfTree {
			zephyr += " (ours)"
		}
		if b.Blob != 0 {
			blob = fmt.Sprintf("`%#08x`", b.Blob)
		}
		if b.Storage.Where != "" {
			storage = b.Storage.Where + ", " + size(b.Storage.Size)
		}
		switch b.Entropy {
		case "":
		case provisioner.EntropySeed:
			entropy = "seed of the blob, jitter, kept pool"
		default:
			entropy = "hardware, " + code(b.Entropy)
		}
		p("| %s | %s | %s | %s | %s | %s | %s | %s | %s |", b.Name, zephyr, code(b.QEMU), code(b.Renode), blob, storage, entropy,
			or(size(b.ModuleMemory)), or(size(b.ModuleSize)))
	}
	p("\nThe platform files are those of Renode 1.13.3. A host device in a board's place announces at least 80 KiB of module memory: its")
	p("engine cannot shrink a page.")
	for _, b := range all {
		p("\n## %s\n", b.Name)
		if b.Refused != "" {
			p("Refused: %s.", b.Refused)
		}
		if b.RAMNote != "" {
			p("RAM: %s.\n", b.RAMNote)
		}
		if b.Refused != "" {
			continue
		}
		p("| status | transport | when | with | flash | RAM | repeat | |")
		p("|---|---|---|---|---|---|---|---|")
		for _, x := range b.Truth {
			p("| %s | %s | %s | %s | %s | %s | %s | %s |", x.Status, or(string(x.Transport)), or(x.When), or(x.With), bytes(x.Flash), bytes(x.RAM), code(x.Test), x.Note)
		}
	}
	return out.String()
}

func or(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
