package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/client"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/lease"
)

// restoreSettings are those of the control plane that it takes to look into its database.
func restoreSettings() []setting {
	var needed []setting
	for _, s := range controlPlaneSettings() {
		switch s.flag {
		case "database-url-file", "master-key-file", "log-level":
			needed = append(needed, s)
		}
	}
	return needed
}

func (p *program) acceptRestore() *cobra.Command {
	var (
		yes, collect bool
		longest      time.Duration
	)
	c := &cobra.Command{
		Use: "accept-restore", Short: "Accept that the database was restored from a backup, and revoke and suspend again what gateways know",
		Args: cobra.NoArgs,
	}
	settings := p.bind(c, restoreSettings())
	c.Flags().BoolVar(&collect, "collect", false, "do not accept anything yet: have nobody served, and gateways asked what they know")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().DurationVar(&longest, "longest-lease", lease.MaxTerm,
		"the longest lease_seconds that any workspace had since the backup: revocations wait for leases of that term which the backup does not know")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		log, err := p.logger(settings)
		if err != nil {
			return err
		}
		url, masterKey, err := databaseAndKey(settings)
		if err != nil {
			return err
		}
		store, err := postgres.Open(postgres.Config{URL: url, MaxConns: 2})
		if err != nil {
			return err
		}
		defer store.Close()
		service, err := controlplane.New(controlplane.Config{Store: store, MasterKey: masterKey, Log: log, Now: time.Now})
		if err != nil {
			return err
		}
		if collect {
			return p.collectReports(cmd.Context(), service)
		}
		return p.runAcceptRestore(cmd.Context(), service, acceptance{yes, longest})
	}
	return c
}

func (p *program) collectReports(ctx context.Context, service *controlplane.Service) error {
	noted, err := service.Distrust(ctx)
	if err != nil {
		return err
	}
	if !noted {
		fmt.Fprintln(p.stdout, "the database is known to be restored already")
		return nil
	}
	fmt.Fprintln(p.stdout, "nobody is served from this database any more; start the control plane, and gateways tell it what they know")
	return nil
}

// acceptance is how a restore is to be accepted.
type acceptance struct {
	yes          bool // without asking
	longestLease time.Duration
}

func (p *program) runAcceptRestore(ctx context.Context, service *controlplane.Service, a acceptance) error {
	now, err := service.Restoration(ctx)
	if err != nil {
		return err
	}
	if now.Since == nil && len(now.Reports) == 0 {
		fmt.Fprintln(p.stdout, "there is nothing to accept:", controlplane.ErrRelied)
		return nil
	}
	if err := p.showReports(now); err != nil {
		return err
	}
	if err := p.confirm(ctx, a.yes, "Take this away again, and begin another timeline"); err != nil {
		return err
	}
	accepted, err := service.AcceptRestore(ctx, a.longestLease)
	if errors.Is(err, controlplane.ErrRelied) {
		fmt.Fprintln(p.stdout, "somebody else has accepted it meanwhile")
		return nil
	}
	if err != nil {
		return err
	}
	for _, w := range accepted.Workspaces {
		fmt.Fprintf(p.stdout, "workspace %s: at revision %d, with %d mandates revoked, %d principals suspended and %d keys revoked again\n",
			w.Slug, w.Revision, w.Mandates, w.Suspended, w.Keys)
	}
	if accepted.Timeline != "" {
		fmt.Fprintf(p.stdout, "the timeline %s has begun; control planes serve again within a second or two, and gateways move on to it by themselves\n", accepted.Timeline)
	}
	return nil
}

// showReports prints what would be accepted.
func (p *program) showReports(now controlplane.Restoration) error {
	since := "a restore was accepted already; what follows was reported since"
	if now.Since != nil {
		since = "nobody is served since " + now.Since.Format(time.RFC3339)
	}
	if _, err := fmt.Fprintf(p.stdout, "the timeline is %s; %s\n", now.Timeline, since); err != nil {
		return err
	}
	if len(now.Reports) == 0 {
		_, err := io.WriteString(p.stdout, "no gateway has reported anything yet: what was revoked since the backup stays granted, unless you wait for them\n")
		return err
	}
	for _, r := range now.Reports {
		worth := "and does not prove it: this is left out"
		if r.Proven {
			worth = fmt.Sprintf("and knows %d mandates to be revoked, %d principals suspended and %d keys revoked that the database still grants",
				r.RevokedMandates, r.Suspended, r.RevokedKeys)
		}
		if _, err := fmt.Fprintf(p.stdout, "gateway %s of %s enforces revision %d, the database has %d, %s\n",
			r.GatewayID, r.WorkspaceID, r.Revision, r.DatabaseRevision, worth); err != nil {
			return err
		}
	}
	return nil
}

// restoredDetail says how far gateways are beyond the database.
func restoredDetail(r client.Restored) string {
	text := "the database was restored from a backup, and nobody is served"
	if r.Since == nil {
		text = "gateways that were away when a restore was accepted know more than the database, and are not served"
	}
	var parts []string
	for _, g := range r.Gateways {
		parts = append(parts, fmt.Sprintf("%s enforces revision %d, the database has %d", g.GatewayID, g.Revision, g.DatabaseRevision))
	}
	if len(parts) == 0 {
		return text + "; no gateway has reported yet"
	}
	return text + ": " + strings.Join(parts, "; ")
}

// restored is why a control plane does not serve, where that is a restore.
func (c *call) restored(ctx context.Context) error {
	health, err := c.Health(ctx)
	if err != nil || health.Restored == nil {
		return nil //nolint:nilerr // whatever else is wrong has been said
	}
	return errors.New(restoredDetail(*health.Restored))
}
