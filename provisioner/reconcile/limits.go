package reconcile

import "time"

// Times of the reconciler; the zero Times are these.
const (
	resyncEvery  = 60 * time.Second // everything is looked at again
	apiRetry     = 2 * time.Second  // after an API that did not answer
	backoffFirst = time.Second      // before the first restart
	backoffMax   = 60 * time.Second
	crashAfter   = 5               // failures in a row that make a crash loop
	crashRetry   = 5 * time.Minute // pause inside one
	stableAfter  = time.Minute     // a board that stayed up so long after its boot starts from the first pause again
	onlineWithin = time.Minute     // after its boot; then the reason says that it is not online
	bootLines    = 2 * time.Second // lines about one boot
	repostAfter  = 30 * time.Second
	postRetry    = time.Second
	postRetryMax = 30 * time.Second
	streamRetry  = 500 * time.Millisecond // before a console or a link is opened again
	opTimeout    = 60 * time.Second       // of one call to an engine

	parallelStarts = 4         // boards that are being started at once
	consoleRate    = 256 << 10 // bytes a second that are read of one console; a faster board waits, as at a UART
	maxLine        = 1 << 10   // bytes of a console line that are looked at
	maxMessage     = 500       // bytes
)
