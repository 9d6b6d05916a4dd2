package connectortest_test

import (
	"testing"

	"github.com/waybillhq/waybill/internal/connector/connectortest"
)

func TestTheTableOfConformanceIsCurrent(t *testing.T) { connectortest.Table(t, "..") }
