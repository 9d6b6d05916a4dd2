package catalog_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
)

// A folder's secrets are held to the names that a connector has.
func TestAConnectorOpensWithTheSecretsThatItNamesAndMissesEachOfThem(t *testing.T) {
	for _, name := range catalog.Names() {
		open := func(secrets map[string]string) error {
			_, err := catalog.Open(name, json.RawMessage(catalog.Bare(name)), secrets, egress.New(time.Now), time.Now)
			return err
		}
		all := map[string]string{}
		for _, s := range catalog.Secrets(name) {
			all[s] = "x"
		}
		if err := open(all); err != nil || len(all) == 0 {
			t.Errorf("%s with %v: %v", name, all, err)
		}
		for s := range all {
			delete(all, s)
			if f := fault.Of(open(all)); f == nil || f.Field != s {
				t.Errorf("%s without %s: %v", name, s, f)
			}
			all[s] = "x"
		}
	}
}
