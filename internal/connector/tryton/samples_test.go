package tryton_test

import (
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/connectortest"
	"github.com/waybillhq/waybill/internal/connector/samples"
	"github.com/waybillhq/waybill/internal/connector/tryton"
	"github.com/waybillhq/waybill/internal/fault"
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

func TestInspectReadsWhatTheProtocolWraps(t *testing.T) {
	const sale = "model.sale.sale.read"
	for _, tc := range []struct {
		name, method, answer string
		object, field        string // of what is decoded, or of the refusal
	}{
		{"a sale", sale, `{"id":1,"result":[{"id":3,"number":"7","state":"draft","total_amount":{"__class__":"Decimal","decimal":"12.50"},"invoices":[],"shipments":null}]}`, "sale", ""},
		{"an exponent", sale, `{"id":1,"result":[{"id":3,"state":"draft","total_amount":{"__class__":"Decimal","decimal":"0E-8"}}]}`, "sale", ""},
		{"None for a total", sale, `{"id":1,"result":[{"id":3,"state":"draft","number":null,"total_amount":null}]}`, "sale", ""},
		{"days and moments", sale, `{"id":1,"result":[{"id":3,"state":"draft","sale_date":{"__class__":"date","year":2024,"month":2,"day":29},"write_date":{"__class__":"datetime","year":2026,"month":11,"day":23,"hour":5,"minute":1,"second":2,"microsecond":3}}]}`, "sale", ""},
		{"a class that is not read", sale, `{"id":1,"result":[{"id":3,"state":"draft","x":{"__class__":"timedelta","seconds":5}}]}`, "sale", ""},
		{"no records", sale, `{"id":1,"result":[]}`, "sale", ""},
		{"a day that there is not", sale, `{"id":1,"result":[{"id":3,"state":"draft","sale_date":{"__class__":"date","year":2023,"month":2,"day":29}}]}`, "", "result[0].sale_date"},
		{"a Decimal of words", sale, `{"id":1,"result":[{"id":3,"state":"draft","total_amount":{"__class__":"Decimal","decimal":"lots"}}]}`, "", "result[0].total_amount"},
		{"no number", sale, `{"id":1,"result":[{"id":3,"state":"draft","total_amount":{"__class__":"Decimal","decimal":"NaN"}}]}`, "", "result[0].total_amount"},
		{"a float for money", sale, `{"id":1,"result":[{"id":3,"state":"draft","total_amount":12.5}]}`, "", "result[0].total_amount"},
		{"a fraction of a cent", sale, `{"id":1,"result":[{"id":3,"state":"draft","total_amount":{"__class__":"Decimal","decimal":"1.005"}}]}`, "", "result[0].total_amount"},
		{"a sale without its state", sale, `{"id":1,"result":[{"id":3}]}`, "", "result[0].state"},
		{"a state that is none", sale, `{"id":1,"result":[{"id":3,"state":5}]}`, "", "result[0].state"},
		{"records that are none", sale, `{"id":1,"result":{"id":3}}`, "", "result"},
		{"a quantity as a float", "model.stock.move.read", `{"id":1,"result":[{"id":3,"state":"done","quantity":2.0,"product.":{"code":"A","id":1}}]}`, "move", ""},
		{"a part of a unit", "model.stock.move.read", `{"id":1,"result":[{"id":3,"state":"done","quantity":2.5}]}`, "", "result[0].quantity"},
		{"stock of what never moved", "model.product.product.search_read", `{"id":1,"result":[{"id":3,"code":"A","quantity":null}]}`, "product", ""},
		{"what was created", "model.party.party.create", `{"id":1,"result":[4]}`, "receipt", ""},
		{"what was created, as text", "model.party.party.create", `{"id":1,"result":["4"]}`, "", "result"},
		{"a button", "model.sale.sale.quote", `{"id":1,"result":null}`, "pressed button", ""},
		{"a refusal", "model.sale.sale.quote", `{"id":1,"error":["UserError",["No.","",null]]}`, "error of Tryton's", ""},
		{"a refused session", "model.sale.sale.quote 401", ``, "answer 401", ""},
		{"a method of others", "model.ir.cron.read", `{"id":1,"result":[]}`, "", "method"},
		{"REST", "GET sale.sale/5", `{"id":5}`, "", "endpoint"},
		{"a result without a bottom", sale, `{"id":1,"result":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`, "", "result" + strings.Repeat("[0]", 33)},
		{"an exchange without its answer", sale, `null`, "", "body"},
		{"an empty answer", sale, " \n", "", "body"},
		{"an object that is no answer", sale, `{}`, "", ""},
		{"an error in no form of Tryton's", sale, `{"id":1,"error":[{"a":1}]}`, "", ""},
		{"an answer to nobody knows what", "", `{"id":1,"result":[]}`, "", "method"},
		{"broken UTF-8", sale, "{\"id\":1,\"result\":[{\"id\":3,\"state\":\"\xff\"}]}", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			told := 0
			bare(t).Inspect(tc.method, []byte(tc.answer), func(_, object string, canonical any, err error) {
				told++
				f := fault.Of(err)
				switch {
				case tc.object != "" && (err != nil || object != tc.object || canonical == nil):
					t.Errorf("got %s %+v, %v", object, canonical, err)
				case tc.object == "" && (f == nil || f.Field != tc.field || f.Kind != fault.Permanent):
					t.Errorf("got %s %+v, %v; want a refusal at %q", object, canonical, err, tc.field)
				}
			})
			if told != 1 {
				t.Errorf("%d documents are told of", told)
			}
		})
	}
}

func TestOnlyAMethodInAFilesNameSaysWhatAnAnswerIs(t *testing.T) {
	for name, field := range map[string]string{
		"model.sale.sale.read__1.json":           "",
		"8-0__real.json":                         "method",
		"2026-01__model.sale.sale.read.json":     "",
		"model.ir.cron.read__1.json":             "method",
		"sale__1.json":                           "method",
		"2026-01__common.server.version__1.json": "result",
	} {
		out := samples.Read(bare(t), name, []byte(`{"id":1,"result":[{"id":3,"state":"draft"}]}`))
		if len(out) != 1 || out[0].Field != field {
			t.Errorf("%s: got %+v", name, out)
		}
	}
}

func TestARecordedExchangeWithoutItsAnswerIsRefusedForGood(t *testing.T) {
	out := samples.Read(bare(t), "a.json", []byte(`[{"request":{"method":"POST","path":"/erp/","body":{"method":"model.sale.sale.read"}},"response":{"status":200,"body":null}}]`))
	if len(out) != 1 || out[0].Verdict != samples.Refused || out[0].Kind != fault.Permanent || out[0].Field != "body" || out[0].Place != "[0]" {
		t.Errorf("got %+v", out)
	}
}
