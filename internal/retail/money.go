package retail

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
)

// Currency is an ISO 4217 alphabetic code that the pinned table knows.
type Currency string

// exponents is the ISO 4217 table of minor-unit digits for the currencies
// whose exponent is not 2, and those with 2 that the platform accepts.
// Source: ISO 4217 list one, "Minor unit" column.
var exponents = func() map[Currency]int {
	m := map[Currency]int{}
	for _, c := range strings.Fields("AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG") {
		m[Currency(c)] = 2
	}
	for _, c := range strings.Fields("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF") {
		m[Currency(c)] = 0
	}
	for _, c := range strings.Fields("BHD IQD JOD KWD LYD OMR TND") {
		m[Currency(c)] = 3
	}
	return m
}()

// ParseCurrency accepts a code of the pinned ISO 4217 table.
func ParseCurrency(s string) (Currency, error) {
	c := Currency(s)
	if _, ok := exponents[c]; !ok {
		return "", fmt.Errorf("currency %q is not in ISO 4217", s)
	}
	return c, nil
}

// Exponent is the number of minor-unit digits (USD 2, JPY 0, KWD 3), or -1
// for a currency outside the table.
func (c Currency) Exponent() int {
	if e, ok := exponents[c]; ok {
		return e
	}
	return -1
}

// Money is an amount in minor units (cents) of one currency.
type Money struct {
	Amount   int64    `json:"amount_minor"`
	Currency Currency `json:"currency"`
}

// Errors of money arithmetic and parsing; they wrap the offending value.
var (
	ErrNotDecimal   = errors.New("is not a decimal number")
	ErrExcessDigits = errors.New("has more digits than the currency allows")
	ErrOverflow     = errors.New("is outside the range of 64-bit minor units")
	ErrCurrencies   = errors.New("amounts of different currencies")
)

// ParseMoney reads a decimal string such as "12.50" exactly. Digits past the
// currency's exponent are allowed only as zeros ("10.000" is 10.00 USD);
// anything else is refused rather than rounded. Exponent notation is refused.
func ParseMoney(s string, c Currency) (Money, error) {
	exp := c.Exponent()
	if exp < 0 {
		return Money{}, fmt.Errorf("currency %q is not in ISO 4217", c)
	}
	n, err := parseScaled(s, exp)
	if err != nil {
		return Money{}, err
	}
	return Money{n, c}, nil
}

// parseScaled reads s as an integer count of 10^-digits.
func parseScaled(s string, digits int) (int64, error) {
	body, neg := s, false
	if strings.HasPrefix(body, "-") {
		body, neg = body[1:], true
	}
	whole, frac, dotted := strings.Cut(body, ".")
	if whole == "" || (dotted && frac == "") || len(body) > 40 || !allDigits(whole) || !allDigits(frac) {
		return 0, fmt.Errorf("%.60q %w", s, ErrNotDecimal)
	}
	if len(frac) > digits {
		if strings.Trim(frac[digits:], "0") != "" {
			return 0, fmt.Errorf("%q %w (%d)", s, ErrExcessDigits, digits)
		}
		frac = frac[:digits]
	}
	frac += strings.Repeat("0", digits-len(frac))
	var n int64
	for _, r := range whole + frac {
		d := int64(r - '0')
		if n > (math.MaxInt64-d)/10 {
			return 0, fmt.Errorf("%q %w", s, ErrOverflow)
		}
		n = n*10 + d
	}
	if neg {
		n = -n
	}
	return n, nil
}

func allDigits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return true
}

// String writes the amount as a decimal with the currency's digits, without
// the currency: "12.50".
func (m Money) String() string { return formatScaled(m.Amount, max(m.Currency.Exponent(), 0)) }

func formatScaled(n int64, digits int) string {
	sign := ""
	u := uint64(n)
	if n < 0 {
		sign, u = "-", -u
	}
	s := fmt.Sprintf("%0*d", digits+1, u)
	if digits == 0 {
		return sign + s
	}
	return sign + s[:len(s)-digits] + "." + s[len(s)-digits:]
}

// IsZero reports a zero amount.
func (m Money) IsZero() bool { return m.Amount == 0 }

// Neg returns -m.
func (m Money) Neg() Money { return Money{-m.Amount, m.Currency} }

// Add returns m + o. Both must have one currency, and the sum must fit.
func (m Money) Add(o Money) (Money, error) {
	if m.Currency != o.Currency {
		return Money{}, fmt.Errorf("%w: %s and %s", ErrCurrencies, m.Currency, o.Currency)
	}
	s := m.Amount + o.Amount
	if (s > m.Amount) != (o.Amount > 0) && o.Amount != 0 {
		return Money{}, fmt.Errorf("%s + %s %w", m, o, ErrOverflow)
	}
	return Money{s, m.Currency}, nil
}

// Price is a unit price that may be finer than the currency's minor unit: the
// value is Amount × 10^-FractionDigits. Field names follow the high-precision
// money of commercetools.
type Price struct {
	Amount         int64    `json:"amount"`
	FractionDigits int      `json:"fraction_digits"`
	Currency       Currency `json:"currency"`
}

// MaxPriceDigits is the finest unit price the platform carries.
const MaxPriceDigits = 6

// ParsePrice reads a unit price with the currency's digits, or with more (up
// to MaxPriceDigits) where the string has them.
func ParsePrice(s string, c Currency) (Price, error) {
	exp := c.Exponent()
	if exp < 0 {
		return Price{}, fmt.Errorf("currency %q is not in ISO 4217", c)
	}
	digits := exp
	if _, frac, ok := strings.Cut(s, "."); ok {
		digits = min(max(exp, len(strings.TrimRight(frac, "0"))), MaxPriceDigits)
	}
	n, err := parseScaled(s, digits)
	if err != nil {
		return Price{}, err
	}
	return Price{n, digits, c}, nil
}

// PriceOf is the unit price that equals m exactly.
func PriceOf(m Money) Price { return Price{m.Amount, max(m.Currency.Exponent(), 0), m.Currency} }

// String writes the price as a decimal, without the currency.
func (p Price) String() string { return formatScaled(p.Amount, p.FractionDigits) }

// Times is price × quantity, rounded half away from zero to the minor unit at
// the line (domain rule: a sub-cent unit is rounded once, at the line).
func (p Price) Times(quantity int64) (Money, error) {
	// The usual line needs no rounding and no more than 64 bits.
	if p.FractionDigits <= p.Currency.Exponent() && small(p.Amount) && small(quantity) {
		return Money{p.Amount * quantity, p.Currency}, nil
	}
	n := new(big.Int).Mul(big.NewInt(p.Amount), big.NewInt(quantity))
	if drop := p.FractionDigits - p.Currency.Exponent(); drop > 0 {
		div := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(drop)), nil)
		half := new(big.Int).Quo(div, big.NewInt(2))
		if n.Sign() < 0 {
			half.Neg(half)
		}
		n.Add(n, half).Quo(n, div)
	}
	if !n.IsInt64() {
		return Money{}, fmt.Errorf("%s × %d %w", p, quantity, ErrOverflow)
	}
	return Money{n.Int64(), p.Currency}, nil
}

// small tells that the product of two such numbers has no more than 64 bits.
func small(n int64) bool { return n >= math.MinInt32 && n <= math.MaxInt32 }

// Allocate splits total over weights by the largest remainder, ties going to
// the earlier weight. The parts sum exactly to total. Weights must not be
// negative; if all are zero, the parts are as even as possible.
func Allocate(total int64, weights []int64) []int64 {
	parts := make([]int64, len(weights))
	if len(weights) == 0 {
		return parts
	}
	sum := new(big.Int)
	for _, w := range weights {
		sum.Add(sum, big.NewInt(w))
	}
	ws := weights
	if sum.Sign() == 0 {
		ws = make([]int64, len(weights))
		for i := range ws {
			ws[i] = 1
		}
		sum.SetInt64(int64(len(ws)))
	}
	sign, left := int64(1), total
	if total < 0 {
		sign, left = -1, -total
	}
	mag := big.NewInt(left)
	rem := make([]*big.Int, len(ws))
	for i, w := range ws {
		q, r := new(big.Int).QuoRem(new(big.Int).Mul(mag, big.NewInt(w)), sum, new(big.Int))
		parts[i], rem[i] = q.Int64(), r
		left -= parts[i]
	}
	// What is left is less than one for each part that has a remainder.
	order := make([]int, len(rem))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return rem[b].Cmp(rem[a]) })
	for _, i := range order[:max(left, 0)] {
		parts[i]++
	}
	for i := range parts {
		parts[i] *= sign
	}
	return parts
}
