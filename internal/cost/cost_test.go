package cost_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/waybillhq/waybill/internal/cost"
)

const log = `starting
{"msg":"webhook-receive","asked":{"calls":{"SQS.SendMessage":1}}}
{"msg":"order-intake","outcome":"accepted","asked":{"calls":{"DynamoDB.TransactWriteItems":1,"SFN.StartExecution":1,"S3.PutObject":1},"rru":4,"wru":10}}
12:00 {"msg":"fulfillment-order","asked":{"vendor":3}}
{"msg":"event-publish","events":5,"asked":{"calls":{"EventBridge.PutEvents":1}}}
{"msg":"document-sweep","asked":{"calls":{"DynamoDB.Query":16},"rru":16}}
{"msg":"order-intake","outcome":"repeated","asked":{}}
{"broken
`

func TestAMillionOrdersCostWhatTheirCallsCost(t *testing.T) {
	r, err := cost.Read(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	sum := 0.0
	for _, i := range r.Items {
		got[i.Service+" "+i.Unit] = i.Dollars
		sum += i.Dollars
	}
	for name, want := range map[string]float64{
		"API Gateway requests": 1, "SQS requests": 1.2, "Step Functions Express executions": 1, "EventBridge events": 5,
		"Lambda requests": 1, "DynamoDB write units": 6.25, "DynamoDB read units": 0.5, "S3 puts": 5, "KMS requests": 0,
		"Step Functions Express GB-seconds": (2*0.003 + 3*0.4) * 0.0625 * 16.67,
	} {
		if math.Abs(got[name]-want) > 1e-6 {
			t.Errorf("%s cost %f dollars, not %f", name, got[name], want)
		}
	}
	if r.Orders != 1 || math.Abs(sum-r.Total) > 1e-9 || r.Messaging >= r.Total || r.CallsPerOrder["SQS.SendMessage"] != 1 {
		t.Errorf("%+v", r)
	}
}

func TestALogWithoutOrdersIsRefused(t *testing.T) {
	if _, err := cost.Read(strings.NewReader("nothing\n")); err == nil {
		t.Error("accepted")
	}
}

func TestColdStartsWeighAsTheyDoInAMonth(t *testing.T) {
	log := `{"msg":"order-intake","outcome":"accepted","asked":{"cold":true,"wru":10,"calls":{"KMS.Decrypt":2}}}
{"msg":"order-intake","outcome":"accepted","asked":{"cold":true,"wru":10,"calls":{"KMS.Decrypt":2}}}
{"msg":"order-intake","outcome":"accepted","asked":{"wru":4}}
{"msg":"order-intake","outcome":"accepted","asked":{"wru":4}}
{"msg":"fulfillment-order","asked":{"cold":true,"rru":8}}
`
	r, err := cost.Read(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range r.Items {
		want, tried := map[string]float64{
			"Lambda requests":      5. / 4,
			"DynamoDB write units": (0.04*10 + 3.96*4) / 4,
			"DynamoDB read units":  8. / 4, // was never seen warm
			"KMS requests":         0.04 * 2 / 4,
		}[i.Service+" "+i.Unit]
		if tried && math.Abs(i.Quantity-want) > 1e-9 {
			t.Errorf("%s %s an order: %f, not %f", i.Service, i.Unit, i.Quantity, want)
		}
	}
	if r.Orders != 4 {
		t.Errorf("%d orders", r.Orders)
	}
}

func TestOfBranchesAMachineWaitsForTheLongest(t *testing.T) {
	log := `{"msg":"order-intake","outcome":"accepted","asked":{}}
{"msg":"shipment-confirm","tenant":"north","document":"s1","run":1,"asked":{"vendor":3}}
{"msg":"shipment-invoice","tenant":"north","document":"s1","run":1,"asked":{"vendor":9}}
{"msg":"shipment-invoice","tenant":"north","document":"s1","run":2,"asked":{"vendor":2}}
{"msg":"shipment-confirm","tenant":"north","document":"s1","run":2,"asked":{"vendor":1}}
{"msg":"shipment-confirm","tenant":"south","document":"s1","run":1,"asked":{"vendor":1}}
`
	r, err := cost.Read(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range r.Items {
		if want := (3*2*0.003 + (9+2+1)*0.4) * 0.0625; i.Service+" "+i.Unit == "Step Functions Express GB-seconds" && math.Abs(i.Quantity-want) > 1e-9 {
			t.Errorf("%f GB-seconds, not %f", i.Quantity, want)
		}
	}
}

func TestTheBranchesAreTheMachines(t *testing.T) {
	raw, err := os.ReadFile("../../infra/states/shipment.asl.json")
	if err != nil {
		t.Fatal(err)
	}
	var machine struct {
		States map[string]struct {
			Type     string
			Branches []struct {
				States map[string]struct{ Type, Resource string }
			}
		}
	}
	if err := json.Unmarshal(raw, &machine); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range machine.States {
		for _, b := range s.Branches {
			for _, task := range b.States {
				if task.Type == "Task" {
					got = append(got, task.Resource)
				}
			}
		}
	}
	slices.Sort(got)
	var want []string
	for _, function := range cost.Branches { // shipment-confirm is ${ShipmentConfirm}
		name := ""
		for _, word := range strings.Split(function, "-") {
			name += strings.ToUpper(word[:1]) + word[1:]
		}
		want = append(want, "${"+name+"}")
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the machine runs %q at once, the model %q", got, cost.Branches)
	}
}
