package document

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// numbers is a Store of which some refs are other documents'.
type numbers struct {
	one
	taken    map[Ref]Key
	unknown  error // why they cannot be looked up
	commits  int
	accepted []Ref
}

func (n *numbers) Resolve(_ context.Context, refs ...Ref) (map[Ref]Key, error) {
	if n.unknown != nil {
		return nil, n.unknown
	}
	found := map[Ref]Key{}
	for _, r := range refs {
		if k, ok := n.taken[r]; ok {
			found[r] = k
		}
	}
	return found, nil
}

func (n *numbers) Commit(ctx context.Context, t Transaction) error {
	n.commits++
	for _, r := range t.Changes[0].Refs {
		if k, ok := n.taken[r]; ok && k != t.Changes[0].Head.Key {
			return ErrRefTaken
		}
	}
	n.accepted = t.Changes[0].Refs
	return n.one.Commit(ctx, t)
}

func TestANumberThatAnotherDocumentHasStopsNothing(t *testing.T) {
	_, o, task := newLife(t)
	mine, theirs, free := Ref{Tenant: task.Tenant, External: "mine"}, Ref{Tenant: task.Tenant, External: "theirs"}, Ref{Tenant: task.Tenant, External: "free"}
	fresh := func() *numbers {
		return &numbers{one: *o, taken: map[Ref]Key{mine: o.head.Key, theirs: {Tenant: task.Tenant, Type: Order, ID: "o2"}}}
	}
	change := Change{Head: o.head, Refs: []Ref{mine, theirs, free}}

	n := fresh()
	if err := (Life{Store: n}).CommitFree(t.Context(), change); err != nil || n.commits != 2 || !slices.Equal(n.accepted, []Ref{mine, free}) {
		t.Errorf("%v, %d commits with %+v", err, n.commits, n.accepted)
	}
	if !slices.Equal(change.Refs, []Ref{mine, theirs, free}) {
		t.Errorf("the caller's refs became %+v", change.Refs)
	}

	n = fresh()
	n.unknown = errors.New("the database is away")
	if err := (Life{Store: n}).CommitFree(t.Context(), change); !errors.Is(err, n.unknown) || n.commits != 1 {
		t.Errorf("without knowing whose they are: %v, %d commits", err, n.commits)
	}

	n = fresh()
	n.lost = 1
	if err := (Life{Store: n}).CommitFree(t.Context(), Change{Head: o.head, Refs: []Ref{mine, free}}); !errors.Is(err, ErrConflict) || n.commits != 1 {
		t.Errorf("a change that came too late: %v, %d commits", err, n.commits)
	}
}
