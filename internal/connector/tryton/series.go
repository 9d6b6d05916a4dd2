package tryton

import (
	"context"
	"strings"

	"github.com/waybillhq/waybill/internal/fault"
)

// series is how a series of Tryton differs from others.
type series struct {
	// rpc is where methods are called: the server's below /, a database's
	// below its name.
	rpc string
	// advance are the buttons that take a shipment on from a state.
	advance map[string]string
	// refuses reports whether a button that is not for the state is refused.
	refuses bool
	// packsUnpicked reports whether a shipment that comes from no shelf goes
	// from assigned to packed.
	packsUnpicked bool
	// street and attn are the fields of an address's street and of the person
	// at a company.
	street, attn string
}

const defaultSeries = "8.0"

var known = map[string]series{
	"7.0": {
		rpc:     "/",
		advance: map[string]string{"assigned": "pick", "picked": "pack", "packed": "done"},
		street:  "street",
		// There is no field for the person; this one is printed between the
		// company and the street.
		attn: "name",
	},
	"8.0": {
		rpc:           "/rpc/",
		advance:       map[string]string{"assigned": "pick", "picked": "pack", "packed": "do", "shipped": "do"},
		refuses:       true,
		packsUnpicked: true,
		street:        "street_unstructured",
		attn:          "attn",
	},
}

func isKnown(name string) bool { _, ok := known[name]; return ok }

// way are the buttons that take a shipment from its state to its end, each in
// the state that the one before leads to. Goods that the server does not find
// are assigned by force: where a button that is not for the state is refused,
// only once picking was.
func (s series) way(p parcel, force bool) []string {
	var out []string
	state := p.State
	if state == "waiting" {
		if !force {
			out = append(out, "assign_try")
		}
		if force || !s.refuses {
			out = append(out, "assign_force")
		}
		state = "assigned"
	}
	if state == "assigned" && s.packsUnpicked && len(p.Inventory) == 0 {
		out, state = append(out, "pack"), "packed"
	}
	for button := s.advance[state]; button != ""; button = s.advance[state] {
		out, state = append(out, button), after[button]
	}
	return out
}

// after are the states that a shipment's buttons lead to.
var after = map[string]string{"pick": "picked", "pack": "packed", "do": "done", "done": "done"}

// checkSeriesOnce checks the series unless that was done in this session.
func (c *Connector) checkSeriesOnce(ctx context.Context) error {
	c.mu.Lock()
	checked := c.checked
	c.mu.Unlock()
	if checked {
		return nil
	}
	if err := c.checkSeries(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	c.checked = c.session != "" // a session that comes later may be of another server
	c.mu.Unlock()
	return nil
}

// checkSeries asks the server what it runs. A server of another series does not
// know the path of the question, so that one is asked on the other paths too.
func (c *Connector) checkSeries(ctx context.Context) error {
	running, err := c.version(ctx, c.series)
	if fault.KindOf(err) == fault.Permanent {
		for name, other := range known {
			if name == c.settings.Series {
				continue
			}
			if v, wrong := c.version(ctx, other); wrong == nil {
				running, err = v, nil
			}
		}
	}
	if err != nil {
		return err
	}
	if running != c.settings.Series {
		return misconfigured("series", c.settings.Series, "is not what the server runs, which is "+running)
	}
	return nil
}

// version is the series that the server says it runs. Up to 7.0 it tells the
// release too.
func (c *Connector) version(ctx context.Context, s series) (string, error) {
	var v string
	if err := c.ask(ctx, s.rpc, "", "common.server.version", &v); err != nil {
		return "", err
	}
	parts := strings.SplitN(v, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], "."), nil
}
