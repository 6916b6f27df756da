// Package host makes a device of the machine it runs on: the portable C core of firmware/core, with crypto/tls, a directory and
// wazero behind its port. Standalone mode, tests and fleet simulations use it, so each of them runs the real core.
//
// It is the one Go package with C in it. The core's sources are here as symbolic links, one for each file of firmware/core/src
// and one for each public header: the go command hashes what is in a package's own folder only, and would not
// notice a change of a file that is merely included from elsewhere. TestCoreIsLinked sees to it that none is missing.
//
// What differs from a board: the instruction limit of a manifest is refused (Unsupported), the stack limit is 2,000 nested
// calls, pins and sensors are simulated, and the evidence measures the running executable.
package host

// #cgo CFLAGS: -std=c99 -O2 -Wall -Wextra -I${SRCDIR} -I${SRCDIR}/../../core/include -I${SRCDIR}/../../core/src
import "C"
