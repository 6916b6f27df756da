package protocol

// Message is one of the pointers to the structs of message.go.
type Message interface {
	// Type is the message's number, key 0 of its body.
	Type() Type
}

func (*Hello) Type() Type         { return TypeHello }
func (*Welcome) Type() Type       { return TypeWelcome }
func (*Error) Type() Type         { return TypeError }
func (*Goodbye) Type() Type       { return TypeGoodbye }
func (*Enroll) Type() Type        { return TypeEnroll }
func (*EnrollResult) Type() Type  { return TypeEnrollResult }
func (*Renew) Type() Type         { return TypeRenew }
func (*Heartbeat) Type() Type     { return TypeHeartbeat }
func (*HeartbeatAck) Type() Type  { return TypeHeartbeatAck }
func (*Ack) Type() Type           { return TypeAck }
func (*Command) Type() Type       { return TypeCommand }
func (*CommandResult) Type() Type { return TypeCommandResult }
func (*ChunkRequest) Type() Type  { return TypeChunkRequest }
func (*Chunk) Type() Type         { return TypeChunk }
func (*Report) Type() Type        { return TypeReport }
func (*ReportRequest) Type() Type { return TypeReportRequest }
func (*Trap) Type() Type          { return TypeTrap }
func (*Telemetry) Type() Type     { return TypeTelemetry }
func (*Logs) Type() Type          { return TypeLogs }
func (*Invoke) Type() Type        { return TypeInvoke }
func (*InvokeResult) Type() Type  { return TypeInvokeResult }
func (*MessageDown) Type() Type   { return TypeMessageDown }
func (*MessageUp) Type() Type     { return TypeMessageUp }

// New returns an empty message of the type, or nil when this version has none (reserved types included).
func New(t Type) Message {
	switch t {
	case TypeHello:
		return new(Hello)
	case TypeWelcome:
		return new(Welcome)
	case TypeError:
		return new(Error)
	case TypeGoodbye:
		return new(Goodbye)
	case TypeEnroll:
		return new(Enroll)
	case TypeEnrollResult:
		return new(EnrollResult)
	case TypeRenew:
		return new(Renew)
	case TypeHeartbeat:
		return new(Heartbeat)
	case TypeHeartbeatAck:
		return new(HeartbeatAck)
	case TypeAck:
		return new(Ack)
	case TypeCommand:
		return new(Command)
	case TypeCommandResult:
		return new(CommandResult)
	case TypeChunkRequest:
		return new(ChunkRequest)
	case TypeChunk:
		return new(Chunk)
	case TypeReport:
		return new(Report)
	case TypeReportRequest:
		return new(ReportRequest)
	case TypeTrap:
		return new(Trap)
	case TypeTelemetry:
		return new(Telemetry)
	case TypeLogs:
		return new(Logs)
	case TypeInvoke:
		return new(Invoke)
	case TypeInvokeResult:
		return new(InvokeResult)
	case TypeMessageDown:
		return new(MessageDown)
	case TypeMessageUp:
		return new(MessageUp)
	}
	return nil
}

// walk writes or reads the type and then the fields of m. It is a type switch and not a method of Message so
// that neither m nor c escapes to the heap.
func walk(m Message, c *coder) {
	switch m := m.(type) {
	case *Ack:
		c.typ(TypeAck)
		m.walk(c)
	case *HeartbeatAck:
		c.typ(TypeHeartbeatAck)
		m.walk(c)
	case *Telemetry:
		c.typ(TypeTelemetry)
		m.walk(c)
	case *Heartbeat:
		c.typ(TypeHeartbeat)
		m.walk(c)
	case *Hello:
		c.typ(TypeHello)
		m.walk(c)
	case *Welcome:
		c.typ(TypeWelcome)
		m.walk(c)
	case *Error:
		c.typ(TypeError)
		m.walk(c)
	case *Goodbye:
		c.typ(TypeGoodbye)
		m.walk(c)
	case *Enroll:
		c.typ(TypeEnroll)
		m.walk(c)
	case *EnrollResult:
		c.typ(TypeEnrollResult)
		m.walk(c)
	case *Renew:
		c.typ(TypeRenew)
		m.walk(c)
	case *Command:
		c.typ(TypeCommand)
		m.walk(c)
	case *CommandResult:
		c.typ(TypeCommandResult)
		m.walk(c)
	case *ChunkRequest:
		c.typ(TypeChunkRequest)
		m.walk(c)
	case *Chunk:
		c.typ(TypeChunk)
		m.walk(c)
	case *Report:
		c.typ(TypeReport)
		m.walk(c)
	case *ReportRequest:
		c.typ(TypeReportRequest)
		m.walk(c)
	case *Trap:
		c.typ(TypeTrap)
		m.walk(c)
	case *Logs:
		c.typ(TypeLogs)
		m.walk(c)
	case *Invoke:
		c.typ(TypeInvoke)
		m.walk(c)
	case *InvokeResult:
		c.typ(TypeInvokeResult)
		m.walk(c)
	case *MessageDown:
		c.typ(TypeMessageDown)
		m.walk(c)
	case *MessageUp:
		c.typ(TypeMessageUp)
		m.walk(c)
	default:
		c.fail(schemaError("not a message"))
	}
}

// typ is key 0.
func (c *coder) typ(t Type) { number(c, 0, &t, required, uint64(t), uint64(t)) }

// Decode reads the body of a frame. It is strict: what it accepts obeys SPEC §4 and §5. Keys that it does
// not know are checked and then ignored. The message shares no memory with body. Errors are *WireError:
// layer cbor, or schema with CodeSchema or CodeUnknownType.
func Decode(body []byte) (Message, error) {
	t, _, err := PeekType(body)
	if err != nil {
		return nil, classify(body, err)
	}
	m := New(t)
	if m == nil {
		return nil, classify(body, &WireError{LayerSchema, CodeUnknownType, "unknown type " + t.String()})
	}
	if err := decode(body, m); err != nil {
		return nil, classify(body, err)
	}
	return m, nil
}

func decode(body []byte, m Message) *WireError {
	c := coder{b: body}
	outer := c.open()
	walk(m, &c)
	c.close(outer)
	if c.err == nil && c.i != len(body) {
		c.fail(cborError("%d bytes behind the body's map", len(body)-c.i))
	}
	return c.err
}

// classify decides the layer of an error: a body that breaks a CBOR rule anywhere is refused by the CBOR
// layer, whatever else is wrong with it.
func classify(body []byte, err error) error {
	w, ok := err.(*WireError)
	if !ok || w.Layer != LayerSchema {
		return err
	}
	if werr := Validate(body); werr != nil {
		return werr
	}
	return err
}

// Validate checks a body against the CBOR layer alone.
func Validate(body []byte) error {
	i, err := skip(body, 0, 0)
	if err != nil {
		return err
	}
	if i != len(body) {
		return cborError("%d bytes behind the body's map", len(body)-i)
	}
	return nil
}

// PeekType reads the type and the correlation id from the start of a body and checks nothing behind them.
// A type that this version does not know is returned without an error, unless it is above 255. With an
// error, the type or the id are what could be read.
func PeekType(body []byte) (t Type, id uint64, err error) {
	c := coder{b: body}
	c.open()
	c.m.n = min(c.m.n, 2) // the map ends here for us
	if c.field(0, true, required) {
		n := c.head(majorUint, "unsigned integer")
		switch {
		case c.err == nil && n > 255:
			c.fail(&WireError{LayerSchema, CodeUnknownType, "unknown type above 255"})
		case c.err == nil && n == 0:
			c.fail(schemaError("type 0"))
		default:
			t = Type(n)
		}
		c.next()
	}
	number(&c, 1, &id, required, 1, anyU64)
	if c.err != nil {
		return t, id, c.err
	}
	return t, id, nil
}

// Append appends m as a whole frame, header included, and does not allocate when dst has room (but for
// maps). A message that breaks a limit of SPEC is a *WireError of layer schema and dst is returned as it
// was; a body above MaxFrame one of layer frame.
func Append(dst []byte, m Message) ([]byte, error) {
	start := len(dst)
	c := coder{b: append(dst, 0, 0, 0, 0), enc: true}
	outer := c.open()
	walk(m, &c)
	c.close(outer)
	n := len(c.b) - start - HeaderSize
	if c.err == nil && n > MaxFrame {
		c.fail(&WireError{LayerFrame, CodeFrame, "body above the largest frame"})
	}
	if c.err != nil {
		return c.b[:start], c.err
	}
	putHeader(c.b[start:], n)
	return c.b, nil
}
