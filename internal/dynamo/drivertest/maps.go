package drivertest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/retail"
)

var mapTests = []test{
	{"AMapsVersionsFollowOneAnother", mapVersions},
	{"OneOfTwoWhoChangeAMapAtOnceWins", mapOnce},
	{"MapsBelongToOneConnectionOfOneRetailer", mapOwners},
	{"ADraftIsKeptReplacedAndRemovedAndIsNotCurrent", mapDraft},
	{"PiecesOfAMapAreReadByName", mapPieces},
}

func newMap(tn retail.Tenant, connection string, k mapping.Kind, version int64) mapping.Map {
	return mapping.Map{Schema: 1, Tenant: tn, Connection: connection, Kind: k, Version: version, Base: version - 1, Strict: version%2 == 0,
		Decode: mapping.Index{Entries: int(version), Pieces: []string{"", "a"}}, By: "somebody", Reason: fmt.Sprint("because ", version), At: Now}
}

func mapVersions(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	if got, err := d.Store.Maps(t.Context(), tn, "shop"); err != nil || len(got) != 0 {
		t.Errorf("before: %v, %v", got, err)
	}
	if err := putMap(t.Context(), d.Store, newMap(tn, "shop", mapping.SKU, 2)); !errors.Is(err, document.ErrConflict) {
		t.Errorf("the second before the first: %v", err)
	}
	for v := int64(1); v <= 3; v++ {
		must(t, putMap(t.Context(), d.Store, newMap(tn, "shop", mapping.SKU, v)))
		got, err := d.Store.Maps(t.Context(), tn, "shop")
		must(t, err)
		same(t, "maps", []mapping.Map{newMap(tn, "shop", mapping.SKU, v)}, got)
	}
	for _, v := range []int64{1, 3, 5} {
		if err := putMap(t.Context(), d.Store, newMap(tn, "shop", mapping.SKU, v)); !errors.Is(err, document.ErrConflict) {
			t.Errorf("version %d after 3: %v", v, err)
		}
	}
	got, err := d.Store.MapVersion(t.Context(), tn, "shop", mapping.SKU, 2)
	must(t, err)
	same(t, "version 2", newMap(tn, "shop", mapping.SKU, 2), got)
	if _, err := d.Store.MapVersion(t.Context(), tn, "shop", mapping.SKU, 4); !errors.Is(err, mapping.ErrNotFound) {
		t.Errorf("version 4: %v", err)
	}
}

// putMap repeats what was refused because of others at the same time.
func putMap(ctx context.Context, s Store, m mapping.Map) error {
	return again(func() error { return s.PutMap(ctx, m) })
}

func mapOnce(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	for v := int64(1); v <= 2; v++ {
		won := count(t, 5, func(n int) (bool, error) {
			m := newMap(tn, "shop", mapping.Tax, v)
			m.By = fmt.Sprint("person ", n)
			err := putMap(context.Background(), d.Store, m)
			if errors.Is(err, document.ErrConflict) {
				return false, nil
			}
			return err == nil, err
		})
		if won != 1 {
			t.Errorf("%d changed it to version %d", won, v)
		}
	}
}

func mapOwners(t *testing.T, d Driver) {
	want := map[string][]mapping.Map{}
	for _, name := range []string{"acme", "acme2"} {
		tn := tenant(t, name)
		for _, connection := range []string{"shop", "shop2"} {
			// In the order of their names, which is the order of the listing.
			for _, k := range []mapping.Kind{mapping.Carrier, mapping.SKU, mapping.Tax} {
				m := newMap(tn, connection, k, 1)
				must(t, putMap(t.Context(), d.Store, m))
				must(t, again(func() error { return d.Store.PutMapDraft(t.Context(), newMap(tn, connection, k, 2)) }))
				must(t, d.Store.PutMapPieces(t.Context(), tn, connection, k, map[string][]byte{"a": []byte(name + connection + string(k))}))
				want[name+connection] = append(want[name+connection], m)
			}
		}
	}
	for _, name := range []string{"acme", "acme2"} {
		for _, connection := range []string{"shop", "shop2"} {
			got, err := d.Store.Maps(t.Context(), tenant(t, name), connection)
			must(t, err)
			same(t, "maps of "+name+" "+connection, want[name+connection], got)
			pieces, err := d.Store.MapPieces(t.Context(), tenant(t, name), connection, mapping.Tax, []string{"a"})
			must(t, err)
			same(t, "pieces", map[string][]byte{"a": []byte(name + connection + "tax")}, pieces)
		}
	}
}

func mapDraft(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	missing := func(when string) {
		t.Helper()
		if _, err := d.Store.MapDraft(t.Context(), tn, "shop", mapping.SKU); !errors.Is(err, mapping.ErrNotFound) {
			t.Errorf("%s: %v", when, err)
		}
	}
	missing("before")
	for v := int64(1); v <= 2; v++ {
		must(t, again(func() error { return d.Store.PutMapDraft(t.Context(), newMap(tn, "shop", mapping.SKU, v)) }))
		got, err := d.Store.MapDraft(t.Context(), tn, "shop", mapping.SKU)
		must(t, err)
		same(t, "draft", newMap(tn, "shop", mapping.SKU, v), got)
	}
	if got, err := d.Store.Maps(t.Context(), tn, "shop"); err != nil || len(got) != 0 {
		t.Errorf("a draft is current: %v, %v", got, err)
	}
	for range 2 {
		must(t, d.Store.DeleteMapDraft(t.Context(), tn, "shop", mapping.SKU))
		missing("after")
	}
}

func mapPieces(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	pieces, names := map[string][]byte{}, []string{"unknown"}
	for i := range 250 {
		name := fmt.Sprintf("p%03d", i)
		pieces[name] = fmt.Appendf(nil, "piece %d", i)
		names = append(names, name)
	}
	for range 2 {
		must(t, d.Store.PutMapPieces(t.Context(), tn, "shop", mapping.SKU, pieces))
	}
	got, err := d.Store.MapPieces(t.Context(), tn, "shop", mapping.SKU, names)
	must(t, err)
	same(t, "pieces", pieces, got)
	if got, err := d.Store.MapPieces(t.Context(), tn, "shop", mapping.SKU, nil); err != nil || len(got) != 0 {
		t.Errorf("none = %v, %v", got, err)
	}
}
