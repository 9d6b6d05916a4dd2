package doctor

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// tables looks at each table itself, because what the template says of it can
// have been changed by hand.
func (e *exam) tables(ctx context.Context) []Finding {
	client := dynamodb.NewFromConfig(e.cfg)
	var out []Finding
	for _, key := range slices.Sorted(maps.Keys(e.stack.outputs)) {
		if name, ok := strings.CutSuffix(key, "Table"); ok {
			out = append(out, e.table(ctx, client, "table."+name, e.stack.outputs[key]))
		}
	}
	return out
}

func (e *exam) table(ctx context.Context, client *dynamodb.Client, check, table string) Finding {
	f := Finding{Check: check, Status: OK, Value: "active, protected, recoverable", Want: "table " + table + " active, protected against deletion, recoverable to a point in time"}
	out, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &table})
	switch {
	case classOf(err) == Absent && err != nil:
		f.Status, f.Value = Failing, "the stack names it and it is gone"
		f.Next = e.command("aws dynamodb list-backups --table-name %s", table) + ", then restore it under its name"
		return f
	case err != nil:
		return e.unseen(f.Check, f.Want, "dynamodb:DescribeTable", err)
	case out.Table == nil:
		f.Status, f.Value, f.Next, f.Class = Unknown, "not known: AWS did not say", e.again(), Other
		return f
	case out.Table.DeletionProtectionEnabled == nil || !*out.Table.DeletionProtectionEnabled:
		f.Status, f.Value = Failing, "not protected against deletion"
		f.Next = e.command("aws dynamodb update-table --table-name %s --deletion-protection-enabled", table)
		return f
	case out.Table.TableStatus != types.TableStatusActive && out.Table.TableStatus != types.TableStatusUpdating:
		f.Status, f.Value = Failing, "it is "+string(out.Table.TableStatus)
		f.Next = e.command("aws dynamodb describe-table --table-name %s", table)
		if out.Table.TableStatus == types.TableStatusInaccessibleEncryptionCredentials {
			f.Next = "give DynamoDB its key back: see the finding key"
		}
		return f
	}
	backups, err := client.DescribeContinuousBackups(ctx, &dynamodb.DescribeContinuousBackupsInput{TableName: &table})
	if err != nil {
		return e.unseen(f.Check, f.Want, "dynamodb:DescribeContinuousBackups", err)
	}
	recovery := types.PointInTimeRecoveryStatusDisabled
	if d := backups.ContinuousBackupsDescription; d != nil && d.PointInTimeRecoveryDescription != nil {
		recovery = d.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus
	}
	if recovery != types.PointInTimeRecoveryStatusEnabled {
		f.Status, f.Value = Failing, "protected, and not recoverable to a point in time"
		f.Next = e.command("aws dynamodb update-continuous-backups --table-name %s --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true", table)
	}
	return f
}
