package retail

import "fmt"

// State is a document's place in its life. The machines are those of
// domain.md section 1.
type State string

// States of an Order.
const (
	Received      State = "received"
	Validated     State = "validated"
	Rejected      State = "rejected"
	Accepted      State = "accepted"
	OnHold        State = "on_hold"
	Sourcing      State = "sourcing"
	Backordered   State = "backordered"
	Released      State = "released"
	InFulfillment State = "in_fulfillment"
	Shipped       State = "shipped"
	Closed        State = "closed"
	Canceled      State = "canceled"
)

// States of a Shipment: received (announced by the warehouse) → recorded
// (stock and order moved) → closed (channel and ERP know it).
const Recorded State = "recorded"

var transitions = map[string]map[State][]State{
	"order": {
		Received:      {Validated, Rejected, Canceled},
		Validated:     {Accepted, OnHold},
		OnHold:        {Accepted, Canceled},
		Accepted:      {Sourcing, Canceled},
		Sourcing:      {Released, Backordered, OnHold, Canceled},
		Backordered:   {Sourcing, Canceled},
		Released:      {InFulfillment, Sourcing, Canceled},
		InFulfillment: {Shipped, Backordered, Canceled},
		Shipped:       {Closed},
	},
	"shipment": {
		Received: {Recorded, Rejected},
		Recorded: {Closed},
	},
}

// CanMove returns nil where a document of the type may go from one state to
// the other, or stay. Closed never reopens.
func CanMove(docType string, from, to State) error {
	if from == to {
		return nil
	}
	for _, s := range transitions[docType][from] {
		if s == to {
			return nil
		}
	}
	return fmt.Errorf("%s cannot go from %s to %s", docType, from, to)
}

// Final reports whether a document in this state needs nothing more.
func Final(docType string, s State) bool {
	_, moves := transitions[docType][s]
	return !moves
}
