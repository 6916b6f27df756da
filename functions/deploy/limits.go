package deploy

import "time"

// Limits of this package, with their reasons.
const (
	sweepAfter          = time.Minute            // a timer that is so late was not posted by any gateway
	sweepPage           = 100                    // timers of one read
	conflictAttempts    = 6                      // read-modify-write rounds before the event is given back for a retry
	dispatchChunk       = 256                    // devices admitted and dispatched at once: bounds memory and one script's time
	dispatchRounds      = 8                      // chunks in one advance; the rest goes on with the next, so that others get their turn
	infoCache           = 128                    // inspected modules kept
	maxAppName          = 52                     // characters: of its revisions something must fit behind it, and they travel to devices
	historyLimit        = 5                      // revisions kept beside those in use
	maxHistory          = 100                    // whatever spec.revisionHistoryLimit says
	statusPace          = 500 * time.Millisecond // between two status writes that only move counts
	retryModule         = 30 * time.Second       // until a module that could not be had is tried again
	pullAgain           = 25 * time.Second       // until a reference that failed is pulled again; below retryModule
	retryFailed         = 20 * time.Second       // until a failed rollout is told again, while nobody decides
	selectionAge        = time.Second            // of the list of applications that a device's change may use
	maxNamespaces       = 1000                   // whose list is kept
	applicationPage     = 25                     // applications listed at once
	advanceGap          = 40 * time.Millisecond  // between two looks at one application's devices: reports come in herds
	selectionTimeout    = 20 * time.Second       // to list a namespace's applications
	devicePage          = 500                    // devices listed at once in a rebuild
	deviceParallel      = 16                     // of them put into the ledger at once
	applicationParallel = 4
	rebuildTime         = 8 * time.Second  // of one event's share of a rebuild; then it goes on with another event
	retryRebuilt        = time.Second      // until a rollout that may have ended is looked at again, while the ledger is being rebuilt
	statusSpread        = 10 * time.Second // over which the devices' status is written again after a rebuild
)
