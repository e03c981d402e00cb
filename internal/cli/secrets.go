package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxLine bounds a line read from standard input.
const maxLine = 64 << 10

// ask reads one line from a person or a pipe.
func (c *cli) ask(prompt string) (string, error) {
	if c.Terminal {
		fmt.Fprint(c.Err, prompt)
	}
	line, err := bufio.NewReader(io.LimitReader(c.In, maxLine)).ReadString('\n')
	if err != nil && (!errors.Is(err, io.EOF) || line == "") {
		return "", fmt.Errorf("read from standard input: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// secret is the flag's value, else the file's, else asked for: on a terminal
// without echo, else as a line of standard input.
func (c *cli) secret(value, file, what string, confirm bool) (string, error) {
	if value != "" {
		return value, nil
	}
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("%s: %w", what, err)
		}
		return strings.TrimRight(string(data), "\r\n"), nil
	}
	if !c.Terminal {
		return c.ask("")
	}
	secret, err := c.ReadSecret(what + ": ")
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	if !confirm {
		return secret, nil
	}
	again, err := c.ReadSecret(what + " again: ")
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	if again != secret {
		return "", errors.New("the two are not the same; nothing was changed")
	}
	return secret, nil
}

// confirm asks before something that cannot be undone.
func (c *cli) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !c.Terminal {
		return usagef("%s Add --yes to do it without a terminal", question)
	}
	answer, err := c.ask(question + " [y/N] ")
	if err != nil {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}

// progress tells how far long work is, to a person only.
func (c *cli) progress(done, total int, what string) {
	if !c.Terminal || total < 2 {
		return
	}
	fmt.Fprintf(c.Err, "\r%s %d/%d", what, done, total)
	if done == total {
		fmt.Fprint(c.Err, "\r\033[K")
	}
}
