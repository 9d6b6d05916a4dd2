package doctor

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const wantCaller = "credentials of the partner's account that AWS takes"

// region returns the finding that ends the examination where no region is said.
func (e *exam) region() *Finding {
	if e.cfg.Region != "" {
		return nil
	}
	return &Finding{Check: "region", Status: Failing, Value: "no region", Want: "the region that the platform is deployed to",
		Next: "give --region, set AWS_REGION, or aws configure set region eu-central-1", Class: NoRegion}
}

// identify asks who asks. Without an answer nothing else is worth asking: the
// second finding, if any, ends the examination.
func (e *exam) identify(ctx context.Context) (Finding, *Finding) {
	if err := e.credentials(ctx); err != nil {
		return Finding{}, &Finding{Check: "credentials", Status: Failing, Value: "there are none: " + err.Error(), Want: wantCaller,
			Next: e.login(), Class: Credentials}
	}
	out, err := sts.NewFromConfig(e.cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		f := e.unseen("credentials", wantCaller, "sts:GetCallerIdentity", err)
		if f.Class == Credentials {
			f.Status = Failing
			f.Value = "AWS does not take them (" + codeOf(err) + "): expired, mistyped, or of a region that the account has not enabled"
		}
		return Finding{}, &f
	}
	if aws.ToString(out.Account) == "" || aws.ToString(out.Arn) == "" {
		return Finding{}, &Finding{Check: "credentials", Status: Unknown, Value: "not known: the answer to sts:GetCallerIdentity names no account or no caller",
			Want: wantCaller, Next: "see whether something else than AWS answers (a proxy, AWS_ENDPOINT_URL), then " + e.again(), Class: Other}
	}
	e.account, e.caller, e.partition = aws.ToString(out.Account), aws.ToString(out.Arn), "aws"
	if a, err := arn.Parse(e.caller); err == nil {
		e.partition = a.Partition
	}
	return Finding{Check: "credentials", Status: OK, Value: e.caller, Want: wantCaller}, nil
}

func (e *exam) credentials(ctx context.Context) error {
	if e.cfg.Credentials == nil {
		return errors.New("no provider of credentials is configured")
	}
	_, err := e.cfg.Credentials.Retrieve(ctx)
	return err
}

// login is how to get credentials that AWS takes.
func (e *exam) login() string {
	if e.profile != "" {
		return "aws sso login --profile " + e.profile + " (or aws configure --profile " + e.profile + "), then " + e.again()
	}
	return "aws sso login or aws configure, or set AWS_PROFILE, then " + e.again()
}
