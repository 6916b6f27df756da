package process

import "time"

// Times and limits.
const (
	stopGrace   = time.Second            // between SIGTERM and SIGKILL
	killWait    = 5 * time.Second        // for a killed process to be gone
	adoptedPoll = 200 * time.Millisecond // how often a process that is not our child is looked at
	outputPoll  = 200 * time.Millisecond // how often a program's output is looked at
	janitorTick = 10 * time.Second       // memory limits and logs are looked at

	maxOutput  = 1 << 20 // bytes of output.log before it is emptied
	tailOutput = 400     // bytes of it that say why a program ended
	maxRecord  = 256 << 10
)
