// Package effecttest lets connectors' tests call vendor writes without a
// ledger.
package effecttest

import "github.com/waybillhq/waybill/internal/effect"

// Permit returns a permit with the given key.
func Permit(key string) effect.Permit { return effect.PermitForTest(key) }
