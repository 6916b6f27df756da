package ledger

import (
	"fmt"
	"hash/fnv"

	"wasmbed.io/wasmbed/broker/event"
)

// Keys makes the name of every key. Names that carry a shard's tag, "{03}", are in one Redis Cluster slot.
type Keys struct{ shards int }

// Shards returns the number of shards.
func (k Keys) Shards() int { return k.shards }

// ShardOf returns the shard of a device: FNV-1a (32 bits) of "namespace/name", modulo the number of shards.
func (k Keys) ShardOf(d event.Device) int { return k.shardOf(d.Namespace, d.Name) }

func (k Keys) shardOf(ns, name string) int {
	h := fnv.New32a()
	h.Write([]byte(ns))
	h.Write([]byte{'/'})
	h.Write([]byte(name))
	return int(h.Sum32() % uint32(k.shards))
}

// Prefix starts the names of a shard's keys.
func (k Keys) Prefix(shard int) string { return fmt.Sprintf("wb:{%02d}:", shard) }

// Era is the shard's copy of the era.
func (k Keys) Era(shard int) string { return k.Prefix(shard) + "era" }

// Epoch counts the session epochs of a shard.
func (k Keys) Epoch(shard int) string { return k.Prefix(shard) + "epoch" }

// Version counts the versions of desired of a shard.
func (k Keys) Version(shard int) string { return k.Prefix(shard) + "version" }

// Leases orders the shard's affinity leases by their end.
func (k Keys) Leases(shard int) string { return k.Prefix(shard) + "leases" }

// Owner is a device's affinity lease.
func (k Keys) Owner(d event.Device) string { return k.Prefix(k.ShardOf(d)) + "o:" + d.String() }

// Instances and InstanceEnds are the registry of gateway processes.
func (k Keys) Instances() string { return "wb:{g}:instances" }

// InstanceEnds orders the registry's entries by their end.
func (k Keys) InstanceEnds() string { return "wb:{g}:instances:ends" }

// Channel is the pub/sub channel of a gateway process.
func (k Keys) Channel(instance string) string { return "wb:wake:" + instance }

// Broadcast is the pub/sub channel of all gateway processes.
func (k Keys) Broadcast() string { return "wb:wake" }

// LedgerEra is the era of the whole ledger.
func (k Keys) LedgerEra() string { return "wb:{g}:era" }

// Row is a device's row.
func (k Keys) Row(d event.Device) string { return k.of(d, "d:") }

// Facts is what a device's object says.
func (k Keys) Facts(d event.Device) string { return k.of(d, "f:") }

// Session is what a device's session said.
func (k Keys) Session(d event.Device) string { return k.of(d, "s:") }

// Records holds a device's applications.
func (k Keys) Records(d event.Device) string { return k.of(d, "x:") }

// Replays holds the answers that were given to a device's events.
func (k Keys) Replays(d event.Device) string { return k.of(d, "re:") }

// Traps holds the identities of a device's last traps.
func (k Keys) Traps(d event.Device) string { return k.of(d, "t:") }

// Telemetry and Logs are a device's streams, the Seen ones the numbers that they hold.
func (k Keys) Telemetry(d event.Device) string { return k.of(d, "tm:") }

// TelemetrySeen says which records of telemetry were seen.
func (k Keys) TelemetrySeen(d event.Device) string { return k.of(d, "tmi:") }

// Logs is the stream of a device's log lines.
func (k Keys) Logs(d event.Device) string { return k.of(d, "lg:") }

// LogsSeen says which log lines were seen.
func (k Keys) LogsSeen(d event.Device) string { return k.of(d, "lgi:") }

// Commands holds a device's open commands.
func (k Keys) Commands(d event.Device) string { return k.of(d, "cm:") }

// CommandsTold says to which boot of the device its open commands were told.
func (k Keys) CommandsTold(d event.Device) string { return k.of(d, "ct:") }

// CommandResults holds a device's last results, CommandOrder their order.
func (k Keys) CommandResults(d event.Device) string { return k.of(d, "cz:") }

// CommandOrder is the order in which the results came.
func (k Keys) CommandOrder(d event.Device) string { return k.of(d, "czl:") }

// HookState is what is known of a webhook as a whole.
func (k Keys) HookState(h Hook) string { return k.hook(h, "wh:") }

// HookQueue orders a webhook's deliveries that wait by their next attempt.
func (k Keys) HookQueue(h Hook) string { return k.hook(h, "wq:") }

// HookDeliveries holds a webhook's deliveries.
func (k Keys) HookDeliveries(h Hook) string { return k.hook(h, "wd:") }

// HookOrder orders a webhook's deliveries by the time when they came.
func (k Keys) HookOrder(h Hook) string { return k.hook(h, "wo:") }

// HookSource is what came through a webhook source.
func (k Keys) HookSource(h Hook) string { return k.hook(h, "wi:") }

func (k Keys) hook(h Hook, kind string) string {
	return k.Prefix(k.shardOf(h.Namespace, h.Name)) + kind + h.String()
}

// Operation is a command to many.
func (k Keys) Operation(ns, id string) string { return "wb:op:" + ns + ":" + id }

func (k Keys) of(d event.Device, kind string) string {
	return k.Prefix(k.ShardOf(d)) + kind + d.String()
}

// App is an application's target in a shard.
func (k Keys) App(shard int, a App) string { return k.Prefix(shard) + "a:" + a.String() }

// Apps names the applications of a namespace in a shard.
func (k Keys) Apps(shard int, ns string) string { return k.Prefix(shard) + "as:" + ns }

// Revisions holds the contents of an application's revisions that are wanted in a shard.
func (k Keys) Revisions(shard int, a App) string { return k.Prefix(shard) + "r:" + a.String() }

// RevisionUses counts who refers to them.
func (k Keys) RevisionUses(shard int, a App) string { return k.Prefix(shard) + "rc:" + a.String() }

// Members orders the devices of a shard that an application selects.
func (k Keys) Members(shard int, a App) string { return k.Prefix(shard) + "m:" + a.String() }

// Set is a work set.
func (k Keys) Set(shard int, a App, set string) string {
	return k.Prefix(shard) + "s:" + set + ":" + a.String()
}

// Counters are an application's counters in a shard.
func (k Keys) Counters(shard int, a App) string { return k.Prefix(shard) + "c:" + a.String() }

// Freed names the devices that left the set in flight since the last Admit.
func (k Keys) Freed(shard int, a App) string { return k.Prefix(shard) + "rel:" + a.String() }

// Namespaces counts a shard's known devices by namespace.
func (k Keys) Namespaces(shard int) string { return k.Prefix(shard) + "ns" }

// Devices orders a shard's devices of a namespace.
func (k Keys) Devices(shard int, ns string) string { return k.Prefix(shard) + "n:" + ns }

// Label is the label index: devices of a shard with a label's value.
func (k Keys) Label(shard int, ns, key, value string) string {
	return k.Prefix(shard) + "l:" + ns + ":" + key + "=" + value
}

// LabelKey is the label index: devices of a shard with a label.
func (k Keys) LabelKey(shard int, ns, key string) string {
	return k.Prefix(shard) + "lk:" + ns + ":" + key
}

// Due orders a shard's timers by their time; those that were given out by the time when they come again.
func (k Keys) Due(shard int) string { return k.Prefix(shard) + "due" }

// DueTraces are the traceparents of a shard's timers.
func (k Keys) DueTraces(shard int) string { return k.Due(shard) + ":tp" }

// Claimed is where the timers that were given out wait: Due itself.
func (k Keys) Claimed(shard int) string { return k.Due(shard) }

// Holder is who ticks a shard.
func (k Keys) Holder(shard int) string { return k.Prefix(shard) + "holder" }

// Feed is a shard's stream of changes.
func (k Keys) Feed(shard int) string { return k.Prefix(shard) + "feed" }

// Budget orders the devices that have a place in a rollout by the end of that place.
func (k Keys) Budget(a App, sequence uint64) string {
	return k.Prefix(k.shardOf(a.Namespace, a.Name)) + "b:" + a.String() + ":" + dec(sequence)
}

// Gateways holds the settings of all gateways.
func (k Keys) Gateways() string { return "wb:{g}:gateways" }

// Trust holds the trust anchors by namespace.
func (k Keys) Trust() string { return "wb:{g}:trust" }

// Denied holds a namespace's denied keys.
func (k Keys) Denied(ns string) string { return "wb:{g}:denied:" + ns }

// Module is a module's bytes.
func (k Keys) Module(ns, digest string) string { return "wb:module:" + ns + ":" + digest }

// Verdict is enroll's answer to a session.
func (k Keys) Verdict(session string) string { return "wb:verdict:" + session }

// Once is the mark of an event that was handled; hash is hex.
func (k Keys) Once(hash string) string { return "wb:once:" + hash }
