package main

import (
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func (c *cli) trustCmd() *cobra.Command {
	return &cobra.Command{
		Use: "trust", Short: "Print the trust anchor: the certificate that devices verify gateways by", Args: cobra.NoArgs,
		Long:    "Print the trust anchor (PEM): the certificate of the devices' authority, by which a device verifies the gateways of its\nnamespace. It is no secret. A board gets it when it is provisioned.",
		Example: "  wasmbed trust > trust.pem\n  wasmbed provision FrdmK64f --name press-7 --gateway gateway.example.net:8081 --trust trust.pem --out press-7.blob",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var t struct {
				PEM string `json:"pem"`
			}
			if err := c.rest.do(cmd.Context(), http.MethodGet, c.ns("trust"), nil, nil, &t); err != nil {
				return err
			}
			return c.show(t, func(w *tabwriter.Writer, _ bool) {
				for _, l := range strings.Split(strings.TrimSpace(t.PEM), "\n") {
					fmt.Fprintln(w, strings.Map(printable, l))
				}
			})
		},
	}
}
