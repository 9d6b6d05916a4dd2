package memory_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/dynamo/drivertest"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
)

// driver opens a store whose index lags by up to lag of a clock that only
// Settle moves.
func driver(lag time.Duration) func(*testing.T) drivertest.Driver {
	return func(*testing.T) drivertest.Driver {
		now := drivertest.Now
		s := memory.New(memory.Options{Now: func() time.Time { return now }, Dice: rand.New(rand.NewPCG(1, 2)), IndexLag: lag})
		return drivertest.Driver{
			Store:  s,
			Settle: func(*testing.T) { now = now.Add(lag) },
			Stream: func(*testing.T) (out []drivertest.Entry) {
				for _, e := range s.Stream(0) {
					out = append(out, drivertest.Entry(e))
				}
				return out
			},
		}
	}
}

func TestTheStoreInMemoryPassesTheSuite(t *testing.T) { drivertest.Run(t, driver(0)) }

func TestTheStoreInMemoryPassesTheSuiteWithAnIndexThatLags(t *testing.T) {
	drivertest.Run(t, driver(time.Minute))
}
