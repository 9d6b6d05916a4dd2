package boot_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/waybillhq/waybill/internal/boot"
)

// Two stacks of one account tell their metrics apart by the dimensions that the
// alarms are of.
func TestAMetricIsOfOneStack(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = read.Close() }()
	p := boot.For(aws.Config{}, func(name string) string { return map[string]string{"STACK": "acme-Flows-1A2B3C"}[name] }, slog.New(slog.DiscardHandler))
	stdout := os.Stdout
	os.Stdout = write
	p.Metric("document-sweep", "SweeperLag", "Seconds", 7)
	os.Stdout = stdout
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	var line struct {
		Function, Stack string
		SweeperLag      float64
		AWS             struct {
			CloudWatchMetrics []struct{ Dimensions [][]string }
		} `json:"_aws"`
	}
	if err := json.Unmarshal(raw, &line); err != nil {
		t.Fatal(err)
	}
	if d := line.AWS.CloudWatchMetrics[0].Dimensions; len(d) != 1 || len(d[0]) != 2 || d[0][0] != "Function" || d[0][1] != "Stack" ||
		line.Function != "document-sweep" || line.Stack != "acme-Flows-1A2B3C" || line.SweeperLag != 7 {
		t.Errorf("got %s", raw)
	}
}
