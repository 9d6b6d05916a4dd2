package memory

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/waybillhq/waybill/internal/alert"
	"github.com/waybillhq/waybill/internal/retail"
)

const alertPrefix = "alert\x00"

// storedAlert is an alert's row.
type storedAlert struct {
	version int64
	data    encoded
}

// Alerts implements alert.Store.
func (s *Store) Alerts(ctx context.Context) ([]alert.Alert, error) {
	rows, err := list[storedAlert](ctx, s, exceptions, part(retail.Partner.String()), alertPrefix)
	if err != nil {
		return nil, err
	}
	var out []alert.Alert
	for _, r := range rows {
		var a alert.Alert
		if err := json.Unmarshal(r.data, &a); err != nil {
			return nil, fmt.Errorf("decoding an alert: %w", err)
		}
		out = append(out, a)
	}
	return out, nil
}

// SaveAlert implements alert.Store.
func (s *Store) SaveAlert(ctx context.Context, a alert.Alert) error {
	was := a.Version
	a.Version++
	data, err := encode(a)
	if err != nil {
		return err
	}
	return s.write(ctx, operation{exceptions, key{part(retail.Partner.String()), alertPrefix + a.Fingerprint}, func(there any) (any, error) {
		if old, exists := there.(storedAlert); exists != (was > 0) || old.version != was {
			return nil, alert.ErrConflict
		}
		return storedAlert{a.Version, data}, nil
	}})
}
