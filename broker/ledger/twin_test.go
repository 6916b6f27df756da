package ledger

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// The Go twin of the classifier in prelude.lua: written from the definition, not from the script.

// twinHas: the device has what is wanted.
func twinHas(w *reportedWord, rev, state string) bool {
	switch {
	case w == nil:
		return false
	case state == StateStopped:
		return w.State == "Stopped" && w.Revision == rev
	case w.State == "Running":
		return w.Revision == rev && w.Confirmed == 1
	case w.State == "RolledBack":
		return w.Running == rev
	}
	return false
}

// twinClassify returns the work set of a record under a target (nil: none).
func twinClassify(r stored, t map[string]string, online, held bool) string {
	if r.Member == 0 || t == nil {
		return ""
	}
	w := r.Reported
	if twinHas(w, t["rev"], t["st"]) {
		if online {
			return SetDone
		}
		return SetLost
	}
	if w != nil && (w.State == "Failed" || w.State == "RolledBack") && w.Revision == t["rev"] && w.Attempt == t["seq"] {
		return SetFailed
	}
	if r.Refused == t["seq"] {
		return SetFailed
	}
	if r.Desired == t["rev"] && r.State == t["st"] && r.Attempt == t["seq"] && r.AwayAt != t["seq"] {
		return SetInFlight
	}
	switch {
	case held:
		return SetHeld
	case online:
		return SetPending
	}
	return SetAway
}

// twinSelects is the Go twin of selected().
func twinSelects(s Selection, name string, labels map[string]string) bool {
	switch {
	case s.All:
		return true
	case len(s.Names) > 0:
		return slices.Contains(s.Names, name)
	case len(s.Terms) == 0:
		return false
	}
	for _, t := range s.Terms {
		v, has := labels[t.Key]
		in := has && slices.Contains(t.Values, v)
		if (t.Op == "In" && !in) || (t.Op == "NotIn" && in) || (t.Op == "Exists" && !has) || (t.Op == "DoesNotExist" && has) {
			return false
		}
	}
	return true
}

// consistent checks the whole of Redis: each device is in exactly the set that the twin says, the counters
// are the sizes of the sets, membership is what the selections say, deadlines are marked for what is in flight,
// contents are kept for exactly the revisions in use.
func (e *env) consistent() {
	e.Helper()
	l, ctx := e.l, e.ctx
	namespaces, err := l.Namespaces(ctx)
	e.must(err)
	for _, ns := range namespaces {
		apps, err := l.apps(ctx, ns)
		e.must(err)
		for shard := range l.Shards() {
			for _, app := range apps {
				e.consistentApp(shard, app)
			}
		}
	}
}

func (e *env) consistentApp(shard int, app App) {
	e.Helper()
	ctx, k := e.ctx, e.l.keys
	target, err := e.rdb.HGetAll(ctx, k.App(shard, app)).Result()
	e.must(err)
	if target["seq"] == "" || target["gone"] != "" {
		return
	}
	if target["dirty"] != "" {
		e.Fatalf("%s in shard %d: the walk did not end", app, shard)
	}
	var sel Selection
	e.must(json.Unmarshal([]byte(target["sel"]), &sel))
	in := map[string][]string{}
	sizes := map[string]string{}
	for _, set := range Sets() {
		names, err := e.rdb.ZRange(ctx, k.Set(shard, app, set), 0, -1).Result()
		e.must(err)
		for _, n := range names {
			in[n] = append(in[n], set)
		}
		if len(names) > 0 {
			sizes[set] = dec(uint64(len(names)))
		}
	}
	members, err := e.rdb.ZRange(ctx, k.Members(shard, app), 0, -1).Result()
	e.must(err)
	names, err := e.rdb.ZRange(ctx, k.Devices(shard, app.Namespace), 0, -1).Result()
	e.must(err)
	uses := map[string]int{}
	runningCount := 0
	reasons := map[string]int{}
	for _, n := range names {
		d := dev(n)
		d.Namespace = app.Namespace
		row, err := e.rdb.HGetAll(ctx, k.Row(d)).Result()
		e.must(err)
		var r stored
		s, _ := e.rdb.HGet(ctx, k.Records(d), app.Name).Result()
		e.must(unmarshal(s, &r))
		var f facts
		s, _ = e.rdb.Get(ctx, k.Facts(d)).Result()
		e.must(unmarshal(s, &f))
		online, held := row["on"] == "1", row["hold"] == "1" || row["appr"] != "1"
		if want := row["known"] == "1" && twinSelects(sel, n, f.Labels); want != (r.Member == 1) || want != slices.Contains(members, n) {
			e.Fatalf("%s: member of %s: %v in the record, %v in the index, selected %v", n, app, r.Member, slices.Contains(members, n), want)
		}
		want := twinClassify(r, target, online, held)
		if r.Set != want || strings.Join(in[n], ",") != want {
			e.Fatalf("%s/%s: set %q in the record, %q among the sets, the twin says %q (record %+v reported %+v target %v online %v)",
				app, n, r.Set, in[n], want, r, r.Reported, target, online)
		}
		delete(in, n)
		if want == SetInFlight && e.rdb.SIsMember(ctx, k.Freed(shard, app), n).Val() {
			e.Fatalf("%s/%s: in flight, and its place in the budget would be given away", app, n)
		}
		score := e.rdb.ZScore(ctx, k.Due(shard), "deadline|"+app.Namespace+"|"+app.Name+"|"+n).Val()
		claimed := e.rdb.ZScore(ctx, k.Due(shard), "~deadline|"+app.Namespace+"|"+app.Name+"|"+n).Val()
		if (want == SetInFlight) != (r.Until > 0) || (want == SetInFlight && score == 0 && claimed == 0) || (want != SetInFlight && score != 0) {
			e.Fatalf("%s/%s: in %s with deadline %v, marked %v", app, n, want, r.Until, score)
		}
		if r.Desired != "" {
			uses[r.Desired]++
		}
		w := r.Reported
		if r.Member == 1 && online && w != nil && (w.Running != "" || w.State == "Running") {
			runningCount++
		}
		if want == SetFailed {
			reason := r.Reason
			if w != nil && (w.State == "Failed" || w.State == "RolledBack") && w.Revision == target["rev"] && w.Attempt == target["seq"] {
				reason = w.Reason
			}
			reasons[cmp.Or(reason, "Unknown")]++
		}
		if want == SetDone && (r.Desired != target["rev"] || r.State != target["st"]) {
			e.Fatalf("%s/%s: done with desired %s %s", app, n, r.Desired, r.State)
		}
	}
	if len(in) > 0 {
		e.Fatalf("%s: devices in sets that are not there: %v", app, in)
	}
	if runningCount > 0 {
		sizes["running"] = dec(uint64(runningCount))
	}
	for r, n := range reasons {
		sizes["reason:"+r] = dec(uint64(n))
	}
	counters, err := e.rdb.HGetAll(ctx, k.Counters(shard, app)).Result()
	e.must(err)
	same(e, "counters of "+app.String(), counters, sizes)
	refs := map[string]string{}
	contents := []string{target["rev"]}
	for rev, n := range uses {
		refs[rev] = dec(uint64(n))
		if rev != target["rev"] {
			contents = append(contents, rev)
		}
	}
	got, err := e.rdb.HGetAll(ctx, k.RevisionUses(shard, app)).Result()
	e.must(err)
	same(e, "uses of revisions of "+app.String(), got, refs)
	kept, err := e.rdb.HKeys(ctx, k.Revisions(shard, app)).Result()
	e.must(err)
	slices.Sort(kept)
	slices.Sort(contents)
	same(e, "contents of "+app.String(), kept, contents)
}
