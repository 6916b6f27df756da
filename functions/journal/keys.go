package journal

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limits of the journal.
const (
	Length          = 10_000             // events kept in all, about
	NamespaceLength = 2_000              // events kept of one namespace, about: a tenant that says much pushes nobody else's out
	NamespaceTTL    = 7 * 24 * time.Hour // of a namespace's events, since the last
	SeenTTL         = 10 * time.Minute   // an event that comes again within it is not kept again
	MaxData         = 16 << 10           // bytes; an event with more is kept without its data
	MaxStored       = 64 << 10           // bytes of an event as it is kept; one with more is not
	MaxPage         = 1000               // events of one read
	MaxBlock        = 30 * time.Second   // longest wait for one
)

// The keys carry one hash tag: one script keeps an event in both views.
const (
	allKey     = "{journal}:events"
	seenPrefix = "{journal}:seen:"
)

func namespaceKey(ns string) string { return "{journal}:ns:" + ns }

// Keys describes every key, for docs/spec/redis.md: name, type, TTL, content.
func Keys() [][4]string {
	const content = "`e` event (JSON), `x` 1 when its data was left out"
	return [][4]string{
		{allKey, "stream", "-", fmt.Sprintf("the last events of all namespaces, about %d: %s", Length, content)},
		{namespaceKey("<ns>"), "stream", fmt.Sprintf("%d h since the last", int(NamespaceTTL.Hours())), fmt.Sprintf("those of one namespace, about %d, under the same ids", NamespaceLength)},
		{seenPrefix + "<hash>", "string", fmt.Sprintf("%d min", int(SeenTTL.Minutes())), "mark of an event that is kept: the first 16 bytes of SHA-256(source, 0, id, 0, redelivered, 0)"},
	}
}

func isID(s string) bool {
	ms, seq, ok := strings.Cut(s, "-")
	_, err := strconv.ParseUint(ms, 10, 63)
	if err == nil && ok {
		_, err = strconv.ParseUint(seq, 10, 64)
	}
	return err == nil
}

func timeOf(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}
