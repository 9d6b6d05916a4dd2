package shipbob

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/waybillhq/waybill/internal/fault"
)

// maxPages ends a listing that never does: 1,000 pages of 250 items.
const (
	maxPages = 1000
	pageSize = 250
)

// levelPage is what the connector reads of
// Inventory.InventoryQuantityResponsePagedResponse.
type levelPage struct {
	Items []struct {
		ID     scalar `json:"inventory_id"`
		SKU    string `json:"sku"`
		OnHand scalar `json:"total_on_hand_quantity"`
	} `json:"items"`
	Next string `json:"next"`
}

// Stock returns the quantity physically present per SKU, over all of ShipBob's
// fulfilment centres. It includes what is committed to orders that have not
// shipped. Items without a SKU are left out. Several items may have one SKU and
// add up; one that is listed again, because another came before it between two
// pages, counts once.
func (c *Connector) Stock(ctx context.Context) (map[string]int64, error) {
	r, err := c.request(http.MethodGet, "/inventory-level", url.Values{"PageSize": {strconv.Itoa(pageSize)}}, nil)
	if err != nil {
		return nil, err
	}
	onHand, seen := newCount(), map[string]bool{}
	for range maxPages {
		seen[r.URL.String()] = true
		var page levelPage
		if err := c.get(ctx, r, &page); err != nil {
			return nil, fmt.Errorf("reading inventory levels: %w", err)
		}
		if err := onHand.add(page); err != nil {
			return nil, err
		}
		if page.Next == "" {
			return onHand.stock, nil
		}
		next, err := c.sameHost(r.URL, page.Next)
		if err != nil {
			return nil, err
		}
		if seen[next] {
			return nil, fault.New(fault.Retryable, fault.Connectivity, "ShipBob's inventory listing leads back to a page that was read already")
		}
		if r, err = c.requestURL(http.MethodGet, next, nil); err != nil {
			return nil, err
		}
	}
	return nil, fault.New(fault.Permanent, fault.Validation, "ShipBob's inventory listing has more than %d pages", maxPages)
}

// count is what pages of one listing add up to.
type count struct {
	stock   map[string]int64
	counted map[scalar]bool // by inventory_id
}

func newCount() count { return count{map[string]int64{}, map[scalar]bool{}} }

func (c count) add(page levelPage) error {
	for i, item := range page.Items {
		if item.SKU == "" || c.counted[item.ID] {
			continue
		}
		if item.ID != "" && item.ID != "null" {
			c.counted[item.ID] = true
		}
		n, ok := item.OnHand.quantity()
		if !ok {
			return malformed("", "is not a quantity").At(fmt.Sprintf("items[%d].total_on_hand_quantity", i), item.SKU)
		}
		c.stock[item.SKU] += n
	}
	return nil
}

// sameHost resolves a link to the next page and refuses one that leads away
// from the connection's host: the credential would follow it.
func (c *Connector) sameHost(from *url.URL, link string) (string, error) {
	u, err := from.Parse(link)
	if err != nil || u.Scheme != c.base.Scheme || u.Host != c.base.Host {
		return "", fault.New(fault.Permanent, fault.Configuration, "the link to the next page leads to another host").At("next", "")
	}
	return u.String(), nil
}
