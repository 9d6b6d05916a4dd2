//go:build unix

package tryton_test

import (
	"testing"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

func TestACustomerIsFoundByItsReferenceOnceItExists(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		ref := "conn_shop:" + newID()
		if _, found, err := c.FindCustomer(t.Context(), ref); err != nil || found {
			t.Fatalf("before: %t (%v)", found, err)
		}
		made, err := c.CreateCustomer(t.Context(), permit, ref, shopper())
		if err != nil {
			t.Fatal(err)
		}
		got, found, err := c.FindCustomer(t.Context(), ref)
		if err != nil || !found || got.Ref != made.Ref || got.Number == "" {
			t.Errorf("after: %+v, %t (%v), want %+v with a number", got, found, err, made)
		}
		if _, found, err := c.FindCustomer(t.Context(), ref+"0"); err != nil || found {
			t.Errorf("a longer reference: %t (%v)", found, err)
		}
	})
}

func TestACustomerMayLackWhatTrytonWouldRefuse(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		for name, person := range map[string]retail.Person{
			"nothing at all":       {},
			"a malformed e-mail":   {Name: "A", Email: "not an address"},
			"a phone without form": {Name: "A", Phone: "call me\nmaybe"},
			"a name of two lines":  {Name: "  Ann\n Lee "},
			"a name in emoji":      {Name: "🦄 山田"},
		} {
			t.Run(name, func(t *testing.T) {
				ref := "order:" + newID()
				if _, err := c.CreateCustomer(t.Context(), permit, ref, person); err != nil {
					t.Fatal(err)
				}
				if _, found, err := c.FindCustomer(t.Context(), ref); err != nil || !found {
					t.Errorf("found: %t (%v)", found, err)
				}
			})
		}
	})
}

func TestAnAddressIsFoundIfItIsTheSameInEveryField(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		customer, err := c.CreateCustomer(t.Context(), permit, "order:"+newID(), retail.Person{Name: "Zenobia Marker"})
		if err != nil {
			t.Fatal(err)
		}
		base := shopper().Shipping
		with := func(change func(a *retail.Address)) retail.Address {
			a := base
			change(&a)
			return a
		}
		for _, tc := range []struct {
			name    string
			address retail.Address
		}{
			{"a plain one", base},
			{"another person", with(func(a *retail.Address) { a.Name = "Someone Else" })},
			{"a company", with(func(a *retail.Address) { a.Company = "Marker & Sons" })},
			{"one line", with(func(a *retail.Address) { a.Line2 = "" })},
			{"another region", with(func(a *retail.Address) { a.Region = "WI" })},
			{"a region that the database lacks", with(func(a *retail.Address) { a.Country, a.Region = "DE", "BE" })},
			{"no region", with(func(a *retail.Address) { a.Country, a.Region = "DE", "" })},
			{"space around everything", with(func(a *retail.Address) { a.Line1, a.City, a.PostalCode = "  9 Elm  St ", " Markerville\t", " 1 " })},
			{"hardly anything", retail.Address{Country: "JP"}},
			{"nothing", retail.Address{}},
		} {
			t.Run(tc.name, func(t *testing.T) {
				if _, found, err := c.FindAddress(t.Context(), customer, tc.address); err != nil || found {
					t.Fatalf("before: %t (%v)", found, err)
				}
				made, err := c.CreateAddress(t.Context(), permit, customer, tc.address)
				if err != nil {
					t.Fatal(err)
				}
				if got, found, err := c.FindAddress(t.Context(), customer, tc.address); err != nil || !found || got.Ref != made.Ref {
					t.Errorf("after: %+v, %t (%v), want %+v", got, found, err, made)
				}
			})
		}
	})
}

func TestACustomersShippingAddressIsKeptAlong(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		customer, err := c.CreateCustomer(t.Context(), permit, "order:"+newID(), shopper())
		if err != nil {
			t.Fatal(err)
		}
		if _, found, err := c.FindAddress(t.Context(), customer, shopper().Shipping); err != nil || !found {
			t.Errorf("found: %t (%v)", found, err)
		}
		var kept []struct{ ID int64 }
		srs.administer(t, "model.party.address.search_read", &kept, []any{[]any{"party", "=", number(t, customer.Ref)}}, 0, nil, nil, []string{"id"}, company)
		if len(kept) != 1 || p.calls("model.party.address.create") != 0 {
			t.Errorf("%d addresses by %d calls of their own, want one by none", len(kept), p.calls("model.party.address.create"))
		}
	})
}

func TestACountryThatTheERPLacksIsNamed(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		customer, err := c.CreateCustomer(t.Context(), permit, "order:"+newID(), shopper())
		if err != nil {
			t.Fatal(err)
		}
		a := shopper().Shipping
		a.Country = "VA"
		_, err = c.CreateAddress(t.Context(), permit, customer, a)
		want := fault.Error{Kind: fault.Exception, Class: fault.MissingReference, Field: "shipping_address.country", Value: "VA"}
		wantFault(t, err, want)
		person := shopper()
		person.Shipping = a
		_, err = c.CreateCustomer(t.Context(), permit, "order:"+newID(), person)
		wantFault(t, err, want)
	})
}
