package enroll

import "time"

// Limits of this package, with their reasons.
const (
	maxCSR           = 4 << 10            // bytes; a P-256 request is about 200
	maxClaim         = 1 << 10            // bytes
	defaultLife      = 7 * 24 * time.Hour // of an operational certificate
	minLife          = 2 * time.Minute    // a shorter one would be renewed without end
	maxLife          = 825 * 24 * time.Hour
	caLife           = 10 * 365 * 24 * time.Hour
	backdate         = 5 * time.Minute     // of notBefore: clocks differ
	caCache          = time.Minute         // how long the authority's Secret is not read again
	retryPending     = 5 * time.Second     // a device that waits for a person, or for its Gateway object, asks again after this
	retryNotPaired   = 30 * time.Second    // a pairing window may open
	retryRejected    = 5 * time.Minute     // somebody may change their mind
	createAttempts   = 4                   // rounds when somebody else takes the name meanwhile
	conflictAttempts = 5                   // read-modify-write rounds before the event is given back for a retry
	serverLife       = 30 * 24 * time.Hour // of a gateway's server certificate; it is renewed at two thirds of it
	serverRetry      = time.Hour           // when an authority about to end gives no certificate that lasts
	maxRevoked       = 5000                // revoked keys kept per Secret; there are 16 of them in a namespace
)
