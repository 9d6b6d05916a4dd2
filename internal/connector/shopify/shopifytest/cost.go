package shopifytest

import (
	"math"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// maxCost is the vendor's bound of a single query, in points.
const maxCost = 1000

// costOf prices an operation before it runs, by the vendor's published rule: a
// scalar is free, an object one point, a connection its size times its nodes,
// a mutation ten.
func costOf(op *ast.OperationDefinition, vars map[string]any) int64 {
	c := costOfSet(op.SelectionSet, vars)
	if op.Operation == ast.Mutation {
		c += 10
	}
	return c
}

func costOfSet(set ast.SelectionSet, vars map[string]any) int64 {
	var total int64
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			if included(sel.Directives, vars) {
				total += costOfField(sel, vars)
			}
		case *ast.FragmentSpread:
			if included(sel.Directives, vars) {
				total += costOfSet(sel.Definition.SelectionSet, vars)
			}
		case *ast.InlineFragment:
			if included(sel.Directives, vars) {
				total += costOfSet(sel.SelectionSet, vars)
			}
		}
	}
	return total
}

func costOfField(f *ast.Field, vars map[string]any) int64 {
	if len(f.SelectionSet) == 0 {
		return 0
	}
	inner := costOfSet(f.SelectionSet, vars)
	n, sized := pageSize(f.ArgumentMap(vars))
	connection := strings.HasSuffix(f.Definition.Type.Name(), "Connection")
	switch {
	case connection:
		var perNode, once int64
		for _, sel := range f.SelectionSet {
			child, ok := sel.(*ast.Field)
			if !ok {
				continue
			}
			if child.Name == "nodes" || child.Name == "edges" {
				perNode += costOfField(child, vars)
			} else {
				once += costOfField(child, vars)
			}
		}
		return 1 + once + n*perNode
	case sized && f.Definition.Type.Elem != nil:
		return n * (1 + inner)
	default:
		return 1 + inner
	}
}

func pageSize(args map[string]any) (int64, bool) {
	for _, key := range []string{"first", "last"} {
		if n, ok := integer(args[key]); ok {
			return n, true
		}
	}
	return 0, false
}

func included(ds ast.DirectiveList, vars map[string]any) bool {
	if d := ds.ForName("include"); d != nil && d.ArgumentMap(vars)["if"] == false {
		return false
	}
	if d := ds.ForName("skip"); d != nil && d.ArgumentMap(vars)["if"] == true {
		return false
	}
	return true
}

// bucket is the vendor's leaky bucket of query points.
type bucket struct {
	size, rate int64
	left       float64
	at         time.Time
}

// take spends points, or reports that they are not there.
func (b *bucket) take(points int64, now time.Time) bool {
	if b.size == 0 {
		return true
	}
	if !b.at.IsZero() {
		b.left = math.Min(float64(b.size), b.left+now.Sub(b.at).Seconds()*float64(b.rate))
	}
	b.at = now
	if b.left < float64(points) {
		return false
	}
	b.left -= float64(points)
	return true
}

func (b *bucket) extensions(requested int64, actual any) map[string]any {
	size, left := b.size, int64(b.left)
	if size == 0 {
		size, left = 20000, 20000
	}
	return map[string]any{"cost": map[string]any{
		"requestedQueryCost": requested,
		"actualQueryCost":    actual,
		"throttleStatus":     map[string]any{"maximumAvailable": size, "currentlyAvailable": left, "restoreRate": b.rate},
	}}
}
