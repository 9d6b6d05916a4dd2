package shopifytest

// person is a synthetic shopper. None of them exists.
type person struct {
	id                     int64
	given, family, email   string
	street, city, zip      string
	region, regionCode     string
	country, code, company string
	phone                  string
}

var customers = []person{
	{7001, "Dana", "Whitfield", "dana.whitfield@example.com", "18 Harbor Street", "Portland", "04101", "Maine", "ME", "United States", "US", "", "+12075550118"},
	{7002, "Zoë", "Ångström", "zoe.angstrom@example.com", "402 Larkspur Avenue, Apt 7", "Minneapolis", "55408", "Minnesota", "MN", "United States", "US", "", "+16125550142"},
	{7003, "小龙", "李", "xiaolong.li@example.com", "77 Juniper Way", "Fremont", "94536", "California", "CA", "United States", "US", "", "+15105550177"},
	{7004, "Łukasz", "Żółkiewski", "lukasz.z@example.com", "9 Rue des Érables", "Montréal", "H2X 1Y4", "Quebec", "QC", "Canada", "CA", "Atelier Żółw", "+15145550109"},
	{7005, "Renée", "O’Connor", "renee.oconnor@example.com", "1200 Prairie Road", "Austin", "78704", "Texas", "TX", "United States", "US", "", "+15125550163"},
	{7006, "Amara", "N'Diaye 🌿", "amara.ndiaye@example.com", "55 Cedar Court", "Atlanta", "30307", "Georgia", "GA", "United States", "US", "", "+14045550131"},
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (p person) address() map[string]any {
	return map[string]any{
		"first_name": p.given, "last_name": p.family, "name": p.given + " " + p.family, "company": orNull(p.company),
		"address1": p.street, "address2": nil, "city": p.city, "zip": p.zip, "province": p.region, "province_code": p.regionCode,
		"country": p.country, "country_code": p.code, "phone": p.phone, "latitude": nil, "longitude": nil,
	}
}

func (p person) customer(b *builder, email string) map[string]any {
	home := p.address()
	delete(home, "latitude")
	delete(home, "longitude")
	home["id"], home["customer_id"] = number(p.id+1000), number(p.id)
	home["country_name"], home["default"] = p.country, true
	return map[string]any{
		"id": number(p.id), "admin_graphql_api_id": gid("Customer", p.id), "created_at": nil, "updated_at": nil,
		"first_name": p.given, "last_name": p.family, "email": email, "phone": p.phone, "state": "disabled", "note": nil,
		"verified_email": true, "multipass_identifier": nil, "tax_exempt": false, "tax_exemptions": []any{},
		"currency": b.s.opts.Currency, "default_address": home,
	}
}
