package retail

import (
	"errors"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMoneyIsReadExactlyOrRefused(t *testing.T) {
	for _, c := range []struct {
		name, in string
		currency Currency
		want     int64
		err      error
	}{
		{"cents", "12.50", "USD", 1250, nil},
		{"no fraction", "12", "USD", 1200, nil},
		{"negative", "-0.01", "USD", -1, nil},
		{"zeros past the exponent are no digits", "10.000", "USD", 1000, nil},
		{"a yen has no fraction", "1000.0", "JPY", 1000, nil},
		{"a dinar has three digits", "1.234", "KWD", 1234, nil},
		{"too many digits", "19.999", "USD", 0, ErrExcessDigits},
		{"half a yen", "10.5", "JPY", 0, ErrExcessDigits},
		{"words", "ten", "USD", 0, ErrNotDecimal},
		{"exponent notation", "1e3", "USD", 0, ErrNotDecimal},
		{"empty", "", "USD", 0, ErrNotDecimal},
		{"a lone point", "1.", "USD", 0, ErrNotDecimal},
		{"a plus sign", "+1", "USD", 0, ErrNotDecimal},
		{"the largest", "92233720368547758.07", "USD", math.MaxInt64, nil},
		{"one more than the largest", "92233720368547758.08", "USD", 0, ErrOverflow},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseMoney(c.in, c.currency)
			if !errors.Is(err, c.err) || got.Amount != c.want {
				t.Errorf("ParseMoney(%q) = %d, %v; want %d, %v", c.in, got.Amount, err, c.want, c.err)
			}
		})
	}
}

func TestAnUnknownCurrencyIsRefused(t *testing.T) {
	if _, err := ParseMoney("1", "XXY"); err == nil {
		t.Error("XXY was accepted")
	}
}

func TestMoneyPrintsAsItReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom([]Currency{"USD", "JPY", "KWD"}).Draw(t, "currency")
		m := Money{rapid.Int64Range(-math.MaxInt64, math.MaxInt64).Draw(t, "amount"), c}
		got, err := ParseMoney(m.String(), c)
		if err != nil || got != m {
			t.Fatalf("%d prints as %q and reads as %d, %v", m.Amount, m, got.Amount, err)
		}
	})
}

func TestASumEitherFitsOrIsRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		got, err := Money{a, "USD"}.Add(Money{b, "USD"})
		overflows := (b > 0 && a > math.MaxInt64-b) || (b < 0 && a < math.MinInt64-b)
		if overflows != (err != nil) || (err == nil && got.Amount != a+b) {
			t.Fatalf("%d + %d = %d, %v", a, b, got.Amount, err)
		}
	})
}

func TestCurrenciesNeverMix(t *testing.T) {
	if _, err := (Money{1, "USD"}).Add(Money{1, "EUR"}); !errors.Is(err, ErrCurrencies) {
		t.Errorf("err = %v", err)
	}
}

func TestASubCentPriceIsRoundedOnceAtTheLine(t *testing.T) {
	for _, c := range []struct {
		price string
		qty   int64
		want  int64
	}{{"0.005", 1, 1}, {"0.005", 3, 2}, {"0.0049", 1, 0}, {"-0.005", 1, -1}, {"1.25", 4, 500}, {"0.3333", 3, 100}} {
		p, err := ParsePrice(c.price, "USD")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Times(c.qty); err != nil || got.Amount != c.want {
			t.Errorf("%s × %d = %d, %v; want %d", c.price, c.qty, got.Amount, err, c.want)
		}
	}
}

func TestALineIsItsExactProductOrRefused(t *testing.T) {
	number := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-1e4, 1e4), rapid.Int64Range(math.MaxInt32-2, math.MaxInt32+2), rapid.Int64Range(math.MinInt32-2, math.MinInt32+2))
	rapid.Check(t, func(t *rapid.T) {
		amount, quantity := number.Draw(t, "amount"), number.Draw(t, "quantity")
		for _, p := range []Price{{amount, 2, "USD"}, {amount, 0, "JPY"}, {amount, 3, "KWD"}} {
			got, err := p.Times(quantity)
			want := new(big.Int).Mul(big.NewInt(amount), big.NewInt(quantity))
			if want.IsInt64() != (err == nil) || (err == nil && (got != Money{want.Int64(), p.Currency})) {
				t.Fatalf("%v × %d = %v, %v; want %s", p, quantity, got, err, want)
			}
		}
	})
}

func TestAllocationSumsExactlyAndIsFairToAUnit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64Range(-1e12, 1e12).Draw(t, "total")
		weights := rapid.SliceOfN(rapid.Int64Range(0, 1e9), 1, 40).Draw(t, "weights")
		var sum, all int64
		for _, w := range weights {
			all += w
		}
		for i, p := range Allocate(total, weights) {
			sum += p
			if all > 0 {
				exact := float64(total) * float64(weights[i]) / float64(all)
				if math.Abs(float64(p)-exact) > 1.001 {
					t.Fatalf("part %d is %d, its share is %f", i, p, exact)
				}
			}
		}
		if sum != total {
			t.Fatalf("parts sum to %d, not %d", sum, total)
		}
	})
}

func TestTiesOfTheRemainderGoToTheEarlierLine(t *testing.T) {
	got := Allocate(100, []int64{1, 1, 1})
	if got[0] != 34 || got[1] != 33 || got[2] != 33 {
		t.Errorf("parts = %v", got)
	}
}

// allocated is what Allocate means, unit by unit: each that is left goes to the
// largest remainder of then.
func allocated(total int64, weights []int64) []int64 {
	sum := new(big.Int)
	for _, w := range weights {
		sum.Add(sum, big.NewInt(w))
	}
	even := sum.Sign() == 0
	if even {
		sum.SetInt64(int64(len(weights)))
	}
	left, sign := total, int64(1)
	if total < 0 {
		left, sign = -total, -1
	}
	whole := big.NewInt(left)
	parts, rem := make([]int64, len(weights)), make([]*big.Int, len(weights))
	for i, w := range weights {
		if even {
			w = 1
		}
		q, r := new(big.Int).QuoRem(new(big.Int).Mul(whole, big.NewInt(w)), sum, new(big.Int))
		parts[i], rem[i] = q.Int64(), r
		left -= parts[i]
	}
	for ; left > 0; left-- {
		best := 0
		for i := range rem {
			if rem[i].Cmp(rem[best]) > 0 {
				best = i
			}
		}
		parts[best]++
		rem[best] = big.NewInt(-1)
	}
	for i := range parts {
		parts[i] *= sign
	}
	return parts
}

func TestEveryUnitGoesToTheLargestRemainderOfThen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.OneOf(rapid.Int64Range(-200, 200), rapid.Int64Range(-math.MaxInt64, math.MaxInt64)).Draw(t, "total")
		weights := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(0, 5), rapid.Int64Range(0, math.MaxInt64)), 1, 60).Draw(t, "weights")
		if got, want := Allocate(total, weights), allocated(total, weights); !slices.Equal(got, want) {
			t.Fatalf("%d over %v becomes %v, want %v", total, weights, got, want)
		}
	})
}

func TestAnOrderOfManyLinesIsAllocatedInOnePass(t *testing.T) {
	weights := make([]int64, 200_000)
	for i := range weights {
		weights[i] = int64(i%7 + 1)
	}
	started := time.Now()
	parts := Allocate(199_999, weights)
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	var sum int64
	for _, p := range parts {
		sum += p
	}
	if sum != 199_999 {
		t.Errorf("parts sum to %d", sum)
	}
}

func TestAGuilderReplacedByAnotherIsStillRead(t *testing.T) {
	for _, c := range []Currency{"ANG", "XCG"} {
		if got, err := ParseMoney("1.50", c); err != nil || got.Amount != 150 {
			t.Errorf("%s: %v, %v", c, got, err)
		}
	}
}
