package extauthz

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/caracal-gateway/caracal/token"
)

// maxSecret is the size of the largest secret that is read, in bytes.
const maxSecret = 16 << 10

// CredentialVariable is the prefix of the environment variables that hold destinations' secrets. The rest of the name
// is the secret's own in upper case, with `_` for everything but letters and digits.
const CredentialVariable = "CARACAL_CREDENTIAL_"

// Credentials finds the secrets that destinations name. They live at the gateway: as files of one directory, named like
// the secret, or as environment variables. A file goes before a variable, and is read anew each time, so that a secret
// can be changed without a restart.
type Credentials struct {
	directory string
	variable  func(name string) (string, bool)
}

// NewCredentials looks for secrets in a directory, which may be empty for none, and by a look-up of environment
// variables.
func NewCredentials(directory string, variable func(name string) (string, bool)) *Credentials {
	return &Credentials{directory: directory, variable: variable}
}

// secret reads the named secret. Its errors never hold any of it.
func (c *Credentials) secret(name string) (string, error) {
	if !isSecretName(name) {
		return "", fmt.Errorf("credential %q: not a name", name)
	}
	value, err := c.file(name)
	if errors.Is(err, os.ErrNotExist) {
		var ok bool
		if value, ok = c.variable(variableOf(name)); !ok {
			return "", fmt.Errorf("credential %q: neither a file nor the variable %s", name, variableOf(name))
		}
	} else if err != nil {
		return "", fmt.Errorf("credential %q: %w", name, err)
	}
	value = strings.TrimRight(value, "\r\n")
	if !isHeaderValue(value) || strings.TrimSpace(value) != value {
		return "", fmt.Errorf("credential %q: not one line of visible ASCII", name)
	}
	if token.Recognise(value) {
		return "", fmt.Errorf("credential %q: it is a credential of Caracal, which no upstream may see", name)
	}
	return value, nil
}

func (c *Credentials) file(name string) (string, error) {
	if c.directory == "" {
		return "", os.ErrNotExist
	}
	file, err := os.Open(filepath.Join(c.directory, name))
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSecret {
		return "", fmt.Errorf("larger than %d bytes", maxSecret)
	}
	return string(text), nil
}

// isSecretName accepts names that stay inside the directory, whatever the rest of the system lets through.
func isSecretName(name string) bool {
	return name != "" && len(name) <= 128 && name[0] != '.' && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

func variableOf(name string) string {
	return CredentialVariable + strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' {
			return c - 'a' + 'A'
		}
		if c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, name)
}

// isHeaderValue accepts a non-empty value of visible ASCII and spaces.
func isHeaderValue(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return false
		}
	}
	return value != ""
}
