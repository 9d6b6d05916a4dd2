package doctor

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// key looks at the key that seals credentials, personal data and payloads: what
// it cannot open is lost.
func (e *exam) key(ctx context.Context) []Finding {
	arn := e.stack.outputs["KeyArn"]
	f := Finding{Check: "key", Status: OK, Value: "enabled, rotated", Want: "key " + arn + " enabled, and rotated every year"}
	client := kms.NewFromConfig(e.cfg)
	out, err := client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &arn})
	if err != nil {
		return []Finding{e.unseen(f.Check, f.Want, "kms:DescribeKey", err)}
	}
	if out.KeyMetadata == nil {
		f.Status, f.Value, f.Next, f.Class = Unknown, "not known: AWS did not say", e.again(), Other
		return []Finding{f}
	}
	switch out.KeyMetadata.KeyState {
	case types.KeyStateEnabled:
	case types.KeyStatePendingDeletion:
		f.Status, f.Value = Failing, "to be deleted"
		f.Next = e.command("aws kms cancel-key-deletion --key-id %s", arn) + " && " + e.command("aws kms enable-key --key-id %s", arn)
		return []Finding{f}
	default:
		f.Status, f.Value = Failing, "it is "+string(out.KeyMetadata.KeyState)
		f.Next = e.command("aws kms enable-key --key-id %s", arn)
		return []Finding{f}
	}
	rotation, err := client.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &arn})
	if err != nil {
		return []Finding{e.unseen(f.Check, f.Want, "kms:GetKeyRotationStatus", err)}
	}
	if !rotation.KeyRotationEnabled {
		f.Status, f.Value = Warning, "enabled, not rotated"
		f.Next = e.command("aws kms enable-key-rotation --key-id %s", arn)
	}
	return []Finding{f}
}
