package ledger

import (
	"encoding/json"
	"time"

	"wasmbed.io/wasmbed/broker/event"
)

// The work sets of an application: where each of its devices stands towards the present target. A device
// that an application selects is in exactly one of them.
const (
	SetHeld     = "held"     // would be pending or away, but is on hold or not approved
	SetDone     = "done"     // online, has the wanted revision, confirmed
	SetLost     = "lost"     // the same, but offline
	SetFailed   = "failed"   // gave the wanted revision up, was refused, or ran out of time
	SetInFlight = "inflight" // desired is the target and the device is not there yet
	SetPending  = "pending"  // online, not dispatched
	SetAway     = "away"     // offline, not there; dispatched or not
)

// Sets lists the work sets in the order in which people read them.
func Sets() []string {
	return []string{SetDone, SetInFlight, SetPending, SetAway, SetFailed, SetHeld, SetLost}
}

// The states that can be wanted.
const (
	StateRunning = "Running"
	StateStopped = "Stopped"
)

// App names an application.
type App struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (a App) String() string { return a.Namespace + "/" + a.Name }

// Timer calls a module's timer entry point periodically.
type Timer struct {
	ID     uint32
	Period time.Duration
}

// Manifest is what to run and inside which limits. In JSON its durations are whole milliseconds.
type Manifest struct {
	MemoryPages  uint32            // 64 KiB pages
	Stack        uint32            // bytes
	CallTimeout  time.Duration     // per call
	Instructions uint64            // per call; 0: no such limit
	Permissions  []string          // host function groups
	Config       map[string]string //
	Timers       []Timer           //
	HealthWindow time.Duration     // on trial before confirmed
	MaxTraps     uint32            // this many traps …
	TrapPeriod   time.Duration     // … within this time are a trap loop
}

type manifestJSON struct {
	MemoryPages  uint32            `json:"memoryPages"`
	Stack        uint32            `json:"stack"`
	CallTimeout  int64             `json:"callTimeout"`
	Instructions uint64            `json:"instructions,omitempty"`
	Permissions  []string          `json:"permissions,omitempty"`
	Config       map[string]string `json:"config,omitempty"`
	Timers       []timerJSON       `json:"timers,omitempty"`
	HealthWindow int64             `json:"healthWindow"`
	MaxTraps     uint32            `json:"maxTraps"`
	TrapPeriod   int64             `json:"trapPeriod"`
}

type timerJSON struct {
	ID     uint32 `json:"id"`
	Period int64  `json:"period"`
}

// MarshalJSON writes durations as milliseconds. Equal manifests give equal bytes.
func (m Manifest) MarshalJSON() ([]byte, error) {
	j := manifestJSON{MemoryPages: m.MemoryPages, Stack: m.Stack, CallTimeout: m.CallTimeout.Milliseconds(),
		Instructions: m.Instructions, Permissions: m.Permissions, Config: m.Config,
		HealthWindow: m.HealthWindow.Milliseconds(), MaxTraps: m.MaxTraps, TrapPeriod: m.TrapPeriod.Milliseconds()}
	for _, t := range m.Timers {
		j.Timers = append(j.Timers, timerJSON{t.ID, t.Period.Milliseconds()})
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (m *Manifest) UnmarshalJSON(b []byte) error {
	var j manifestJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	*m = Manifest{MemoryPages: j.MemoryPages, Stack: j.Stack, CallTimeout: ms(j.CallTimeout),
		Instructions: j.Instructions, Permissions: j.Permissions, Config: j.Config,
		HealthWindow: ms(j.HealthWindow), MaxTraps: j.MaxTraps, TrapPeriod: ms(j.TrapPeriod)}
	for _, t := range j.Timers {
		m.Timers = append(m.Timers, Timer{t.ID, ms(t.Period)})
	}
	return nil
}

// DesiredApp is what one device shall do about one application.
type DesiredApp struct {
	Revision string   `json:"revision"`
	Digest   string   `json:"digest"` // sha256:<hex>
	Size     int64    `json:"size"`   // bytes of the module
	Manifest Manifest `json:"manifest"`
	State    string   `json:"state"`   // Running, Stopped
	Attempt  uint64   `json:"attempt"` // the rollout's sequence; a revision that failed is tried again only with a larger one
}

// Desired is what one device shall do.
type Desired struct {
	Era     string                // of Version
	Version uint64                // grows with every change of Apps; comparable within an era only
	Apps    map[string]DesiredApp // by application; empty when nothing is wanted
	// Complete is true when deploy has told the ledger about this device in this era. While it is false the
	// ledger does not know yet what the device shall run, so nothing may be removed from the device.
	Complete bool
	// Keep names applications that select the device and have not been dispatched to it (in this era): leave
	// what runs of them alone.
	Keep []string
	// Traces are the traceparents of applications that were dispatched in a trace that follows the device, until
	// the device has said what became of it. Mostly nil.
	Traces map[string]string
}

// Target is what an application wants of every device that it selects.
type Target struct {
	Sequence uint64        // of the application's rollouts: 1, 2, …; a lower one than the ledger's is Stale
	Revision string        //
	Digest   string        // sha256:<hex>
	Size     int64         // bytes of the module
	Manifest Manifest      //
	State    string        // Running (also when empty), Stopped
	Paused   bool          // nothing is dispatched
	Halted   bool          // the rollout failed and nobody decided yet: nothing is dispatched
	Deadline time.Duration // how long a device may be in flight when it got there without Dispatch (it lost what it had, or came back); 0: DefaultDeadline
	UID      string        // of the Application; another one than the ledger's starts the application anew
}

// Selection says which devices of its namespace an application selects: All, or Names, or those for which
// every Term holds. The zero Selection selects nothing.
type Selection struct {
	All   bool     `json:"all,omitempty"`
	Names []string `json:"names,omitempty"`
	Terms []Term   `json:"terms,omitempty"`
}

// Term is one requirement on labels, in the sense of a Kubernetes label selector.
type Term struct {
	Key    string   `json:"key"`
	Op     string   `json:"op"` // In, NotIn, Exists, DoesNotExist
	Values []string `json:"values,omitempty"`
}

// DeviceFacts is what deploy knows of a device from its CRD.
type DeviceFacts struct {
	Board    string
	Labels   map[string]string
	Hold     bool // nothing new is dispatched to it
	Approved bool
	UID      string
}

// Counts says where an application's devices stand.
type Counts struct {
	Desired  int            `json:"desired"`           // devices selected: the sum of the work sets
	Ready    int            `json:"ready"`             // done
	Running  int            `json:"running"`           // online and executing any revision
	Updated  int            `json:"updated"`           // done and lost
	InFlight int            `json:"inFlight"`          //
	Pending  int            `json:"pending"`           //
	Away     int            `json:"away"`              //
	Failed   int            `json:"failed"`            //
	Held     int            `json:"held"`              //
	Lost     int            `json:"lost"`              //
	Reasons  map[string]int `json:"reasons,omitempty"` // of the failed
	Failing  []Failing      `json:"failing,omitempty"` // the first MaxFailing by name
}

// Failing is one failed device.
type Failing struct {
	Device   string `json:"device"`
	Revision string `json:"revision"`
	Reason   string `json:"reason"`
	Message  string `json:"message,omitempty"`
}

// Candidate is a device that can be dispatched to.
type Candidate struct {
	Device       event.Device
	Board        string
	Capabilities event.Capabilities
}

// GatewaySettings is a Gateway object as gateways need it.
type GatewaySettings struct {
	Namespace         string        `json:"namespace"`
	Name              string        `json:"name"`
	Address           string        `json:"address"` // host:port that devices dial
	Heartbeat         time.Duration `json:"heartbeat"`
	PairingUntil      time.Time     `json:"pairingUntil,omitzero"`
	PairingApproval   string        `json:"pairingApproval,omitempty"`
	MaxDevices        int           `json:"maxDevices,omitempty"`        // per instance
	MaxFrame          int           `json:"maxFrame,omitempty"`          // bytes
	PreAuthPerAddress int           `json:"preAuthPerAddress,omitempty"` // connections
	CertificateLife   time.Duration `json:"certificateLife"`
	AttestationMode   string        `json:"attestationMode,omitempty"`
	Disabled          bool          `json:"disabled,omitempty"` // takes no sessions and ends those it has
}

// Verdict is enroll's answer to a session that waits for one.
type Verdict struct {
	Status     string        `json:"status"`          // Accepted, Pending, Rejected
	Chain      [][]byte      `json:"chain,omitempty"` // DER, leaf first
	Reason     string        `json:"reason,omitempty"`
	Message    string        `json:"message,omitempty"`
	RetryAfter time.Duration `json:"retryAfter,omitempty"`
	Device     event.Device  `json:"device"`
}

// DeviceView is all that is known of a device.
type DeviceView struct {
	Device         event.Device       `json:"device"`
	Online         bool               `json:"online"`
	Known          bool               `json:"known"` // deploy has told of it; false: a session whose Device object was not seen yet
	Board          string             `json:"board,omitempty"`
	Firmware       string             `json:"firmware,omitempty"`
	Gateway        string             `json:"gateway,omitempty"`  // Gateway object
	Instance       string             `json:"instance,omitempty"` // process
	BootID         string             `json:"bootId,omitempty"`
	Serial         string             `json:"serial,omitempty"`   // of the certificate
	NotAfter       string             `json:"notAfter,omitempty"` // of the certificate, RFC 3339
	Epoch          uint64             `json:"epoch,omitempty"`
	LastSeen       time.Time          `json:"lastSeen,omitzero"`
	ConnectedAt    time.Time          `json:"connectedAt,omitzero"`
	Hold           bool               `json:"hold,omitempty"`
	Approved       bool               `json:"approved,omitempty"`
	UID            string             `json:"uid,omitempty"`
	Labels         map[string]string  `json:"labels,omitempty"`
	Capabilities   event.Capabilities `json:"capabilities"`
	DesiredVersion uint64             `json:"desiredVersion,omitempty"`
	SeenDesired    uint64             `json:"seenDesired,omitempty"`
	Apps           []AppView          `json:"apps,omitempty"` // by name
}

// AppView is one application on one device.
type AppView struct {
	App      string          `json:"app"`
	Set      string          `json:"set,omitempty"`    // work set; empty when the application does not select the device
	Target   *DesiredApp     `json:"target,omitempty"` // what the application wants
	Paused   bool            `json:"paused,omitempty"` // of the target
	Halted   bool            `json:"halted,omitempty"` // of the target
	Desired  *DesiredApp     `json:"desired,omitempty"`
	Reported *event.AppState `json:"reported,omitempty"`
	Reason   string          `json:"reason,omitempty"` // why failed, or why held
	Message  string          `json:"message,omitempty"`
	Since    time.Time       `json:"since,omitzero"` // in Set
	Deadline time.Time       `json:"deadline,omitzero"`
	Traps    int             `json:"traps,omitempty"` // events counted, all revisions
}

// FeedEntry is one change, for views that follow.
type FeedEntry struct {
	Shard   int          `json:"shard"`
	ID      string       `json:"id"` // in the shard's stream
	Time    time.Time    `json:"time"`
	Device  event.Device `json:"device"`
	App     string       `json:"app,omitempty"`
	Kind    string       `json:"kind"` // connected, disconnected, put, deleted, set, state, trap
	From    string       `json:"from,omitempty"`
	To      string       `json:"to,omitempty"`
	State   string       `json:"state,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	Message string       `json:"message,omitempty"`
}

// TelemetryEntry is one measured value.
type TelemetryEntry struct {
	ID       string    `json:"id"`       // of the stored batch
	Received time.Time `json:"received"` // by the ledger
	BootID   string    `json:"bootId"`   // hex
	Seq      uint64    `json:"seq"`      // of the record, per boot
	Time     time.Time `json:"time,omitzero"`
	App      string    `json:"app,omitempty"`
	Name     string    `json:"name"`
	Value    float64   `json:"value"`
}

// LogEntry is one log line.
type LogEntry struct {
	ID       string    `json:"id"`
	Received time.Time `json:"received"`
	BootID   string    `json:"bootId"`
	Seq      uint64    `json:"seq"`
	Time     time.Time `json:"time,omitzero"`
	App      string    `json:"app,omitempty"` // empty: the firmware itself
	Level    uint8     `json:"level"`         // 1 debug, 2 info, 3 warning, 4 error
	Text     string    `json:"text"`
}
