package memory_test

import (
	"testing"

	"github.com/waybillhq/waybill/internal/eventbus"
	"github.com/waybillhq/waybill/internal/eventbus/drivertest"
	"github.com/waybillhq/waybill/internal/eventbus/memory"
)

func TestABusInMemoryPassesTheSuite(t *testing.T) {
	drivertest.Run(t, func(t *testing.T, refusing bool) drivertest.Driver {
		b := &memory.Bus{}
		if refusing {
			seen := map[string]bool{}
			b.Refuse = func(e eventbus.Event) bool {
				first := !seen[e.ID]
				seen[e.ID] = true
				return first && e.Sequence%2 == 0
			}
		}
		return drivertest.Driver{Publish: b.Publish, Published: func(*testing.T) []eventbus.Event { return b.Published() }}
	})
}

func TestWhatIsPublishedIsNobodysMemory(t *testing.T) {
	b := &memory.Bus{}
	data := []byte(`{"a":1}`)
	if _, err := b.Publish(t.Context(), []eventbus.Event{{ID: "1", Data: data}}); err != nil {
		t.Fatal(err)
	}
	data[2] = 'b'
	b.Published()[0].Data[2] = 'c'
	if got := string(b.Published()[0].Data); got != `{"a":1}` {
		t.Errorf("data = %s", got)
	}
}
