package retail

import (
	"fmt"
	"strings"
)

// Tenant is one retailer inside a partner's stack. The zero Tenant is invalid;
// only ParseTenant makes a valid one, so a store that takes a Tenant cannot be
// called with an unchecked string.
type Tenant struct{ id string }

// ParseTenant accepts [a-z0-9-]{1,40}. The alphabet excludes '#', which
// separates key parts, so no tenant's keys can begin with another's.
func ParseTenant(s string) (Tenant, error) {
	if s == "" || len(s) > 40 {
		return Tenant{}, fmt.Errorf("tenant %q: must have 1 to 40 characters", s)
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return Tenant{}, fmt.Errorf("tenant %q: only a-z, 0-9 and '-' are allowed", s)
		}
	}
	return Tenant{id: s}, nil
}

// String returns the tenant's id, or "" for the zero Tenant.
func (t Tenant) String() string { return t.id }

// Partner stands where a tenant must and the work is no retailer's but the
// partner's own, such as a queue that all of them share. No retailer is called
// so.
var Partner = Tenant{id: "-"}

// IsZero reports whether t was never parsed.
func (t Tenant) IsZero() bool { return t.id == "" }

// Key joins the tenant's prefix and parts to a partition key: "T#acme" or
// "T#acme#part#part". It panics on the zero Tenant: a key without a tenant
// would mix retailers.
func (t Tenant) Key(parts ...string) string {
	if t.id == "" {
		panic("retail: key of the zero tenant")
	}
	return strings.Join(append([]string{"T", t.id}, parts...), "#")
}

// MarshalText writes the id, so that a Tenant can stand in JSON.
func (t Tenant) MarshalText() ([]byte, error) { return []byte(t.id), nil }

// UnmarshalText reads and checks an id.
func (t *Tenant) UnmarshalText(b []byte) error {
	p, err := ParseTenant(string(b))
	if err != nil {
		return err
	}
	*t = p
	return nil
}
