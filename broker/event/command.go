package event

import "time"

// CommandRequest asks to call a function on devices, to hand a module a message, or to restart devices. Either Devices
// or Selector (a Kubernetes label selector; "" with All: every device) says which.
type CommandRequest struct {
	Namespace   string    `json:"namespace"`
	ID          string    `json:"id,omitempty"` // 16 hex digits, of the command to one device; default: made of the event's source and id
	Kind        string    `json:"kind"`         // Invoke, Message, Reboot
	Devices     []string  `json:"devices,omitempty"`
	Selector    string    `json:"selector,omitempty"`
	All         bool      `json:"all,omitempty"`
	Application string    `json:"application,omitempty"`
	Function    string    `json:"function,omitempty"` // Invoke: an exported function
	Topic       string    `json:"topic,omitempty"`    // Message
	Payload     []byte    `json:"payload,omitempty"`
	Deadline    time.Time `json:"deadline,omitzero"`   // default: 30 s after the event's time
	Operation   string    `json:"operation,omitempty"` // under which the outcomes are counted
	By          string    `json:"by,omitempty"`
	After       string    `json:"after,omitempty"` // of a selection that is worked off in pages: the last device of the page before
}

// CommandAnswer is a device's word on a command, or its gateway's, when the device will not say any.
type CommandAnswer struct {
	Device  Device    `json:"device"`
	Command string    `json:"command"` // hex
	Kind    string    `json:"kind"`
	App     string    `json:"app,omitempty"`
	Status  string    `json:"status"` // Done, Refused, Failed
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Payload []byte    `json:"payload,omitempty"`
	Time    time.Time `json:"time"`
}

// CommandOutcome is what became of a command to one device.
type CommandOutcome struct {
	Device      Device    `json:"device"`
	Command     string    `json:"command"`
	Kind        string    `json:"kind"`
	Application string    `json:"application,omitempty"`
	Function    string    `json:"function,omitempty"`
	Topic       string    `json:"topic,omitempty"`
	Operation   string    `json:"operation,omitempty"`
	Status      string    `json:"status"` // Done, Refused, Failed
	Reason      string    `json:"reason,omitempty"`
	Message     string    `json:"message,omitempty"`
	Payload     []byte    `json:"payload,omitempty"`
	By          string    `json:"by,omitempty"`
	Asked       time.Time `json:"asked"`
	Finished    time.Time `json:"finished"`
}

// AppMessage is a message from a module. (BootID, Seq) names it.
type AppMessage struct {
	Device      Device    `json:"device"`
	BootID      string    `json:"bootId"`
	Seq         uint64    `json:"seq"`
	Application string    `json:"application"`
	Topic       string    `json:"topic"`
	Payload     []byte    `json:"payload,omitempty"`
	Time        time.Time `json:"time"`
}

// commandEvents is the catalogue's part on commands.
func commandEvents() []Entry {
	device := Device{Namespace: "plant", Name: "press-7"}
	command := []string{"command"}
	outside := []string{"outside systems, by Trigger"}
	gateway := fromGateway("plant/press-7").device()
	return []Entry{
		{
			Type: CommandRequested, Version: 1, Format: JSON, Emitters: []string{"REST API, dashboard, CLI", "outside systems at /events, when their identity may"}, Consumers: command,
			Description: "Somebody asks to call a function of a module on devices, to hand it a message, or to restart devices. Each device gets it at most once, before the deadline.",
			Source:      sourceAPI, Subject: "<namespace>", Extensions: inNamespace,
			Example: CommandRequest{Namespace: "plant", Kind: "Invoke", Devices: []string{"press-7"}, Application: "vibration", Function: "rms", Payload: []byte("1s"), Deadline: exampleTime.Add(30 * time.Second), By: "alice"},
			example: exampleAttributes{source: "/wasmbed/api/alice", subject: "plant", ext: map[string]string{ExtNamespace: "plant"}},
		}, {
			Type: DeviceCommandAnswered, Version: 1, Format: JSON, Emitters: []string{"gateway"}, Consumers: command,
			Description: "A device answered a command that somebody asked for, or never will (it restarted; the module is not there).",
			Source:      sourceGateway, Subject: subjectDevice, Extensions: ofDevice,
			Example: CommandAnswer{Device: device, Command: "0102030405060708", Kind: "Invoke", App: "vibration", Status: "Done", Payload: []byte("0.42"), Time: exampleTime}, example: gateway,
		}, {
			Type: CommandFinished, Version: 1, Format: JSON, Emitters: command, Consumers: outside,
			Description: "A command to one device has its outcome: the answer, a trap, or that its deadline passed.",
			Source:      sourceFunction, Subject: subjectDevice, Extensions: ofDevice,
			Example: CommandOutcome{Device: device, Command: "0102030405060708", Kind: "Invoke", Application: "vibration", Function: "rms", Status: "Done", Payload: []byte("0.42"), By: "alice", Asked: exampleTime, Finished: exampleTime.Add(120 * time.Millisecond)},
			example: fromFunction("command", "plant/press-7").device(),
		}, {
			Type: MessageReceived, Version: 1, Format: JSON, Emitters: []string{"gateway"}, Consumers: outside,
			Description: "A module on a device sent a message.",
			Source:      sourceGateway, Subject: subjectDevice, Extensions: ofDevice,
			Example: AppMessage{Device: device, BootID: "a1b2c3d4e5f60718", Seq: 5, Application: "vibration", Topic: "alarm", Payload: []byte("rms over limit"), Time: exampleTime}, example: gateway,
		},
	}
}
