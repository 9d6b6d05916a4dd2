//go:build unix

package cli_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybillhq/waybill/internal/doctor/doctortest"
)

// account sets the environment of somebody who works in a recorded account.
func account(t *testing.T, folder string) {
	t.Helper()
	server := doctortest.Start(t, "../doctor/testdata", folder)
	nowhere := filepath.Join(t.TempDir(), "none")
	for k, v := range map[string]string{"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "example",
		"AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere,
		"AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(k, v)
	}
}

func TestDoctorSaysByItsExitCodeWhetherTheAccountIsFit(t *testing.T) {
	for name, c := range map[string]struct {
		folder string
		args   []string
		code   int
		says   []string
	}{
		"healthy":         {"healthy", []string{"--region", "eu-central-1", "--stack", "waybill"}, 0, []string{"account 111122223333, eu-central-1", "0 warnings, 0 unknown, 0 failing"}},
		"a new account":   {"new-account", []string{"--region", "eu-central-1"}, 1, []string{"failing  lambda.concurrency", "next: aws service-quotas request-service-quota-increase"}},
		"denied":          {"denied", []string{"--region", "eu-central-1"}, 1, []string{"unknown  permissions.deploy", "0 failing"}},
		"expired":         {"expired", []string{"--region", "eu-central-1"}, 1, []string{"failing  credentials", "ExpiredToken"}},
		"no region":       {"healthy", nil, 1, []string{"failing  region", "give --region"}},
		"no such profile": {"healthy", []string{"--profile", "nobody"}, 1, []string{"failing  credentials", "nobody"}},
	} {
		t.Run(name, func(t *testing.T) {
			account(t, c.folder)
			code, out, errs := run(t, "", append([]string{"doctor"}, c.args...)...)
			if code != c.code || errs != "" {
				t.Errorf("code %d, %q\n%s", code, errs, out)
			}
			for _, want := range c.says {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not said in\n%s", want, out)
				}
			}
		})
	}
}

func TestDoctorPrintsJSON(t *testing.T) {
	account(t, "new-account")
	code, out, _ := run(t, "", "doctor", "--region", "eu-central-1", "--json")
	var report struct {
		Account  string `json:"account"`
		Status   string `json:"status"`
		Findings []struct {
			Check  string `json:"check"`
			Status string `json:"status"`
			Value  string `json:"value"`
			Want   string `json:"want"`
			Next   string `json:"next"`
		} `json:"findings"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || report.Account != "111122223333" || report.Status != "failing" || len(report.Findings) < 10 {
		t.Fatalf("code %d, %v:\n%s", code, err, out)
	}
	for _, f := range report.Findings {
		if f.Check == "" || f.Status == "" || f.Value == "" || f.Want == "" {
			t.Errorf("a finding without its parts: %+v", f)
		}
	}
}
