package redis_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/functions/deadletter"
	"wasmbed.io/wasmbed/functions/journal"
	"wasmbed.io/wasmbed/internal/testredis"
)

// rules reads config/redis/users.acl as secrets.sh does: user → its rules, with the name as password.
func rules(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("../../config/redis/users.acl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]string{}
	for in := bufio.NewScanner(f); in.Scan(); {
		line := in.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, rest, _ := strings.Cut(strings.TrimPrefix(line, "user "), " ")
		if !strings.HasPrefix(line, "user ") || out[name] != "" {
			t.Fatalf("not a rule, or the second one of a user: %s", line)
		}
		sum := sha256.Sum256([]byte(name))
		out[name] = strings.ReplaceAll(rest, "@"+name+"@", "#"+hex.EncodeToString(sum[:]))
	}
	return out
}

// world is a Redis with the users, and nobody else let in.
type world struct {
	*testing.T
	s     *testredis.Server
	admin *redis.Client // has everything; a cluster has nobody like it
	users []string
}

func start(t *testing.T) *world {
	t.Helper()
	all := rules(t)
	var b strings.Builder
	for name, rest := range all {
		if name != "default" {
			b.WriteString("user " + name + " " + rest + "\n")
		}
	}
	b.WriteString("user default on nopass ~* &* +@all\n")
	path := filepath.Join(t.TempDir(), "users.acl")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := testredis.Start(t, "--aclfile", path) // it refuses a file with a rule that it does not know
	w := &world{T: t, s: s, admin: s.Client(t), users: slices.Sorted(maps.Keys(all))}
	w.users = slices.DeleteFunc(w.users, func(u string) bool { return u == "default" || u == "probe" })
	return w
}

func (w *world) as(user string) *redis.Client {
	w.Helper()
	c := redis.NewClient(&redis.Options{Addr: w.s.Addr, Username: user, Password: user})
	w.Cleanup(func() { c.Close() })
	return c
}

// may asks Redis whether a user may run a command.
func (w *world) may(user string, cmd ...any) bool {
	w.Helper()
	v, err := w.admin.Do(w.Context(), append([]any{"ACL", "DRYRUN", user}, cmd...)...).Text()
	if err != nil {
		w.Fatalf("ACL DRYRUN %s %v: %v", user, cmd, err)
	}
	return v == "OK"
}

// denied reports whether Redis refused for want of a right, in a script or outside of one.
func denied(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "NOPERM") || strings.Contains(err.Error(), "The user executing the script can't"))
}

// writers says which users stand for an owner of the key table.
func writers(t *testing.T, owner string) []string {
	switch owner {
	case "deploy", "report", "deploy, report", "command":
		return []string{"functions"}
	case "deploy, report, gateways", "gateways, command":
		return []string{"functions", "gateway"}
	case "gateways":
		return []string{"gateway"}
	case "enroll":
		return []string{"enroll"}
	case "webhook":
		return []string{"webhook"}
	case "functions": // the marks of events that were handled; the API remembers its answers among them
		return []string{"api", "enroll", "functions", "webhook"}
	case "api":
		return []string{"api"}
	case "all": // spans of traces; who only looks has none
		return []string{"api", "enroll", "functions", "gateway", "journal", "webhook"}
	case "whoever finds it missing":
		return []string{"enroll", "functions", "gateway", "webhook"}
	}
	t.Fatalf("the key table knows an owner %q: say here, and in config/redis/users.acl, which users it is", owner)
	return nil
}

// more are those that write keys of another owner: timers and modules' TTLs.
var more = map[string][]string{
	"wb:{NN}:due":             {"api", "enroll", "webhook"},
	"wb:{NN}:due:tp":          {"api", "enroll", "webhook"},
	"wb:{NN}:wi:<ns>/<hook>":  {"webhook"}, // which forgets it with its source
	"wb:module:<ns>:<digest>": {"gateway"}, // a use prolongs its TTL
}

// TestWritersOfKeys: each key of the table may be written by its owner's user, and by no other.
func TestWritersOfKeys(t *testing.T) {
	w := start(t)
	tag, part := regexp.MustCompile(`\{NN\}`), regexp.MustCompile(`<[a-z]+>`)
	n := 0
	for _, k := range ledger.KeyTable() {
		key := part.ReplaceAllString(tag.ReplaceAllString(k.Name, "{03}"), "x")
		want := append(writers(t, k.Owner), more[k.Name]...)
		for _, user := range w.users {
			if got := w.may(user, "DEL", key); got != slices.Contains(want, user) {
				t.Errorf("%s may write %s: %v; its owners are %s (%v)", user, k.Name, got, k.Owner, want)
			}
			if got, want := w.may(user, "EXISTS", key), user != "journal" && user != "webhook" && user != "metrics" || slices.Contains(want, user); got != want {
				t.Errorf("%s may read %s: %v", user, k.Name, got)
			}
			n++
		}
	}
	for owner, keys := range map[string][][4]string{"journal": journal.Keys(), "journal api": deadletter.Keys()} {
		for _, k := range keys {
			for _, user := range w.users {
				if got := w.may(user, "DEL", k[0]); got != slices.Contains(strings.Fields(owner), user) {
					t.Errorf("%s may write %s: %v", user, k[0], got)
				}
			}
		}
	}
	t.Logf("%d pairs of user and key", n)
}

// TestForbidden: what no part needs, no user has.
func TestForbidden(t *testing.T) {
	w := start(t)
	for _, cmd := range [][]any{
		{"FLUSHALL"}, {"FLUSHDB"}, {"KEYS", "*"}, {"SCAN", "0"}, {"RANDOMKEY"}, {"CONFIG", "GET", "*"}, {"CONFIG", "SET", "dir", "/"}, {"SAVE"}, {"BGSAVE"}, {"SHUTDOWN"},
		{"DEBUG", "SLEEP", "0"}, {"MODULE", "LOAD", "x"}, {"ACL", "LIST"}, {"ACL", "SETUSER", "x"}, {"REPLICAOF", "h", "1"}, {"MIGRATE", "h", "1", "wb:{03}:era", "0", "1"},
		{"SCRIPT", "FLUSH"}, {"FUNCTION", "LOAD", "x"}, {"CLIENT", "KILL", "ID", "1"}, {"CLIENT", "LIST"}, {"MONITOR"}, {"SWAPDB", "0", "1"}, {"CLUSTER", "RESET"},
		{"DEL", "other"}, {"GET", "other"}, {"SORT", "wb:{03}:leases"}, {"PSUBSCRIBE", "*"}, {"SUBSCRIBE", "other"}, {"PUBLISH", "other", "x"},
	} {
		for _, user := range append([]string{"probe"}, w.users...) {
			if w.may(user, cmd...) && !(user == "metrics" && cmd[0] == "CONFIG" && cmd[1] == "GET") {
				t.Errorf("%s may %v", user, cmd)
			}
		}
	}
	for _, user := range w.users {
		if got := w.may(user, "INFO"); got != (user == "api" || user == "metrics") {
			t.Errorf("%s may INFO: %v", user, got)
		}
	}
	for _, cmd := range [][]any{{"SET", "wb:once:x", "1"}, {"HSET", "wb:{03}:d:n/d", "a", "b"}, {"PUBLISH", "wb:wake", "x"}, {"XADD", "{journal}:events", "*", "a", "b"}} {
		if w.may("webui", cmd...) {
			t.Errorf("webui may %v", cmd)
		}
	}
	// Not by asking only: a script's commands are its caller's.
	err := w.as("webui").Eval(t.Context(), "return redis.call('SET', KEYS[1], '1')", []string{"wb:once:x"}).Err()
	if !denied(err) {
		t.Errorf("webui writes in a script: %v", err)
	}
	if err := w.as("gateway").FlushAll(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("gateway flushes: %v", err)
	}
	if err := redis.NewClient(&redis.Options{Addr: w.s.Addr, Username: "gateway", Password: "wrong"}).Ping(t.Context()).Err(); err == nil {
		t.Error("a wrong password is let in")
	}
	if w.s.Client(t).Do(t.Context(), "AUTH", "probe", "whatever").Err() != nil {
		t.Error("the probe is not let in")
	}
	if rules(t)["default"] != "off" {
		t.Error("the default user is not off")
	}
}

func second[T any](_ T, err error) error { return err }

// TestPartsAreComplete: each call of the ledger that a part's sources have is among those that TestParts makes as its user.
func TestPartsAreComplete(t *testing.T) {
	b, err := os.ReadFile("acl_test.go")
	if err != nil {
		t.Fatal(err)
	}
	harmless := []string{"New", "Shards", "ShardOf", "Keys", "Sets"} // they do not ask Redis
	call, n := regexp.MustCompile(`\b[lL]edger\.([A-Z][A-Za-z]+)\(`), 0
	for v, folders := range map[string][]string{
		"el": {"functions/enroll"}, "fl": {"functions/deploy", "functions/report", "functions/rollback", "functions/board", "functions/command"},
		"hl": {"functions/webhook"}, "al": {"functions/api"}, "gl": {"gateway"},
	} {
		for _, folder := range folders {
			files, err := filepath.Glob("../../" + folder + "/*.go")
			if err != nil || len(files) == 0 {
				t.Fatalf("%s: %d files, %v", folder, len(files), err)
			}
			for _, f := range files {
				if strings.HasSuffix(f, "_test.go") {
					continue
				}
				src, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range call.FindAllSubmatch(src, -1) {
					name := string(m[1])
					if slices.Contains(harmless, name) {
						continue
					}
					n++
					// The API's reads are those of whoever looks, l.
					if !regexp.MustCompile(`\b(`+v+`|l)\.`+name+`\(`).Match(b) || v != "al" && !regexp.MustCompile(`\b`+v+`\.`+name+`\(`).Match(b) {
						t.Errorf("%s calls the ledger's %s: TestParts does not, so nobody knows whether its user may", f, name)
					}
				}
			}
		}
	}
	if n < 50 {
		t.Errorf("%d calls found", n)
	}
}

// TestParts: what the parts do with ledger and affinity passes as their users.
func TestParts(t *testing.T) {
	w := start(t)
	at := time.UnixMilli(1_760_000_000_000).UTC()
	now := func() time.Time { return at }
	of := func(user string) (*ledger.Ledger, *affinity.Affinity) {
		c := w.as(user)
		l := ledger.New(c, ledger.Options{Now: now})
		return l, affinity.New(c, l.Keys(), affinity.Options{Now: now})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	must := func(what string) func(...any) {
		return func(vs ...any) {
			t.Helper()
			for _, v := range vs {
				if err, bad := v.(error); bad {
					t.Errorf("%s: %v", what, err)
				}
			}
		}
	}
	sum := sha256.Sum256([]byte("x"))
	digest := "sha256:" + hex.EncodeToString(sum[:])
	dev, app, hook := event.Device{Namespace: "farm", Name: "a"}, ledger.App{Namespace: "farm", Name: "blink"}, ledger.Hook{Namespace: "farm", Name: "out"}

	gl, ga := of("gateway")
	era, _, err := gl.Era(ctx)
	must("gateway: era")(err)
	sub, err := ga.Subscribe(ctx, "gw-0")
	must("gateway: subscribe")(err)
	must("gateway: register")(ga.Register(ctx, affinity.Instance{ID: "gw-0", Namespace: "farm", Gateway: "gw", State: "Up", Started: at}, time.Minute))
	epoch, _, err := ga.Acquire(ctx, dev, "gw-0", time.Minute)
	must("gateway: acquire")(err)
	must("gateway: renew")(ga.Renew(ctx, "gw-0", []affinity.Lease{{Device: dev, Epoch: epoch, LastSeen: at}}, time.Minute))
	must("gateway: owner")(ga.Owner(ctx, dev))

	el, _ := of("enroll")
	must("enroll: era")(el.Era(ctx))
	must("enroll: settings")(el.PutGateway(ctx, ledger.GatewaySettings{Namespace: "farm", Name: "gw"}))
	must("enroll: settings again")(el.Gateway(ctx, "farm", "gw"))
	must("enroll: trust")(el.PutTrust(ctx, "farm", []byte("pem")))
	must("enroll: deny")(el.Deny(ctx, "farm", "abcd", "Revoked"))
	must("enroll: denied")(el.Denied(ctx, "farm"))
	must("enroll: allow")(el.Allow(ctx, "farm", "abcd"))
	must("enroll: verdict")(el.PutVerdict(ctx, "gw-0", "s1", ledger.Verdict{Status: "Accepted"}))
	must("enroll: trust again")(el.Trust(ctx, "farm"))
	must("enroll: due")(el.MarkDue(ctx, event.Timer{Kind: ledger.DueCertificate, Namespace: "farm", Name: "gw", Due: at}))
	must("enroll: settings go")(el.DeleteGateway(ctx, "farm", "other"))
	must("enroll: once")(el.Once(ctx, "s", "1"))
	must("enroll: once")(el.SetOnce(ctx, "s", "1", "x"))

	fl, _ := of("functions")
	must("functions: era")(fl.Era(ctx))
	must("deploy: device")(fl.PutDevice(ctx, dev, ledger.DeviceFacts{Board: "Host", Approved: true, Labels: map[string]string{"a": "b"}}, nil))
	must("report: connect")(fl.Connect(ctx, event.Connected{Device: dev, Gateway: "gw", Instance: "gw-0", Epoch: epoch, Era: era, BootID: "b1", Board: "Host", Time: at}))
	must("deploy: module")(fl.PutModule(ctx, "farm", digest, []byte("x")))
	must("deploy: target")(fl.SetTarget(ctx, app, ledger.Target{Sequence: 1, Revision: "blink-1", Digest: digest}, ledger.Selection{All: true}))
	must("deploy: candidates")(fl.Candidates(ctx, app, 10))
	must("deploy: admit")(fl.Admit(ctx, app, 1, 10, at.Add(time.Minute), []event.Device{dev}))
	must("deploy: dispatch")(fl.Dispatch(ctx, app, 1, at.Add(time.Minute), []event.Device{dev}))
	must("report: report")(fl.Report(ctx, event.Reported{Device: dev, Epoch: epoch, Era: era, Version: 1, Full: true, Time: at,
		Apps: map[string]event.AppState{"blink": {Revision: "blink-1", State: "Running", Confirmed: true, Attempt: 1}}}))
	must("report: trap")(fl.Trap(ctx, event.Trapped{Device: dev, BootID: "b1", Seq: 1, App: "blink", Revision: "blink-1", Reason: "Unreachable", Time: at}))
	frame := event.TelemetryDevice{Namespace: "farm", Name: "a", BootID: []byte{1}, Seq: 1, Records: []byte{0x80}}
	must("report: telemetry")(fl.AppendTelemetry(ctx, event.TelemetryBatch{Devices: []event.TelemetryDevice{frame}}))
	must("report: logs")(fl.AppendLogs(ctx, event.LogBatch{Devices: []event.TelemetryDevice{frame}}))
	must("report: decline")(fl.Decline(ctx, event.CommandCompleted{Device: dev, Command: "01", App: "blink", Revision: "blink-9", Attempt: 1, Reason: "Denied"}))
	must("deploy: module again")(fl.Module(ctx, "farm", digest))
	if err := fl.Refuse(ctx, app, 1, dev, "Denied", "no"); denied(err) { // it runs already
		t.Errorf("deploy: refuse: %v", err)
	}
	must("deploy: device again")(fl.Device(ctx, dev))
	must("deploy: known")(fl.DevicesKnown(ctx, "farm"))
	must("command: devices")(fl.Devices(ctx, "farm", "", 10))
	must("deploy: expire")(fl.Expire(ctx, app, dev, 1))
	must("deploy: once")(fl.Once(ctx, "s", "4"))
	must("deploy: once")(fl.SetOnce(ctx, "s", "4", "x"))
	must("deploy: counts")(fl.Counts(ctx, app))
	must("deploy: release")(fl.Release(ctx, app, dev))
	over, err := fl.Overdue(ctx, 0, 10, time.Hour)
	must("deploy: overdue")(err)
	must("deploy: due done")(fl.DoneDue(ctx, 0, append(over, event.Timer{Kind: ledger.DueAdvance, Namespace: "farm", Name: "none", Due: at})))
	must("deploy: due")(fl.MarkDue(ctx, event.Timer{Kind: ledger.DueAdvance, Namespace: "farm", Name: "blink", Due: at}))
	must("command: ask")(fl.Ask(ctx, dev, ledger.Command{ID: "0123456789abcdef", Kind: ledger.CommandReboot, Deadline: at.Add(time.Minute), Operation: "op"}))
	must("command: operation")(fl.NoteOperation(ctx, "farm", "op", "a", "asked"))
	must("command: operation")(fl.ListedOperation(ctx, "farm", "op"))

	for shard := range gl.Shards() {
		must("gateway: shard")(gl.HoldShard(ctx, shard, "gw-0", time.Minute))
		ts, err := gl.Due(ctx, shard, 100)
		must("gateway: due")(err)
		must("gateway: due done")(gl.DoneDue(ctx, shard, ts))
		must("gateway: expired")(ga.Expired(ctx, shard, 10))
	}
	must("gateway: desired")(gl.Desired(ctx, dev))
	must("gateway: desired of many")(gl.DesiredMany(ctx, []event.Device{dev}))
	must("gateway: versions")(gl.DesiredVersions(ctx, []event.Device{dev}))
	must("gateway: commands")(gl.Take(ctx, []ledger.Session{{Device: dev, Epoch: epoch, BootID: "b1"}}))
	must("gateway: module")(gl.Module(ctx, "farm", digest))
	must("gateway: verdict")(gl.Verdict(ctx, "s1"))
	must("gateway: trust")(gl.Trust(ctx, "farm"))
	must("gateway: settings")(gl.Gateway(ctx, "farm", "gw"))
	must("gateway: denied")(gl.Denied(ctx, "farm"))

	must("command: finish")(fl.Finish(ctx, dev, "0123456789abcdef", ledger.CommandResult{Status: "Succeeded"}, false))

	hl, _ := of("webhook")
	must("webhook: era")(hl.Era(ctx))
	must("webhook: queue")(hl.QueueHook(ctx, hook, ledger.HookDelivery{ID: "d1", Status: ledger.HookWaiting, Event: []byte("{}")}, false))
	ds, _, err := hl.TakeHook(ctx, hook, "tok", 1, time.Minute)
	must("webhook: take")(err)
	for _, d := range ds {
		d.Status = "Delivered"
		must("webhook: settle")(hl.SettleHook(ctx, hook, d, "{}", true, false))
		must("webhook: again")(hl.AgainHook(ctx, hook, d.ID))
	}
	if len(ds) != 1 {
		t.Errorf("webhook: took %d deliveries", len(ds))
	}
	must("webhook: drop")(hl.DropHookEvent(ctx, hook))
	must("webhook: source")(hl.HookSource(ctx, hook))
	must("webhook: source goes")(hl.ForgetHookSource(ctx, hook))
	must("webhook: once")(hl.Once(ctx, "s", "2"))
	must("webhook: idle")(hl.IdleHook(ctx, hook, "tok", ledger.Idle{}))
	must("webhook: state")(hl.HookState(ctx, hook))
	must("webhook: note")(hl.SetHook(ctx, hook, ledger.HookNote{}))
	must("webhook: due")(hl.MarkDue(ctx, event.Timer{Kind: ledger.DueHook, Namespace: "farm", Name: "out", Due: at}))
	must("webhook: once")(hl.SetOnce(ctx, "s", "2", "x"))
	must("webhook: forget")(hl.ForgetHook(ctx, hook))

	j := w.as("journal")
	e, err := event.New(event.LedgerLost, "test", "farm", "", map[string]string{"era": era})
	must("an event")(err)
	_, err = journal.New(journal.Deps{Redis: j, Log: slog.New(slog.DiscardHandler)}).Handle(ctx, e)
	must("journal: keep")(err)

	for _, user := range []string{"api", "webui"} {
		l, a := of(user)
		must(user + ": devices")(l.Devices(ctx, "farm", "", 10))
		must(user + ": device")(l.Device(ctx, dev))
		must(user + ": counts")(l.Counts(ctx, app))
		must(user + ": set")(l.AppDevices(ctx, app, ledger.SetDone, "", 10))
		must(user + ": namespaces")(l.Namespaces(ctx))
		must(user + ": known")(l.DevicesKnown(ctx, "farm"))
		must(user + ": feed")(l.Feed(ctx, nil, 0))
		must(user + ": telemetry")(l.Telemetry(ctx, dev, "", 10))
		must(user + ": logs")(l.Logs(ctx, dev, "", 10))
		must(user + ": commands")(l.CommandsOf(ctx, dev))
		must(user + ": devices by name")(l.DevicesNamed(ctx, []event.Device{dev}))
		must(user + ": operation")(l.Operation(ctx, "farm", "op"))
		must(user + ": deliveries")(l.Deliveries(ctx, hook, "", 10))
		must(user + ": instances")(a.Instances(ctx))
		must(user + ": owner")(a.Owner(ctx, dev))
		must(user + ": journal")(w.as(user).XRange(ctx, "{journal}:events", "-", "+").Result())
	}
	al, aa := of("api")
	for what, err := range map[string]error{ // that there is none is no want of a right
		"result":   second(al.Result(ctx, dev, "0000000000000000")),
		"delivery": second(al.Delivery(ctx, hook, "none")),
	} {
		if denied(err) {
			t.Errorf("api: %s: %v", what, err)
		}
	}
	must("api: source")(al.NoteHookSource(ctx, hook, ledger.HookSourceNote{Took: "{}"}, time.Second))
	must("api: trust")(al.Trust(ctx, "farm"))
	must("api: once")(al.Once(ctx, "s", "3"))
	must("api: once")(al.SetOnce(ctx, "s", "3", "x"))
	must("api: disconnect")(aa.Disconnect(ctx, dev, "gw-0", epoch, 0))
	wl, wa := of("webui")
	for what, err := range map[string]error{
		"target": func() error {
			_, err := wl.SetTarget(ctx, app, ledger.Target{Sequence: 2, Revision: "blink-2", Digest: digest}, ledger.Selection{All: true})
			return err
		}(),
		"deny":                         wl.Deny(ctx, "farm", "abcd", "x"),
		"disconnect":                   wa.Disconnect(ctx, dev, "gw-0", epoch, 0),
		"a gateway's anchors of trust": gl.PutTrust(ctx, "farm", []byte("other")),
		"deploy's anchors of trust":    fl.PutTrust(ctx, "farm", []byte("other")),
		"webhook's target":             hl.RemoveApp(ctx, app),
		"the API's module":             al.PutModule(ctx, "farm", digest, []byte("x")),
	} {
		if !denied(err) {
			t.Errorf("%s: written by somebody who may not: %v", what, err)
		}
	}

	must("deploy: app goes")(fl.RemoveApp(ctx, app))
	must("gateway: release")(ga.Release(ctx, dev, epoch))
	must("report: disconnect")(fl.Disconnect(ctx, event.Disconnected{Device: dev, Instance: "gw-0", Epoch: epoch, Era: era, Time: at}))
	must("deploy: device goes")(fl.DeleteDevice(ctx, dev))
	must("gateway: unregister")(ga.Unregister(ctx, "gw-0"))
	must("gateway: subscription")(sub.Close())
}
