package memory_test

import (
	"testing"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/stepfn/drivertest"
	"github.com/waybillhq/waybill/internal/stepfn/memory"
)

func TestMachinesInMemoryPassTheSuite(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Driver {
		m := memory.New(document.Order, document.Shipment)
		var all []document.Task
		return drivertest.Driver{Start: m.Start, Started: func(_ *testing.T, docType string) (out []document.Task) {
			all = append(all, m.Take()...)
			for _, x := range all {
				if x.Type == docType {
					out = append(out, x)
				}
			}
			return out
		}}
	})
}
