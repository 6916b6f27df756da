package protocol

import (
	"math"
	"slices"
	"strings"
)

const (
	anyU32 = math.MaxUint32
	anyU64 = math.MaxUint64
)

// id and refers are keys 1 and 2 of every message that has them.
func (c *coder) id(v *uint64)                { number(c, 1, v, required, 1, anyU64) }
func (c *coder) refers(v *uint64, req bool)  { number(c, 2, v, req, 1, anyU64) }
func (c *coder) digest(k uint64, v *[]byte)  { c.bytes(k, v, required, DigestSize, DigestSize) }
func (c *coder) command(k uint64, v *[]byte) { c.bytes(k, v, required, CommandSize, CommandSize) }
func (c *coder) era(k uint64, v *[]byte)     { c.bytes(k, v, optional, EraSize, EraSize) }
func (c *coder) app(k uint64, v *string)     { c.name(k, "app", v, required, MaxName) }

func (m *Hello) walk(c *coder) {
	c.id(&m.ID)
	c.bytes(2, &m.Versions, required, 1, MaxVersions)
	number(c, 3, &m.Features, optional, 0, anyU64)
	c.bytes(4, &m.BootID, required, BootIDSize, BootIDSize)
	c.text(5, "board", &m.Board, required, 1, MaxBoard)
	c.text(6, "firmware", &m.Firmware, required, 1, MaxFirmware)
	if c.field(7, true, required) {
		m.Capabilities.walk(c)
		c.next()
	}
	c.era(8, &m.Era)
	number(c, 9, &m.SeenDesired, optional, 0, anyU64)
	c.bytes(10, &m.StateDigest, optional, StateDigestSize, StateDigestSize)
	for i := 1; i < len(m.Versions); i++ {
		c.check(m.Versions[i-1] < m.Versions[i], "versions are not ascending")
	}
}

func (m *Capabilities) walk(c *coder) {
	outer := c.open()
	number(c, 1, &m.ModuleMemory, required, 0, anyU32)
	number(c, 2, &m.ModuleSize, required, 0, anyU32)
	number(c, 3, &m.Chunk, required, 64, MaxChunk)
	number(c, 4, &m.Frame, required, MinFrame, MaxFrame)
	number(c, 5, &m.Apps, required, 1, MaxApps)
	number(c, 6, &m.ABI, required, 1, 255)
	c.texts(7, "permission", &m.Permissions, MaxPermissions, MaxPermission)
	c.close(outer)
}

func (m *Welcome) walk(c *coder) {
	c.id(&m.ID)
	c.refers(&m.Refers, required)
	number(c, 3, &m.Version, required, 1, 255)
	number(c, 4, &m.Features, optional, 0, anyU64)
	number(c, 5, &m.Time, required, 1, anyU64)
	number(c, 6, &m.Heartbeat, required, MinHeartbeatMilli, MaxHeartbeatMilli)
	number(c, 7, &m.Epoch, optional, 0, anyU64)
	c.era(8, &m.Era)
	number(c, 9, &m.Frame, required, MinFrame, MaxFrame)
	c.bytes(10, &m.Nonce, optional, NonceSize, NonceSize)
	c.flag(11, &m.Enrolled, required)
	number(c, 12, &m.RenewBefore, optional, 0, anyU64)
	c.check(m.Enrolled || len(m.Nonce) > 0, "a welcome to first contact without a nonce")
	c.check(!m.Enrolled || m.Epoch > 0 && len(m.Era) > 0, "a welcome to an enrolled device without epoch or era")
}

func (m *Error) walk(c *coder) {
	c.id(&m.ID)
	c.refers(&m.Refers, optional)
	number(c, 3, &m.Code, required, 1, 255)
	c.text(4, "text", &m.Text, optional, 0, MaxText)
}

func (m *Goodbye) walk(c *coder) {
	c.id(&m.ID)
	number(c, 2, &m.Reason, required, 1, 255)
	number(c, 3, &m.RetryAfter, optional, 0, anyU32)
	c.text(4, "text", &m.Text, optional, 0, MaxText)
}

func (m *Enroll) walk(c *coder) {
	c.id(&m.ID)
	c.bytes(2, &m.CSR, required, 1, MaxCSR)
	c.name(3, "name", &m.Name, optional, MaxName)
	c.bytes(4, &m.Claim, optional, 1, MaxClaim)
	if c.field(5, m.Evidence != nil, optional) {
		if m.Evidence == nil {
			m.Evidence = new(Evidence)
		}
		m.Evidence.walk(c)
		c.next()
	}
}

func (m *Evidence) walk(c *coder) {
	outer := c.open()
	number(c, 1, &m.Format, required, 1, 255)
	c.bytes(2, &m.Nonce, required, NonceSize, NonceSize)
	c.digest(3, &m.Measurement)
	c.bytes(4, &m.Signature, required, 1, MaxSignature)
	c.close(outer)
}

func (m *EnrollResult) walk(c *coder) {
	c.id(&m.ID)
	c.refers(&m.Refers, required)
	number(c, 3, &m.Status, required, uint64(EnrollAccepted), uint64(EnrollRejected))
	c.list(4, len(m.Chain), optional, 0, MaxChain, func(n int) { m.Chain = make([][]byte, n) }, func(i int) {
		b := m.Chain[i]
		if c.enc {
			c.b = append(appendHead(c.b, majorBytes, uint64(len(b))), b...)
		} else {
			b = append([]byte(nil), c.raw(c.head(majorBytes, "byte string"))...)
			m.Chain[i] = b
		}
		c.check(len(b) > 0 && len(b) <= MaxCertificate, "a certificate is empty or too long")
	})
	number(c, 5, &m.Reason, optional, 0, 255)
	number(c, 6, &m.RetryAfter, optional, 0, anyU32)
	c.text(7, "text", &m.Text, optional, 0, MaxText)
	c.check((m.Status == EnrollAccepted) == (len(m.Chain) > 0), "a chain goes with accepted, and only with it")
	c.check(m.Status != EnrollRejected || m.Reason != ReasonNone, "rejected without a reason")
}

func (m *Renew) walk(c *coder) {
	c.id(&m.ID)
	c.bytes(2, &m.CSR, required, 1, MaxCSR)
}

func (m *Heartbeat) walk(c *coder) {
	c.id(&m.ID)
	number(c, 2, &m.Uptime, required, 0, anyU64)
	number(c, 3, &m.FreeMemory, required, 0, anyU32)
	c.bytes(4, &m.StateDigest, required, StateDigestSize, StateDigestSize)
	number(c, 5, &m.Queued, optional, 0, anyU32)
	number(c, 6, &m.Dropped, optional, 0, anyU32)
}

func (m *HeartbeatAck) walk(c *coder) {
	c.id(&m.ID)
	c.refers(&m.Refers, required)
	number(c, 3, &m.Time, required, 1, anyU64)
}

func (m *Ack) walk(c *coder) {
	c.id(&m.ID)
	c.refers(&m.Refers, required)
}

func (m *Command) walk(c *coder) {
	c.id(&m.ID)
	c.command(2, &m.Command)
	number(c, 3, &m.Verb, required, 1, 255)
	c.name(4, "app", &m.App, optional, MaxName)
	c.name(5, "revision", &m.Revision, optional, MaxRevision)
	number(c, 6, &m.Attempt, optional, 0, anyU64)
	c.bytes(7, &m.Digest, optional, DigestSize, DigestSize)
	number(c, 8, &m.Size, optional, 1, MaxModule)
	if c.field(9, m.Manifest != nil, optional) {
		if m.Manifest == nil {
			m.Manifest = new(Manifest)
		}
		m.Manifest.walk(c)
		c.next()
	}
	c.era(10, &m.Era)
	number(c, 11, &m.Desired, optional, 0, anyU64)
	number(c, 12, &m.Deadline, optional, 0, anyU32)
	m.check(c)
}

func (m *Command) check(c *coder) {
	whole := m.Revision != "" && m.Attempt > 0 && len(m.Digest) > 0 && m.Size > 0 && m.Manifest != nil
	module := len(m.Digest) > 0 || m.Size > 0 || m.Manifest != nil
	switch m.Verb {
	case VerbDeploy, VerbUpdate, VerbRollback:
		c.check(m.App != "" && whole, "the verb needs app, revision, attempt, digest, size and manifest")
	case VerbStart, VerbStop, VerbRemove:
		c.check(m.App != "", "the verb needs an app")
		c.check(!module || whole, "revision, attempt, digest, size and manifest go together")
	}
}

func (m *Manifest) walk(c *coder) {
	outer := c.open()
	number(c, 1, &m.MemoryPages, required, 0, MaxMemoryPages)
	number(c, 2, &m.Stack, required, 0, anyU32)
	number(c, 3, &m.CallTimeout, required, 1, anyU32)
	number(c, 4, &m.Instructions, optional, 0, anyU64)
	c.texts(5, "permission", &m.Permissions, MaxPermissions, MaxPermission)
	c.config(6, &m.Config)
	c.list(7, len(m.Timers), optional, 0, MaxTimers, func(n int) { m.Timers = make([]Timer, n) }, func(i int) { m.Timers[i].walk(c) })
	number(c, 8, &m.HealthWindow, required, 0, anyU32)
	number(c, 9, &m.MaxTraps, required, 1, anyU32)
	number(c, 10, &m.TrapPeriod, required, 1, anyU32)
	c.bytes(11, &m.Signature, optional, 1, MaxManifestSig)
	number(c, 12, &m.Sequence, optional, 0, anyU64)
	c.close(outer)
}

func (m *Timer) walk(c *coder) {
	outer := c.open()
	number(c, 1, &m.ID, required, 0, anyU32)
	number(c, 2, &m.Period, required, 1, anyU32)
	c.close(outer)
}

func (m *CommandResult) walk(c *coder) {
	c.id(&m.ID)
	c.refers(&m.Refers, optional)
	c.command(3, &m.Command)
	number(c, 4, &m.Status, required, uint64(CommandAccepted), uint64(CommandFailed))
	number(c, 5, &m.Reason, optional, 0, 255)
	c.text(6, "text", &m.Text, optional, 0, MaxText)
	c.check(m.Status < CommandRefused || m.Reason != ReasonNone, "refused or failed without a reason")
}

func (m *ChunkRequest) walk(c *coder) {
	c.id(&m.ID)
	c.digest(2, &m.Digest)
	number(c, 3, &m.Offset, required, 0, MaxModule)
	number(c, 4, &m.Length, required, 1, MaxChunk)
}

func (m *Chunk) walk(c *coder) {
	c.id(&m.ID)
	c.refers(&m.Refers, required)
	c.digest(3, &m.Digest)
	number(c, 4, &m.Offset, required, 0, MaxModule)
	c.bytes(5, &m.Data, required, 1, MaxChunk)
	number(c, 6, &m.Total, required, 1, MaxModule)
	c.check(uint64(m.Offset)+uint64(len(m.Data)) <= uint64(m.Total), "the chunk ends behind the module")
}

func (m *Report) walk(c *coder) {
	c.id(&m.ID)
	number(c, 2, &m.Version, required, 1, anyU64)
	c.flag(3, &m.Full, required)
	c.era(4, &m.Era)
	number(c, 5, &m.SeenDesired, optional, 0, anyU64)
	c.apps(6, &m.Apps)
	c.list(7, len(m.Removed), optional, 0, MaxApps, func(n int) { m.Removed = make([]string, n) }, func(i int) {
		if c.enc {
			c.putText("removed app", m.Removed[i], 1, MaxName)
		} else {
			m.Removed[i] = string(c.textValue("removed app", 1, MaxName))
		}
		c.check(c.err != nil || validName(m.Removed[i]), "removed app is not a name")
	})
	c.bytes(8, &m.StateDigest, required, StateDigestSize, StateDigestSize)
	c.check(!m.Full || len(m.Removed) == 0, "removed in a full report")
}

func (m *AppState) walk(c *coder) {
	outer := c.open()
	number(c, 1, &m.State, required, uint64(StateFetching), uint64(StateRolledBack))
	c.name(2, "revision", &m.Revision, required, MaxRevision)
	number(c, 3, &m.Attempt, optional, 0, anyU64)
	c.name(4, "running revision", &m.Running, optional, MaxRevision)
	c.flag(5, &m.Confirmed, optional)
	number(c, 6, &m.Reason, optional, 0, 255)
	c.text(7, "text", &m.Text, optional, 0, MaxText)
	number(c, 8, &m.Restarts, optional, 0, anyU32)
	number(c, 9, &m.Progress, optional, 0, anyU32)
	number(c, 10, &m.Traps, optional, 0, anyU32)
	c.close(outer)
	if c.err == nil {
		m.check(c)
	}
}

func (m *AppState) check(c *coder) {
	c.check(m.State != StateRunning || m.Running == m.Revision, "running another revision than the state speaks of")
	c.check(!m.Confirmed || m.State == StateRunning, "confirmed, but not running")
	switch m.State {
	case StateFailed:
		c.check(m.Reason != ReasonNone && m.Running == "", "failed needs a reason, and nothing runs")
	case StateRolledBack:
		c.check(m.Reason != ReasonNone && m.Running != "", "rolled back needs a reason and what runs")
	case StateStopped:
		c.check(m.Running == "", "stopped, but something runs")
	}
}

func (m *ReportRequest) walk(c *coder) { c.id(&m.ID) }

func (m *Trap) walk(c *coder) {
	c.id(&m.ID)
	number(c, 2, &m.Seq, required, 1, anyU64)
	c.app(3, &m.App)
	c.name(4, "revision", &m.Revision, required, MaxRevision)
	number(c, 5, &m.Reason, required, 1, 255)
	c.text(6, "where", &m.Where, optional, 0, MaxWhere)
	c.text(7, "text", &m.Text, optional, 0, MaxText)
}

func (m *Telemetry) walk(c *coder) {
	c.id(&m.ID)
	number(c, 2, &m.Seq, required, 1, anyU64)
	c.list(3, len(m.Records), required, 1, MaxRecords, func(n int) { m.Records = make([]TelemetryRecord, n) }, func(i int) { m.Records[i].walk(c) })
}

func (m *TelemetryRecord) walk(c *coder) {
	if c.enc {
		c.b = append(c.b, majorArray<<5|4)
		c.b = appendHead(c.b, majorUint, m.Time)
		c.putText("app", m.App, 1, MaxName)
		c.check(validName(m.App), "app is not a name")
		c.putText("metric", m.Name, 1, MaxMetric)
		c.check(finite(m.Value), "the value is not finite")
		c.b = appendFloat(c.b, m.Value)
		return
	}
	c.four()
	m.Time = c.head(majorUint, "unsigned integer")
	m.App = string(c.textValue("app", 1, MaxName))
	c.check(c.err != nil || validName(m.App), "app is not a name")
	m.Name = string(c.textValue("metric", 1, MaxMetric))
	m.Value = c.float()
}

func (m *Logs) walk(c *coder) {
	c.id(&m.ID)
	number(c, 2, &m.Seq, required, 1, anyU64)
	c.list(3, len(m.Records), required, 1, MaxRecords, func(n int) { m.Records = make([]LogRecord, n) }, func(i int) { m.Records[i].walk(c) })
}

func (m *LogRecord) walk(c *coder) {
	if c.enc {
		c.b = append(c.b, majorArray<<5|4)
		c.b = appendHead(c.b, majorUint, m.Time)
		c.putText("app", m.App, 0, MaxName)
		c.b = appendHead(c.b, majorUint, uint64(m.Level))
		c.putText("text", m.Text, 0, MaxText)
	} else {
		c.four()
		m.Time = c.head(majorUint, "unsigned integer")
		m.App = string(c.textValue("app", 0, MaxName))
		level := c.head(majorUint, "unsigned integer")
		c.check(level <= 4, "no such log level")
		m.Level = uint8(level)
		m.Text = string(c.textValue("text", 0, MaxText))
	}
	c.check(m.App == "" || validName(m.App), "app is not a name")
	c.check(m.Level >= 1 && m.Level <= 4, "no such log level")
}

func (m *Invoke) walk(c *coder) {
	c.id(&m.ID)
	c.command(2, &m.Command)
	c.app(3, &m.App)
	c.text(4, "function", &m.Function, required, 1, MaxFunction)
	c.bytes(5, &m.Payload, optional, 1, MaxPayload)
	number(c, 6, &m.Deadline, required, 1, anyU32)
}

func (m *InvokeResult) walk(c *coder) {
	c.id(&m.ID)
	c.refers(&m.Refers, required)
	c.command(3, &m.Command)
	number(c, 4, &m.Status, required, uint64(CommandDone), uint64(CommandFailed))
	number(c, 5, &m.Reason, optional, 0, 255)
	c.bytes(6, &m.Payload, optional, 1, MaxPayload)
	c.text(7, "text", &m.Text, optional, 0, MaxText)
	c.check(m.Status < CommandRefused || m.Reason != ReasonNone, "refused or failed without a reason")
}

func (m *MessageDown) walk(c *coder) {
	c.id(&m.ID)
	c.app(2, &m.App)
	c.text(3, "topic", &m.Topic, required, 1, MaxTopic)
	c.bytes(4, &m.Payload, optional, 1, MaxPayload)
}

func (m *MessageUp) walk(c *coder) {
	c.id(&m.ID)
	c.app(2, &m.App)
	c.text(3, "topic", &m.Topic, required, 1, MaxTopic)
	c.bytes(4, &m.Payload, optional, 1, MaxPayload)
	number(c, 5, &m.Seq, required, 1, anyU64)
}

// four reads the head of a record.
func (c *coder) four() {
	if n := c.count(majorArray, MaxArray, "array"); c.err == nil && n != 4 {
		c.fail(schemaError("a record of %d elements", n))
	}
}

// float reads a finite float.
func (c *coder) float() float64 {
	if c.err != nil {
		return 0
	}
	if c.i >= len(c.b) {
		c.fail(cborError("truncated at byte %d", c.i))
		return 0
	}
	if c.b[c.i] < initF16 || c.b[c.i] > initF64 {
		c.fail(schemaError("expected a float at byte %d", c.i))
		return 0
	}
	v, j, err := readFloat(c.b, c.i)
	if err != nil {
		c.fail(err)
		return 0
	}
	c.check(finite(v), "the value is not finite")
	c.i = j
	return v
}

func finite(v float64) bool { return v-v == 0 }

// config is a map of texts.
func (c *coder) config(key uint64, v *map[string]string) {
	if !c.field(key, len(*v) > 0, optional) {
		return
	}
	if c.enc {
		c.check(len(*v) <= MaxConfig, "too many config entries")
		c.b = appendHead(c.b, majorMap, uint64(len(*v)))
		var room [MaxConfig]string
		for _, k := range sortedKeys(*v, room[:0]) {
			c.putText("config key", k, 1, MaxConfigKey)
			c.putText("config value", (*v)[k], 0, MaxConfigValue)
		}
		return
	}
	n := c.count(majorMap, MaxMap, "map")
	c.check(n <= MaxConfig, "too many config entries")
	if c.err == nil && n > 0 {
		*v = make(map[string]string, n)
	}
	c.pairs(n, "config key", MaxConfigKey, func(k string) {
		(*v)[k] = string(c.textValue("config value", 0, MaxConfigValue))
	})
	c.next()
}

// apps is a map of application states.
func (c *coder) apps(key uint64, v *map[string]AppState) {
	if !c.field(key, len(*v) > 0, optional) {
		return
	}
	if c.enc {
		c.check(len(*v) <= MaxApps, "too many apps")
		c.b = appendHead(c.b, majorMap, uint64(len(*v)))
		var room [MaxApps]string
		for _, k := range sortedKeys(*v, room[:0]) {
			c.putText("app", k, 1, MaxName)
			c.check(validName(k), "app is not a name")
			s := (*v)[k]
			s.walk(c)
		}
		return
	}
	n := c.count(majorMap, MaxMap, "map")
	c.check(n <= MaxApps, "too many apps")
	if c.err == nil && n > 0 {
		*v = make(map[string]AppState, n)
	}
	c.m.depth++
	c.pairs(n, "app", MaxName, func(k string) {
		c.check(validName(k), "app is not a name")
		var s AppState
		s.walk(c)
		(*v)[k] = s
	})
	c.m.depth--
	c.next()
}

// pairs reads n pairs with text keys in order.
func (c *coder) pairs(n int, what string, most int, value func(key string)) {
	var prev []byte
	for ; n > 0 && c.err == nil; n-- {
		at := c.i
		k := c.textValue(what, 1, most)
		if c.err != nil {
			return
		}
		if err := keyOrder(prev, c.b[at:c.i], at); err != nil {
			c.fail(err)
			return
		}
		prev = c.b[at:c.i]
		value(string(k))
	}
}

// sortedKeys returns the keys in the order of their CBOR encodings: shorter first, then bytewise.
func sortedKeys[V any](m map[string]V, room []string) []string {
	for k := range m {
		room = append(room, k)
	}
	slices.SortFunc(room, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return room
}
