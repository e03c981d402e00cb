package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

func (c *cli) variablesCommand() *cobra.Command {
	return group("variables", "Keep custom variables: secrets that profiles name as $FLEET_SECRET_NAME",
		c.variablesSetCommand(), c.variablesDeleteCommand())
}

func (c *cli) getCustomVariablesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "custom-variables", Short: "List custom variables; values are never shown", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			variables, err := connection.CustomVariables(cmd.Context())
			if err != nil {
				return err
			}
			rows := make([][]string, 0, len(variables))
			for _, v := range variables {
				rows = append(rows, []string{v.Name, c.when(v.UpdatedAt)})
			}
			return c.show(listing{value: variables, columns: []string{"NAME", "UPDATED"}, rows: rows,
				empty: "No custom variables yet. Set one with: muster variables set NAME"})
		},
	}
}

func (c *cli) variablesSetCommand() *cobra.Command {
	var value, file string
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Set a custom variable; profiles that use it are sent again", Args: args(cobra.ExactArgs(1)),
		Long:    "Sets a custom variable to --value, to the content of --value-file, or to standard input. A line break at the end is dropped.",
		Example: "  muster variables set WIFI_PASSWORD --value-file wifi.txt",
		RunE: func(cmd *cobra.Command, given []string) error {
			if value != "" && file != "" {
				return usagef("give --value or --value-file")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			text, err := c.variableValue(value, file)
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(given[0], "FLEET_SECRET_")
			if err := connection.SetCustomVariables(cmd.Context(), []apiv1.SetVariable{{Name: name, Value: text}}, false); err != nil {
				return fmt.Errorf("variable %s: %w", name, err)
			}
			fmt.Fprintf(c.Err, "Variable %s is set. Profiles name it as $FLEET_SECRET_%s.\n", name, name)
			return nil
		},
	}
	cmd.Flags().StringVar(&value, "value", "", "value; better use --value-file or standard input, which no process list shows")
	cmd.Flags().StringVar(&file, "value-file", "", "file that holds the value")
	return cmd
}

// maxVariable bounds a value, in bytes.
const maxVariable = 64 << 10

// variableValue is the flag's value, the file's, or all of standard input.
func (c *cli) variableValue(value, file string) (string, error) {
	if value != "" || (file == "" && c.Terminal) {
		return c.secret(value, file, "Value", true)
	}
	in := c.In
	if file != "" {
		opened, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("value: %w", err)
		}
		defer func() { _ = opened.Close() }() // only read
		in = opened
	}
	data, err := io.ReadAll(io.LimitReader(in, maxVariable+2))
	if err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if len(text) > maxVariable {
		return "", fmt.Errorf("the value is larger than %d bytes", maxVariable)
	}
	if text == "" {
		return "", usagef("the value is empty: give it by --value, --value-file or standard input")
	}
	return text, nil
}

func (c *cli) variablesDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete a custom variable that no profile uses", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			if err := c.confirm(yes, fmt.Sprintf("Delete the variable %s?", printable(given[0]))); err != nil {
				return err
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			if err := connection.DeleteCustomVariable(cmd.Context(), given[0]); err != nil {
				return fmt.Errorf("variable %s: %w", given[0], err)
			}
			fmt.Fprintf(c.Err, "Variable %s is deleted.\n", printable(given[0]))
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
