package gateway

import (
	"context"

	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
)

// States of a gateway process, as in affinity.Instance and event.GatewayInstance.
const (
	stateUp       = "Up"
	stateDraining = "Draining"
	stateDown     = "Down"
	stateDisabled = "Disabled" // its Gateway object is switched off
)

func (g *Gateway) state() string {
	switch {
	case g.draining.Load():
		return stateDraining
	case g.settings().disabled:
		return stateDisabled
	}
	return stateUp
}

// register keeps this process's entry, and says so by event when its state or its devices changed.
func (g *Gateway) register() {
	g.registering.Lock()
	defer g.registering.Unlock()
	if g.said.state == stateDown {
		return
	}
	ctx, cancel := g.redisContext()
	defer cancel()
	address := g.cfg.Address
	if address == "" {
		address = g.settings().address
	}
	state, devices := g.state(), g.hub.devicesOpen()
	err := g.affinity.Register(ctx, affinity.Instance{
		ID: g.cfg.Instance, Namespace: g.cfg.Namespace, Gateway: g.cfg.Gateway, Address: address, Devices: devices,
		State: state, Started: g.started,
	}, registerTTL)
	if err != nil {
		g.redisFailed(err)
		return
	}
	era, _ := g.era.Load().(string)
	said := instanceSaid{state: state, devices: devices, era: era}
	if said != g.said {
		if g.changed(state, devices) == nil {
			g.said = said
		}
	}
}

// instanceSaid is what the last gateway.changed said. Under registering.
type instanceSaid struct {
	state   string
	devices int
	era     string // said again when the ledger was lost
}

func (g *Gateway) changed(state string, devices int) error {
	return g.say(event.GatewayChanged, "", event.GatewayInstance{
		Namespace: g.cfg.Namespace, Gateway: g.cfg.Gateway, Instance: g.cfg.Instance, State: state, Devices: devices,
	}, subject(g.subject))
}

// unregister says that this process is gone. Nothing is registered after it.
func (g *Gateway) unregister(ctx context.Context) {
	g.registering.Lock()
	defer g.registering.Unlock()
	g.said.state = stateDown
	if err := g.changed(stateDown, 0); err != nil {
		g.log.Debug("not said to be down", "err", err)
	}
	if err := g.affinity.Unregister(ctx, g.cfg.Instance); err != nil {
		g.log.Debug("not unregistered; the entry lapses", "err", err)
	}
}
