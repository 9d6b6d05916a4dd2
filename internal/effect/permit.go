// Package effect is the ledger of what the platform does to vendors. Every
// write to a vendor takes a Permit that only the ledger issues, so an effect
// is recorded before it is sent, sent at most once while its outcome is known,
// and read back before it is sent again.
package effect

import "errors"

// Permit allows one write. The zero Permit allows nothing.
type Permit struct{ key string }

// Key is stable over every attempt of one effect; connectors pass it as the
// vendor's idempotency key where there is one.
func (p Permit) Key() string { return p.key }

// ErrNoPermit is returned for a write with a zero Permit.
var ErrNoPermit = errors.New("vendor write without a permit of the effect ledger")

// Check returns ErrNoPermit for the zero Permit.
func (p Permit) Check() error {
	if p.key == "" {
		return ErrNoPermit
	}
	return nil
}

// Receipt is the vendor's reference for a confirmed effect.
type Receipt struct {
	Ref    string            `json:"ref"`              // the vendor's id, as a string
	Number string            `json:"number,omitempty"` // what people call it
	Data   map[string]string `json:"data,omitempty"`   // further facts that later steps need
}
