// Package cost computes what a million orders cost in AWS from what a run's
// functions told of themselves: counted calls, units and events, times list
// prices. Durations are modelled, not measured: a developer's machine is no
// Lambda.
package cost

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/waybillhq/waybill/internal/meter"
)

// List prices in US dollars, us-east-1, as published by AWS in November 2026
// for arm64 and on-demand use; free tiers are left out.
const (
	PriceRegion = "us-east-1"
	PriceDate   = "2026-11"

	httpAPIRequest  = 1.00 / 1e6 // HTTP API, first 300 million
	lambdaRequest   = 0.20 / 1e6
	lambdaGBSecond  = 0.0000133334
	expressRequest  = 1.00 / 1e6
	expressGBSecond = 0.00001667
	sqsRequest      = 0.40 / 1e6 // standard queue
	customEvent     = 1.00 / 1e6
	readUnit        = 0.125 / 1e6
	writeUnit       = 0.625 / 1e6
	kmsRequest      = 0.03 / 1e4
	s3Put           = 0.005 / 1e3
	s3Get           = 0.0004 / 1e3
	logByte         = 0.50 / (1 << 30)
	memoryGB        = 0.25   // of a function, as the template says
	taskMemoryGB    = 0.125  // of one that waits for others
	taskSlower      = 2      // its own work takes longer: processor speed comes with memory
	expressMemoryGB = 0.0625 // the least that is billed
	ownSeconds      = 0.003  // a warm invocation's own work
	awsCallSeconds  = 0.006
	vendorSeconds   = 0.400

	logOverhead = 26 // CloudWatch Logs adds to each event

	// coldShare is how many invocations find no instance that has read its
	// configuration and opened its secrets. A short run meets many more than a
	// month does, in which an instance lives for hours.
	coldShare = 0.01
)

// Budgets in dollars per million orders.
const (
	MessagingBudget = 15.0
	TotalBudget     = 50.0
)

// Item is one service's share, in dollars per million orders.
type Item struct {
	Service   string  `json:"service"`
	Quantity  float64 `json:"quantity_per_order"`
	Unit      string  `json:"unit"`
	Dollars   float64 `json:"dollars_per_million_orders"`
	Messaging bool    `json:"messaging"` // orchestration and messaging
}

// Report is what a million orders cost.
type Report struct {
	Orders    int     `json:"orders"` // that the figures were counted over
	Items     []Item  `json:"items"`
	Messaging float64 `json:"messaging_dollars"`
	Total     float64 `json:"total_dollars"`
	// CallsPerOrder are the calls by service and operation.
	CallsPerOrder map[string]float64 `json:"calls_per_order"`
}

// line is what a function logs of one invocation.
type line struct {
	Function string      `json:"msg"`
	Tenant   string      `json:"tenant"`
	Document string      `json:"document"`
	Run      int64       `json:"run"`
	Outcome  string      `json:"outcome"`
	Events   int         `json:"events"`
	Asked    meter.Count `json:"asked"`
}

// scheduled functions run whether there are orders or not.
var scheduled = []string{"order-reconcile", "document-sweep", "alert-send", "job-schedule"}

// machineTasks are the functions that run inside a state machine.
func machineTask(function string) bool {
	return strings.HasPrefix(function, "fulfillment-") || function == "document-rest" ||
		(strings.HasPrefix(function, "shipment-") && function != "shipment-intake")
}

// Branches are the tasks that a machine runs at the same time: of a run it waits
// for the longest.
var Branches = []string{"shipment-confirm", "shipment-invoice"}

// execution names one run of a document's machine.
type execution struct {
	tenant, document string
	run              int64
}

// told is what a log has told of the invocations that orders caused.
type told struct {
	line
	bytes int
}

// weights make cold invocations of a function and outcome coldShare of all its
// invocations, and leave their number as it was. What was never seen warm
// stays as it is.
func weights(lines []told) []float64 {
	type kind struct{ function, outcome string }
	cold, warm := map[kind]float64{}, map[kind]float64{}
	for _, l := range lines {
		if k := (kind{l.Function, l.Outcome}); l.Asked.Cold {
			cold[k]++
		} else {
			warm[k]++
		}
	}
	out := make([]float64, len(lines))
	for i, l := range lines {
		k := kind{l.Function, l.Outcome}
		c, w := cold[k], warm[k]
		share := min(coldShare*(c+w), c)
		switch {
		case w == 0:
			out[i] = 1
		case l.Asked.Cold:
			out[i] = share / c
		default:
			out[i] = (c + w - share) / w
		}
	}
	return out
}

// read returns the lines of a log that tell what orders have caused.
func read(log io.Reader) (lines []told, err error) {
	scan := bufio.NewScanner(log)
	scan.Buffer(nil, 4<<20)
	for scan.Scan() {
		raw := scan.Bytes()
		if i := bytes.IndexByte(raw, '{'); i >= 0 {
			raw = raw[i:]
		}
		l := told{bytes: len(raw) + logOverhead}
		if bytes.Contains(raw, []byte(`"asked"`)) && json.Unmarshal(raw, &l.line) == nil && !slices.Contains(scheduled, l.Function) {
			lines = append(lines, l)
		}
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	return lines, nil
}

// Read computes the report from a log of JSON lines; other lines are passed
// over. It fails where no order was accepted.
func Read(log io.Reader) (Report, error) {
	var r Report
	lines, err := read(log)
	if err != nil {
		return r, err
	}
	calls, longest := map[string]float64{}, map[execution]float64{}
	var readUnits, writeUnits, invocations, webhooks, events, bytesLogged, gigabyteSeconds, machineSeconds float64
	for i, weight := range weights(lines) {
		l := lines[i]
		if l.Function == "order-intake" && l.Outcome == "accepted" {
			r.Orders++
		}
		invocations += weight
		bytesLogged += weight * float64(l.bytes)
		readUnits += weight * l.Asked.ReadUnits
		writeUnits += weight * l.Asked.WriteUnits
		asked := 0
		for name, c := range l.Asked.Calls {
			asked += c
			calls[name] += weight * float64(c)
		}
		own, waiting, memory := ownSeconds+awsCallSeconds*float64(asked), vendorSeconds*float64(l.Asked.Vendor), memoryGB
		if machineTask(l.Function) || l.Function == "document-resume" {
			own, memory = own*taskSlower, taskMemoryGB
		}
		gigabyteSeconds += weight * (own + waiting) * memory
		if seconds := weight * (own + waiting); slices.Contains(Branches, l.Function) {
			e := execution{l.Tenant, l.Document, l.Run}
			machineSeconds += max(seconds-longest[e], 0)
			longest[e] = max(seconds, longest[e])
		} else if machineTask(l.Function) {
			machineSeconds += seconds
		}
		switch l.Function {
		case "webhook-receive":
			webhooks += weight
		case "event-publish":
			events += weight * float64(l.Events)
		}
	}
	if r.Orders == 0 {
		return r, fmt.Errorf("the log tells of no accepted order")
	}
	per := func(x float64) float64 { return x / float64(r.Orders) }
	add := func(service, unit string, quantity, price float64, messaging bool) {
		i := Item{service, per(quantity), unit, per(quantity) * price * 1e6, messaging}
		r.Items = append(r.Items, i)
		r.Total += i.Dollars
		if messaging {
			r.Messaging += i.Dollars
		}
	}
	add("API Gateway", "requests", webhooks, httpAPIRequest, true)
	// A message is sent, received and deleted.
	add("SQS", "requests", 3*calls["SQS.SendMessage"]+calls["SQS.ChangeMessageVisibility"], sqsRequest, true)
	add("Step Functions Express", "executions", calls["SFN.StartExecution"], expressRequest, true)
	add("Step Functions Express", "GB-seconds", machineSeconds*expressMemoryGB, expressGBSecond, true)
	add("EventBridge", "events", events, customEvent, true)
	add("Lambda", "requests", invocations, lambdaRequest, false)
	add("Lambda", "GB-seconds", gigabyteSeconds, lambdaGBSecond, false)
	add("DynamoDB", "read units", readUnits, readUnit, false)
	add("DynamoDB", "write units", writeUnits, writeUnit, false)
	add("KMS", "requests", calls["KMS.Decrypt"]+calls["KMS.GenerateDataKey"], kmsRequest, false)
	add("S3", "puts", calls["S3.PutObject"], s3Put, false)
	add("S3", "gets", calls["S3.GetObject"], s3Get, false)
	add("CloudWatch Logs", "bytes", bytesLogged, logByte, false)
	r.CallsPerOrder = map[string]float64{}
	for k, c := range calls {
		r.CallsPerOrder[k] = per(c)
	}
	return r, nil
}
