//go:build unix

package erp

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Add makes an article with its stock, as a clerk would while the server runs.
func (s *Server) Add(ctx context.Context, p Product, warehouse string) error {
	c := clerk{server: s}
	var key []any
	if err := c.call(ctx, "common.db.login", &key, s.User, map[string]string{"password": s.Password}, "en"); err != nil {
		return err
	}
	if len(key) < 2 {
		return fmt.Errorf("signing in at the ERP: an answer of %d parts", len(key))
	}
	c.session = "Session " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%v:%v", s.User, key[0], key[1]))
	var preferences map[string]any
	if err := c.call(ctx, "model.res.user.get_preferences", &preferences, true, map[string]any{}); err != nil {
		return err
	}
	c.context = preferences
	category, err := c.find(ctx, "product.category", "id", "name", "Sales")
	if err != nil {
		return err
	}
	unit, err := c.find(ctx, "product.uom", "id", "name", "Unit")
	if err != nil {
		return err
	}
	storage, err := c.find(ctx, "stock.location", "storage_location", "code", warehouse)
	if err != nil {
		return err
	}
	if err := c.call(ctx, "model.product.template.create", nil, []any{map[string]any{
		"name": p.Title, "code": p.SKU, "type": "goods", "default_uom": unit, "salable": true, "sale_uom": unit,
		"list_price": exact(p.Price), "account_category": category,
		"products": []any{[]any{"create", []any{map[string]any{"cost_price": exact("0")}}}},
	}}, c.context); err != nil {
		return err
	}
	article, err := c.find(ctx, "product.product", "id", "code", p.SKU)
	if err != nil {
		return err
	}
	now := time.Now()
	var inventory []int64
	if err := c.call(ctx, "model.stock.inventory.create", &inventory, []any{map[string]any{
		"location": storage, "company": preferences["company"],
		"date":  map[string]any{"__class__": "date", "year": now.Year(), "month": int(now.Month()), "day": now.Day()},
		"lines": []any{[]any{"create", []any{map[string]any{"product": article, "quantity": float64(p.Stock)}}}},
	}}, c.context); err != nil {
		return err
	}
	return c.call(ctx, "model.stock.inventory.confirm", nil, inventory, c.context)
}

// clerk speaks to the server as a person's client does.
type clerk struct {
	server  *Server
	session string
	context map[string]any
}

func exact(amount string) map[string]string {
	return map[string]string{"__class__": "Decimal", "decimal": amount}
}

// find returns a field of the record whose key has a value.
func (c clerk) find(ctx context.Context, model, field, key, value string) (int64, error) {
	var found []map[string]any
	err := c.call(ctx, "model."+model+".search_read", &found, []any{[]any{key, "=", value}}, 0, 1, nil, []string{field}, c.context)
	if err != nil {
		return 0, err
	}
	if len(found) == 0 {
		return 0, fmt.Errorf("the ERP has no %s whose %s is %s", model, key, value)
	}
	id, ok := found[0][field].(float64)
	if !ok {
		return 0, fmt.Errorf("the ERP's %s %s has no %s", model, value, field)
	}
	return int64(id), nil
}

func (c clerk) call(ctx context.Context, method string, into any, params ...any) error {
	body, err := json.Marshal(map[string]any{"id": 1, "method": method, "params": params})
	if err != nil {
		return fmt.Errorf("encoding a call of the ERP: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.server.RPC, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("calling the ERP: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.session != "" {
		req.Header.Set("Authorization", c.session)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("calling %s: %w", method, err)
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("calling %s: HTTP %d: %w", method, res.StatusCode, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("calling %s: %s", method, answer.Error)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Result, into); err != nil {
		return fmt.Errorf("reading the answer to %s: %w", method, err)
	}
	return nil
}
