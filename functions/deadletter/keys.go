package deadletter

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of dead letters.
const (
	MaxLetters = 2000           // kept of one line; the oldest are dropped
	MaxBytes   = 64 << 20       // bytes of the events of one line; likewise
	MaxMessage = 1 << 10        // bytes
	MaxDest    = 512            // bytes
	MaxPage    = 500            // letters of one read
	SeenTTL    = 24 * time.Hour // a letter that comes again within it is the same one

	redeliverParallel = 4
	// redeliverTime bounds one redelivery: the function may have to start from zero.
	redeliverTime = 60 * time.Second
	// busyTTL is how long a letter is of who redelivers it; longer than redeliverTime.
	busyTTL  = 90 * time.Second
	maxReply = 1 << 20 // bytes of an answer
)

// The keys carry one hash tag, so that one script sees all.
const (
	bytesKey   = "{deadletter}:bytes"
	seenPrefix = "{deadletter}:seen:"
	busyPrefix = "{deadletter}:busy:"
)

func lettersKey(trigger string) string { return "{deadletter}:letters:" + trigger }

// Keys describes every key, for docs/spec/redis.md: name, type, TTL, content.
func Keys() [][4]string {
	return [][4]string{
		{lettersKey("<ns>/<name>"), "stream", "-", fmt.Sprintf("letters of one destination, at most %d and %d MiB: `e` event (JSON), `d` destination, `s` HTTP status, `m` message, `t` given up (ms), `n` how often it was delivered again, `k` its mark", MaxLetters, MaxBytes>>20)},
		{bytesKey, "hash", "-", "destination → bytes of its letters' events"},
		{seenPrefix + "<hash>", "string", fmt.Sprintf("%d h, or until the letter is taken", int(SeenTTL.Hours())), "mark of a letter that is kept: the first 16 bytes of SHA-256(destination, 0, source, 0, id, 0, n, 0)"},
		{busyPrefix + "<ns>/<name>:<id>", "string", fmt.Sprintf("%d s", int(busyTTL.Seconds())), "a letter that somebody delivers again just now"},
	}
}

func isTrigger(s string) bool {
	ns, name, ok := strings.Cut(s, "/")
	return ok && isLabel(ns) && isLabel(name)
}

// isLabel: an RFC 1123 label.
func isLabel(s string) bool {
	return len(s) > 0 && len(s) <= 63 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && s[0] != '-' && s[len(s)-1] != '-'
}

func isID(s string) bool {
	ms, seq, ok := strings.Cut(s, "-")
	_, err1 := strconv.ParseUint(ms, 10, 63)
	_, err2 := strconv.ParseUint(seq, 10, 64)
	return ok && err1 == nil && err2 == nil
}

func has(ls []Line, trigger string) bool {
	return slices.ContainsFunc(ls, func(l Line) bool { return l.Trigger == trigger })
}

func sortLines(ls []Line) {
	slices.SortFunc(ls, func(a, b Line) int { return cmp.Compare(a.Trigger, b.Trigger) })
}
