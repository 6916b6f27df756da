package protocol

// Phase is where a session stands, seen by the side that receives. It decides which messages are allowed
// (SPEC §8); what they do is the business of gateway and device.
type Phase uint8

// Phases. A receiver begins in PhaseHello.
const (
	PhaseHello        Phase = 1 // gateway: waits for hello; device: waits for welcome
	PhaseFirstContact Phase = 2 // after a welcome with enrolled = false
	PhaseEnrolled     Phase = 3 // after a welcome with enrolled = true
	PhaseClosing      Phase = 4 // after a goodbye of either side: nothing but error and goodbye is taken
)

// FromDevice reports whether t is sent by devices, and FromGateway whether by gateways; error and goodbye
// are sent by both. An unknown or reserved type is sent by none.
func (t Type) FromDevice() bool {
	switch t {
	case TypeHello, TypeError, TypeGoodbye, TypeEnroll, TypeRenew, TypeHeartbeat, TypeCommandResult, TypeChunkRequest,
		TypeReport, TypeTrap, TypeTelemetry, TypeLogs, TypeInvokeResult, TypeMessageUp:
		return true
	}
	return false
}

// FromGateway is the other direction of FromDevice.
func (t Type) FromGateway() bool {
	switch t {
	case TypeWelcome, TypeError, TypeGoodbye, TypeEnrollResult, TypeHeartbeatAck, TypeAck, TypeCommand, TypeChunk,
		TypeReportRequest, TypeInvoke, TypeMessageDown:
		return true
	}
	return false
}

// Acknowledged reports whether a device keeps a message of the type until its ack.
func (t Type) Acknowledged() bool {
	switch t {
	case TypeCommandResult, TypeReport, TypeTrap, TypeTelemetry, TypeLogs, TypeInvokeResult, TypeMessageUp:
		return true
	}
	return false
}

// GatewayAccepts says whether a gateway in the phase takes a message of the type from a device: nil, or a
// *WireError of layer auth or state.
func (p Phase) GatewayAccepts(t Type) error {
	if !t.FromDevice() {
		return notNow(t, "devices do not send it")
	}
	if t == TypeError || t == TypeGoodbye {
		return nil
	}
	switch p {
	case PhaseHello:
		if t != TypeHello {
			return notNow(t, "before hello")
		}
	case PhaseFirstContact:
		switch t {
		case TypeEnroll:
		case TypeHello:
			return notNow(t, "a second time")
		default:
			return &WireError{LayerAuth, CodeAuth, t.String() + " of a device that is not enrolled"}
		}
	case PhaseEnrolled:
		switch t {
		case TypeHello:
			return notNow(t, "a second time")
		case TypeEnroll:
			return notNow(t, "of an enrolled device")
		}
	default:
		return notNow(t, "after goodbye")
	}
	return nil
}

// DeviceAccepts says whether a device in the phase takes a message of the type from its gateway.
func (p Phase) DeviceAccepts(t Type) error {
	if !t.FromGateway() {
		return notNow(t, "gateways do not send it")
	}
	if t == TypeError || t == TypeGoodbye {
		return nil
	}
	switch p {
	case PhaseHello:
		if t != TypeWelcome {
			return notNow(t, "before welcome")
		}
	case PhaseFirstContact:
		if t != TypeEnrollResult {
			return notNow(t, "to a device that is not enrolled")
		}
	case PhaseEnrolled:
		if t == TypeWelcome {
			return notNow(t, "a second time")
		}
	default:
		return notNow(t, "after goodbye")
	}
	return nil
}

func notNow(t Type, text string) error {
	return &WireError{LayerState, CodeState, t.String() + " " + text}
}
