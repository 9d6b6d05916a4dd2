package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/waybillhq/waybill/internal/doctor/doctortest"
)

const stackName = "waybill"

// healthyAccount is every check of the healthy account, in order.
var healthyAccount = []string{
	"credentials", "stack", "region.services", "lambda.concurrency", "lambda.code",
	"quota.stacks", "quota.tables", "quota.writes", "quota.requests", "quota.events", "quota.executions", "quota.keys",
	"mail.sandbox", "permissions.deploy", "permissions.aws-only", "bucket",
	"table.Config", "table.Credentials", "table.Documents", "table.Exceptions", "table.Inbox", "table.Inventory", "table.Person",
	"key", "queue.OrderInboxDead", "queue.PublishDead", "queue.ResumeDead", "queue.ScheduleDead", "queue.ShipmentInboxDead", "alarms",
}

// examined examines a recorded account and holds the report to what every report
// keeps.
func examined(t *testing.T, folder string, o Options) (Report, *doctortest.Server) {
	t.Helper()
	r := doctortest.Start(t, "testdata", folder)
	report := Examine(t.Context(), r.Config("eu-central-1"), o)
	sound(t, report)
	return report, r
}

// sound holds a report to what every report keeps.
func sound(t *testing.T, r Report) {
	t.Helper()
	seen := map[string]bool{}
	worst := OK
	for _, f := range r.Findings {
		if seen[f.Check] {
			t.Errorf("%s is there twice", f.Check)
		}
		seen[f.Check] = true
		if f.Value == "" || f.Want == "" {
			t.Errorf("%s does not say what is and what should be: %+v", f.Check, f)
		}
		if (f.Next == "") != (f.Status == OK) {
			t.Errorf("%s is %s with the next step %q", f.Check, f.Status, f.Next)
		}
		if f.Status == Unknown && f.Class == "" || f.Status == OK && f.Class != "" {
			t.Errorf("%s is %s for the reason %q", f.Check, f.Status, f.Class)
		}
		if severity[f.Status] > severity[worst] {
			worst = f.Status
		}
	}
	if r.Status != worst {
		t.Errorf("the report is %s and its worst finding %s", r.Status, worst)
	}
}

func finding(t *testing.T, r Report, check string) Finding {
	t.Helper()
	i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Check == check })
	if i < 0 {
		t.Fatalf("there is no finding %s", check)
	}
	return r.Findings[i]
}

// differs holds a report to the healthy one but for the findings that are named.
func differs(t *testing.T, r Report, want map[string]Status) {
	t.Helper()
	for _, f := range r.Findings {
		expected, named := want[f.Check]
		if !named {
			expected = OK
		}
		if f.Status != expected {
			t.Errorf("%s is %s, want %s: %s (%s)", f.Check, f.Status, expected, f.Value, f.Next)
		}
	}
	for check := range want {
		finding(t, r, check)
	}
}

func TestAHealthyAccountIsAllGreen(t *testing.T) {
	r, _ := examined(t, "healthy", Options{Stack: stackName})
	differs(t, r, nil)
	var checks []string
	for _, f := range r.Findings {
		checks = append(checks, f.Check)
	}
	if !slices.Equal(checks, healthyAccount) {
		t.Errorf("checks: %q", checks)
	}
	if !r.Healthy() || r.Account != "111122223333" || !strings.Contains(r.Caller, "assumed-role/AWSReservedSSO") {
		t.Errorf("report: %+v", r)
	}
}

func TestWithoutAStackTheAccountAloneIsExamined(t *testing.T) {
	r, rec := examined(t, "healthy", Options{})
	differs(t, r, nil)
	for _, f := range r.Findings {
		if subject, _, _ := strings.Cut(f.Check, "."); slices.Contains([]string{"stack", "table", "key", "queue", "alarms"}, subject) {
			t.Errorf("%s was examined without a stack", f.Check)
		}
	}
	if slices.Contains(rec.Asked(), "cloudformation.DescribeStacks") {
		t.Error("a stack was asked for that nobody named")
	}
}

// A new account may run ten functions at once, sends no mail, and its root user
// is the only one there is.
func TestANewAccountIsToldWhatToAskAWSFor(t *testing.T) {
	r, _ := examined(t, "new-account", Options{Stack: stackName})
	differs(t, r, map[string]Status{"lambda.concurrency": Failing, "mail.sandbox": Warning, "stack": Warning, "permissions.deploy": Warning, "permissions.aws-only": Warning})
	c := finding(t, r, "lambda.concurrency")
	if c.Value != "10 concurrent executions, 10 unreserved" ||
		c.Next != "aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 --desired-value 1000 --region eu-central-1" {
		t.Errorf("concurrency: %+v", c)
	}
	if m := finding(t, r, "mail.sandbox"); !strings.HasPrefix(m.Value, "in the sandbox, 0 of 200 mails") || !strings.Contains(m.Next, "--production-access-enabled") {
		t.Errorf("mail: %+v", m)
	}
	if b := finding(t, r, "bucket"); !strings.Contains(b.Value, "not there yet") {
		t.Errorf("bucket: %+v", b)
	}
	if r.Healthy() {
		t.Error("a new account passes")
	}
}

// What the caller may not ask is not known, and never green.
func TestWhatIsDeniedIsNotKnown(t *testing.T) {
	r, _ := examined(t, "denied", Options{Stack: stackName})
	want := map[string]Status{}
	for _, check := range healthyAccount {
		if check != "credentials" && check != "stack" {
			want[check] = Unknown
		}
	}
	differs(t, r, want)
	for check := range want {
		f := finding(t, r, check)
		if f.Class != Denied || !strings.Contains(f.Next, "arn:aws:sts::111122223333:assumed-role/Operator/anna") {
			t.Errorf("%s: %+v", check, f)
		}
	}
	for check, action := range map[string]string{"quota.stacks": "servicequotas:GetServiceQuota", "mail.sandbox": "ses:GetAccount", "alarms": "sns:GetTopicAttributes",
		"queue.OrderInboxDead": "sqs:GetQueueAttributes", "bucket": "s3:ListBucket", "lambda.concurrency": "lambda:GetAccountSettings"} {
		if f := finding(t, r, check); !strings.Contains(f.Next, action) {
			t.Errorf("%s does not say that %s is missing: %s", check, action, f.Next)
		}
	}
	if p := finding(t, r, "permissions.deploy"); !strings.Contains(p.Next, "aws iam simulate-principal-policy --policy-source-arn arn:aws:iam::111122223333:role/Operator") {
		t.Errorf("permissions: %+v", p)
	}
}

func TestWhatIsThrottledIsNotKnown(t *testing.T) {
	r, _ := examined(t, "throttled", Options{Stack: stackName})
	unknown := []string{"lambda.concurrency", "lambda.code", "mail.sandbox", "quota.writes", "permissions.deploy", "permissions.aws-only", "table.Inbox"}
	want := map[string]Status{}
	for _, check := range unknown {
		want[check] = Unknown
	}
	differs(t, r, want)
	for _, check := range unknown {
		if f := finding(t, r, check); f.Class != Throttled || !strings.Contains(f.Next, "in a minute: waybill doctor --region eu-central-1 --stack waybill") {
			t.Errorf("%s: %+v", check, f)
		}
	}
}

// Without credentials that AWS takes, nothing else is asked, and everything else
// is said not to have been.
func TestCredentialsThatAWSDoesNotTakeEndTheExamination(t *testing.T) {
	for folder, code := range map[string]string{"expired": "ExpiredToken", "wrong-key": "InvalidClientTokenId"} {
		r, rec := examined(t, folder, Options{Stack: stackName, Profile: "acme"})
		f := finding(t, r, "credentials")
		if f.Status != Failing || f.Class != Credentials || !strings.Contains(f.Value, code) || !strings.Contains(f.Next, "aws sso login --profile acme") {
			t.Errorf("%s: %+v", folder, f)
		}
		for _, f := range r.Findings[1:] {
			if f.Status != Unknown || f.Class != NotAsked {
				t.Errorf("%s: %+v", folder, f)
			}
		}
		if !slices.Equal(rec.Asked(), []string{"sts.GetCallerIdentity"}) {
			t.Errorf("%s: asked %q", folder, rec.Asked())
		}
	}
}

func TestWithoutARegionNothingIsAsked(t *testing.T) {
	rec := doctortest.Start(t, "testdata", "healthy")
	r := Examine(t.Context(), rec.Config(""), Options{})
	sound(t, r)
	if f := finding(t, r, "region"); f.Status != Failing || f.Class != NoRegion || !strings.Contains(f.Next, "--region") || len(rec.Asked()) != 0 {
		t.Errorf("%+v, asked %q", f, rec.Asked())
	}
}

func TestWithoutCredentialsNothingIsAsked(t *testing.T) {
	rec := doctortest.Start(t, "testdata", "healthy")
	for name, provider := range map[string]aws.CredentialsProvider{
		"none": nil,
		"a provider that has none": aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, errors.New("the SSO session has expired")
		}),
	} {
		cfg := rec.Config("eu-central-1")
		cfg.Credentials = provider
		r := Examine(t.Context(), cfg, Options{})
		sound(t, r)
		if f := finding(t, r, "credentials"); f.Status != Failing || f.Class != Credentials || len(rec.Asked()) != 0 {
			t.Errorf("%s: %+v, asked %q", name, f, rec.Asked())
		}
	}
	r := NotLoaded(errors.New("failed to get shared config profile, acme"), "eu-central-1", Options{Profile: "acme"})
	sound(t, r)
	if r.Healthy() {
		t.Error("a profile that does not exist passes")
	}
}

func TestAnAccountThatDoesNotAnswerIsNotKnown(t *testing.T) {
	rec := doctortest.Start(t, "testdata", "healthy")
	cfg := rec.Config("eu-central-1")
	rec.Close()
	r := Examine(t.Context(), cfg, Options{})
	sound(t, r)
	if f := finding(t, r, "credentials"); f.Status != Unknown || f.Class != Unreachable || r.Healthy() {
		t.Errorf("%+v", f)
	}
}

func TestAStackThatWasWorkedAtByHandIsToldPieceByPiece(t *testing.T) {
	r, _ := examined(t, "worn", Options{Stack: stackName})
	differs(t, r, map[string]Status{"stack": Failing, "stack.drift": Warning, "region.services": Warning, "lambda.concurrency": Failing, "quota.requests": Failing,
		"permissions.deploy": Failing, "permissions.aws-only": Warning, "bucket": Failing, "table.Documents": Failing, "table.Inbox": Failing, "table.Config": Failing,
		"key": Failing, "queue.OrderInboxDead": Failing, "alarms": Failing})
	for check, next := range map[string]string{
		"stack":                "aws cloudformation continue-update-rollback --stack-name waybill --region eu-central-1",
		"table.Documents":      "aws dynamodb update-table --table-name waybill-Data-1A2B3C4D5E6F7-Documents-0123456789AB --deletion-protection-enabled",
		"table.Inbox":          "aws dynamodb update-continuous-backups",
		"key":                  "aws kms cancel-key-deletion --key-id arn:aws:kms:eu-central-1:111122223333:key/1234abcd",
		"queue.OrderInboxDead": "aws sqs start-message-move-task --source-arn arn:aws:sqs:eu-central-1:111122223333:waybill-Flows-1A2B3C4D5E6F7-OrderInboxDead",
		"alarms":               "--attribute-name KmsMasterKeyId",
		"quota.requests":       "--service-code apigateway --quota-code L-8A5B8E43 --desired-value 500",
		"permissions.deploy":   "aws iam simulate-principal-policy --policy-source-arn arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/eu-central-1/AWSReservedSSO_Deployer_0123456789abcdef",
	} {
		if f := finding(t, r, check); !strings.Contains(f.Next, next) {
			t.Errorf("%s: next is %q", check, f.Next)
		}
	}
	if p := finding(t, r, "permissions.deploy"); !slices.Equal(p.Details, []string{"iam:CreateRole", "lambda:CreateFunction"}) {
		t.Errorf("permissions: %q", p.Details)
	}
}

// A condition that the simulation is not told of is no refusal and no permission.
func TestAPermissionUnderAConditionIsNotKnown(t *testing.T) {
	r, _ := examined(t, "conditional", Options{Stack: stackName})
	differs(t, r, map[string]Status{"permissions.deploy": Unknown, "permissions.aws-only": Unknown})
	if p := finding(t, r, "permissions.deploy"); !slices.Equal(p.Details, []string{"iam:PassRole to lambda.amazonaws.com", "iam:PassRole to states.amazonaws.com"}) {
		t.Errorf("permissions: %+v", p)
	}
}

// A policy that passes roles to functions alone, as many do, stops the machines;
// what the access log and the command itself need is easily forgotten.
func TestAPermissionIsAskedForAsItWillBeUsed(t *testing.T) {
	r, _ := examined(t, "lambda-only", Options{Stack: stackName})
	differs(t, r, map[string]Status{"permissions.deploy": Failing})
	p := finding(t, r, "permissions.deploy")
	if !slices.Equal(p.Details, []string{"cloudformation:ListStackResources", "iam:PassRole to states.amazonaws.com", "logs:CreateLogDelivery"}) ||
		!strings.Contains(p.Next, "ContextKeyName=iam:PassedToService,ContextKeyType=string,ContextKeyValues=states.amazonaws.com") {
		t.Errorf("permissions: %+v", p)
	}
}

// ofStack are the checks that a stack is needed for.
func ofStack() map[string]Status {
	out := map[string]Status{}
	for _, c := range stackChecks {
		out[c.name] = Unknown
	}
	return out
}

// What a stack that cannot be seen would be asked is in the report.
func TestWithoutAListOfStacksTheirChecksAreSaidNotToBeMade(t *testing.T) {
	r, _ := examined(t, "unlisted", Options{Stack: stackName})
	want := ofStack()
	want["stack"], want["quota.stacks"] = Unknown, Unknown
	differs(t, r, want)
	if f := finding(t, r, "table"); f.Class != NotAsked || f.Value != "not asked" {
		t.Errorf("%+v", f)
	}
}

func TestWhatAWSDoesNotSayIsNotKnown(t *testing.T) {
	r, _ := examined(t, "unsaid", Options{Stack: stackName})
	differs(t, r, map[string]Status{"lambda.concurrency": Unknown, "lambda.code": Unknown})
	r, rec := examined(t, "nameless", Options{Stack: stackName})
	if f := finding(t, r, "credentials"); f.Status != Unknown || f.Class != Other || r.Healthy() || !slices.Equal(rec.Asked(), []string{"sts.GetCallerIdentity"}) {
		t.Errorf("%+v, asked %q", f, rec.Asked())
	}
}

// Each status of a stack has its own next step, which waybill deploy also takes.
func TestAStackIsToldByWhatItsStatusMeans(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "healthy"), os.DirFS("testdata/healthy")); err != nil {
		t.Fatal(err)
	}
	const file = "cloudformation.DescribeStacks.http"
	raw, err := os.ReadFile(filepath.Join(dir, "healthy", file))
	if err != nil {
		t.Fatal(err)
	}
	// A stack that was never complete has no outputs.
	bare := regexp.MustCompile(`(?s)<Outputs>.*</Outputs>`).ReplaceAllString(string(raw), "")
	for status, c := range map[string]struct {
		bare   bool
		judged Status
		value  string
		next   string
	}{
		"CREATE_IN_PROGRESS":                  {true, Warning, "its first deployment is under way", "aws cloudformation wait stack-create-complete --stack-name waybill"},
		"REVIEW_IN_PROGRESS":                  {true, Warning, "nothing was made yet", "waybill deploy, which begins anew, or aws cloudformation list-change-sets"},
		"ROLLBACK_IN_PROGRESS":                {true, Failing, "is being taken back", "until it is ROLLBACK_COMPLETE: aws cloudformation describe-stacks"},
		"ROLLBACK_COMPLETE":                   {true, Failing, "was taken back", "waybill deploy, which begins anew, or names what the creation left"},
		"ROLLBACK_FAILED":                     {true, Failing, "could not be taken back", "aws cloudformation delete-stack"},
		"CREATE_FAILED":                       {true, Failing, "what was made before the failure stays", "waybill deploy, which goes on from there"},
		"DELETE_IN_PROGRESS":                  {false, Failing, "it is being deleted", "aws cloudformation wait stack-delete-complete"},
		"DELETE_FAILED":                       {false, Failing, "can only be deleted", "begins with empty ones"},
		"UPDATE_FAILED":                       {false, Failing, "stays", "goes on from there"},
		"UPDATE_IN_PROGRESS":                  {false, Warning, "an update is under way", "aws cloudformation wait stack-update-complete"},
		"UPDATE_COMPLETE_CLEANUP_IN_PROGRESS": {false, Warning, "an update is under way", "aws cloudformation wait stack-update-complete"},
		"UPDATE_ROLLBACK_IN_PROGRESS":         {false, Warning, "is being taken back", "aws cloudformation wait stack-rollback-complete"},
		"UPDATE_ROLLBACK_COMPLETE":            {false, Warning, "UPDATE_ROLLBACK_COMPLETE", "the version before runs"},
		"UPDATE_ROLLBACK_FAILED":              {false, Failing, "UPDATE_ROLLBACK_FAILED", "continue-update-rollback"},
		"CREATE_COMPLETE":                     {true, Failing, "it is another template's", "give the platform's to --stack"},
	} {
		text := string(raw)
		if c.bare {
			text = bare
		}
		text = strings.Replace(text, "UPDATE_COMPLETE", status, 1)
		if err := os.MkdirAll(filepath.Join(dir, status), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, status, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := Examine(t.Context(), doctortest.Start(t, dir, status).Config("eu-central-1"), Options{Stack: stackName})
		sound(t, r)
		want := map[string]Status{}
		if c.bare {
			want = ofStack()
		}
		want["stack"] = c.judged
		differs(t, r, want)
		f := finding(t, r, "stack")
		if !strings.HasPrefix(f.Value, status) || !strings.Contains(f.Value, c.value) || !strings.Contains(f.Next, c.next) {
			t.Errorf("%s: %+v", status, f)
		}
		if strings.Contains(f.Value, "another template") && status != "CREATE_COMPLETE" {
			t.Errorf("%s is taken for another template's", status)
		}
	}
}

// Nothing is asked that could change anything.
func TestTheExaminationOnlyReads(t *testing.T) {
	reads := regexp.MustCompile(`\.(Get|List|Describe|Head|Simulate)[A-Z]`)
	for _, folder := range []string{"healthy", "new-account", "denied", "throttled", "worn"} {
		_, rec := examined(t, folder, Options{Stack: stackName})
		if len(rec.Asked()) < 15 {
			t.Errorf("%s: only %q was asked", folder, rec.Asked())
		}
		for _, op := range rec.Asked() {
			if !reads.MatchString(op) {
				t.Errorf("%s: %s", folder, op)
			}
		}
	}
}
