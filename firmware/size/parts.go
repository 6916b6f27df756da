package main

import (
	"os"
	"path"
	"path/filepath"
	"strings"
)

// The parts of an image, in the order of the report.
const (
	partTLS     = "TLS"     // mbedTLS
	partWAMR    = "WAMR"    // the engine and its glue
	partNetwork = "network" // Zephyr's IP stack and Ethernet driver
	partZephyr  = "Zephyr"  // kernel, drivers, storage
	partLibc    = "libc"    // C library and the compiler's own
	partCore    = "core"    // firmware/core
	partPort    = "port"    // firmware/port/zephyr
	partApp     = "app"     // firmware/app
	partRest    = "rest"    // alignment; less than nothing where the linker merged strings
)

var partNames = []string{partTLS, partWAMR, partNetwork, partZephyr, partLibc, partCore, partPort, partApp, partRest}

// sorter says which part an object belongs to. The application's archive holds core, port and app alike: their source folders
// tell them apart.
type sorter struct {
	source map[string]string // base name of a source file → part
}

// newSorter looks at the source folders below firmware.
func newSorter(firmware string) (sorter, error) {
	s := sorter{source: map[string]string{}}
	for folder, part := range map[string]string{"core/src": partCore, "port/zephyr": partPort, "app": partApp, "runtime/wamr": partWAMR} {
		entries, err := os.ReadDir(filepath.Join(firmware, folder))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return s, err
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".c") {
				s.source[e.Name()] = part
			}
		}
	}
	return s, nil
}

// object splits "dir/libx.a(y.c.obj)" into archive path and source name; a plain object has no archive.
func object(name string) (archive, source string) {
	if i := strings.LastIndexByte(name, '('); i > 0 && strings.HasSuffix(name, ")") {
		archive, name = name[:i], name[i+1:len(name)-1]
	}
	return archive, strings.TrimSuffix(strings.TrimSuffix(path.Base(name), ".obj"), ".o")
}

func (s sorter) part(name string) string {
	archive, source := object(name)
	where := archive
	if where == "" {
		where = name
	}
	switch base := path.Base(where); {
	case name == "":
		return partRest
	case archive == "" && strings.HasSuffix(name, ".c"): // a source, of link-time optimization
		return s.ofSource(name)
	case strings.Contains(base, "mbedtls"):
		return partTLS
	case strings.Contains(base, "wamr"):
		return partWAMR
	case base == "libapp.a", strings.Contains(where, "app.dir"):
		if p, ok := s.source[source]; ok {
			return p
		}
		return partApp
	case strings.Contains(where, "subsys/net"), strings.Contains(where, "drivers/ethernet"), strings.Contains(where, "drivers/mdio"),
		strings.Contains(where, "drivers/net"):
		return partNetwork
	case strings.Contains(where, "lib/libc"), base == "libgcc.a", base == "libc.a", base == "libc_nano.a", base == "libm.a",
		base == "libnosys.a", strings.Contains(where, "lib/posix"):
		return partLibc
	}
	return partZephyr
}

// ofSource says which part a source file belongs to.
func (s sorter) ofSource(name string) string {
	switch {
	case strings.Contains(name, "firmware/core/"):
		return partCore
	case strings.Contains(name, "firmware/port/"):
		return partPort
	case strings.Contains(name, "firmware/runtime/"), strings.Contains(name, "core/iwasm"), strings.Contains(name, "core/shared"):
		return partWAMR
	case strings.Contains(name, "mbedtls"):
		return partTLS
	}
	if p, ok := s.source[path.Base(name)]; ok {
		return p
	}
	return partApp
}
