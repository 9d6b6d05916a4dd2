package doctor

import (
	"context"
	"net/http"

	"errors"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// bucketName is where waybill deploy puts what it uploads.
func (e *exam) bucketName() string { return "waybill-artifacts-" + e.account + "-" + e.cfg.Region }

// bucket looks for the bucket of the artefacts. The first deployment makes it.
func (e *exam) bucket(ctx context.Context) []Finding {
	name := e.bucketName()
	f := Finding{Check: "bucket", Status: OK, Value: name + " is there", Want: "the bucket of the artefacts, " + name + ", in this account and region"}
	client := s3.NewFromConfig(e.cfg, func(o *s3.Options) { o.UsePathStyle = true })
	_, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &name, ExpectedBucketOwner: &e.account})
	var answer *smithyhttp.ResponseError
	switch {
	case err == nil:
	case classOf(err) == Absent && e.stack.there():
		f.Status, f.Value = Warning, "not there, though the stack is"
		f.Next = "nothing, if the stack was deployed by other means; else waybill deploy makes it again"
	case classOf(err) == Absent:
		f.Value = "not there yet; waybill deploy makes it"
	case errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusMovedPermanently:
		f.Status, f.Value = Failing, name+" is in another region"
		f.Next = e.command("aws s3api get-bucket-location --bucket %s", name) + ", then delete it there"
	default:
		// A refusal says nothing of why: no permission, or a bucket of that name in
		// somebody else's account.
		return []Finding{e.unseen(f.Check, f.Want, "s3:ListBucket", err)}
	}
	return []Finding{f}
}
