// Package memory is the twin of package blob: a bucket in this process.
package memory

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/waybillhq/waybill/internal/fault"
)

// Bucket is one bucket. It is safe for concurrent use; the zero Bucket is empty.
type Bucket struct {
	mu      sync.Mutex
	objects map[string][]byte
}

var errNoKey = errors.New("the key does not exist")

// Put stores a copy of body under key.
func (b *Bucket) Put(ctx context.Context, key string, body []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects == nil {
		b.objects = map[string][]byte{}
	}
	b.objects[key] = append([]byte{}, body...)
	return nil
}

// Get returns a copy of what is stored under key.
func (b *Bucket) Get(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	body, ok := b.objects[key]
	if !ok {
		return nil, fault.Wrap(fault.Permanent, fault.MissingReference, errNoKey, "reading a stored payload").At("blob", key)
	}
	return bytes.Clone(body), nil
}

// List returns up to limit keys that begin with prefix and come after a key, in
// order.
func (b *Bucket) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	keys := slices.DeleteFunc(b.Keys(prefix), func(k string) bool { return k <= after })
	return keys[:min(limit, len(keys))], nil
}

// Keys lists what begins with prefix, in order.
func (b *Bucket) Keys(prefix string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(b.objects)), func(k string) bool { return !strings.HasPrefix(k, prefix) })
}
