// Package credential seals secrets with the partner's KMS key: a data key per
// secret, bound to tenant and connection, so that one retailer's secret cannot
// be opened as another's.
package credential

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Sealer seals and opens.
type Sealer struct {
	KMS *kms.Client
	Key string // key ARN; only Seal needs it
}

// envelope is what is stored.
type envelope struct {
	Version int    `json:"v"`
	Key     []byte `json:"key"`   // the data key, encrypted by KMS
	Nonce   []byte `json:"nonce"` // 12 bytes
	Box     []byte `json:"box"`   // AES-256-GCM
}

func binding(t retail.Tenant, connection string) map[string]string {
	return map[string]string{"tenant": t.String(), "connection": connection}
}

// Seal encrypts v as JSON for one connection.
func (s Sealer) Seal(ctx context.Context, t retail.Tenant, connection string, v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a secret: %w", err)
	}
	dk, err := s.KMS.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
		KeyId: &s.Key, KeySpec: types.DataKeySpecAes256, EncryptionContext: binding(t, connection),
	})
	if err != nil {
		return nil, fmt.Errorf("making a data key: %w", err)
	}
	box, err := gcm(dk.Plaintext)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, box.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	return json.Marshal(envelope{1, dk.CiphertextBlob, nonce, box.Seal(nil, nonce, plain, nil)})
}

// Open decrypts what Seal made for the same connection into v, with one call
// of KMS. What was sealed for another connection, or was touched, is Permanent:
// no attempt opens it.
func (s Sealer) Open(ctx context.Context, t retail.Tenant, connection string, sealed []byte, v any) error {
	wrong := func(err error, doing string) error {
		return fault.Wrap(fault.Permanent, fault.Configuration, err, "%s", doing).At("connection", connection)
	}
	var e envelope
	if err := json.Unmarshal(sealed, &e); err != nil {
		return wrong(err, "decoding a sealed secret")
	}
	if len(e.Key) == 0 {
		return wrong(errNoKey, "decoding a sealed secret")
	}
	dk, err := s.KMS.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: e.Key, EncryptionContext: binding(t, connection)})
	var invalid *types.InvalidCiphertextException
	var another *types.IncorrectKeyException
	if errors.As(err, &invalid) || errors.As(err, &another) {
		return wrong(err, "opening the data key")
	}
	if err != nil {
		return fmt.Errorf("opening the data key of connection %s: %w", connection, err)
	}
	box, err := gcm(dk.Plaintext)
	if err != nil {
		return err
	}
	if len(e.Nonce) != box.NonceSize() {
		return wrong(errNonce, "opening a secret")
	}
	plain, err := box.Open(nil, e.Nonce, e.Box, nil)
	if err != nil {
		return wrong(err, "opening a secret")
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return wrong(err, "decoding a secret")
	}
	return nil
}

var (
	errNonce = errors.New("the nonce has the wrong size")
	errNoKey = errors.New("it has no data key")
)

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("using a data key: %w", err)
	}
	return cipher.NewGCM(block)
}
