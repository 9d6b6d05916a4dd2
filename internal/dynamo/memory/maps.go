package memory

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/retail"
)

func mapPart(t retail.Tenant, connection string) string { return part(t.String(), "map", connection) }

func piecesPart(t retail.Tenant, connection string, k mapping.Kind) string {
	return part(t.String(), "map", connection, string(k))
}

func currentMapSort(k mapping.Kind) string { return "current " + string(k) }
func draftMapSort(k mapping.Kind) string   { return "draft " + string(k) }
func mapVersionSort(k mapping.Kind, v int64) string {
	return fmt.Sprintf("version %s %08d", k, v)
}

// Maps implements mapping.Store.
func (s *Store) Maps(ctx context.Context, t retail.Tenant, connection string) ([]mapping.Map, error) {
	found, err := list[version](ctx, s, config, mapPart(t, connection), currentMapSort(""))
	if err != nil {
		return nil, err
	}
	var out []mapping.Map
	for _, v := range found {
		var m mapping.Map
		if err := json.Unmarshal(v.data, &m); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func (s *Store) valueMap(ctx context.Context, t retail.Tenant, connection, sort string) (m mapping.Map, err error) {
	v, found, err := read[version](ctx, s, config, key{mapPart(t, connection), sort})
	switch {
	case err != nil:
		return m, err
	case !found:
		return m, mapping.ErrNotFound
	}
	return m, json.Unmarshal(v.data, &m)
}

// MapVersion implements mapping.Store.
func (s *Store) MapVersion(ctx context.Context, t retail.Tenant, connection string, k mapping.Kind, v int64) (mapping.Map, error) {
	return s.valueMap(ctx, t, connection, mapVersionSort(k, v))
}

// MapDraft implements mapping.Store.
func (s *Store) MapDraft(ctx context.Context, t retail.Tenant, connection string, k mapping.Kind) (mapping.Map, error) {
	return s.valueMap(ctx, t, connection, draftMapSort(k))
}

// PutMap implements mapping.Store.
func (s *Store) PutMap(ctx context.Context, m mapping.Map) error {
	data, err := encode(m)
	if err != nil {
		return err
	}
	v, in := version{m.Version, data}, mapPart(m.Tenant, m.Connection)
	return s.write(ctx, create(config, key{in, mapVersionSort(m.Kind, m.Version)}, v, document.ErrConflict),
		operation{config, key{in, currentMapSort(m.Kind)}, func(was any) (any, error) {
			if old, _ := was.(version); old.number != m.Version-1 {
				return nil, document.ErrConflict
			}
			return v, nil
		}})
}

// PutMapDraft implements mapping.Store.
func (s *Store) PutMapDraft(ctx context.Context, m mapping.Map) error {
	data, err := encode(m)
	if err != nil {
		return err
	}
	return s.write(ctx, put(config, key{mapPart(m.Tenant, m.Connection), draftMapSort(m.Kind)}, version{m.Version, data}))
}

// DeleteMapDraft implements mapping.Store.
func (s *Store) DeleteMapDraft(ctx context.Context, t retail.Tenant, connection string, k mapping.Kind) error {
	return s.write(ctx, put(config, key{mapPart(t, connection), draftMapSort(k)}, nil))
}

// MapPieces implements mapping.Store.
func (s *Store) MapPieces(ctx context.Context, t retail.Tenant, connection string, k mapping.Kind, names []string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, n := range names {
		data, found, err := read[[]byte](ctx, s, config, key{piecesPart(t, connection, k), n})
		if err != nil {
			return nil, err
		}
		if found {
			out[n] = bytes.Clone(data)
		}
	}
	return out, nil
}

// PutMapPieces implements mapping.Store.
func (s *Store) PutMapPieces(ctx context.Context, t retail.Tenant, connection string, k mapping.Kind, pieces map[string][]byte) error {
	for n, data := range pieces {
		if err := s.write(ctx, put(config, key{piecesPart(t, connection, k), n}, bytes.Clone(data))); err != nil {
			return err
		}
	}
	return nil
}
