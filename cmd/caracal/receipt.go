package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
	"github.com/caracal-gateway/caracal/token"
)

const (
	// lookEvery is how often the progress of a revocation is shown anew.
	lookEvery = time.Second
	// shownGateways is how many gateways the progress shows at most.
	shownGateways = 20
)

func (p *program) receipt() *cobra.Command {
	list := listing(p, "List receipts, the newest first", []filter{
		{flag: "state", parameter: "state", meaning: "pending, enforced or withdrawn"},
		{flag: "kind", parameter: "kind", meaning: "mandate, mandates, principal, workspace or gateway"},
		{"requested-by", "requested_by", "of revocations that this principal asked for", refers(principalKind())}, sorted("created_at"),
	}, (*client.Client).Receipts, "receipt_id", "kind", "state", "revision", "MANDATES=mandate_count", "revoked_at", "effective_at")
	show := p.completed(p.calling("show RECEIPT", "Show a receipt in its present state, and whether its signature holds", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		r, err := c.Receipt(ctx, authority.ReceiptID(c.args[0]))
		if err != nil {
			return err
		}
		return c.receipt(ctx, r)
	}), receiptKind())
	return noun("receipt", "Receipts: what revocations did, and where they are in force since when", list, show, p.receiptWatch(), p.receiptVerify())
}

func receiptKind() kind {
	return kind{"receipt", "rcp_", candidates((*client.Client).Receipts, func(v authority.Receipt) candidate {
		return candidate{string(v.ID), "", fmt.Sprint(v.Kind, " ", v.State)}
	})}
}

func (p *program) receiptWatch() *cobra.Command {
	var wait time.Duration
	c := p.calling("watch RECEIPT", "Follow a receipt until it is not pending any more", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		r, err := c.Receipt(ctx, authority.ReceiptID(c.args[0]))
		if err != nil {
			return err
		}
		return c.followed(ctx, r, wait, "it is committed")
	})
	c.Flags().DurationVar(&wait, "wait", 24*time.Hour, "how long at most")
	return p.completed(c, receiptKind())
}

// waitFlag is for how long a revocation is waited for.
func waitFlag(c *cobra.Command, wait *time.Duration) {
	c.Flags().DurationVar(wait, "wait", 10*time.Second, "how long to wait until it is in force at every gateway; 0 for not at all")
}

// firstLook is how much of a wait the request itself is told: after that the progress is shown.
func firstLook(wait time.Duration) time.Duration { return min(max(wait, 0), lookEvery) }

// followed follows a receipt until it is not pending any more or the wait is over, shows meanwhile which gateways are
// waited for, and prints it.
func (c *call) followed(ctx context.Context, r client.Receipt, wait time.Duration, done string) error {
	r, err := c.follow(ctx, r, wait)
	if err != nil {
		return fmt.Errorf("%s, but what became of it is not known: `caracal receipt watch %s`: %w", done, r.ID, err)
	}
	if err := c.receipt(ctx, r); err != nil {
		return err
	}
	return stateError(r, done)
}

// stateError ends a command whose revocation is not known to be in force everywhere.
func stateError(r client.Receipt, done string) error {
	switch r.State {
	case authority.ReceiptEnforced:
		return nil
	case authority.ReceiptWithdrawn:
		return &pendingError{"it was undone before it was in force at every gateway"}
	case authority.ReceiptPending:
	}
	return &pendingError{fmt.Sprintf("%s, but not known to be in force at every gateway yet: `caracal receipt watch %s`", done, r.ID)}
}

func (c *call) follow(ctx context.Context, r client.Receipt, wait time.Duration) (client.Receipt, error) {
	show := progress{call: c, known: map[authority.GatewayID]string{}}
	defer show.clear()
	for deadline := time.Now().Add(wait); r.State == authority.ReceiptPending; {
		left := time.Until(deadline)
		if left <= 0 {
			return r, nil
		}
		show.receipt(r)
		next, err := c.AwaitReceipt(ctx, r.ID, min(left, lookEvery))
		switch {
		case err == nil:
			r = next
		case ctx.Err() != nil || !passes(err):
			return r, err
		default:
			select { // the control plane is away for a moment: the revocation is committed all the same
			case <-ctx.Done():
				return r, ctx.Err()
			case <-time.After(min(left, lookEvery)):
			}
		}
	}
	return r, nil
}

// progress shows which gateways a revocation waits for: a table that is drawn anew on a terminal, and otherwise a line for
// each gateway whose state changes. It goes to the error output, so that the answer stays alone.
type progress struct {
	call  *call
	known map[authority.GatewayID]string
	drawn int // lines on the terminal
}

func stateOf(g authority.GatewayReceipt) (state string, since *time.Time) {
	switch {
	case g.EnforcedAt != nil:
		return "enforced", g.EnforcedAt
	case g.FencedAt != nil:
		return "fenced", g.FencedAt
	}
	return "pending", nil
}

func (p *progress) receipt(r client.Receipt) {
	c := p.call
	if c.format != formatTable {
		return
	}
	if !onTerminal(c.stderr) {
		for _, g := range r.Gateways {
			if state, _ := stateOf(g); p.known[g.GatewayID] != state {
				p.known[g.GatewayID] = state
				fmt.Fprintf(c.stderr, "%s  %s  %s  %s\n", c.now().UTC().Format(time.RFC3339), g.GatewayID, printable(g.Instance), state)
			}
		}
		return
	}
	p.clear()
	var text bytes.Buffer
	_ = gatewayTable(c.output, r, shownGateways).print(&text, p.call.colours(c.stderr))
	if len(r.Gateways) > shownGateways {
		fmt.Fprintf(&text, "and %d more\n", len(r.Gateways)-shownGateways)
	}
	p.drawn = bytes.Count(text.Bytes(), []byte("\n"))
	_, _ = c.stderr.Write(text.Bytes())
}

// clear takes what was drawn off the terminal.
func (p *progress) clear() {
	if p.drawn > 0 {
		fmt.Fprintf(p.call.stderr, "\x1b[%dA\x1b[J", p.drawn)
		p.drawn = 0
	}
}

// gatewayTable has a line for each gateway of a receipt, those that are waited for first.
func gatewayTable(o *output, r client.Receipt, limit int) *table {
	gateways := slices.Clone(r.Gateways)
	rank := func(g authority.GatewayReceipt) int {
		if state, _ := stateOf(g); state == "pending" {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(gateways, func(a, b authority.GatewayReceipt) int { return cmp.Compare(rank(a), rank(b)) })
	t := &table{}
	t.row(cell{text: "GATEWAY", colour: faint}, cell{text: "INSTANCE", colour: faint}, cell{text: "STATE", colour: faint}, cell{text: "SINCE", colour: faint}, cell{text: "STREAMS CUT", colour: faint})
	for _, g := range gateways[:min(len(gateways), limit)] {
		state, since := stateOf(g)
		when := "-"
		switch {
		case since != nil:
			when = relative(*since, o.now())
		case g.FencedUntil != nil:
			when = "fenced " + relative(*g.FencedUntil, o.now()) + " at the latest"
		}
		t.row(cell{text: string(g.GatewayID)}, cell{text: printable(g.Instance)}, cell{text: state, colour: colourOf(state)}, cell{text: when}, cell{text: fmt.Sprint(g.StreamsCut)})
	}
	return t
}

// receipt prints a receipt: its fields, then its gateways.
func (c *call) receipt(ctx context.Context, r client.Receipt) error {
	if c.format != formatTable {
		return c.encode(r)
	}
	if err := c.thing(struct {
		authority.Receipt
		Digest     *struct{} `json:"mandates_digest,omitempty"` // which is for programs
		StreamsCut uint64    `json:"streams_cut"`
		Signed     string    `json:"signature_is,omitempty"`
	}{Receipt: r.Receipt, StreamsCut: r.StreamsCut, Signed: c.signatureOf(ctx, r)}); err != nil {
		return err
	}
	if len(r.Gateways) == 0 {
		return nil
	}
	fmt.Fprintln(c.w)
	return gatewayTable(c.output, r, len(r.Gateways)).print(c.w, c.colour)
}

// signatureOf says in a word whether the signature of a receipt holds, by the keys that the control plane tells.
func (c *call) signatureOf(ctx context.Context, r client.Receipt) string {
	if r.Signature == "" {
		return ""
	}
	set, err := c.KeySet(ctx)
	if err != nil {
		return "not checked: " + err.Error()
	}
	if err := verifyReceipt(r, nil, set, ""); err != nil {
		return "WRONG: " + err.Error()
	}
	return "ok"
}

// verifyReceipt checks a receipt against a key set, offline. With mandates it checks that these are the ones that were
// ended, and with a root that it is the key set's.
func verifyReceipt(r client.Receipt, mandates []authority.MandateID, set client.KeySet, root string) error {
	keys, err := token.OpenKeySet(set.Sealed, token.Fingerprint(cmp.Or(root, set.Root)))
	if err != nil {
		return err
	}
	if err := keys.VerifyReceipt(r.Receipt, r.Gateways); err != nil {
		return err
	}
	if mandates != nil && !bytes.Equal(token.MandatesDigest(mandates), r.MandatesDigest) {
		return errors.New("the mandates are not those that were signed")
	}
	return nil
}

// verified is what a verification tells.
type verified struct {
	ReceiptID   authority.ReceiptID    `json:"receipt_id"`
	State       authority.ReceiptState `json:"state"`
	EffectiveAt *time.Time             `json:"effective_at"`
	Mandates    int64                  `json:"mandates"`
	// MandatesListed says whether the ids of all of them were there to be checked.
	MandatesListed bool   `json:"mandates_listed"`
	Root           string `json:"root"`
}

func (p *program) receiptVerify() *cobra.Command {
	var receiptFile, keysFile, root string
	c := p.calling("verify [RECEIPT]", "Verify a receipt's signature; with --file and --key-set without asking anybody", cobra.MaximumNArgs(1), func(ctx context.Context, c *call) error {
		if len(c.args) != 1 {
			return &usageError{"say which receipt, or give --file and --key-set"}
		}
		r, err := c.Receipt(ctx, authority.ReceiptID(c.args[0]))
		if err != nil {
			return err
		}
		set, err := c.KeySet(ctx)
		if err != nil {
			return err
		}
		mandates, err := c.ReceiptMandates(ctx, r.ID)
		if err != nil {
			return err
		}
		return c.verify(r, mandates, set, root)
	})
	online := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if receiptFile == "" && keysFile == "" {
			return online(cmd, args)
		}
		if receiptFile == "" || keysFile == "" || len(args) > 0 {
			return &usageError{"--file and --key-set go together, without the id of a receipt"}
		}
		out, err := p.output(cmd)
		if err != nil {
			return err
		}
		var r client.Receipt
		var set client.KeySet
		if err := readJSON(receiptFile, &r); err != nil {
			return err
		}
		if err := readJSON(keysFile, &set); err != nil {
			return err
		}
		mandates := r.Mandates
		if int64(len(mandates)) != r.MandateCount {
			mandates = nil
		}
		return out.verify(r, mandates, set, root)
	}
	c.Flags().StringVar(&receiptFile, "file", "", "file of the receipt as JSON, as caracal receipt show --output json prints it")
	c.Flags().StringVar(&keysFile, "key-set", "", "file of the key set, as caracal signing-key export prints it")
	c.Flags().StringVar(&root, "root", "", "the fingerprint of the workspace's root, which every gateway key carries; unless told it is taken from the key set")
	return p.completed(c, receiptKind())
}

func (o *output) verify(r client.Receipt, mandates []authority.MandateID, set client.KeySet, root string) error {
	if r.State == authority.ReceiptPending || r.State == authority.ReceiptWithdrawn {
		return &pendingError{fmt.Sprintf("the receipt is %s, and signed only once it is enforced", r.State)}
	}
	if err := verifyReceipt(r, mandates, set, root); err != nil {
		return err
	}
	return o.thing(verified{r.ID, r.State, r.EffectiveAt, r.MandateCount, mandates != nil, cmp.Or(root, set.Root)})
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}
