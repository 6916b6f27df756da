// Command standalone runs the whole platform on one machine from nothing: an embedded Kubernetes API, Redis,
// the broker, the functions, a gateway, the dashboard, and a few devices.
//
//	standalone                        everything
//	standalone --without gateway,api  everything else, with the addresses of all
//	standalone part gateway           one part, of the platform in the same state folder
//	standalone link                   a new link that logs in to its dashboard
package main

import (
	"fmt"
	"os"

	"wasmbed.io/wasmbed/internal/run"
)

const about = `the whole platform on this machine, from nothing

  standalone                     start everything
  standalone --without A[,B…]    leave parts out: ` + "\n      " + `redis kubeapi broker source functions gateway api webui provisioner devices
  standalone part NAME           run one part alone, of the platform in the same state folder
  standalone link                print a new link that logs in to its dashboard, once, within 15 minutes`

func main() {
	call, rest, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "standalone: %v (standalone --help)\n", err)
		os.Exit(1)
	}
	// Whatever is wrong is one line and exit code 1, whatever its kind: there is one reader, a person.
	os.Exit(min(1, run.Main("standalone", about, rest, os.Stdout, &Config{}, call.run)))
}
