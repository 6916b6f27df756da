package functions

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"wasmbed.io/wasmbed/functions/deadletter"
	"wasmbed.io/wasmbed/functions/journal"
)

var update = flag.Bool("update", false, "write docs/spec/redis-events.md anew")

const keysDoc = "../docs/spec/redis-events.md"

// TestKeysDocIsCurrent: what the journal and the dead letters keep in Redis is in the documentation.
func TestKeysDocIsCurrent(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Redis: events

<!-- Made from the sources by go test ./functions -run TestKeysDocIsCurrent -update. Do not edit. -->

What is kept of events, beside [the ledger](redis.md). None of it decides anything: losing it loses history, and with the
embedded broker the events that were not delivered yet.

With **Knative** the broker is Knative's, and tells nobody what went through it. Two functions of ours, which have Services
on a cluster only, keep what people want to see: ` + "`journal`" + ` the recent events, ` + "`deadletter`" + ` those that Knative gave up on. With
the **embedded broker** the keys below ` + "`{broker}:`" + ` are its own (` + "`broker/stream/keys.go`" + `), queues and streams of the same kind.

All keys of one of them carry one hash tag and so live in one slot of a Redis Cluster. For an ACL: the functions journal and
deadletter write below their own prefix alone; the REST API reads both, and writes below ` + "`{deadletter}:`" + ` when somebody
redelivers.

`)
	for _, x := range []struct {
		title string
		keys  [][4]string
	}{{"journal", journal.Keys()}, {"deadletter", deadletter.Keys()}} {
		fmt.Fprintf(&b, "## %s\n\n| key | type | TTL | content |\n|---|---|---|---|\n", x.title)
		for _, k := range x.keys {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k[0], k[1], k[2], k[3])
		}
		if x.title == "journal" {
			fmt.Fprintf(&b, "\nAn event with more than %d KiB of data is kept without them, and so is an enrollment request, whose data have the device's\nclaim in them. An event that a broker delivers again is kept once.\n\n", journal.MaxData>>10)
		}
	}
	b.WriteString(`
A destination is ` + "`<platform's namespace>/<function>`" + `, when the extension ` + "`knativeerrordest`" + ` is the address of that function's
Service; ` + "`…/elsewhere`" + ` for any other address, ` + "`…/unknown`" + ` when the broker said none. **Redelivery** posts a letter of one of
our functions to that function, at an address made of its name, and its reply to the broker; any other to the broker's
ingress, and so to every Trigger that wants it, which functions notice. What a letter says is never dialled. The event is
marked ` + "`redelivered`" + ` with how often it was; its id stays. A letter is gone once it was taken (2xx, an empty answer or an
event); else it stays, at the end of its line, with the answer.
`)
	if *update {
		if err := os.WriteFile(keysDoc, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	is, err := os.ReadFile(keysDoc)
	if err != nil || string(is) != b.String() {
		t.Fatalf("%s is not what the sources say (%v): go test ./functions -run TestKeysDocIsCurrent -update", keysDoc, err)
	}
}
