package tryton_test

import (
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/connectortest"
	"github.com/waybillhq/waybill/internal/connector/tryton"
)

func bare(t testing.TB) *tryton.Connector {
	t.Helper()
	c, err := tryton.New([]byte(`{"url":"https://erp.example.com","database":"erp","user":"waybill","company":"Company","currency":"USD","warehouse":"WH"}`), nil, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSamples holds what becomes of every recorded answer, of whatever method,
// and prints it.
func TestSamples(t *testing.T) { connectortest.Samples(t, bare(t), nil) }
