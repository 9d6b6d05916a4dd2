package boot

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/waybillhq/waybill/internal/hook"
)

// Webhook makes the HTTP API's handler of a receiver. Its answers have no
// body: a vendor needs none, and an attacker shall learn nothing.
func Webhook(p *Platform, r *hook.Receiver) func(context.Context, events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	return func(ctx context.Context, req events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		began := time.Now()
		body := []byte(req.Body)
		if req.IsBase64Encoded {
			var err error
			if body, err = base64.StdEncoding.DecodeString(req.Body); err != nil {
				return events.APIGatewayV2HTTPResponse{StatusCode: http.StatusBadRequest}, nil
			}
		}
		h := http.Header{}
		for k, v := range req.Headers {
			h.Set(k, v)
		}
		address := req.PathParameters["address"]
		out := r.Receive(ctx, address, h, body)
		p.Log.Info("webhook-receive", "status", out.Status, "reason", out.Reason, "tenant", out.Tenant, "topic", out.Topic,
			"flow", out.Flow, "bytes", len(body), "ms", time.Since(began).Milliseconds(), "asked", p.Meter.Take())
		if out.Status == http.StatusRequestEntityTooLarge {
			p.Metric("webhook-receive", "BodyTooLarge", "Count", 1)
		}
		return events.APIGatewayV2HTTPResponse{StatusCode: out.Status}, nil
	}
}

// Metric writes a number in CloudWatch's embedded metric format. The stack is a
// dimension, so that of two in one account neither sets off the other's alarms.
func (p *Platform) Metric(function, name, unit string, value float64, more ...any) {
	line := map[string]any{
		"_aws": map[string]any{"Timestamp": time.Now().UnixMilli(), "CloudWatchMetrics": []any{map[string]any{
			"Namespace": "Waybill", "Dimensions": [][]string{{"Function", "Stack"}}, "Metrics": []any{map[string]string{"Name": name, "Unit": unit}},
		}}},
		"Function": function, "Stack": p.Env("STACK"), name: value,
	}
	for i := 0; i+1 < len(more); i += 2 {
		line[fmt.Sprint(more[i])] = more[i+1]
	}
	b, err := json.Marshal(line)
	if err != nil {
		p.Log.Warn("writing a metric", "error", err)
		return
	}
	_, _ = os.Stdout.Write(append(b, '\n')) // a log that cannot be written has nobody to tell
}
