package memory_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/waybillhq/waybill/internal/credential/drivertest"
	"github.com/waybillhq/waybill/internal/credential/memory"
	"github.com/waybillhq/waybill/internal/retail"
)

func opened(t *testing.T, seed byte) drivertest.Sealer {
	t.Helper()
	s, err := memory.New(rand.NewChaCha8([32]byte{seed}))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestASealerInMemoryPassesTheSuite(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Sealer { return opened(t, 1) })
}

func TestOneSeedSealsAlike(t *testing.T) {
	tn, err := retail.ParseTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	var sealed [][]byte
	for _, seed := range []byte{1, 1, 2} {
		b, err := opened(t, seed).Seal(t.Context(), tn, "shop", "secret")
		if err != nil {
			t.Fatal(err)
		}
		sealed = append(sealed, b)
	}
	if !bytes.Equal(sealed[0], sealed[1]) || bytes.Equal(sealed[0], sealed[2]) {
		t.Error("what is sealed is not the seed's")
	}
}
