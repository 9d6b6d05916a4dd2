package faulty

// Chaos is the published mix of faults in which the main job must still end in
// a clean cross-check: one rule of each kind that a day at a vendor brings,
// each bounded, so that the vendor is well again in the end.
func Chaos(v Vendor) []Rule {
	var out []Rule
	for _, r := range []Rule{
		{Fault: "rate_limited", Times: 4, Probability: 0.10, Seconds: 2},
		{Fault: "error", Status: 503, Times: 3, Probability: 0.05},
		{Fault: "error", Status: 500, When: "after", Times: 2, Probability: 0.04},
		{Fault: "reset", When: "after", Times: 3, Probability: 0.05},
		{Fault: "timeout_before", Times: 1, Probability: 0.03},
		{Fault: "timeout_after", Times: 1, Probability: 0.03},
		{Fault: "commit_delayed", Seconds: 3, Times: 1, Probability: 0.03},
		{Fault: "visible_delayed", Seconds: 3, Times: 2, Probability: 0.05},
		{Fault: "truncated", Times: 2, Probability: 0.04},
		{Fault: "html", Status: 502, Times: 2, Probability: 0.04},
		{Fault: "garbage", When: "after", Times: 1, Probability: 0.02},
		{Fault: "webhook_lost", Times: 2, Probability: 0.10},
		{Fault: "webhook_duplicate", Copies: 3, Times: 4, Probability: 0.25},
		{Fault: "webhook_delayed", Seconds: 4, Times: 2, Probability: 0.20},
		{Fault: "webhook_reordered", Times: 2, Probability: 0.20},
	} {
		if r.check(v) == nil {
			out = append(out, r)
		}
	}
	return out
}
