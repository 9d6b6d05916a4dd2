package mapping_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/retail"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// counting is a store that counts what is read of it.
type counting struct {
	mapping.Store
	lists, batches, pieces int
	fail                   error
}

func (c *counting) Maps(ctx context.Context, t retail.Tenant, connection string) ([]mapping.Map, error) {
	c.lists++
	if c.fail != nil {
		return nil, c.fail
	}
	return c.Store.Maps(ctx, t, connection)
}

func (c *counting) MapPieces(ctx context.Context, t retail.Tenant, connection string, k mapping.Kind, names []string) (map[string][]byte, error) {
	c.batches, c.pieces = c.batches+1, c.pieces+len(names)
	return c.Store.MapPieces(ctx, t, connection, k, names)
}

type bench struct {
	*testing.T
	store *counting
	book  mapping.Book
	now   time.Time
	acme  retail.Tenant
}

func newBench(t *testing.T) *bench {
	t.Helper()
	acme, err := retail.ParseTenant("acme")
	must(t, err)
	b := &bench{T: t, now: noon, acme: acme}
	clock := func() time.Time { return b.now }
	b.store = &counting{Store: memory.New(memory.Options{Now: clock, Dice: rand.New(rand.NewPCG(1, 2))})}
	b.book = mapping.Book{Store: b.store, Now: clock}
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) edit(connection string, k mapping.Kind) mapping.Edit {
	return mapping.Edit{Tenant: b.acme, Connection: connection, Kind: k, By: "pat", Reason: "renamed"}
}

func (b *bench) strict(connection string, k mapping.Kind) mapping.Edit {
	e, yes := b.edit(connection, k), true
	e.Strict = &yes
	return e
}

func (b *bench) set(e mapping.Edit, entries ...mapping.Entry) mapping.Map {
	b.Helper()
	m, _, err := b.book.Set(b.Context(), e, entries...)
	must(b.T, err)
	return m
}

func (b *bench) translator(connection string) *mapping.Translator {
	return &mapping.Translator{Tenant: b.acme, Connection: connection, Stored: &mapping.Reader{Store: b.store, Now: func() time.Time { return b.now }}}
}

func usd(n int64) retail.Money { return retail.Money{Amount: n, Currency: "USD"} }

// order is 2 × 10.00 + 1 × 5.00 with 1.50 tax and 5.00 shipping.
func order() retail.Order {
	return retail.Order{Schema: 1, ExternalID: "77", Number: "#1001", Currency: "USD", FinancialStatus: "paid", ShippingMethod: "Standard",
		Lines: []retail.OrderLine{
			{ID: "1", SKU: "MUG", Title: "Mug", UnitPrice: retail.PriceOf(usd(1000)), Taxes: []retail.TaxLine{{Title: "State Tax", Amount: usd(150)}},
				RequiresShipping: true, Quantities: retail.Quantities{Ordered: 2, Unallocated: 2}},
			{ID: "2", SKU: "CUP", Title: "Cup", UnitPrice: retail.PriceOf(usd(500)), RequiresShipping: true, Quantities: retail.Quantities{Ordered: 1, Unallocated: 1}},
		},
		Shipping: []retail.ShippingLine{{Title: "Standard", Price: usd(500), Taxes: []retail.TaxLine{{Title: "City Tax", Amount: usd(0)}}}},
		Totals:   retail.Totals{Lines: usd(2500), Shipping: usd(500), Tax: usd(150), Total: usd(3150), Discounts: usd(0), Duties: usd(0)},
	}
}

func decodes(from, to string) mapping.Entry {
	return mapping.Entry{Direction: mapping.Decode, From: from, To: to}
}

func encodes(from, to string) mapping.Entry {
	return mapping.Entry{Direction: mapping.Encode, From: from, To: to}
}

func TestAnOrderIsReadInOurWordsAndWrittenInTheirs(t *testing.T) {
	b := newBench(t)
	b.set(b.edit("shop", mapping.SKU), decodes("MUG", "MUG-STONE"))
	b.set(b.edit("shop", mapping.Tax), decodes("State Tax", "US-NY"), decodes("City Tax", "US-NYC"))
	b.set(b.edit("shop", mapping.Payment), decodes("paid", "settled"))
	b.set(b.edit("erp", mapping.SKU), encodes("MUG-STONE", "4711"))
	given := order()
	read, err := b.translator("shop").Order(t.Context(), mapping.Decode, given)
	must(t, err)
	if read.Lines[0].SKU != "MUG-STONE" || read.Lines[1].SKU != "CUP" || read.Lines[0].Taxes[0].Title != "US-NY" ||
		read.Shipping[0].Taxes[0].Title != "US-NYC" || read.FinancialStatus != "settled" {
		t.Errorf("read = %+v", read)
	}
	if len(read.Notes) != 1 || !strings.Contains(read.Notes[0], "sku map (version 1) changed 1 values") {
		t.Errorf("notes = %q", read.Notes)
	}
	if given.Lines[0].SKU != "MUG" || given.Lines[0].Taxes[0].Title != "State Tax" {
		t.Error("the order that was given has changed")
	}
	written, err := b.translator("erp").Order(t.Context(), mapping.Encode, read)
	must(t, err)
	if written.Lines[0].SKU != "4711" || written.Lines[1].SKU != "CUP" || read.Lines[0].SKU != "MUG-STONE" || len(written.Notes) != 1 {
		t.Errorf("written = %+v", written)
	}
}

func TestOneEntryServesBothWaysOfAWarehouse(t *testing.T) {
	b := newBench(t)
	b.set(b.edit("wms", mapping.SKU), encodes("MUG", "SB-1"))
	b.set(b.edit("wms", mapping.Carrier), decodes("USPS Priority", "usps"), encodes("Standard", "Ground"))
	b.set(b.edit("wms", mapping.Location), encodes("MAIN", "FC-7"))
	r, err := b.translator("wms").Release(t.Context(), retail.Release{Location: "MAIN", ShippingMethod: "Standard", Lines: []retail.ReleaseLine{{SKU: "MUG", Quantity: 2}}})
	must(t, err)
	if r.Lines[0].SKU != "SB-1" || r.ShippingMethod != "Ground" || r.Location != "FC-7" {
		t.Errorf("release = %+v", r)
	}
	s, err := b.translator("wms").Shipment(t.Context(), mapping.Decode, retail.Shipment{Carrier: "USPS Priority", Lines: []retail.ShipmentLine{{SKU: "SB-1", Quantity: 2}}})
	must(t, err)
	if s.Lines[0].SKU != "MUG" || s.Carrier != "usps" {
		t.Errorf("shipment = %+v", s)
	}
}

func TestSeveralValuesMayMeanOneAndTheFirstIsWritten(t *testing.T) {
	b := newBench(t)
	m := b.set(b.edit("wms", mapping.SKU), decodes("NEW", "MUG"), decodes("OLD", "MUG"))
	all := func(m mapping.Map) map[mapping.Direction]map[string]string {
		got, err := b.book.Entries(t.Context(), m)
		must(t, err)
		return got
	}
	if got := all(m); got[mapping.Decode]["OLD"] != "MUG" || got[mapping.Encode]["MUG"] != "NEW" {
		t.Errorf("entries = %v", got)
	}
	m, r, err := b.book.Unset(t.Context(), b.edit("wms", mapping.SKU), mapping.Decode, "NEW")
	must(t, err)
	if got := all(m); r.To != "MUG" || !r.Reverse || r.Instead != "OLD" || got[mapping.Encode]["MUG"] != "OLD" || len(got[mapping.Decode]) != 1 {
		t.Errorf("after unset = %v, removed %+v", got, r)
	}
	m = b.set(b.edit("wms", mapping.SKU), decodes("OLD", "CUP"))
	if got := all(m); got[mapping.Encode]["MUG"] != "" || got[mapping.Encode]["CUP"] != "OLD" || m.Version != 3 {
		t.Errorf("after another set = %v", got)
	}
	if _, _, err := b.book.Unset(t.Context(), b.edit("wms", mapping.SKU), mapping.Decode, "GONE"); !errors.Is(err, mapping.ErrNotFound) {
		t.Errorf("unset of what is not there: %v", err)
	}
}

func TestWhatWasSetBothWaysIsTakenOutBothWaysOnce(t *testing.T) {
	b := newBench(t)
	e := b.edit("wms", mapping.SKU)
	b.set(e, encodes("MUG", "SB-1"), encodes("CUP", "SB-2"), mapping.Entry{Direction: mapping.Decode, From: "SB-3", To: "CUP", OneWay: true}, encodes("SAME", "SAME"))
	for _, c := range []struct {
		from string
		want mapping.Removed
	}{
		{"MUG", mapping.Removed{Direction: mapping.Encode, From: "MUG", To: "SB-1", Reverse: true}},
		{"SB-2", mapping.Removed{Direction: mapping.Decode, From: "SB-2", To: "CUP", Reverse: true, Instead: "SB-3"}}, // from its other end
		{"SAME", mapping.Removed{Direction: mapping.Encode, From: "SAME", To: "SAME", Reverse: true}},
		{"SB-3", mapping.Removed{Direction: mapping.Decode, From: "SB-3", To: "CUP", Reverse: true}},
	} {
		m, r, err := b.book.Unset(t.Context(), e, "", c.from)
		if err != nil || r != c.want {
			t.Errorf("%s: %+v, %v", c.from, r, err)
		}
		again, _, err := b.book.Unset(t.Context(), e, "", c.from)
		if !errors.Is(err, mapping.ErrNotFound) || again.Version != m.Version {
			t.Errorf("%s again: version %d, %v", c.from, again.Version, err)
		}
	}
	m, err := b.book.Current(t.Context(), e.Tenant, e.Connection, e.Kind)
	must(t, err)
	if m.Decode.Entries+m.Encode.Entries != 0 {
		t.Errorf("%d to decode and %d to encode are left", m.Decode.Entries, m.Encode.Entries)
	}
	b.set(e, encodes("A", "B"), decodes("A", "C"))
	if _, _, err := b.book.Unset(t.Context(), e, "", "A"); !errors.Is(err, mapping.ErrBothWays) {
		t.Errorf("of what stands in both directions: %v", err)
	}
	if _, r, err := b.book.Unset(t.Context(), e, mapping.Decode, "A"); err != nil || r.To != "C" || !r.Reverse {
		t.Errorf("in one direction: %+v, %v", r, err)
	}
}

func TestAStrictMapParksOneDocumentAndSaysWhere(t *testing.T) {
	b := newBench(t)
	b.set(b.strict("shop", mapping.SKU), decodes("MUG", "MUG-STONE"))
	b.set(b.strict("erp", mapping.SKU), encodes("MUG-STONE", "4711"))
	for _, c := range []struct {
		name, connection string
		d                mapping.Direction
		field, value     string
	}{
		{"what is read", "shop", mapping.Decode, "lines[1].sku", "CUP"},
		{"what is written", "erp", mapping.Encode, "erp:lines[0].sku", "MUG"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := b.translator(c.connection).Order(t.Context(), c.d, order())
			f := fault.Of(err)
			if f == nil || f.Kind != fault.Exception || f.Class != fault.Mapping || f.Field != c.field || f.Value != c.value {
				t.Fatalf("err = %+v", err)
			}
			l := document.Life{Now: func() time.Time { return noon }, NewID: func() string { return "x" }}
			x := l.NewException(b.acme, "shop", err)
			w := mapping.Waiting{Tenant: b.acme, Connection: c.connection, Kind: mapping.SKU, Value: c.value, Channels: []string{"shop"}}
			if !slices.Contains(w.Fingerprints(), x.Fingerprint) || !w.Match(x) || w.Direction(x) != c.d {
				t.Errorf("the exception %+v is not among %v", x, w.Fingerprints())
			}
			for what, other := range map[string]mapping.Waiting{
				"another value":      {Tenant: b.acme, Connection: c.connection, Kind: mapping.SKU, Value: "X"},
				"another connection": {Tenant: b.acme, Connection: "else", Kind: mapping.SKU, Value: c.value},
				"another kind":       {Tenant: b.acme, Connection: c.connection, Kind: mapping.Tax, Value: c.value},
				"another retailer":   {Connection: c.connection, Kind: mapping.SKU, Value: c.value, Channels: []string{"shop"}},
			} {
				if other.Match(x) {
					t.Errorf("%s matches", what)
				}
			}
		})
	}
	if _, err := b.translator("erp").ReadingBack().Order(t.Context(), mapping.Encode, order()); err != nil {
		t.Errorf("a read-back is refused: %v", err)
	}
}

func TestAFingerprintIsTheSameWhereverTheValueStands(t *testing.T) {
	b := newBench(t)
	b.set(b.strict("shop", mapping.SKU), decodes("MUG", "MUG-STONE"))
	seen := map[string]bool{}
	for n := range 4 {
		o := order()
		o.Lines = slices.Insert(o.Lines, 0, slices.Repeat([]retail.OrderLine{{SKU: "MUG"}}, n)...)
		_, err := b.translator("shop").Order(t.Context(), mapping.Decode, o)
		seen[document.Fingerprint(fault.Of(err), "shop")] = true
	}
	if len(seen) != 1 {
		t.Errorf("%d fingerprints of one cause", len(seen))
	}
}

func TestAStrictMapOfOneWaySaysNothingOfTheOther(t *testing.T) {
	b := newBench(t)
	b.set(b.strict("wms", mapping.Carrier), mapping.Entry{Direction: mapping.Decode, From: "USPS", To: "usps", OneWay: true})
	if _, err := b.translator("wms").Release(t.Context(), retail.Release{ShippingMethod: "Whatever"}); err != nil {
		t.Errorf("the other way: %v", err)
	}
	if _, err := b.translator("wms").Shipment(t.Context(), mapping.Decode, retail.Shipment{Carrier: "DHL"}); err == nil {
		t.Error("its own way passes")
	}
	if _, err := b.translator("wms").Shipment(t.Context(), mapping.Decode, retail.Shipment{}); err != nil {
		t.Errorf("a field without a value: %v", err)
	}
}

func TestAMapOfTheFileGoesBeforeAStoredOne(t *testing.T) {
	b := newBench(t)
	b.set(b.edit("shop", mapping.SKU), decodes("MUG", "STORED"), decodes("CUP", "STORED"))
	tr := b.translator("shop")
	tr.Fixed = map[mapping.Kind]mapping.Fixed{mapping.SKU: mapping.Fixed{Decode: map[string]string{"MUG": "FILE"}}.Complete()}
	o, err := tr.Order(t.Context(), mapping.Decode, order())
	must(t, err)
	if o.Lines[0].SKU != "FILE" || o.Lines[1].SKU != "CUP" {
		t.Errorf("skus = %s %s", o.Lines[0].SKU, o.Lines[1].SKU)
	}
	back, err := tr.Order(t.Context(), mapping.Encode, o)
	must(t, err)
	if back.Lines[0].SKU != "MUG" {
		t.Errorf("written as %s", back.Lines[0].SKU)
	}
	several := mapping.Fixed{Decode: map[string]string{"A": "X", "B": "X", "C": "Y"}}.Complete()
	if !maps.Equal(several.Encode, map[string]string{"Y": "C"}) {
		t.Errorf("reverse = %v", several.Encode)
	}
}

func TestAChangeIsSeenWithinAMinuteAndAFailureIsNotKept(t *testing.T) {
	b := newBench(t)
	tr := b.translator("shop")
	sku := func() string {
		t.Helper()
		o, err := tr.Order(t.Context(), mapping.Decode, order())
		must(t, err)
		return o.Lines[0].SKU
	}
	b.store.fail = errors.New("down")
	if _, err := tr.Order(t.Context(), mapping.Decode, order()); fault.KindOf(err) != fault.Retryable {
		t.Errorf("a failed read: %v", err)
	}
	b.store.fail = nil
	if got := sku(); got != "MUG" {
		t.Errorf("before = %s", got)
	}
	b.set(b.edit("shop", mapping.SKU), decodes("MUG", "A"))
	if got := sku(); got != "MUG" {
		t.Errorf("at once = %s", got)
	}
	b.now = b.now.Add(mapping.Keep)
	if got := sku(); got != "A" {
		t.Errorf("after a minute = %s", got)
	}
}

func TestAValueThatWasMappedAMomentAgoIsFoundByWhatWaitedForIt(t *testing.T) {
	b := newBench(t)
	b.set(b.strict("shop", mapping.SKU), decodes("MUG", "A"))
	tr := b.translator("shop")
	if _, err := tr.Order(t.Context(), mapping.Decode, order()); fault.Of(err) == nil {
		t.Fatalf("err = %v", err)
	}
	b.set(b.edit("shop", mapping.SKU), decodes("CUP", "B"))
	b.now = b.now.Add(2 * time.Second)
	o, err := tr.Order(t.Context(), mapping.Decode, order())
	if err != nil || o.Lines[1].SKU != "B" {
		t.Errorf("sku = %s, %v", o.Lines[1].SKU, err)
	}
}

func TestFiftyThousandEntriesCostAnOrderOneReadOfFewPieces(t *testing.T) {
	b := newBench(t)
	entries := make([]mapping.Entry, 50_000)
	for i := range entries {
		entries[i] = decodes(fmt.Sprintf("VENDOR-%06d", i), fmt.Sprintf("OURS-%06d", i))
	}
	draft, err := b.book.Draft(t.Context(), b.edit("shop", mapping.SKU), false, entries)
	must(t, err)
	if draft.Decode.Entries != 50_000 || draft.Encode.Entries != 50_000 || len(draft.Decode.Pieces) != 128 {
		t.Fatalf("draft = %d and %d entries in %d pieces", draft.Decode.Entries, draft.Encode.Entries, len(draft.Decode.Pieces))
	}
	tr := b.translator("shop")
	o := order()
	o.Lines[0].SKU, o.Lines[1].SKU = "VENDOR-000007", "VENDOR-049999"
	if got, err := tr.Order(t.Context(), mapping.Decode, o); err != nil || got.Lines[0].SKU != "VENDOR-000007" {
		t.Errorf("the draft is used: %v, %v", got.Lines[0].SKU, err)
	}
	m, err := b.book.Apply(t.Context(), b.edit("shop", mapping.SKU))
	must(t, err)
	b.now = b.now.Add(mapping.Keep)
	*b.store = counting{Store: b.store.Store}
	for range 3 {
		got, err := tr.Order(t.Context(), mapping.Decode, o)
		must(t, err)
		if got.Lines[0].SKU != "OURS-000007" || got.Lines[1].SKU != "OURS-049999" {
			t.Errorf("skus = %s %s", got.Lines[0].SKU, got.Lines[1].SKU)
		}
	}
	if b.store.lists != 1 || b.store.batches != 1 || b.store.pieces > 2 {
		t.Errorf("three orders cost %d listings and %d reads of %d pieces", b.store.lists, b.store.batches, b.store.pieces)
	}
	// One entry more changes one piece of each direction.
	next := b.set(b.edit("shop", mapping.SKU), decodes("VENDOR-X", "OURS-X"))
	same := 0
	for i, name := range m.Decode.Pieces {
		if next.Decode.Pieces[i] == name {
			same++
		}
	}
	if same != len(m.Decode.Pieces)-1 || next.Version != 2 {
		t.Errorf("%d of %d pieces are shared", same, len(m.Decode.Pieces))
	}
}

func TestADraftOfAnOlderVersionIsNotApplied(t *testing.T) {
	b := newBench(t)
	_, err := b.book.Draft(t.Context(), b.edit("shop", mapping.SKU), false, []mapping.Entry{decodes("A", "B")})
	must(t, err)
	b.set(b.edit("shop", mapping.SKU), decodes("C", "D"))
	if _, err := b.book.Apply(t.Context(), b.edit("shop", mapping.SKU)); !errors.Is(err, mapping.ErrStale) {
		t.Errorf("err = %v", err)
	}
	if _, err := b.book.Apply(t.Context(), b.edit("shop", mapping.Tax)); !errors.Is(err, mapping.ErrNotFound) {
		t.Errorf("err = %v", err)
	}
}

func TestAnAppliedDraftIsCurrentAndGone(t *testing.T) {
	b := newBench(t)
	_, err := b.book.Draft(t.Context(), b.strict("shop", mapping.SKU), false, []mapping.Entry{decodes("A", "B")})
	must(t, err)
	m, err := b.book.Apply(t.Context(), b.edit("shop", mapping.SKU))
	must(t, err)
	if current, err := b.book.Current(t.Context(), b.acme, "shop", mapping.SKU); err != nil || current.Version != m.Version || !current.Strict {
		t.Errorf("%+v, %v", current, err)
	}
	if _, err := b.store.MapDraft(t.Context(), b.acme, "shop", mapping.SKU); !errors.Is(err, mapping.ErrNotFound) {
		t.Errorf("the draft: %v", err)
	}
}

func TestAMapStaysStrictUntilSomebodySaysOtherwise(t *testing.T) {
	b := newBench(t)
	b.set(b.strict("shop", mapping.SKU), decodes("A", "B"))
	if m := b.set(b.edit("shop", mapping.SKU), decodes("C", "D")); !m.Strict {
		t.Error("an entry more, and it is strict no longer")
	}
	e, no := b.edit("shop", mapping.SKU), false
	e.Strict = &no
	if m := b.set(e); m.Strict {
		t.Error("it is strict although somebody said otherwise")
	}
}

// Both call their channel shop and read through one warm function.
func TestMapsAndDraftsAreTheirRetailersOwn(t *testing.T) {
	b := newBench(t)
	other, err := retail.ParseTenant("beta")
	must(t, err)
	b.set(b.edit("shop", mapping.SKU), decodes("MUG", "ACME-MUG"))
	mine := b.translator("shop")
	theirs := *mine
	theirs.Tenant = other
	for range 2 {
		for _, c := range []struct {
			by   *mapping.Translator
			want string
		}{{mine, "ACME-MUG"}, {&theirs, "MUG"}} {
			if o, err := c.by.Order(t.Context(), mapping.Decode, order()); err != nil || o.Lines[0].SKU != c.want {
				t.Errorf("%s reads %s, %v", c.by.Tenant, o.Lines[0].SKU, err)
			}
		}
	}
	proposed := mapping.Proposed{Store: b.store, Draft: mapping.Map{Tenant: other, Connection: "shop", Kind: mapping.SKU, Version: 9}}
	if list, err := proposed.Maps(t.Context(), b.acme, "shop"); err != nil || len(list) != 1 || list[0].Version != 1 {
		t.Errorf("with another's draft: %+v, %v", list, err)
	}
}

// Whatever was stored after the version that names it, or not at all.
func TestAPieceThatIsMissingIsNoEmptyOne(t *testing.T) {
	b := newBench(t)
	m := b.set(b.edit("shop", mapping.SKU), decodes("MUG", "ACME-MUG"))
	m.Version, m.Decode.Pieces = 2, []string{"gone"}
	must(t, b.store.PutMap(t.Context(), m))
	if _, err := b.translator("shop").Order(t.Context(), mapping.Decode, order()); err == nil || fault.KindOf(err) != fault.Retryable {
		t.Errorf("err = %v", err)
	}
}

func TestAStrictMapWithoutEntriesHasNothing(t *testing.T) {
	b := newBench(t)
	b.set(b.strict("shop", mapping.SKU))
	for _, d := range []mapping.Direction{mapping.Decode, mapping.Encode} {
		if _, err := b.translator("shop").Order(t.Context(), d, order()); fault.Of(err) == nil || fault.Of(err).Class != fault.Mapping {
			t.Errorf("%s: %v", d, err)
		}
	}
}

func TestWhatAChannelSaysOfAPaymentIsNotSaidToOthers(t *testing.T) {
	b := newBench(t)
	tr := b.translator("erp")
	tr.Fixed = map[mapping.Kind]mapping.Fixed{mapping.Payment: {Decode: map[string]string{"paid": "bezahlt"}, Encode: map[string]string{"paid": "bezahlt"}}}
	for d, want := range map[mapping.Direction]string{mapping.Decode: "bezahlt", mapping.Encode: "paid"} {
		if o, err := tr.Order(t.Context(), d, order()); err != nil || o.FinancialStatus != want {
			t.Errorf("%s: %s, %v", d, o.FinancialStatus, err)
		}
	}
}

func TestManyDocumentsThatLackAValueLookForItOnceASecond(t *testing.T) {
	b := newBench(t)
	b.set(b.strict("shop", mapping.SKU), decodes("CUP", "ACME-CUP"))
	tr := b.translator("shop")
	for range 20 {
		if _, err := tr.Order(t.Context(), mapping.Decode, order()); err == nil {
			t.Fatal("a value that a strict map lacks passes")
		}
	}
	if b.store.lists > 2+1 { // the book's look, and the reader's twice
		t.Errorf("%d looks", b.store.lists)
	}
}

func TestOnlyWhatWaitsForAMappingIsLetGoOn(t *testing.T) {
	b := newBench(t)
	w := mapping.Waiting{Tenant: b.acme, Connection: "erp", Kind: mapping.SKU, Value: "MUG", Channels: []string{"shop"}}
	for name, c := range map[string]struct {
		x     document.Exception
		waits bool
	}{
		"read from the system":        {document.Exception{Connection: "erp", Class: "mapping", Field: "lines[0].sku"}, true},
		"written to it":               {document.Exception{Connection: "shop", Class: "mapping", Field: "erp:lines[3].sku"}, true},
		"written to another":          {document.Exception{Connection: "shop", Class: "mapping", Field: "warehouse:lines[3].sku"}, false},
		"of a channel that goes by":   {document.Exception{Connection: "shop2", Class: "mapping", Field: "lines[0].sku"}, false},
		"of another field":            {document.Exception{Connection: "erp", Class: "mapping", Field: "carrier"}, false},
		"stopped by something else":   {document.Exception{Connection: "erp", Class: "inventory_shortage", Field: "lines[0].sku"}, false},
		"of a value like it, not cut": {document.Exception{Connection: "erp", Class: "mapping", Field: "lines[0].sku", Value: "MU"}, false},
	} {
		c.x.Tenant = b.acme
		if c.x.Value == "" {
			c.x.Value = "MUG"
		}
		if got := w.Match(c.x); got != c.waits {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestTwoTranslationsDifferByWhatTheySayNotByHowTheyWereMade(t *testing.T) {
	a, c := order(), order()
	a.Notes, c.Lines[1].SKU = []string{"sku map (version 1) changed 1 values"}, "ACME-CUP"
	got, err := mapping.Diff(a, c)
	if want := []mapping.Difference{{Field: "lines[1].sku", Was: "CUP", Is: "ACME-CUP"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNoMapEverChangesMoneyOrQuantities(t *testing.T) {
	b := newBench(t)
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.MapOfN(rapid.StringMatching(`[A-Z]{1,3}`), rapid.StringMatching(`[A-Z]{1,3}`), 0, 20)
		both := mapping.Fixed{Decode: values.Draw(t, "decode"), Encode: values.Draw(t, "encode")}.Complete()
		tr := &mapping.Translator{Tenant: b.acme, Connection: "shop", Fixed: map[mapping.Kind]mapping.Fixed{}}
		for _, k := range mapping.Kinds() {
			tr.Fixed[k] = both
		}
		o := order()
		word := rapid.StringMatching(`[A-Z]{1,3}`)
		for i := range o.Lines {
			o.Lines[i].SKU = word.Draw(t, "sku")
			o.Lines[i].Taxes = []retail.TaxLine{{Title: word.Draw(t, "tax"), Amount: usd(rapid.Int64Range(-9999, 9999).Draw(t, "amount"))}}
		}
		want, wantErr := retail.Certify(o)
		for _, d := range []mapping.Direction{mapping.Decode, mapping.Encode} {
			got, err := tr.Order(context.Background(), d, o)
			if err != nil {
				t.Fatal(err)
			}
			cert, err := retail.Certify(got)
			if fmt.Sprint(cert, err) != fmt.Sprint(want, wantErr) || got.Totals != o.Totals {
				t.Fatalf("certificate %v, %v; was %v, %v", cert, err, want, wantErr)
			}
			for i := range o.Lines {
				if got.Lines[i].Quantities != o.Lines[i].Quantities || got.Lines[i].UnitPrice != o.Lines[i].UnitPrice || got.Lines[i].Taxes[0].Amount != o.Lines[i].Taxes[0].Amount {
					t.Fatalf("line %d changed: %+v", i, got.Lines[i])
				}
			}
		}
	})
}

func TestAValueThatNobodyMeansIsRefused(t *testing.T) {
	b := newBench(t)
	for name, v := range map[string]string{"empty": "", "a blank at the end": "A ", "a line break": "A\nB", "too long": strings.Repeat("A", 201), "no UTF-8": "A\xff"} {
		if mapping.CheckValue(v) == nil {
			t.Errorf("%s is accepted", name)
		}
		if _, _, err := b.book.Set(t.Context(), b.edit("shop", mapping.SKU), decodes("A", v)); err == nil {
			t.Errorf("%s is stored", name)
		}
	}
	if _, err := mapping.ParseKind("colour"); err == nil {
		t.Error("an unknown kind is accepted")
	}
}
