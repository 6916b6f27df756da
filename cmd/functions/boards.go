package main

import (
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/functions"
	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/provisioner"
)

// forAPI is what the REST API needs of other parts' code.
func forAPI() (functions.APIDeps, error) { return functions.APIDeps{Boards: boards()}, nil }

// boards is the table of boards as the REST API has it.
func boards() []api.Board {
	var out []api.Board
	for _, b := range provisioner.Boards() {
		row := api.Board{Name: b.Name, CPU: b.CPU, RAM: b.RAM, Flash: b.Flash, Zephyr: b.Zephyr, Renode: b.Renode, QEMU: b.QEMU,
			ModuleMemory: b.ModuleMemory, ModuleSize: b.ModuleSize, Refused: b.Refused, Truth: truth(b)}
		for _, t := range b.Transports() {
			row.Transports = append(row.Transports, word(t))
		}
		for _, t := range b.Truth {
			row.Seen = append(row.Seen, api.Seen{Status: string(t.Status), Transport: word(t.Transport), When: t.When, With: t.With, Test: t.Test, Note: t.Note})
		}
		out = append(out, row)
	}
	return out
}

// truth is the best that was seen of a board, in a few words.
func truth(b provisioner.Board) string {
	best := b.Best()
	for _, t := range b.Truth {
		if t.Status != best {
			continue
		}
		out := string(best)
		for _, more := range []string{t.When, t.With} {
			if more != "" {
				out += ", " + more
			}
		}
		if best != provisioner.StatusRun && t.Note != "" {
			out += ": " + t.Note
		}
		return out
	}
	return string(best)
}

// word is a transport as the API spells it.
func word(t provisioner.Transport) string {
	switch t {
	case provisioner.Ethernet:
		return v1alpha1.TransportEthernet
	case provisioner.Serial:
		return v1alpha1.TransportSerial
	}
	return string(t)
}
