package stream

import "testing"

func TestSequenceNumbersAreOrderedAsNumbersOfAnyLength(t *testing.T) {
	ascending := []string{"9", "10", "100", "111100000000012345678901", "999999999999999999999999", "1000000000000000000000000"}
	for i, a := range ascending {
		for j, b := range ascending {
			if got := order(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s against %s: %d", a, b, got)
			}
		}
	}
}
