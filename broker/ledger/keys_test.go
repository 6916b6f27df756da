package ledger

import (
	"flag"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"wasmbed.io/wasmbed/broker/event"
)

var update = flag.Bool("update", false, "write docs/spec/redis.md anew")

const docPath = "../../docs/spec/redis.md"

// keyPattern makes a regular expression of a KeySpec's name.
func keyPattern(name string) *regexp.Regexp {
	s := regexp.QuoteMeta(name)
	s = strings.ReplaceAll(s, `\{NN\}`, `\{\d\d\}`)
	s = strings.ReplaceAll(s, "<set>", "("+strings.Join(Sets(), "|")+")")
	s = strings.ReplaceAll(s, "<label>", `[A-Za-z0-9._/-]+`)
	s = strings.ReplaceAll(s, "<value>", `[A-Za-z0-9._-]*`)
	s = strings.ReplaceAll(s, "<digest>", `sha256:[0-9a-f]+`)
	s = regexp.MustCompile(`<[a-z]+>`).ReplaceAllString(s, `[A-Za-z0-9._-]+`)
	return regexp.MustCompile("^" + s + "$")
}

type seenKeys struct {
	mu   sync.Mutex
	seen map[string]bool
}

// keysAreKnown checks that every key in Redis is in the table, with its type.
func (e *env) keysAreKnown() {
	e.Helper()
	table := KeyTable()
	patterns := make([]*regexp.Regexp, len(table))
	for i, k := range table {
		patterns[i] = keyPattern(k.Name)
	}
	for _, key := range e.keys() {
		i := slices.IndexFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(key) })
		if i < 0 {
			e.Errorf("the key %s is not in the table", key)
			continue
		}
		if typ := e.rdb.Type(e.ctx, key).Val(); typ != table[i].Type && typ != "none" {
			e.Errorf("the key %s is a %s, the table says %s", key, typ, table[i].Type)
		}
		if ttl := e.rdb.PTTL(e.ctx, key).Val(); (table[i].TTL == "-") && ttl > 0 {
			e.Errorf("the key %s ends in %v, the table says never", key, ttl)
		}
		e.seen.mu.Lock()
		e.seen.seen[table[i].Name] = true
		e.seen.mu.Unlock()
	}
}

// all checks that every key of the table was there at some time, but those that affinity writes.
func (s *seenKeys) all(t *testing.T) {
	for _, k := range KeyTable() {
		if k.Owner == "gateways" && !strings.HasSuffix(k.Name, "holder") {
			continue
		}
		if !s.seen[k.Name] {
			t.Errorf("no test leaves a key %s in Redis", k.Name)
		}
	}
}

func TestShardOf(t *testing.T) {
	k := Keys{shards: 16}
	seen := map[int]int{}
	for _, d := range devs(1600) {
		seen[k.ShardOf(d)]++
	}
	for s := range 16 {
		if seen[s] < 50 || seen[s] > 150 {
			t.Errorf("%d of 1600 devices in shard %d", seen[s], s)
		}
	}
	// The function is part of the format: other programs may compute it.
	if s := k.ShardOf(event.Device{Namespace: "default", Name: "device-1"}); s != int(fnv1a("default/device-1")%16) {
		t.Errorf("shard %d", s)
	}
}

func fnv1a(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// TestScripts: every script says what it takes, gives and compares, and no limit is left to fill in.
func TestScripts(t *testing.T) {
	names := scriptNames(t)
	if len(names) < 25 {
		t.Fatalf("only %d scripts", len(names))
	}
	for _, n := range names {
		head := scriptHead(t, n)
		if n == "prelude" {
			continue
		}
		if !strings.HasPrefix(head[0], n+".lua: ") {
			t.Errorf("%s.lua begins with %q", n, head[0])
		}
		for i, part := range []string{"KEYS: ", "ARGV: ", "Returns: ", "Compares: "} {
			if !slices.ContainsFunc(head, func(l string) bool { return strings.HasPrefix(l, part) }) && !(i == 3 && strings.Contains(head[0], "Reads only")) {
				t.Errorf("%s.lua does not say its %q", n, part)
			}
		}
		if left := regexp.MustCompile(`@[A-Z]+@`).FindString(source(n)); left != "" {
			t.Errorf("%s.lua: %s is not filled in", n, left)
		}
	}
}

func scriptNames(t *testing.T) []string {
	t.Helper()
	var out []string
	files, err := scriptFiles.ReadDir("scripts")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		out = append(out, strings.TrimSuffix(path.Base(f.Name()), ".lua"))
	}
	return out
}

// scriptHead returns the first comment of a script, a paragraph per line: lines that go on are joined.
func scriptHead(t *testing.T, name string) []string {
	t.Helper()
	b, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		t.Fatal(err)
	}
	return head(string(b))
}

func head(text string) []string {
	var out []string
	for _, l := range strings.Split(text, "\n") {
		s, ok := strings.CutPrefix(l, "--")
		if !ok {
			break
		}
		s = strings.TrimPrefix(s, " ")
		if strings.HasPrefix(s, "  ") || (len(out) > 0 && !regexp.MustCompile(`^(KEYS|ARGV|Returns|Compares): `).MatchString(s)) {
			out[len(out)-1] += " " + strings.TrimSpace(s)
			continue
		}
		out = append(out, s)
	}
	return out
}

func TestDocIsCurrent(t *testing.T) {
	var b strings.Builder
	b.WriteString(docIntro)
	b.WriteString("## Keys\n\n`{NN}` is the tag of a shard, `{00}` … `{15}`. Times are Unix milliseconds of the caller's clock.\n\n| key | type | TTL | written by | content |\n|---|---|---|---|---|\n")
	for _, k := range KeyTable() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", k.Name, k.Type, k.TTL, k.Owner, strings.ReplaceAll(k.Content, "|", `\|`))
	}
	b.WriteString("\nPub/sub channels: `wb:wake:<instance>` of one gateway process, `wb:wake` of all. Messages are words: `desired <namespace> <device> <epoch>`, `command <namespace> <device> <epoch>`, `superseded <namespace> <device> <epoch>`, `disconnect <namespace> <device> <epoch> <milliseconds>`, `verdict <session>`, `settings`.\n\n## Scripts\n\nThe first key of a script that touches devices is its shard's era; the other keys are made from the shard's prefix. The text of a script is the prelude (when it touches devices) and its file.\n")
	section := func(title, folder string, names []string, read func(string) []string) {
		fmt.Fprintf(&b, "\n### %s\n", title)
		for _, n := range names {
			h := read(n)
			about := strings.TrimPrefix(h[0], n+".lua: ")
			fmt.Fprintf(&b, "\n**%s/%s.lua**: %s\n", folder, n, about)
			for _, l := range h[1:] {
				k, v, _ := strings.Cut(l, ": ")
				fmt.Fprintf(&b, "- *%s*: %s\n", k, v)
			}
		}
	}
	section("Of the ledger", "broker/ledger/scripts", scriptNames(t), func(n string) []string { return scriptHead(t, n) })
	var names []string
	files, err := os.ReadDir("../affinity/scripts")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), ".lua"))
	}
	section("Of affinity", "broker/affinity/scripts", names, func(n string) []string {
		text, err := os.ReadFile("../affinity/scripts/" + n + ".lua")
		if err != nil {
			t.Fatal(err)
		}
		return head(string(text))
	})
	if *update {
		if err := os.WriteFile(docPath, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	is, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	if string(is) != b.String() {
		t.Fatalf("%s is not what the sources say: go test ./broker/ledger -run TestDocIsCurrent -update", docPath)
	}
}

const docIntro = `# Redis: keys and scripts

<!-- Made from the sources by go test ./broker/ledger -run TestDocIsCurrent -update. Do not edit. -->

The ledger and affinity keep here what every device shall do and does, and which gateway holds it. All of it
can be rebuilt from the CRDs and from the devices: history, telemetry, logs and open verdicts are what a wipe
loses.

**What is needed of Redis**: version 7.0 or later; one server (with replicas) or a Redis Cluster; an eviction
policy that leaves keys without a TTL alone (` + "`noeviction`, `volatile-*`" + `). Nothing else may be written below ` + "`wb:`" + `.
What is kept of events has keys of its own: [redis-events.md](redis-events.md).

**Shards.** Everything of a device is in one shard, FNV-1a (32 bits) of ` + "`namespace/name`" + ` modulo the number of
shards (16), and all keys of a shard carry its tag, so they are in one slot of a Redis Cluster. One change of a
device is one script: row, work sets, counters, deadline, marks, feed, wake. An application has a target, work
sets and counters in every shard; who wants the whole asks all shards.
While a slot of a Redis Cluster is being moved, scripts may fail with ` + "`TRYAGAIN`" + ` or in the middle, because
their keys are made from a prefix and not all declared: move slots while nothing writes, or delete the ledger
afterwards: it is rebuilt.

**Era.** Epochs and versions of desired grow within an era, a random number that whoever finds it missing sets.
Each shard has a copy, because a script sees its own slot only. Words of another era are not taken (Stale). A
shard that has lost its copy has lost its data: then the whole ledger begins a new era, and is rebuilt.

**Work sets.** Every device that an application selects is in exactly one, the first that holds:

| set | when |
|---|---|
| done, lost | the device has what is wanted (wanted Running: Running that revision and confirmed, or rolled back from another one to it; wanted Stopped: Stopped with it); online, offline |
| failed | it reported Failed or RolledBack for the revision with the rollout's sequence as attempt; or it was refused, or its deadline came, in this sequence |
| inflight | its desired is the target, and it is not there yet; also while it is offline, until its deadline |
| held | it would be pending or away, but is on hold or not approved |
| pending, away | it was not dispatched (or its deadline came while it was offline); online, offline |

**Adoption.** A device that reports that it has what is wanted, or works on it with the rollout's sequence as
attempt, was told so, even if the ledger does not know: its desired becomes the target, without a dispatch and
without a wake. So a rebuilt ledger finds running devices done. Until then desired is empty, and the application
is in ` + "`Keep`" + `: nobody takes it off the device. While PutDevice has not told of a device in this era, its desired is
not ` + "`Complete`" + `, and nothing at all may be taken off.

**Order.** Sessions are fenced by their epoch; each application's word of a report by the stamp (epoch, version
of the report). What is not newer changes nothing. A replay of an event gets the answer of the first time.

`
