package ledger

import (
	"fmt"
	"strings"
	"time"

	"wasmbed.io/wasmbed/internal/trace"
)

// KeySpec describes the keys of one kind.
type KeySpec struct {
	Name    string // {NN} is the shard's tag, <word> a part that varies
	Type    string // of Redis
	TTL     string // "-": none
	Owner   string // who writes it
	Content string
}

// KeyTable lists every key. docs/spec/redis.md is made of it, and a test compares it with what tests leave in Redis.
func KeyTable() []KeySpec {
	const (
		deploy   = "deploy"
		report   = "report"
		both     = "deploy, report"
		gateways = "gateways"
	)
	ttl := func(d time.Duration) string {
		if d%time.Hour == 0 {
			return fmt.Sprintf("%d h", d/time.Hour)
		}
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	unknown := ttl(UnknownTTL) + " until PutDevice"
	return []KeySpec{
		{"wb:{NN}:era", "string", "-", "whoever finds it missing", "the shard's copy of the era, 16 hex digits"},
		{"wb:{NN}:epoch", "string", "-", gateways, "counter of session epochs"},
		{"wb:{NN}:version", "string", "-", both, "counter of versions of desired"},
		{"wb:{NN}:d:<ns>/<device>", "hash", unknown, both, "the device's row: `known` `hold` `appr` `pe` (era of the last PutDevice), `v` (version of desired), `on` `e` (epoch) `dc` (epoch of the last closed session), `fe` `fv` (stamp of the last full report), `re` `rv` (of the last report), `sd` (desired version that the device has seen), `ls` (last event, ms)"},
		{"wb:{NN}:f:<ns>/<device>", "string", "-", deploy, "JSON: what the Device object says: board, labels, uid"},
		{"wb:{NN}:s:<ns>/<device>", "string", unknown, report, "JSON: what the session said: gateway, instance, boot, board, firmware, capabilities, certificate, time"},
		{"wb:{NN}:x:<ns>/<device>", "hash", unknown, both, "application → JSON record: membership, work set, desired, reported with its stamp (fields: `prelude.lua`)"},
		{"wb:{NN}:o:<ns>/<device>", "hash", "-", gateways, "affinity lease: `i` instance, `e` epoch, `x` end (ms), `s` last seen (ms)"},
		{"wb:{NN}:re:<ns>/<device>", "hash", ttl(ReplayTTL), both, "event's stamp → JSON changes: answers to the last events, for replays"},
		{"wb:{NN}:t:<ns>/<device>", "zset", ttl(TrapTTL), report, "boot:seq of the last traps, by time"},
		{"wb:{NN}:tm:<ns>/<device>", "stream", ttl(RecordsTTL) + " since the last", report, fmt.Sprintf("telemetry frames, about %d: `t` received (ms), `b` boot, `s` seq of the first record, `r` records (CBOR)", RecordsLength)},
		{"wb:{NN}:tmi:<ns>/<device>", "hash", ttl(RecordsTTL) + " since the last", report, "boot → intervals of the records that were seen; `o`: boots in their order"},
		{"wb:{NN}:lg:<ns>/<device>", "stream", ttl(RecordsTTL) + " since the last", report, "log frames, likewise"},
		{"wb:{NN}:lgi:<ns>/<device>", "hash", ttl(RecordsTTL) + " since the last", report, "likewise"},
		{"wb:{NN}:cm:<ns>/<device>", "hash", "-", "command", "command's id → JSON: commands that wait for their answer; each has a timer"},
		{"wb:{NN}:ct:<ns>/<device>", "hash", "-", "gateways, command", "command's id → boot id of the device that was told"},
		{"wb:{NN}:cz:<ns>/<device>", "hash", ttl(ResultTTL) + " since the last", "command", fmt.Sprintf("command's id → JSON: the last %d results", MaxResults)},
		{"wb:{NN}:czl:<ns>/<device>", "list", ttl(ResultTTL) + " since the last", "command", "their ids, oldest first"},
		{"wb:{NN}:wh:<ns>/<hook>", "hash", ttl(HookTTL) + " since the last", "webhook", "a webhook: `ok` `bad` `drop` counts, `size` bytes of its deliveries, `fails` in a row `since` (ms), `last` attempt, `shake` handshake, `permit` given through the callback, `busy` until (ms) `token` of who sends, `rest` (ms): no post before it, `gen` `wrote` (ms) `dirty` of its status"},
		{"wb:{NN}:wq:<ns>/<hook>", "zset", ttl(HookTTL) + " since the last", "webhook", fmt.Sprintf("deliveries that wait, by their next attempt (ms), at most %d; in the shard of the webhook's name", MaxHookQueue)},
		{"wb:{NN}:wd:<ns>/<hook>", "hash", ttl(HookTTL) + " since the last", "webhook", "delivery's id → JSON: the event and its attempts"},
		{"wb:{NN}:wo:<ns>/<hook>", "zset", ttl(HookTTL) + " since the last", "webhook", fmt.Sprintf("deliveries by the time when they came (ms); of the finished ones the last %d", MaxHookLog)},
		{"wb:{NN}:wi:<ns>/<hook>", "hash", ttl(HookTTL) + " since the last", "api", "a webhook source: `ok` `no` counts of requests, `took` and `refused` JSON of the last of each"},
		{"wb:{NN}:a:<ns>/<app>", "hash", ttl(RemovedTTL) + " when removed", deploy, "target: `seq` `rev` `st` (state) `stop` `paused` `halted` `dl` (ms) `uid` `sel` (selection, JSON; names of this shard only); `gen` of walks, `dirty` while one is due; `gone` when removed"},
		{"wb:{NN}:as:<ns>", "set", "-", deploy, "applications that have a target"},
		{"wb:{NN}:r:<ns>/<app>", "hash", "-", deploy, "revision → JSON: digest, size, manifest; of the target and of what is desired anywhere"},
		{"wb:{NN}:rc:<ns>/<app>", "hash", "-", both, "revision → how many devices have it as desired"},
		{"wb:{NN}:m:<ns>/<app>", "zset", "-", deploy, "devices that the application selects, by name"},
		{"wb:{NN}:s:<set>:<ns>/<app>", "zset", "-", both, "work set (" + strings.Join(Sets(), ", ") + "): devices by name"},
		{"wb:{NN}:c:<ns>/<app>", "hash", "-", both, "counters: each work set, `running`, `reason:<reason>` of the failed; absent is zero"},
		{"wb:{NN}:rel:<ns>/<app>", "set", "-", both, "devices that left the set in flight since the last Admit"},
		{"wb:{NN}:b:<ns>/<app>:<sequence>", "zset", ttl(budgetSpare) + " after the last place ends", deploy, "budget: devices that have a place, by its end (ms); in the shard of the application's name"},
		{"wb:{NN}:n:<ns>", "zset", "-", both, "devices, by name"},
		{"wb:{NN}:l:<ns>:<label>=<value>", "zset", "-", deploy, "label index: devices by name"},
		{"wb:{NN}:lk:<ns>:<label>", "zset", "-", deploy, "label index: devices that have the label, by name"},
		{"wb:{NN}:ns", "hash", "-", both, "namespace → devices that PutDevice told of"},
		{"wb:{NN}:due", "zset", "-", both + ", gateways", "timers `kind|namespace|name|device`, by time (ms); with `~` before it, those that were given out, by the time when they come again"},
		{"wb:{NN}:due:tp", "hash", "-", both + ", gateways", "timer → traceparent of the work that marked it, when that is traced; with `~` before it, of one that was given out"},
		{"wb:{NN}:holder", "string", "the caller's", gateways, "instance that ticks the shard"},
		{"wb:{NN}:feed", "stream", "-", both, fmt.Sprintf("changes for views, about %d: `t` time (ms), `d` device, `k` kind, `a` application, `f` from, `o` to, `s` state, `r` reason, `m` message", FeedLength)},
		{"wb:{NN}:leases", "zset", "-", gateways, "affinity leases by their end (ms)"},
		{"wb:{g}:era", "hash", "-", "whoever finds it missing", "`era`, `shards`, `ready` when all shards have the era"},
		{"wb:{g}:instances", "hash", "-", gateways, "instance → JSON: gateway processes"},
		{"wb:{g}:instances:ends", "zset", "-", gateways, "instances by the end of their registration (ms)"},
		{"wb:{g}:gateways", "hash", "-", "enroll", "namespace/name → JSON: settings of Gateway objects"},
		{"wb:{g}:trust", "hash", "-", "enroll", "namespace → trust anchors (PEM)"},
		{"wb:{g}:denied:<ns>", "hash", "-", "enroll", "key fingerprint → reason: the deny-list"},
		{"wb:module:<ns>:<digest>", "string", ttl(ModuleTTL) + " since the last use", deploy, "a module's bytes"},
		{"wb:verdict:<session>", "string", ttl(VerdictTTL), "enroll", "JSON: answer to an enrollment"},
		{"wb:op:<ns>:<operation>", "hash", ttl(OperationTTL) + " since the last change", "command", "a command to many: `d:<device>` → asked or the status, `n:<status>` how many, `n:devices`, `listed` when no more will be asked"},
		{"wb:trace:{<trace>}:s", "list", ttl(trace.KeepFor) + " since the first", "all", fmt.Sprintf("JSON: spans of a trace, at most %d", trace.MaxSpans)},
		{"wb:trace:{<trace>}:m", "hash", ttl(trace.KeepFor), "all", fmt.Sprintf("`dropped` spans that there was no room for, `followed` devices that were dispatched in the trace, of which the first %d are followed", trace.MaxFollowed)},
		{"wb:trace:index", "zset", "-", "all", fmt.Sprintf("trace ids by the time of their first span (ms), about %d", trace.MaxTraces)},
		{"wb:trace:tidy", "string", "10 s", "all", "somebody has looked at the traces' limits just now"},
		{"wb:trace:e:<hash>", "string", ttl(trace.KeepFor), "all", "trace id of an event, by the first 16 bytes of SHA-256(id)"},
		{"wb:trace:n:<ns>/<app>", "string", ttl(trace.KeepFor), "all", "id of the trace in which the application's target was last set"},
		{"wb:once:<hash>", "string", ttl(OnceTTL), "functions", "mark of an event that was handled: the first 16 bytes of SHA-256(source, 0, id)"},
	}
}
