package ledger

import (
	"context"
	"embed"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/trace"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// scripts holds every script; the name of a field is the name of its file.
type scripts struct {
	// With the prelude: they touch devices.
	connect, disconnect, report, trap, decline  *redis.Script // report's
	put, delete, target, walk, walked, remove   *redis.Script // deploy's
	dispatch, refuse, expire                    *redis.Script // deploy's
	ask, finish                                 *redis.Script // command's
	take                                        *redis.Script // gateways'
	desired, counts, candidates, standing, view *redis.Script // read only
	append, admit, due, hold                    *redis.Script // without the prelude, as those below
	era, copy, ready, setting, verdict          *redis.Script
	operation                                   *redis.Script
	hookqueue, hooktake, hooksettle             *redis.Script // webhook's
	hookidle, hookagain                         *redis.Script // likewise
}

// withPrelude names the scripts that prelude.lua is put before.
const withPrelude = " connect disconnect report trap put delete target walk walked remove dispatch refuse expire decline desired counts candidates standing view ask take finish "

// source returns a script as Redis gets it: the prelude when it needs it, the package's limits filled in.
func source(name string) string {
	read := func(name string) string {
		b, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
		if err != nil {
			// Only a name that is not in the folder comes here; Redis refuses this text, a test finds it.
			return "error: no script " + name
		}
		return string(b)
	}
	text := read(name)
	if strings.Contains(withPrelude, " "+name+" ") {
		text = read("prelude") + text
	}
	ms := func(d interface{ Milliseconds() int64 }) string { return fmt.Sprint(d.Milliseconds()) }
	return strings.NewReplacer(
		"@FEED@", fmt.Sprint(FeedLength), "@LENGTH@", fmt.Sprint(RecordsLength), "@RECORDS@", fmt.Sprint(MaxRecords),
		"@REPLAYS@", fmt.Sprint(MaxReplays), "@TRAPS@", fmt.Sprint(MaxTraps), "@INTERVALS@", fmt.Sprint(MaxIntervals),
		"@BOOTS@", fmt.Sprint(MaxBoots), "@STATUS@", ms(StatusDelay), "@UNKNOWN@", ms(UnknownTTL),
		"@REPLAYTTL@", ms(ReplayTTL), "@TRAPTTL@", ms(TrapTTL), "@RECORDSTTL@", ms(RecordsTTL),
		"@REMOVED@", ms(RemovedTTL), "@COMMANDS@", fmt.Sprint(MaxCommands), "@RESULTS@", fmt.Sprint(MaxResults),
		"@RESULTTTL@", ms(ResultTTL),
	).Replace(text)
}

func loadScripts() scripts {
	s := func(name string) *redis.Script { return redis.NewScript(source(name)) }
	return scripts{
		connect: s("connect"), disconnect: s("disconnect"), report: s("report"), trap: s("trap"), put: s("put"),
		delete: s("delete"), target: s("target"), walk: s("walk"), walked: s("walked"), remove: s("remove"),
		dispatch: s("dispatch"), refuse: s("refuse"), expire: s("expire"), decline: s("decline"), desired: s("desired"),
		counts: s("counts"), candidates: s("candidates"), standing: s("standing"), view: s("view"),
		append: s("append"), admit: s("admit"), due: s("due"), hold: s("hold"), era: s("era"), copy: s("copy"),
		ready: s("ready"), setting: s("setting"), verdict: s("verdict"),
		ask: s("ask"), take: s("take"), finish: s("finish"), operation: s("operation"),
		hookqueue: s("hookqueue"), hooktake: s("hooktake"), hooksettle: s("hooksettle"), hookidle: s("hookidle"), hookagain: s("hookagain"),
	}
}

// script is one call of a script.
type call struct {
	script *redis.Script
	keys   []string
	args   []any
}

// run calls one script.
func (l *Ledger) run(ctx context.Context, what string, c call) (out []any, err error) {
	if trace.Traced(ctx) {
		one := []call{c}
		span := traced(ctx, what, one)
		defer func() { span.End(err) }()
		c = one[0]
	}
	out, err = c.script.Run(ctx, l.rdb, c.keys, c.args...).Slice()
	if err != nil && err != redis.Nil {
		return nil, wrap(err, what)
	}
	return out, nil
}

// pipe calls many scripts in one round trip per node. Either all answered, or there is an error; those that
// answered before an error have had their effect.
func (l *Ledger) pipe(ctx context.Context, what string, calls []call) (out [][]any, err error) {
	if len(calls) == 0 {
		return nil, nil
	}
	if len(calls) == 1 {
		out, err := l.run(ctx, what, calls[0])
		return [][]any{out}, err
	}
	if trace.Traced(ctx) {
		span := traced(ctx, what, calls)
		defer func() { span.End(err) }()
	}
	out = make([][]any, len(calls))
	todo := make([]int, len(calls))
	for i := range calls {
		todo[i] = i
	}
	// First by digest; what the server does not know (a restart, a new replica), then with the text.
	for _, eval := range []bool{false, true} {
		p := l.rdb.Pipeline()
		cmds := make([]*redis.Cmd, len(todo))
		for i, n := range todo {
			if c := calls[n]; eval {
				cmds[i] = c.script.Eval(ctx, p, c.keys, c.args...)
			} else {
				cmds[i] = c.script.EvalSha(ctx, p, c.keys, c.args...)
			}
		}
		_, _ = p.Exec(ctx) // each command has its own error
		var again []int
		for i, n := range todo {
			v, err := cmds[i].Slice()
			switch {
			case err == nil || err == redis.Nil:
				out[n] = v
			case !eval && redis.HasErrorPrefix(err, "NOSCRIPT"):
				again = append(again, n)
			default:
				return nil, wrap(err, what)
			}
		}
		if todo = again; len(todo) == 0 {
			break
		}
	}
	return out, nil
}
