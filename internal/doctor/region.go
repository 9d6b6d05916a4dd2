package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// offered are the services that the platform is made of, by the names that AWS
// publishes them under. For some the endpoint's name is in use as well as the
// product's: one of them will do.
var offered = [][]string{{"apigateway"}, {"cloudformation"}, {"cloudwatch"}, {"dynamodb"}, {"eventbridge", "events"}, {"kms"}, {"lambda"}, {"s3"}, {"sns"},
	{"sqs"}, {"stepfunctions", "states"}}

// perCall is how many parameters one call of SSM answers.
const perCall = 10

// services asks AWS's public list whether the region has every service. The list
// is by AWS and late at times, so what it leaves out is a warning.
func (e *exam) services(ctx context.Context) []Finding {
	f := Finding{Check: "region.services", Status: OK, Value: e.cfg.Region + " has all " + fmt.Sprint(len(offered)),
		Want: "every service that the platform is made of, in the region"}
	prefix := "/aws/service/global-infrastructure/regions/" + e.cfg.Region + "/services/"
	client := ssm.NewFromConfig(e.cfg)
	var there []string
	for names := range slices.Chunk(slices.Concat(offered...), perCall) {
		var paths []string
		for _, n := range names {
			paths = append(paths, prefix+n)
		}
		out, err := client.GetParameters(ctx, &ssm.GetParametersInput{Names: paths})
		if err != nil {
			return []Finding{e.unseen(f.Check, f.Want, "ssm:GetParameters", err)}
		}
		for _, p := range out.Parameters {
			there = append(there, strings.TrimPrefix(aws.ToString(p.Name), prefix))
		}
	}
	for _, names := range offered {
		if !slices.ContainsFunc(names, func(n string) bool { return slices.Contains(there, n) }) {
			f.Details = append(f.Details, names[0])
		}
	}
	if len(f.Details) > 0 {
		f.Status = Warning
		f.Value = "AWS does not list " + strings.Join(f.Details, ", ") + " in " + e.cfg.Region
		f.Next = "look at https://aws.amazon.com/about-aws/global-infrastructure/regional-product-services/ and choose another region if it says the same"
	}
	return []Finding{f}
}
