// Package doctor examines an AWS account before and after the platform is
// deployed to it: quotas, mail, permissions, and the stack itself. It only reads.
package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/errgroup"
)

// Status is how a finding is judged.
type Status string

const (
	// OK is as it should be.
	OK Status = "ok"
	// Warning works, and not as well or as long as it should.
	Warning Status = "warning"
	// Unknown could not be seen. It is never taken for good.
	Unknown Status = "unknown"
	// Failing stops a deployment, or the platform's work.
	Failing Status = "failing"
)

// severity orders the statuses; the worst finding is the report's status.
var severity = map[Status]int{OK: 0, Warning: 1, Unknown: 2, Failing: 3}

// Finding is one thing that was looked at.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	// Value is what is there, Want what should be.
	Value string `json:"value"`
	Want  string `json:"want"`
	// Next is the command or the page that changes it; empty for OK.
	Next string `json:"next,omitempty"`
	// Class says why an answer is missing; empty where there is one.
	Class Class `json:"class,omitempty"`
	// Details are the parts of a value that is a number of things.
	Details []string `json:"details,omitempty"`
}

// Report is what was found in one account and region.
type Report struct {
	Account  string    `json:"account"`
	Region   string    `json:"region"`
	Caller   string    `json:"caller"`
	Stack    string    `json:"stack,omitempty"`
	Status   Status    `json:"status"` // of the worst finding
	Findings []Finding `json:"findings"`
}

// Healthy tells whether everything is known, and nothing worse than a warning.
func (r Report) Healthy() bool { return severity[r.Status] <= severity[Warning] }

// Options say what to examine.
type Options struct {
	// Profile is named in the commands that a finding advises; it may be empty.
	Profile string
	// Stack is the platform's stack; empty leaves out what needs one.
	Stack string
}

// exam is one examination. Checks share it and change nothing of it.
type exam struct {
	cfg       aws.Config
	profile   string
	stackName string

	partition string
	account   string
	caller    string // ARN of whoever asks

	stack stack // what was found of the platform's stack
}

// check is one subject. Its findings stand in the report in the order of checks.
type check struct {
	name string
	run  func(*exam, context.Context) []Finding
}

// accountChecks need an account and nothing else.
var accountChecks = []check{
	{"region.services", (*exam).services},
	{"lambda", (*exam).lambda},
	{"quota", (*exam).quotas},
	{"mail", (*exam).mail},
	{"permissions", (*exam).permissions},
	{"bucket", (*exam).bucket},
}

// stackChecks need the platform's stack.
var stackChecks = []check{
	{"table", (*exam).tables},
	{"key", (*exam).key},
	{"queue", (*exam).queues},
	{"alarms", (*exam).alarms},
}

// atOnce is how many checks ask AWS at the same time; more would be throttled.
const atOnce = 4

// Examine looks at the account and region of the configuration. What cannot be
// seen is a finding like any other, so that there is always a whole report.
func Examine(ctx context.Context, cfg aws.Config, o Options) Report {
	e := &exam{cfg: cfg, profile: o.Profile, stackName: o.Stack}
	var found []Finding
	stops := e.region()
	if stops == nil {
		var who Finding
		if who, stops = e.identify(ctx); stops == nil {
			found = append(found, who)
		}
	}
	if stops != nil {
		return e.report(append([]Finding{*stops}, e.unasked()...))
	}
	checks := accountChecks
	if e.stackName != "" {
		found = append(found, e.findStack(ctx)...)
		if e.stack.there() {
			checks = append(checks[:len(checks):len(checks)], stackChecks...)
		}
	}
	return e.report(append(found, e.run(ctx, checks)...))
}

// NotLoaded is the report where there is not even a configuration to ask with,
// such as for a profile that does not exist.
func NotLoaded(err error, region string, o Options) Report {
	e := &exam{cfg: aws.Config{Region: region}, profile: o.Profile, stackName: o.Stack}
	f := Finding{Check: "credentials", Status: Failing, Value: "the AWS configuration cannot be read: " + err.Error(),
		Want: "a profile of ~/.aws/config, or credentials in the environment", Next: "aws configure list-profiles", Class: Credentials}
	return e.report(append([]Finding{f}, e.unasked()...))
}

// run makes the checks, some at once, and keeps their order.
func (e *exam) run(ctx context.Context, checks []check) []Finding {
	results := make([][]Finding, len(checks))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, c := range checks {
		group.Go(func() error {
			results[i] = c.run(e, ctx)
			return nil
		})
	}
	_ = group.Wait() // a check reports what failed as a finding
	var all []Finding
	for _, r := range results {
		all = append(all, r...)
	}
	return all
}

// mend is what makes the rest askable.
const mend = "mend what fails above and run waybill doctor again"

// unasked are the findings of all checks, because something before them failed.
func (e *exam) unasked() []Finding {
	checks := accountChecks
	if e.stackName != "" {
		checks = append(append(checks[:len(checks):len(checks)], check{name: "stack"}), stackChecks...)
	}
	return notAsked(checks, mend)
}

// notAsked are the findings of checks that were not made.
func notAsked(checks []check, next string) []Finding {
	var out []Finding
	for _, c := range checks {
		out = append(out, Finding{Check: c.name, Status: Unknown, Value: "not asked", Want: "an account and a stack to ask", Next: next, Class: NotAsked})
	}
	return out
}

func (e *exam) report(found []Finding) Report {
	r := Report{Account: e.account, Region: e.cfg.Region, Caller: e.caller, Stack: e.stackName, Status: OK, Findings: found}
	for _, f := range found {
		if severity[f.Status] > severity[r.Status] {
			r.Status = f.Status
		}
	}
	return r
}

// command completes an AWS command with region and profile.
func (e *exam) command(format string, args ...any) string {
	c := fmt.Sprintf(format, args...)
	if e.cfg.Region != "" && !strings.Contains(c, "--region") {
		c += " --region " + e.cfg.Region
	}
	if e.profile != "" {
		c += " --profile " + e.profile
	}
	return c
}

// again is the examination itself, as a next step.
func (e *exam) again() string {
	c := e.command("waybill doctor")
	if e.stackName != "" {
		c += " --stack " + e.stackName
	}
	return c
}
