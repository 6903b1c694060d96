package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// branch is a mandate and what was delegated from it.
type branch struct {
	authority.Mandate
	State    string    `json:"state"`
	Children []*branch `json:"children"`
}

func (p *program) mandateTree() *cobra.Command {
	return p.completed(p.calling("tree MANDATE", "Show what was delegated from a mandate, from the root of its chain on", cobra.ExactArgs(1),
		func(ctx context.Context, c *call) error {
			id, err := referred[authority.MandateID](ctx, c, c.args[0], mandateKind())
			if err != nil {
				return err
			}
			root, err := c.rootOf(ctx, id)
			if err != nil {
				return err
			}
			tree, err := c.branch(ctx, root)
			if err != nil {
				return err
			}
			if c.format != formatTable {
				return c.encode(tree)
			}
			return c.printTree(ctx, tree, id)
		}), mandateKind())
}

// rootOf climbs from a mandate as far as the caller may see.
func (c *call) rootOf(ctx context.Context, id authority.MandateID) (authority.Mandate, error) {
	m, err := c.Mandate(ctx, id)
	for err == nil && m.ParentID != nil {
		parent, err := c.Mandate(ctx, *m.ParentID)
		if notFound(err) {
			break // it is somebody else's
		}
		if err != nil {
			return m, err
		}
		m = parent
	}
	return m, err
}

func notFound(err error) bool {
	var refusal *client.Error
	return errors.As(err, &refusal) && refusal.Code == string(authority.CodeNotFound)
}

func (c *call) branch(ctx context.Context, m authority.Mandate) (*branch, error) {
	b := &branch{Mandate: m, State: mandateState(m, c.now()), Children: []*branch{}}
	children, err := c.Mandates(ctx, client.Filter{"parent_mandate_id": string(m.ID)}, 0)
	if err != nil {
		return nil, err
	}
	for _, child := range children {
		inner, err := c.branch(ctx, child)
		if err != nil {
			return nil, err
		}
		b.Children = append(b.Children, inner)
	}
	return b, nil
}

// mandateState is what a mandate is by itself; whether its principals are active is another question.
func mandateState(m authority.Mandate, now time.Time) string {
	switch {
	case m.Revoked:
		return "revoked"
	case m.HoldsAt(now):
		return "active"
	case now.Before(m.ValidFrom):
		return "not yet"
	}
	return "expired"
}

// printTree draws the tree, with the mandate that was asked about marked.
func (c *call) printTree(ctx context.Context, tree *branch, asked authority.MandateID) error {
	var t table
	t.row(cell{"MANDATE", faint}, cell{"SUBJECT", faint}, cell{"RESOURCES", faint}, cell{"ACTIONS", faint}, cell{"ENDS", faint}, cell{"STATE", faint})
	names := map[authority.PrincipalID]string{}
	var draw func(b *branch, lead, below string) error
	draw = func(b *branch, lead, below string) error {
		id := lead + string(b.ID)
		if b.ID == asked && len(tree.Children) > 0 {
			id += " *"
		}
		fields, err := flatten(map[string]any{"resources": b.ResourceScope, "actions": b.ActionScope})
		if err != nil {
			return err
		}
		t.row(cell{text: id}, cell{text: c.nameOf(ctx, b.SubjectID, names)}, cell{text: fields[1].text}, cell{text: fields[0].text},
			cell{text: relative(b.ValidUntil, c.now())}, cell{b.State, colourOf(b.State)})
		for i, child := range b.Children {
			lead, further := "├─ ", "│  "
			if i == len(b.Children)-1 {
				lead, further = "└─ ", "   "
			}
			if err := draw(child, below+lead, below+further); err != nil {
				return err
			}
		}
		return nil
	}
	if err := draw(tree, "", ""); err != nil {
		return err
	}
	return t.print(c.w, c.colour)
}

// nameOf is what a principal is called, where the caller may know that, and its id otherwise.
func (c *call) nameOf(ctx context.Context, id authority.PrincipalID, known map[authority.PrincipalID]string) string {
	name, ok := known[id]
	if !ok {
		name = string(id)
		if found, err := c.Principal(ctx, id); err == nil {
			name = printable(found.Name)
		}
		known[id] = name
	}
	return name
}
