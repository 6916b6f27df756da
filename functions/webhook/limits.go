package webhook

import "time"

// Limits of this package.
const (
	maxHooks      = 64               // webhooks of one namespace that are served, by name
	cacheTTL      = 2 * time.Second  // of a namespace's webhooks
	staleTTL      = 10 * time.Minute // they serve for so long while Kubernetes is away
	maxNamespaces = 10_000           // remembered; then the cache begins anew
	secretTTL     = 5 * time.Second  // of a Secret: a rotation is in force after it

	parallel   = 4                // posts of one webhook at once
	batch      = 16               // deliveries that are taken at once
	sendTime   = 12 * time.Second // of one timer's event: then the next timer goes on. Less than the function's time
	lease      = 40 * time.Second // what a process took that died comes again after it
	maxHeader  = 32 << 10         // bytes of an answer's header
	maxAnswer  = 16 << 10         // bytes of an answer's body that are read
	maxExcerpt = 1 << 10          // bytes of it that are kept
	maxTries   = 5                // attempts of a delivery that are kept

	restAfter      = 3               // failures in a row after which the whole line rests between attempts
	restMost       = 5 * time.Minute //
	maxRetryAfter  = 24 * time.Hour
	leastFailures  = 5         // in a row, beside disableAfter
	handshakeAgain = time.Hour // after a no, and after no answer
	statusPace     = 5 * time.Second
	denyRest       = time.Minute // until a Secret or a permission that is missing is looked for again
)

// schedule is how long after a failed attempt the next one comes, give or take a tenth.
var schedule = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour,
}
