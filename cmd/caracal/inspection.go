package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// certificateMode is that of a file which everybody may read.
const certificateMode = 0o644

func (p *program) inspectionCA() *cobra.Command {
	var file string
	c := p.calling("inspection-ca", "Print the CA that clients trust, so that requests inside of TLS can be decided on", cobra.NoArgs, func(ctx context.Context, c *call) error {
		ca, err := c.InspectionCA(ctx)
		switch {
		case err != nil:
			return err
		case file != "":
			if err := os.WriteFile(file, []byte(ca.Certificate), certificateMode); err != nil {
				return fmt.Errorf("write the inspection CA: %w", err)
			}
			return nil
		case c.format != formatTable:
			return c.encode(ca)
		}
		_, err = io.WriteString(c.w, ca.Certificate)
		return err
	})
	c.Flags().StringVar(&file, "out", "", "file to write it to, as PEM, instead of standard output")
	return connected(c)
}
