package api

import (
	"fmt"
	"net/http"
	"sort"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Cause is the one named reason why an application is, or is not, updated on a device. A closed set.
type Cause string

// The causes, in the order in which they are asked: the first that holds is the answer.
const (
	CauseNotFound      Cause = "NotFound"         // the application does not exist
	CauseInvalid       Cause = "ApplicationWrong" // its module or manifest is refused
	CauseNotTargeted   Cause = "NotTargeted"
	CauseNotEnrolled   Cause = "NotEnrolled"
	CauseRebuilding    Cause = "LedgerRebuilding" // the ledger does not know the device yet
	CauseUpToDate      Cause = "UpToDate"
	CauseFailed        Cause = "Failed"     // the wanted revision failed and nothing runs
	CauseRolledBack    Cause = "RolledBack" // the wanted revision failed and a former one runs
	CauseRefused       Cause = "Refused"    // not sent: it cannot run there
	CauseOffline       Cause = "Offline"
	CauseHeld          Cause = "Held"
	CausePaused        Cause = "Paused"
	CauseRolloutHalted Cause = "RolloutHalted"
	CauseQueued        Cause = "Queued"   // waits for its turn in the rollout
	CauseFetching      Cause = "Fetching" // on the way: the module's bytes
	CauseOnTrial       Cause = "OnTrial"  // runs, its health window has not passed
	CauseInProgress    Cause = "InProgress"
)

// Explanation answers "why is it not updated?" for one application on one device.
type Explanation struct {
	Device      string `json:"device"`
	Application string `json:"application"`
	Cause       Cause  `json:"cause"`
	Reason      string `json:"reason,omitempty"` // the device's own, when it has one
	Text        string `json:"text"`
	Mend        string `json:"mend,omitempty"`
	Wanted      string `json:"wanted,omitempty"`
	Running     string `json:"running,omitempty"`
}

// Explain finds the cause from what is wanted (app, nil when there is none) and what is known of the
// device. v is the ledger's view; dev the Device object, nil when there is none.
func Explain(app *v1alpha1.Application, dev *v1alpha1.Device, v ledger.DeviceView, name string) Explanation {
	x := Explanation{Device: v.Device.Name, Application: name}
	say := func(c Cause, mend, format string, args ...any) Explanation {
		x.Cause, x.Mend, x.Text = c, mend, fmt.Sprintf(format, args...)
		return x
	}
	if app == nil {
		return say(CauseNotFound, "", "there is no application %s in namespace %s", name, v.Device.Namespace)
	}
	x.Wanted = app.Status.Revision
	var a *ledger.AppView
	for i := range v.Apps {
		if v.Apps[i].App == name {
			a = &v.Apps[i]
		}
	}
	if a != nil && a.Reported != nil {
		x.Running, x.Reason = a.Reported.Running, a.Reported.Reason
	}
	if c := condition(app.Status.Conditions, "Ready"); c != nil && Misapplied(*c) {
		return say(CauseInvalid, "mend the Application's module or manifest", "%s", c.Message)
	}
	if dev != nil && dev.Spec.Approval != v1alpha1.ApprovalApproved {
		return say(CauseNotEnrolled, "wasmbed approve "+v.Device.Name, "the device's approval is %s", orWord(string(dev.Spec.Approval), "Pending"))
	}
	if a == nil || a.Set == "" {
		if !v.Known {
			return say(CauseRebuilding, "", "the ledger does not know the device yet: it has never connected, or the ledger is being rebuilt")
		}
		return say(CauseNotTargeted, "change the application's spec.targets or the device's labels", "the application's targets do not select this device")
	}
	switch a.Set {
	case "done":
		if a.Reported != nil && a.Reported.State == "RolledBack" {
			return say(CauseRolledBack, "apply a better revision", "%s failed here (%s) and the device went back to %s, which is what is wanted now",
				a.Reported.Revision, strings.TrimSuffix(a.Reported.Reason+": "+a.Reported.Message, ": "), x.Running)
		}
		return say(CauseUpToDate, "", "revision %s runs and is confirmed", x.Wanted)
	case "lost":
		return say(CauseOffline, "", "it had revision %s when it was last seen %s; what it runs now is not known", x.Wanted, ago(v))
	case "failed":
		x.Reason = orWord(a.Reason, x.Reason)
		switch {
		case a.Reported == nil || a.Reported.Revision != x.Wanted:
			return say(CauseRefused, mendOf(x.Reason), "%s cannot run there: %s", x.Wanted, because(x.Reason, a.Message))
		case a.Reported.State == "RolledBack":
			return say(CauseRolledBack, "wasmbed logs "+v.Device.Name, "%s failed (%s) and the device went back to %s", x.Wanted, x.Reason, x.Running)
		}
		return say(CauseFailed, "wasmbed logs "+v.Device.Name, "%s failed: %s %s", x.Wanted, x.Reason, a.Message)
	case "held":
		return say(CauseHeld, "set the device's spec.hold to false", "the device is held")
	case "away":
		return say(CauseOffline, "", "the device is not connected (last seen %s); it is updated when it comes back", ago(v))
	case "pending":
		if app.Spec.Paused {
			return say(CausePaused, "wasmbed resume "+name, "the application is paused")
		}
		if r := app.Status.Rollout; r != nil && r.State == v1alpha1.RolloutFailedState {
			return say(CauseRolloutHalted, "wasmbed rollback "+name+", or apply a better revision", "the rollout of %s failed and nothing more is sent: %s", r.To, r.Message)
		}
		return say(CauseQueued, "", "it waits for its turn: %d are in flight, the rollout policy allows no more at once", app.Status.InFlight)
	}
	if !v.Online {
		return say(CauseOffline, "", "the device went away while %s was on its way (last seen %s)", x.Wanted, ago(v))
	}
	if a.Reported != nil && a.Reported.Revision == x.Wanted {
		switch a.Reported.State {
		case "Fetching":
			return say(CauseFetching, "", "the device holds %d bytes of the module", a.Reported.Progress)
		case "Running":
			return say(CauseOnTrial, "", "%s runs on trial until its health window has passed", x.Wanted)
		}
		return say(CauseInProgress, "", "the device is at %s with %s", a.Reported.State, x.Wanted)
	}
	return say(CauseInProgress, "", "%s was sent; the device has not yet said anything about it", x.Wanted)
}

// mendOf says what helps against a refusal, where that is not in its message.
func mendOf(reason string) string {
	switch reason {
	case "TooManyApps":
		return "the device holds as many applications as it can: delete one of them, or leave this device out of the targets; the application then goes on by itself"
	case "StorageFull":
		return "delete an application of the device that is needed less"
	}
	return ""
}

// Misapplied reports whether a Ready condition says that the Application itself cannot be carried out (its
// module, manifest or targets are wrong), and not how far its devices are.
func Misapplied(ready metav1.Condition) bool {
	if ready.Status != metav1.ConditionFalse {
		return false
	}
	switch ready.Reason {
	case "RolloutProgressing", "RollingBack", "RolloutComplete", "RolloutFailed", "Paused", "NoTargets", "DevicesAway", "DevicesFailed", "DevicesHeld", "":
		return false
	}
	return true
}

func ago(v ledger.DeviceView) string {
	if v.LastSeen.IsZero() {
		return "never"
	}
	return v.LastSeen.UTC().Format("2006-01-02 15:04:05 MST")
}

func orWord(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (a *API) explainDevice(w http.ResponseWriter, r *request) error {
	d := event.Device{Namespace: r.namespace, Name: r.name}
	v, err := a.Ledger.Device(r.Context(), d)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	v.Device = d
	dev, err := a.Client.Devices.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	if only := r.URL.Query().Get("application"); only != "" {
		names[only] = true
	} else {
		for _, av := range v.Apps {
			names[av.App] = true
		}
	}
	out := []Explanation{}
	for name := range names {
		app, err := a.Client.Applications.Get(r.Context(), r.namespace, name)
		if errs.Is(err, errs.NotFound) {
			app, err = nil, nil
		}
		if err != nil {
			return err
		}
		out = append(out, Explain(app, dev, v, name))
	}
	if len(names) == 0 && dev.Spec.Approval != v1alpha1.ApprovalApproved {
		out = append(out, Explanation{Device: r.name, Cause: CauseNotEnrolled, Text: "the device's approval is " + orWord(string(dev.Spec.Approval), "Pending"), Mend: "wasmbed approve " + r.name})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Application < out[j].Application })
	return writeJSON(w, http.StatusOK, map[string]any{"items": out})
}

// explainApplication explains the devices that are not up to date, at most a page of them.
func (a *API) explainApplication(w http.ResponseWriter, r *request) error {
	app, err := a.Client.Applications.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	_, n, err := page(r)
	if err != nil {
		return err
	}
	out := []Explanation{}
	sets := []string{"failed", "inflight", "held", "pending", "away", "lost"}
	undone := false // what was rolled back is explained on the devices that have what is wanted, too
	if c := condition(app.Status.Conditions, "RolledBack"); c != nil && c.Status == metav1.ConditionTrue {
		sets, undone = append(sets, "done"), true
	}
	for _, set := range sets {
		if len(out) >= n {
			break
		}
		devices, _, err := a.Ledger.AppDevices(r.Context(), ledger.App{Namespace: r.namespace, Name: r.name}, set, "", n-len(out))
		if err != nil {
			return err
		}
		for _, d := range devices {
			v, err := a.Ledger.Device(r.Context(), d)
			if err != nil {
				return err
			}
			if x := Explain(app, nil, v, r.name); !undone || x.Cause != CauseUpToDate {
				out = append(out, x)
			}
		}
	}
	counts, err := a.Ledger.Counts(r.Context(), ledger.App{Namespace: r.namespace, Name: r.name})
	if err != nil {
		return err
	}
	ans := map[string]any{"items": out, "counts": counts}
	if c := condition(app.Status.Conditions, "Ready"); c != nil {
		ans["ready"] = map[string]string{"status": string(c.Status), "reason": c.Reason, "message": c.Message}
	}
	return writeJSON(w, http.StatusOK, ans)
}
