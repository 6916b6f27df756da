package docker

import "time"

// Times and limits.
const (
	stopGrace   = 1                      // seconds between SIGTERM and SIGKILL
	killWait    = 5 * time.Second        // for a killed container to be gone
	pingFor     = 5 * time.Second        // for the engine's first answer
	dialGateway = 10 * time.Second       // for the gateway behind a relay
	listFor     = 250 * time.Millisecond // a list is as good as new so long, unless something was done

	maxRelayed = 8       // connections of one board at once
	tailOutput = 400     // bytes of a program's output that say why it ended
	maxRecord  = 1 << 20 // bytes
	maxOutput  = "64k"   // of a program's output that the engine keeps
	minMemory  = 6 << 20 // bytes; an engine refuses less
	maxFile    = 8 << 20 // bytes of a file in a board's folder, beyond the largest that is planned
	maxHandles = 1024    // open files
	tmpQEMU    = 16 << 20
	tmpRenode  = 128 << 20 // it unpacks what it compiles
	shortID    = 12        // digits of a container's id that people see
)
