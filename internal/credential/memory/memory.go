// Package memory is the twin of package credential: it seals with a key of this
// process instead of one of KMS.
package memory

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Sealer seals and opens. It is safe for concurrent use.
type Sealer struct {
	box  cipher.AEAD
	mu   sync.Mutex
	dice io.Reader
}

// New returns a sealer with a key and nonces that are read from dice. One seed
// gives one key, so it is for simulations and tests.
func New(dice io.Reader) (*Sealer, error) {
	key := make([]byte, 32)
	if _, err := io.ReadFull(dice, key); err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("using a key: %w", err)
	}
	box, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("using a key: %w", err)
	}
	return &Sealer{box: box, dice: dice}, nil
}

func binding(t retail.Tenant, connection string) []byte {
	return []byte(t.String() + "\x00" + connection)
}

// Seal is credential.Sealer.Seal.
func (s *Sealer) Seal(ctx context.Context, t retail.Tenant, connection string, v any) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a secret: %w", err)
	}
	nonce := make([]byte, s.box.NonceSize())
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := io.ReadFull(s.dice, nonce); err != nil {
		return nil, fmt.Errorf("reading a nonce: %w", err)
	}
	return s.box.Seal(nonce, nonce, plain, binding(t, connection)), nil
}

var errShort = errors.New("it is too short")

// Open is credential.Sealer.Open.
func (s *Sealer) Open(ctx context.Context, t retail.Tenant, connection string, sealed []byte, v any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	wrong := func(err error) error {
		return fault.Wrap(fault.Permanent, fault.Configuration, err, "opening a secret").At("connection", connection)
	}
	n := s.box.NonceSize()
	if len(sealed) < n {
		return wrong(errShort)
	}
	plain, err := s.box.Open(nil, sealed[:n], sealed[n:], binding(t, connection))
	if err != nil {
		return wrong(err)
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return wrong(err)
	}
	return nil
}
