// Package states holds the laws of the state machines.
package states_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
)

type state struct {
	Type           string
	TimeoutSeconds int
	ResultPath     *string
	Retry          []struct{ ErrorEquals []string }
	Catch          []struct {
		ErrorEquals []string
		ResultPath  *string
		Next        string
	}
	Next     string
	Branches []machine
}

type machine struct {
	StartAt        string
	TimeoutSeconds int
	States         map[string]state
}

// violations checks one machine. A task that fails must always end in a rest
// of its document, and state input must stay ids: results are discarded.
func violations(m machine, branch bool) (out []string) {
	if !branch && time.Duration(m.TimeoutSeconds)*time.Second != document.MachineTimeout {
		out = append(out, fmt.Sprintf("the machine's time-out is %d s, not document.MachineTimeout", m.TimeoutSeconds))
	}
	for name, s := range m.States {
		switch s.Type {
		case "Task":
			if s.TimeoutSeconds == 0 || time.Duration(s.TimeoutSeconds)*time.Second > document.TaskTimeout {
				out = append(out, name+" has no time-out within document.TaskTimeout")
			}
			if s.ResultPath != nil {
				out = append(out, name+" keeps its result in the state's input")
			}
			if len(s.Retry) == 0 {
				out = append(out, name+" does not retry the Lambda service's own failures")
			}
			if len(s.Catch) == 0 || !slices.Equal(s.Catch[len(s.Catch)-1].ErrorEquals, []string{"States.ALL"}) {
				out = append(out, name+" lets a failure leave the machine")
			}
		case "Parallel":
			for _, b := range s.Branches {
				out = append(out, violations(b, true)...)
			}
		case "Pass", "Succeed":
		default:
			out = append(out, name+" is a "+s.Type+", which the machines do without")
		}
	}
	return out
}

func TestEveryMachineKeepsTheLaws(t *testing.T) {
	files, err := filepath.Glob("../../infra/states/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no machines: %v", err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var m machine
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		for _, v := range violations(m, false) {
			t.Errorf("%s: %s", filepath.Base(f), v)
		}
	}
}

func TestTheLawsCatchAViolation(t *testing.T) {
	kept := "$"
	for name, m := range map[string]machine{
		"a machine without a time-out":      {States: map[string]state{}},
		"a task that lets its failure out":  {TimeoutSeconds: 280, States: map[string]state{"A": {Type: "Task", TimeoutSeconds: 90, Retry: []struct{ ErrorEquals []string }{{}}}}},
		"a task that outlives its document": {TimeoutSeconds: 280, States: map[string]state{"A": {Type: "Task", TimeoutSeconds: 900, ResultPath: &kept}}},
		"a wait":                            {TimeoutSeconds: 280, States: map[string]state{"A": {Type: "Wait"}}},
	} {
		if len(violations(m, false)) == 0 {
			t.Errorf("%s passes", name)
		}
	}
}
