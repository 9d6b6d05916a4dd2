package doctor

import (
	"cmp"
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
	platform := trialsFor(append(actionsFor(platformTypes), byCommand...), platformTypes)
	var extra []trial
	for _, t := range trialsFor(append(actionsFor(besideTypes), byCommandBeside...), besideTypes) {
		if !slices.Contains(platform, t) {
			extra = append(extra, t)
		}
	}
	sets := []struct {
		name, of string
		trials   []trial
		denied   Status
	}{
		{"permissions.deploy", "waybill deploy", platform, Failing},
		{"permissions.aws-only", "waybill deploy --aws-only", extra, Warning}, // nobody has to deploy that
	}
	var out []Finding
	source, problem := e.principal(ctx)
	for _, s := range sets {
		f := Finding{Check: s.name, Status: OK, Want: fmt.Sprintf("all %d actions that %s needs are allowed to the caller", len(s.trials), s.of)}
		switch {
		case problem != nil && problem.status == Warning:
			f.Status, f.Value, f.Next = Warning, problem.value, problem.next
		case problem != nil && problem.err != nil:
			f = e.unseen(f.Check, f.Want, problem.action, problem.err)
			f.Next += "; until then a trial tells: " + e.simulation(source, s.trials[:1])
		case problem != nil:
			f.Status, f.Value, f.Next, f.Class = Unknown, problem.value, problem.next, Other
		default:
			e.judge(ctx, &f, source, s.trials, s.denied)
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

// decisions are what IAM said of a set of trials.
type decisions struct {
	denied []trial
	// open are those whose policy has a condition that the simulation was not told of.
	open []trial
	// told counts the answers.
	told int
}

// judge simulates the trials and completes the finding.
func (e *exam) judge(ctx context.Context, f *Finding, source string, trials []trial, denied Status) {
	type question struct{ resource, service string }
	groups := map[question][]trial{}
	for _, t := range trials {
		q := question{e.resource(t.action), t.service}
		groups[q] = append(groups[q], t)
	}
	var all decisions
	order := slices.SortedFunc(maps.Keys(groups), func(a, b question) int {
		return cmp.Or(cmp.Compare(a.resource, b.resource), cmp.Compare(a.service, b.service))
	})
	for _, q := range order {
		if err := e.simulate(ctx, &all, source, q.resource, groups[q]); err != nil {
			*f = e.unseen(f.Check, f.Want, "iam:SimulatePrincipalPolicy", err)
			f.Next += "; until then a trial tells: " + e.simulation(source, groups[q])
			return
		}
	}
	switch {
	case len(all.denied) > 0:
		f.Status, f.Details = denied, named(all.denied)
		f.Value = fmt.Sprintf("%d of %d are not allowed: %s", len(all.denied), len(trials), short(f.Details))
		f.Next = "allow them to " + source + "; IAM's own answer: " + e.simulation(source, all.denied)
	case len(all.open) > 0:
		f.Status, f.Details, f.Class = Unknown, named(all.open), Other
		f.Value = fmt.Sprintf("not known: a policy allows %d of %d under a condition that cannot be simulated here: %s", len(all.open), len(trials), short(f.Details))
		f.Next = "read the conditions in " + e.simulation(source, all.open)
	case all.told < len(trials):
		f.Status, f.Class = Unknown, Other
		f.Value = fmt.Sprintf("not known: IAM answered for %d of %d", all.told, len(trials))
		f.Next = e.again()
	default:
		f.Value = fmt.Sprintf("all %d are allowed", len(trials))
	}
}

// simulate asks for trials on one resource and of one service, page by page.
func (e *exam) simulate(ctx context.Context, all *decisions, source, resource string, trials []trial) error {
	text := func(key, value string) types.ContextEntry {
		return types.ContextEntry{ContextKeyName: &key, ContextKeyType: types.ContextKeyTypeEnumString, ContextKeyValues: []string{value}}
	}
	service := trials[0].service
	in := &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &source, ActionNames: actionsOf(trials), ResourceArns: []string{resource},
		ContextEntries: []types.ContextEntry{text("aws:RequestedRegion", e.cfg.Region)}}
	if service != "" {
		in.ContextEntries = append(in.ContextEntries, text(passedTo, service))
	}
	pages := iam.NewSimulatePrincipalPolicyPaginator(iam.NewFromConfig(e.cfg), in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, r := range page.EvaluationResults {
			all.told++
			t := trial{aws.ToString(r.EvalActionName), service}
			switch {
			case r.EvalDecision == types.PolicyEvaluationDecisionTypeAllowed:
			case r.EvalDecision == types.PolicyEvaluationDecisionTypeImplicitDeny && len(r.MissingContextValues) > 0:
				all.open = append(all.open, t)
			default:
				all.denied = append(all.denied, t)
			}
		}
	}
	return nil
}

// simulation is the command that asks IAM the same; of several services that a role
// would be passed to, for the first. Its region is IAM's business.
func (e *exam) simulation(source string, trials []trial) string {
	if source == "" {
		source = "ROLE_ARN"
	}
	c := "aws iam simulate-principal-policy --policy-source-arn " + source + " --action-names " + strings.Join(actionsOf(trials), " ")
	if i := slices.IndexFunc(trials, func(t trial) bool { return t.service != "" }); i >= 0 {
		c += " --context-entries ContextKeyName=" + passedTo + ",ContextKeyType=string,ContextKeyValues=" + trials[i].service
	}
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
