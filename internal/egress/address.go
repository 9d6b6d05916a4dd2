package egress

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var (
	// addressText is what RFC 3986 lets an address consist of.
	addressText = regexp.MustCompile(`^[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+$`)
	hostName    = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?$`)
)

// ParseAddress checks an address that somebody configured: https, or http on
// this machine, with a host, a port that there is and no credential. What is
// wrong is told beside the value, which is empty where it could hold a
// credential. Whether the address may be reached is decided when it is dialed.
func ParseAddress(s string) (u *url.URL, value, wrong string) {
	if !strings.Contains(s, "@") {
		value = s
	}
	if s == "" {
		return nil, "", "is missing"
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || !addressText.MatchString(s):
		return nil, value, "is no address: it may hold letters, digits and the marks of an address"
	case u.Scheme != "https" && u.Scheme != "http" || u.Opaque != "":
		return nil, value, "must use https: it begins with https://"
	case u.User != nil:
		return nil, "", "must hold no user or password, which would be stored in the open"
	case !isHost(u.Hostname()):
		return nil, value, "has no host after https://"
	case !isPort(u):
		return nil, value, fmt.Sprintf("has the port %q; ports are 1 to 65535", u.Port())
	case u.Scheme != "https" && !loopback(u.Hostname()):
		return nil, value, "must use https"
	}
	return u, "", ""
}

func isHost(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return len(name) <= 253 && hostName.MatchString(name)
}

func isPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.Atoi(u.Port())
	return err == nil && n >= 1 && n <= 65535
}

func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
