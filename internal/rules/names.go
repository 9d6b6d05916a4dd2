package rules

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

var locationCode = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:-]{0,63}$`)

// CheckCode tells whether a location may have a code: it is a part of keys,
// whose parts are separated by '#'.
func CheckCode(code string) (wrong, right string) {
	switch {
	case code == "":
		return "is missing", "the warehouse's location code in stock positions"
	case !locationCode.MatchString(code):
		return fmt.Sprintf("%s is no location code", short(code)), "1 to 64 of A-Z, a-z, 0-9 and . _ - / :, beginning with a letter or digit"
	}
	return "", ""
}

// short quotes a value for a message.
func short(s string) string {
	if r := []rune(s); len(r) > 80 {
		return fmt.Sprintf("%q… (%d characters)", string(r[:80]), len(r))
	}
	return fmt.Sprintf("%q", s)
}

// zones are the names in the time zone data that Go programs carry, which is
// all that a function has; the machine that checks a file may know more.
//
//go:embed zones.txt
var zones string

// CheckZone tells whether functions know a time zone. None given is UTC.
func CheckZone(name string) (wrong, right string) {
	if name == "" || !strings.Contains(name, "\n") && strings.Contains("\n"+zones, "\n"+name+"\n") {
		return "", ""
	}
	return fmt.Sprintf("%s is no time zone that functions know", short(name)), "a name of the IANA database such as America/New_York; UTC if it is left out"
}

// countries are the assigned codes of ISO 3166-1 alpha-2.
const countries = ` AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
 CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
 GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
 KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ
 NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
 SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ
 UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW `

func checkCountry(code string) (wrong, right string) {
	switch {
	case code == "*", len(code) == 2 && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" && strings.Contains(countries, " "+code):
		return "", ""
	case strings.EqualFold(code, "UK"):
		return fmt.Sprintf("%q is no country", code), "the United Kingdom is GB"
	}
	return fmt.Sprintf("%s is no country", short(code)), `an assigned code of ISO 3166-1 alpha-2 such as US, or "*" for every other`
}
