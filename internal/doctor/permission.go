package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// permissions asks IAM what a deployment by the caller would be allowed. IAM
// weighs the caller's policies, boundary and the organisation's; it does not know
// a session's own policy, nor a policy on the resource.
func (e *exam) permissions(ctx context.Context) []Finding {
	platform := actionsFor(platformTypes)
	for _, a := range byCommand {
		if !slices.Contains(platform, a) {
			platform = append(platform, a)
		}
	}
	slices.Sort(platform)
	var extra []string
	for _, a := range actionsFor(besideTypes) {
		if !slices.Contains(platform, a) {
			extra = append(extra, a)
		}
	}
	sets := []struct {
		name, of string
		actions  []string
		denied   Status
	}{
		{"permissions.deploy", "waybill deploy", platform, Failing},
		{"permissions.aws-only", "waybill deploy --aws-only", extra, Warning}, // nobody has to deploy that
	}
	var out []Finding
	source, problem := e.principal(ctx)
	for _, s := range sets {
		f := Finding{Check: s.name, Status: OK, Want: fmt.Sprintf("all %d actions that %s needs are allowed to the caller", len(s.actions), s.of)}
		switch {
		case problem != nil && problem.status == Warning:
			f.Status, f.Value, f.Next = Warning, problem.value, problem.next
		case problem != nil && problem.err != nil:
			f = e.unseen(f.Check, f.Want, problem.action, problem.err)
			f.Next += "; until then a trial tells: " + e.simulation(source, s.actions[:1])
		case problem != nil:
			f.Status, f.Value, f.Next, f.Class = Unknown, problem.value, problem.next, Other
		default:
			e.judge(ctx, &f, source, s.actions, s.denied)
		}
		out = append(out, f)
	}
	return out
}

// obstacle is why a caller's permissions cannot be simulated.
type obstacle struct {
	status      Status
	value, next string
	action      string
	err         error
}

// principal is the ARN whose policies are the caller's. A session is told by its
// role's name only, so that the role's path has to be asked for.
func (e *exam) principal(ctx context.Context) (string, *obstacle) {
	a, err := arn.Parse(e.caller)
	if err != nil {
		return "", &obstacle{status: Unknown, value: "not known: the caller " + e.caller + " is no ARN", next: e.again()}
	}
	kind, rest, _ := strings.Cut(a.Resource, "/")
	switch kind {
	case "root":
		return "", &obstacle{status: Warning, value: "the account's root user may do everything, and should deploy nothing",
			next: "aws configure sso, with a permission set for deployments, then " + e.again()}
	case "user":
		return e.caller, nil
	case "assumed-role":
		name, _, _ := strings.Cut(rest, "/")
		out, err := iam.NewFromConfig(e.cfg).GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
		if err != nil {
			return "", &obstacle{status: Unknown, action: "iam:GetRole", err: err}
		}
		if out.Role == nil {
			return "", &obstacle{status: Unknown, action: "iam:GetRole", err: errors.New("the answer holds no role")}
		}
		return aws.ToString(out.Role.Arn), nil
	}
	return "", &obstacle{status: Unknown, value: "not known: IAM simulates users and roles, and the caller is " + e.caller,
		next: "run waybill doctor as the role that deploys: " + e.again()}
}

// decisions are what IAM said of a set of actions.
type decisions struct {
	denied []string
	// open are those whose policy has a condition that the simulation was not told of.
	open []string
	// told counts the answers.
	told int
}

// judge simulates the actions and completes the finding.
func (e *exam) judge(ctx context.Context, f *Finding, source string, actions []string, denied Status) {
	groups := map[string][]string{}
	for _, a := range actions {
		r := e.resource(a)
		groups[r] = append(groups[r], a)
	}
	var all decisions
	for _, r := range slices.Sorted(maps.Keys(groups)) {
		if err := e.simulate(ctx, &all, source, r, groups[r]); err != nil {
			*f = e.unseen(f.Check, f.Want, "iam:SimulatePrincipalPolicy", err)
			f.Next += "; until then a trial tells: " + e.simulation(source, groups[r])
			return
		}
	}
	slices.Sort(all.denied)
	slices.Sort(all.open)
	switch {
	case len(all.denied) > 0:
		f.Status, f.Details = denied, all.denied
		f.Value = fmt.Sprintf("%d of %d are not allowed: %s", len(all.denied), len(actions), short(all.denied))
		f.Next = "allow them to " + source + "; IAM's own answer: " + e.simulation(source, all.denied)
	case len(all.open) > 0:
		f.Status, f.Details, f.Class = Unknown, all.open, Other
		f.Value = fmt.Sprintf("not known: a policy allows %d of %d under a condition that cannot be simulated here: %s", len(all.open), len(actions), short(all.open))
		f.Next = "read the conditions in " + e.simulation(source, all.open)
	case all.told < len(actions):
		f.Status, f.Class = Unknown, Other
		f.Value = fmt.Sprintf("not known: IAM answered for %d of %d", all.told, len(actions))
		f.Next = e.again()
	default:
		f.Value = fmt.Sprintf("all %d are allowed", len(actions))
	}
}

// simulate asks for actions on one resource, page by page.
func (e *exam) simulate(ctx context.Context, all *decisions, source, resource string, actions []string) error {
	text := func(key, value string) types.ContextEntry {
		return types.ContextEntry{ContextKeyName: &key, ContextKeyType: types.ContextKeyTypeEnumString, ContextKeyValues: []string{value}}
	}
	in := &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &source, ActionNames: actions, ResourceArns: []string{resource},
		ContextEntries: []types.ContextEntry{text("aws:RequestedRegion", e.cfg.Region), text("iam:PassedToService", "lambda.amazonaws.com")}}
	pages := iam.NewSimulatePrincipalPolicyPaginator(iam.NewFromConfig(e.cfg), in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, r := range page.EvaluationResults {
			all.told++
			switch {
			case r.EvalDecision == types.PolicyEvaluationDecisionTypeAllowed:
			case r.EvalDecision == types.PolicyEvaluationDecisionTypeImplicitDeny && len(r.MissingContextValues) > 0:
				all.open = append(all.open, aws.ToString(r.EvalActionName))
			default:
				all.denied = append(all.denied, aws.ToString(r.EvalActionName))
			}
		}
	}
	return nil
}

// simulation is the command that asks IAM the same. Its region is IAM's business.
func (e *exam) simulation(source string, actions []string) string {
	if source == "" {
		source = "ROLE_ARN"
	}
	c := "aws iam simulate-principal-policy --policy-source-arn " + source + " --action-names " + strings.Join(actions, " ")
	if e.profile != "" {
		c += " --profile " + e.profile
	}
	return c
}

// short names the first few of many.
func short(names []string) string {
	const most = 6
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
}
