package ledger

import "time"

// The package's limits, all of them.
const (
	DefaultShards   = 16              // slots that the fleet is spread over
	DefaultDeadline = 5 * time.Minute // in flight without one from Dispatch

	MaxName       = 253   // bytes of a namespace, device, application, instance or gateway name
	MaxSession    = 128   // bytes of a session id
	MaxMessage    = 512   // bytes of a message that a device or a function gives; longer ones are cut
	MaxApps       = 64    // applications in one report
	MaxRecords    = 128   // applications remembered per device; above it, those that are gone are forgotten
	MaxLabels     = 64    // per device
	MaxNames      = 10000 // in a Selection
	MaxTerms      = 64    // in a Selection
	MaxFailing    = 5     // failing devices that Counts names
	MaxModule     = 16 << 20
	MaxBatch      = 256 << 10 // bytes of one device's telemetry or log frame
	MaxPage       = 1000      // entries of one page of a view
	MaxTraps      = 64        // trap identities remembered per device
	MaxReplays    = 16        // answers to events remembered per device
	MaxIntervals  = 16        // gaps remembered per boot in telemetry and logs
	MaxBoots      = 4         // boots remembered in telemetry and logs
	FeedLength    = 10000     // entries of a shard's feed, approximately
	RecordsLength = 1000      // frames of a device's telemetry, and of its logs, approximately

	MaxCommands       = 32        // open commands of a device
	MaxResults        = 32        // results remembered per device
	MaxCommandPayload = 16 << 10  // bytes; the wire's limit
	MaxCommandLife    = time.Hour // from asking to the deadline

	MaxHookQueue = 1000     // deliveries that wait for one webhook
	MaxHookLog   = 200      // finished deliveries remembered per webhook
	MaxHookEvent = 64 << 10 // bytes of an event that goes to webhooks, structured
	MaxHookBytes = 16 << 20 // of all deliveries of one webhook
	MaxHookNote  = 4 << 10  // bytes of what is kept of the last request through a webhook source

	walkChunk    = 200  // devices that one script call of SetTarget or RemoveApp touches
	callChunk    = 128  // devices of one shard in one script call elsewhere
	reclaimChunk = 1024 // budget entries that Admit checks when the budget is full

	StatusDelay  = 250 * time.Millisecond // status timers wait so long for more changes
	ClaimTime    = 10 * time.Second       // a timer that Due gave out and nobody finished comes again after it
	ModuleTTL    = 7 * 24 * time.Hour     // refreshed by every read
	VerdictTTL   = 10 * time.Minute       //
	OnceTTL      = 24 * time.Hour         //
	UnknownTTL   = 24 * time.Hour         // of a session's row whose Device object was never seen
	RecordsTTL   = 7 * 24 * time.Hour     // of telemetry and logs, since the last
	ReplayTTL    = 10 * time.Minute       // of answers to events
	ResultTTL    = 24 * time.Hour         // of results of commands
	OperationTTL = 24 * time.Hour         // of commands to many
	HookTTL      = 7 * 24 * time.Hour     // of a webhook's deliveries, since the last
	TrapTTL      = 24 * time.Hour         // of trap identities
	RemovedTTL   = 10 * time.Minute       // a removed application is remembered for so long
	budgetSpare  = time.Hour              // a budget key outlives its last entry by it
	feedBlockMax = time.Minute            // longest block of Feed
)
