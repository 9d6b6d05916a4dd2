package connectortest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waybillhq/waybill/internal/connector/faulty"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// depot is a vendor that ships what it is given, as often as it is given.
type depot struct {
	mu  sync.Mutex
	n   int64
	ids map[string][]string // by reference
}

func (d *depot) stored(reference string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.ids[reference])
}

func (d *depot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Method == http.MethodPost {
		d.n += 2
		d.ids[r.URL.Path] = append(d.ids[r.URL.Path], strconv.FormatInt(9007199254740991+d.n, 10))
	}
	ids := d.ids[r.URL.Path]
	if ids == nil {
		ids = []string{}
	}
	if err := json.NewEncoder(w).Encode(ids); err != nil {
		return // whoever asked is gone
	}
}

// porter is a connector to it; each flaw is one that a connector may have.
type porter struct {
	url    string
	client *egress.Client
	flaw   string
}

func (p porter) call(ctx context.Context, permit *effect.Permit, reference string) (effect.Receipt, bool, error) {
	method := http.MethodGet
	if permit != nil {
		method = http.MethodPost
	}
	r, err := egress.NewRequest(method, p.url+reference, nil)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	var res *egress.Response
	if permit != nil {
		res, err = p.client.Write(ctx, *permit, r)
	} else {
		res, err = p.client.Read(ctx, r)
	}
	if err != nil {
		return effect.Receipt{}, false, err
	}
	var ids []string
	err = json.Unmarshal(res.Body, &ids)
	if err != nil || p.flaw != "takes any bytes" && !utf8.Valid(res.Body) {
		if p.flaw == "panics at garbage" {
			panic("garbage")
		}
		f := fault.New(fault.Retryable, fault.Connectivity, "no list")
		if permit != nil {
			f = f.OutcomeUnknown()
		}
		return effect.Receipt{}, false, f
	}
	if len(ids) == 0 {
		return effect.Receipt{}, false, nil
	}
	id := ids[len(ids)-1]
	if p.flaw == "reads ids as floats" {
		if n, err := strconv.ParseFloat(id, 64); err == nil {
			id = strconv.FormatFloat(n, 'f', -1, 64)
		}
	}
	return effect.Receipt{Ref: id}, true, nil
}

func (p porter) Release(ctx context.Context, permit effect.Permit, rel retail.Release, _ retail.Person) (effect.Receipt, error) {
	r, _, err := p.call(ctx, &permit, rel.Reference)
	if f := fault.Of(err); f != nil {
		switch p.flaw {
		case "takes a failure for a refusal":
			sure := *f
			sure.Unknown = false
			return r, &sure
		case "calls everything permanent":
			sure := *f
			sure.Kind = fault.Permanent
			return r, &sure
		case "does not classify":
			return r, errors.New("failed")
		}
	}
	if p.flaw == "sends twice" {
		_, _, err = p.call(ctx, &permit, rel.Reference)
	}
	return r, err
}

func (p porter) FindRelease(ctx context.Context, rel retail.Release) (effect.Receipt, bool, error) {
	if p.flaw == "finds nothing" {
		return effect.Receipt{}, false, nil
	}
	return p.call(ctx, nil, rel.Reference)
}

func (p porter) ReleaseSettle() time.Duration {
	if p.flaw == "settles too soon" {
		return 0
	}
	return 20 * time.Second
}

func depotHarness(flaw string) Harness {
	return Harness{Connector: "porter", Bare: porter{flaw: flaw}, Open: func(t testing.TB, _ Options) *Vendor {
		t.Helper()
		k, d := NewClock(), &depot{ids: map[string][]string{}}
		v := faulty.Vendor{
			Name:      "depot",
			Operation: func(r *http.Request, _ []byte) string { return r.Method },
			TooMany: func(d time.Duration) faulty.Answer {
				return faulty.Answer{Status: 429, Header: map[string]string{"Retry-After": fmt.Sprint(d.Seconds())}}
			},
			Unauthorized: faulty.Answer{Status: http.StatusUnauthorized},
			Cannot:       []string{"visible_delayed"},
		}
		front, n := Serve(t, v, d, k), 0
		return &Vendor{
			Connector: porter{front.URL, egress.New(k.Now, netip.MustParsePrefix("127.0.0.0/8")), flaw}, Clock: k, Front: front,
			Matter: func(testing.TB, string) Matter {
				n++
				reference := fmt.Sprintf("/order-%d", n)
				return Matter{Release: retail.Release{Reference: reference}, Operation: http.MethodPost, Stored: func() []string { return d.stored(reference) }}
			},
		}
	}}
}

// fare runs every case and returns the complaints by case.
func fare(t *testing.T, h Harness) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, c := range checks(h) {
		if c.applies {
			out[c.name], _ = attempt(t, h, c)
		}
	}
	return out
}

func TestASoundConnectorPasses(t *testing.T) {
	all := fare(t, depotHarness(""))
	if len(all) != len(accidents)+3 {
		t.Errorf("%d cases ran", len(all))
	}
	for name, complaints := range all {
		for _, c := range complaints {
			t.Errorf("%s: %s", name, c)
		}
	}
}

func TestAFlawIsFoundWhenTheConnector(t *testing.T) {
	for flaw, in := range map[string][]string{
		"takes a failure for a refusal": {"mix_of_all", "timeout_after", "reset_after", "5xx_after", "html_502_after", "truncated", "garbage_after", "commit_delayed"},
		"calls everything permanent":    {"timeout_before", "5xx_before", "reset_after", "rate_limited"},
		"does not classify":             {"5xx_before", "garbage_before", "credential_revoked", "rate_limited"},
		"sends twice":                   {"nothing", "mix_of_all"},
		"finds nothing":                 {"crash_before_record", "timeout_after", "garbage_after"},
		"settles too soon":              {"commit_delayed"},
		"panics at garbage":             {"garbage_before", "html_after", "garbage_types_after"},
		"takes any bytes":               {"garbage_utf8_after"},
		"reads ids as floats":           {"id_above_2^53", "nothing"},
	} {
		t.Run(flaw, func(t *testing.T) {
			all := fare(t, depotHarness(flaw))
			for _, name := range in {
				if len(all["write/release/"+name]) == 0 {
					t.Errorf("%s passes", name)
				}
			}
		})
	}
}

func TestAWaiver(t *testing.T) {
	const name = "write/release/nothing"
	for _, tc := range []struct {
		title      string
		waivers    map[string]string
		complaints []string
		want       int
	}{
		{"is not needed where the case passes", nil, nil, 0},
		{"is missing where the case fails", nil, []string{"a", "b"}, 2},
		{"covers a case that fails", map[string]string{name: "because"}, []string{"a"}, 0},
		{"needs a reason", map[string]string{name: ""}, []string{"a"}, 1},
		{"is stale where the case passes", map[string]string{name: "because"}, nil, 1},
	} {
		t.Run(tc.title, func(t *testing.T) {
			if got := judge(tc.waivers, name, tc.complaints); len(got) != tc.want {
				t.Errorf("%q", got)
			}
		})
	}
	h := depotHarness("")
	h.Waivers = map[string]string{name: "of a case", "write/release/nothng": "misspelt", "write/post_invoice/nothing": "cannot do it"}
	if got := strangers(h); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

func TestACaseMayStopOrPanicWithoutStoppingTheOthers(t *testing.T) {
	for name, run := range map[string]func(t testing.TB, h Harness) string{
		"FailNow": func(t testing.TB, _ Harness) string { t.FailNow(); return "" },
		"Fatal":   func(t testing.TB, _ Harness) string { t.Fatal("no"); return "" },
		"panic":   func(testing.TB, Harness) string { panic("no") },
		"cleanup": func(t testing.TB, _ Harness) string { t.Cleanup(func() { t.Error("no") }); return "" },
	} {
		complaints, _ := attempt(t, Harness{}, check{name: name, run: run})
		if len(complaints) != 1 {
			t.Errorf("%s: %q", name, complaints)
		}
	}
}
