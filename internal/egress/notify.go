package egress

import (
	"context"
	"net/http"

	"github.com/waybillhq/waybill/internal/fault"
)

// Notify sends a message to an address of the partner's own. It is no write to
// a vendor and takes no permit: whoever sends it again sends it under its id.
// Everything but a 2xx is an error.
func (c *Client) Notify(ctx context.Context, r *http.Request) error {
	res, err := c.send(ctx, r, false)
	if err != nil {
		return err
	}
	if res.Status < 200 || res.Status > 299 {
		return fault.New(fault.Retryable, fault.Connectivity, "%s answered HTTP %d", r.URL.Host, res.Status)
	}
	return nil
}
