package memory_test

import (
	"slices"
	"testing"

	"github.com/waybillhq/waybill/internal/blob/drivertest"
	"github.com/waybillhq/waybill/internal/blob/memory"
)

func TestABucketInMemoryPassesTheSuite(t *testing.T) {
	drivertest.Run(t, func(*testing.T) drivertest.Bucket { return &memory.Bucket{} })
}

func TestKeysAreListedInOrder(t *testing.T) {
	var b memory.Bucket
	for _, k := range []string{"b/2", "a/1", "b/1"} {
		if err := b.Put(t.Context(), k, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.Keys("b/"); !slices.Equal(got, []string{"b/1", "b/2"}) {
		t.Errorf("keys = %v", got)
	}
}
