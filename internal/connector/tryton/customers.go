package tryton

import (
	"context"
	"fmt"
	"maps"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// settle is how long after a write of unknown outcome an empty read can be
// believed. Tryton commits before it answers and reads what is committed, so
// only a call that is still running counts: two minutes is twelve times the
// longest exchange that the platform waits for.
const settle = 2 * time.Minute

// CustomerSettle is how long an empty FindCustomer or FindAddress proves
// nothing.
func (c *Connector) CustomerSettle() time.Duration { return settle }

type party struct {
	Name        string    `json:"name"`
	Identifiers []command `json:"identifiers"`
	Contacts    []command `json:"contact_mechanisms,omitempty"`
	Addresses   []command `json:"addresses"`
}

type contact struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// CreateCustomer creates a party. ref becomes an identifier of it, without a
// type, so that the party's own number stays with Tryton's sequence. The
// shipping address is created along, and FindAddress finds it.
func (c *Connector) CreateCustomer(ctx context.Context, p effect.Permit, ref string, person retail.Person) (effect.Receipt, error) {
	if err := checkRef(ref); err != nil {
		return effect.Receipt{}, err
	}
	values := party{
		Name:        line(first(person.Name, person.Shipping.Name, person.Billing.Name, person.Shipping.Company, ref)),
		Identifiers: []command{create(map[string]any{"code": ref})},
	}
	// A contact that Tryton would refuse is left out rather than holding up
	// the order: the warehouse has it too.
	if m, err := mail.ParseAddress(person.Email); err == nil && m.Address == person.Email {
		values.Contacts = append(values.Contacts, create(contact{"email", person.Email}))
	}
	if phone := line(first(person.Phone, person.Shipping.Phone)); phone != "" {
		values.Contacts = append(values.Contacts, create(contact{"other", phone}))
	}
	return c.anew(func(r *records) (effect.Receipt, error) {
		if err := c.company(ctx, r); err != nil {
			return effect.Receipt{}, err
		}
		// Without any, Tryton would add an empty address of its own.
		values.Addresses = []command{}
		if person.Shipping != (retail.Address{}) {
			a, err := c.address(ctx, r, person.Shipping)
			if err != nil {
				return effect.Receipt{}, err
			}
			values.Addresses = append(values.Addresses, create(a.values(c.series)))
		}
		var made ids
		if err := c.write(ctx, p, "model.party.party.create", &made, []party{values}, c.context(r)); err != nil {
			return effect.Receipt{}, fmt.Errorf("creating the party: %w", err)
		}
		return createdReceipt(made)
	})
}

// createdReceipt is the receipt of the one record that was created.
func createdReceipt(made ids) (effect.Receipt, error) {
	if len(made) != 1 {
		return effect.Receipt{}, fault.New(fault.Retryable, fault.OutcomeUnknown, "Tryton's answer names %d new records instead of one", len(made)).OutcomeUnknown()
	}
	return effect.Receipt{Ref: reference(made[0])}, nil
}

// FindCustomer looks a party up by the identifier. Of several, which nothing
// in Tryton prevents, it is the oldest, so that every order finds the same.
func (c *Connector) FindCustomer(ctx context.Context, ref string) (effect.Receipt, bool, error) {
	if err := checkRef(ref); err != nil {
		return effect.Receipt{}, false, err
	}
	r, err := c.inCompany(ctx)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	var found []struct {
		ID   int64 `json:"id"`
		Code text  `json:"code"`
	}
	err = c.read(ctx, "model.party.party.search_read", &found,
		domain{{"identifiers.code", "=", ref}}, 0, 1, [][]string{{"id", "ASC"}}, []string{"code"}, c.context(r))
	if err != nil || len(found) == 0 {
		return effect.Receipt{}, false, err
	}
	return effect.Receipt{Ref: reference(found[0].ID), Number: string(found[0].Code)}, true, nil
}

func checkRef(ref string) error {
	if ref == "" || ref != line(ref) {
		return fault.New(fault.Permanent, fault.Validation, "cannot be kept as a party's identifier").At("customer_ref", ref)
	}
	return nil
}

// address is a party's address as Tryton keeps it.
type address struct {
	PartyName   text   `json:"party_name"`
	City        text   `json:"city"`
	PostalCode  text   `json:"postal_code"`
	Country     *int64 `json:"country"`
	Subdivision *int64 `json:"subdivision"`
	// Attn and Street have a field in each series, called attn and
	// street_unstructured or as series says.
	Attn, Street text `json:"-"`
}

// values are what is written, by field; the party comes with where it is written.
func (a address) values(s series) map[string]any {
	return map[string]any{
		"party_name": a.PartyName, "city": a.City, "postal_code": a.PostalCode,
		"country": a.Country, "subdivision": a.Subdivision, s.attn: a.Attn, s.street: a.Street,
	}
}

// CreateAddress adds an address to a party.
func (c *Connector) CreateAddress(ctx context.Context, p effect.Permit, customer effect.Receipt, a retail.Address) (effect.Receipt, error) {
	party, err := recordID(customer, "customer")
	if err != nil {
		return effect.Receipt{}, err
	}
	return c.anew(func(r *records) (effect.Receipt, error) {
		if err := c.company(ctx, r); err != nil {
			return effect.Receipt{}, err
		}
		want, err := c.address(ctx, r, a)
		if err != nil {
			return effect.Receipt{}, err
		}
		values := want.values(c.series)
		values["party"] = party
		var made ids
		if err := c.write(ctx, p, "model.party.address.create", &made, []map[string]any{values}, c.context(r)); err != nil {
			return effect.Receipt{}, fmt.Errorf("creating the address: %w", err)
		}
		return createdReceipt(made)
	})
}

// FindAddress looks among a party's addresses for one that is the same in
// every field that CreateAddress writes.
func (c *Connector) FindAddress(ctx context.Context, customer effect.Receipt, a retail.Address) (effect.Receipt, bool, error) {
	party, err := recordID(customer, "customer")
	if err != nil {
		return effect.Receipt{}, false, err
	}
	r, err := c.inCompany(ctx)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	want, err := c.address(ctx, r, a)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	var found []struct {
		ID int64 `json:"id"`
		address
		// The fields of the other series stay empty.
		Attn70   text `json:"name"`
		Attn80   text `json:"attn"`
		Street70 text `json:"street"`
		Street80 text `json:"street_unstructured"`
	}
	err = c.read(ctx, "model.party.address.search_read", &found,
		domain{{"party", "=", party}}, 0, nil, [][]string{{"id", "ASC"}}, slices.Sorted(maps.Keys(want.values(c.series))), c.context(r))
	if err != nil {
		return effect.Receipt{}, false, err
	}
	for _, f := range found {
		f.Attn, f.Street = f.Attn70+f.Attn80, f.Street70+f.Street80
		if f.same(want) {
			return effect.Receipt{Ref: reference(f.ID)}, true, nil
		}
	}
	return effect.Receipt{}, false, nil
}

func (a address) same(b address) bool {
	return a.PartyName == b.PartyName && a.Attn == b.Attn && a.Street == b.Street && a.City == b.City &&
		a.PostalCode == b.PostalCode && equal(a.Country, b.Country) && equal(a.Subdivision, b.Subdivision)
}

func equal(a, b *int64) bool { return a == b || (a != nil && b != nil && *a == *b) }

// address translates an address. A country that the database lacks is an
// exception; a region that it lacks is kept in the city, because nothing of an
// address may be lost in silence.
func (c *Connector) address(ctx context.Context, r *records, a retail.Address) (address, error) {
	out := address{PartyName: text(line(a.Name)), PostalCode: text(line(a.PostalCode)), City: text(line(a.City))}
	if company := line(a.Company); company != "" {
		out.PartyName, out.Attn = text(company), out.PartyName
	}
	out.Street = text(strings.Trim(line(a.Line1)+"\n"+line(a.Line2), "\n"))
	if a.Country == "" {
		out.City = withRegion(out.City, a.Region)
		return out, nil
	}
	found, err := c.place(ctx, r, a.Country, a.Region)
	if err != nil {
		return out, err
	}
	if found.country == nil {
		return out, fault.New(fault.Exception, fault.MissingReference, "Tryton has no country with this code").At("shipping_address.country", a.Country)
	}
	out.Country, out.Subdivision = found.country, found.subdivision
	if out.Subdivision == nil {
		out.City = withRegion(out.City, a.Region)
	}
	return out, nil
}

func withRegion(city text, region string) text {
	return text(strings.Trim(string(city)+", "+line(region), ", "))
}

// line makes one line of s, without space around it: Tryton stores it so.
func line(s string) string { return strings.Join(strings.Fields(s), " ") }

func first(values ...string) string {
	for _, v := range values {
		if strings.TrimSpace(v) != "" {
			return v
		}
	}
	return ""
}
