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
// type, so that the party's own number stays with Tryton's sequence.
func (c *Connector) CreateCustomer(ctx context.Context, p effect.Permit, ref string, person retail.Person) (effect.Receipt, error) {
	if err := checkRef(ref); err != nil {
		return effect.Receipt{}, err
	}
	r, err := c.setup(ctx)
	if err != nil {
		return effect.Receipt{}, err
	}
	values := party{
		Name:        line(first(person.Name, person.Shipping.Name, person.Billing.Name, person.Shipping.Company, ref)),
		Identifiers: []command{create(map[string]any{"code": ref})},
		// Tryton would add an empty address of its own.
		Addresses: []command{},
	}
	// A contact that Tryton would refuse is left out rather than holding up
	// the order: the warehouse has it too.
	if m, err := mail.ParseAddress(person.Email); err == nil && m.Address == person.Email {
		values.Contacts = append(values.Contacts, create(contact{"email", person.Email}))
	}
	if phone := line(first(person.Phone, person.Shipping.Phone)); phone != "" {
		values.Contacts = append(values.Contacts, create(contact{"other", phone}))
	}
	var made ids
	if err := c.write(ctx, p, "model.party.party.create", &made, []party{values}, c.context(r)); err != nil {
		return effect.Receipt{}, fmt.Errorf("creating the party: %w", err)
	}
	return createdReceipt(made)
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
	r, err := c.setup(ctx)
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
	Party       int64  `json:"party"`
	PartyName   text   `json:"party_name"`
	City        text   `json:"city"`
	PostalCode  text   `json:"postal_code"`
	Country     *int64 `json:"country"`
	Subdivision *int64 `json:"subdivision"`
	// Attn and Street have a field in each series, called attn and
	// street_unstructured or as series says.
	Attn, Street text `json:"-"`
}

// values are what is written, by field.
func (a address) values(s series) map[string]any {
	return map[string]any{
		"party": a.Party, "party_name": a.PartyName, "city": a.City, "postal_code": a.PostalCode,
		"country": a.Country, "subdivision": a.Subdivision, s.attn: a.Attn, s.street: a.Street,
	}
}

// CreateAddress adds an address to a party.
func (c *Connector) CreateAddress(ctx context.Context, p effect.Permit, customer effect.Receipt, a retail.Address) (effect.Receipt, error) {
	r, values, err := c.address(ctx, customer, a)
	if err != nil {
		return effect.Receipt{}, err
	}
	var made ids
	if err := c.write(ctx, p, "model.party.address.create", &made, []map[string]any{values.values(c.series)}, c.context(r)); err != nil {
		return effect.Receipt{}, fmt.Errorf("creating the address: %w", err)
	}
	return createdReceipt(made)
}

// FindAddress looks among a party's addresses for one that is the same in
// every field that CreateAddress writes.
func (c *Connector) FindAddress(ctx context.Context, customer effect.Receipt, a retail.Address) (effect.Receipt, bool, error) {
	r, want, err := c.address(ctx, customer, a)
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
		domain{{"party", "=", want.Party}}, 0, nil, [][]string{{"id", "ASC"}}, slices.Sorted(maps.Keys(want.values(c.series))), c.context(r))
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
	return a.Party == b.Party && a.PartyName == b.PartyName && a.Attn == b.Attn && a.Street == b.Street && a.City == b.City &&
		a.PostalCode == b.PostalCode && equal(a.Country, b.Country) && equal(a.Subdivision, b.Subdivision)
}

func equal(a, b *int64) bool { return a == b || (a != nil && b != nil && *a == *b) }

// address translates an address. A country that the database lacks is an
// exception; a region that it lacks is kept in the city, because nothing of an
// address may be lost in silence.
func (c *Connector) address(ctx context.Context, customer effect.Receipt, a retail.Address) (*records, address, error) {
	var out address
	r, err := c.setup(ctx)
	if err != nil {
		return nil, out, err
	}
	if out.Party, err = recordID(customer, "customer"); err != nil {
		return nil, out, err
	}
	out.PartyName, out.PostalCode, out.City = text(line(a.Name)), text(line(a.PostalCode)), text(line(a.City))
	if company := line(a.Company); company != "" {
		out.PartyName, out.Attn = text(company), out.PartyName
	}
	out.Street = text(strings.Trim(line(a.Line1)+"\n"+line(a.Line2), "\n"))
	if a.Country == "" {
		out.City = withRegion(out.City, a.Region)
		return r, out, nil
	}
	if out.Country, err = c.geo(ctx, r, "country.country", a.Country); err != nil {
		return nil, out, err
	}
	if out.Country == nil {
		return nil, out, fault.New(fault.Exception, fault.MissingReference, "Tryton has no country with this code").At("shipping_address.country", a.Country)
	}
	if a.Region == "" {
		return r, out, nil
	}
	if out.Subdivision, err = c.geo(ctx, r, "country.subdivision", a.Country+"-"+a.Region); err != nil {
		return nil, out, err
	}
	if out.Subdivision == nil {
		out.City = withRegion(out.City, a.Region)
	}
	return r, out, nil
}

func withRegion(city text, region string) text {
	return text(strings.Trim(string(city)+", "+line(region), ", "))
}

// geo returns the country or subdivision with an ISO 3166 code, or nil.
func (c *Connector) geo(ctx context.Context, r *records, model, code string) (*int64, error) {
	var found ids
	if err := c.read(ctx, "model."+model+".search", &found, domain{{"code", "=", code}}, 0, 1, nil, c.context(r)); err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
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

// context is that of a call in the company.
func (c *Connector) context(r *records) rpcContext {
	return rpcContext{"company": r.company, "language": "en"}
}
