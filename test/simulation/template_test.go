package simulation

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The course goes by the numbers of the template.
func TestTimeoutsAreThoseOfTheTemplate(t *testing.T) {
	raw, err := os.ReadFile("../../infra/flows.yaml")
	if err != nil {
		t.Fatal(err)
	}
	resource := func(name string) string {
		_, rest, ok := strings.Cut(string(raw), "\n  "+name+":\n")
		if !ok {
			t.Fatalf("there is no resource %s", name)
		}
		if end := regexp.MustCompile(`\n  \S`).FindStringIndex(rest); end != nil {
			rest = rest[:end[0]]
		}
		return rest
	}
	has := func(name, line string) {
		if !strings.Contains(resource(name), line) {
			t.Errorf("%s has no %q", name, line)
		}
	}
	for name, function := range map[string]string{"OrderIntake": orderQueue, "ShipmentIntake": shipmentQueue, "DocumentResume": resumeQueue,
		"DocumentSweep": "document-sweep", "OrderReconcile": "order-reconcile", "WebhookReceive": "webhook-receive", "DocumentRest": "DocumentRest"} {
		has(name, fmt.Sprintf("\n      Timeout: %.0f\n", timeouts[function].Seconds()))
	}
	for name, queue := range map[string]string{"OrderInboxQueue": orderQueue, "ShipmentInboxQueue": shipmentQueue, "ResumeQueue": resumeQueue} {
		has(name, fmt.Sprintf("VisibilityTimeout: %.0f\n", visibility[queue].Seconds()))
		has(name, fmt.Sprintf("maxReceiveCount: %d ", maxReceives))
	}
	for name, every := range map[string]time.Duration{"SweepRule": sweepEvery, "ReconcileRule": reconcileEvery} {
		has(name, fmt.Sprintf("rate(%.0f minute", every.Minutes()))
	}
	if !strings.Contains(string(raw), fmt.Sprintf("\n    Timeout: %.0f\n", taskTimeout.Seconds())) {
		t.Errorf("functions have no time-out of %s by default", taskTimeout)
	}
}

func TestAMachineOutsideTheSubsetIsRefused(t *testing.T) {
	for _, bad := range []string{
		`{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":3,"End":true}}}`,
		`{"StartAt":"A","States":{"A":{"Type":"Map","End":true}}}`,
		`{"StartAt":"A","States":{"A":{"Type":"Pass","End":true,"Parameters":{}}}}`,
		`{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"}}}`,
		`{"StartAt":"B","States":{"A":{"Type":"Succeed"}}}`,
		`{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"${X}","End":true}}}`,
	} {
		if _, err := ReadMachine([]byte(bad)); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
