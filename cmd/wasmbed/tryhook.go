package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/internal/errs"
)

// tryHookCmd shows what a WebhookSource makes of a request; nothing is posted.
func (c *cli) tryHookCmd() *cobra.Command {
	var file string
	var headers []string
	cmd := &cobra.Command{
		Use: "test NAME -f BODY", Short: "Show what a WebhookSource would make of a request; nothing is posted", Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("webhooksources"),
		RunE: func(cmd *cobra.Command, args []string) error {
			read := func() ([]byte, error) {
				if file == "-" {
					return io.ReadAll(cmd.InOrStdin())
				}
				return os.ReadFile(file)
			}
			b, err := read()
			if err != nil {
				return errs.New(errs.Invalid, "%w", err)
			}
			if !json.Valid(b) {
				return errs.New(errs.Invalid, "%s is not JSON", file)
			}
			try := struct {
				Headers map[string]string `json:"headers,omitempty"`
				Body    json.RawMessage   `json:"body"`
			}{map[string]string{}, b}
			for _, h := range headers {
				name, value, ok := strings.Cut(h, ":")
				if !ok {
					return errs.New(errs.Invalid, "--header %q: NAME: VALUE", h)
				}
				try.Headers[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
			var made map[string]any
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("webhooksources", args[0], "test"), nil, try, &made); err != nil {
				return err
			}
			out := json.NewEncoder(cmd.OutOrStdout())
			out.SetIndent("", "  ")
			return out.Encode(made)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the body, JSON; - for standard input")
	cmd.Flags().StringArrayVar(&headers, "header", nil, "a header of the request, like \"X-GitHub-Event: push\"")
	_ = cmd.MarkFlagRequired("file") // the flag is there
	return cmd
}
