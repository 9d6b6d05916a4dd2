package tryton

import (
	"testing"

	"github.com/waybillhq/waybill/internal/fault"
)

// Of two parcels of one sale that are posted at once, the second waits for what
// the first leaves; what nobody leaves is for a person.
func TestAParcelWaitsForWhatAnotherOneLeaves(t *testing.T) {
	holds := func(state, ref string, n int64) parcel {
		p := parcel{ID: n, State: state, Reference: text(ref), Outgoing: ids{n}, Moves: []move{{ID: n, State: state, Quantity: quantity(n)}}}
		p.Moves[0].Product.Code = "MUG"
		return p
	}
	for name, c := range map[string]struct {
		parcels []parcel
		kind    fault.Kind
		chosen  int64
	}{
		"another has taken all of it":   {[]parcel{holds("waiting", "other", 5)}, fault.Retryable, 0},
		"another is on its way out":     {[]parcel{holds("packed", "other", 4)}, fault.Retryable, 0},
		"another is done and left it":   {[]parcel{holds("done", "other", 4), holds("waiting", "", 1)}, "", 1},
		"another is done and left none": {[]parcel{holds("done", "other", 5)}, fault.Exception, 0},
		"another was canceled":          {[]parcel{holds("cancelled", "other", 5)}, fault.Exception, 0},
		"it was begun before":           {[]parcel{holds("assigned", "mine", 7), holds("waiting", "other", 5)}, "", 7},
		"nobody has it":                 {nil, fault.Exception, 0},
	} {
		got, err := choose(c.parcels, "mine", map[string]int64{"MUG": 1})
		if f := fault.Of(err); (c.kind == "") != (err == nil) || f != nil && f.Kind != c.kind || got.ID != c.chosen {
			t.Errorf("%s: shipment %d, %v", name, got.ID, err)
		}
	}
}
