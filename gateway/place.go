package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// maxSocketPath is what the kernel takes, in bytes, less the longest name of a socket.
const maxSocketPath = 107 - len("/authz.sock")

// longestTemporaryName is as long as the names of temporary directories get.
const longestTemporaryName = "caracal-4294967295"

// lockDirectory makes the state directory this process's own until it ends.
func lockDirectory(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another gateway uses the state directory %s; choose another with CARACAL_STATE_DIR", dir), lock.Close())
	}
	return func() { _ = lock.Close() }, nil // the end of the process releases it as well
}

// processKey reads the key pair of this gateway process, or makes it at the first start. A gateway that starts again
// with its state directory is the same gateway to the control plane.
func processKey(path string) (ed25519.PrivateKey, error) {
	seed, err := os.ReadFile(path)
	if err == nil && len(seed) == ed25519.SeedSize {
		return ed25519.NewKeyFromSeed(seed), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the gateway's own key: %w", err)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the gateway's own key: %w", err)
	}
	next := path + ".next"
	if err := os.WriteFile(next, private.Seed(), 0o600); err != nil {
		return nil, fmt.Errorf("keep the gateway's own key: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return nil, fmt.Errorf("keep the gateway's own key: %w", err)
	}
	return private, nil
}

// socket is a Unix socket that Envoy connects to.
type socket struct {
	path     string
	listener net.Listener
}

// sockets are where the gateway and its Envoy meet, in a directory that only their user can enter.
type sockets struct {
	authz, xds, self socket
	admin            string
}

// openSockets listens on all sockets. They are in the state directory, or in a temporary one where its path is too long
// for a socket's. What remove does is done already when there is an error.
func openSockets(stateDir string) (s sockets, remove func(), err error) {
	dir, err := socketDirectory(stateDir)
	if err != nil {
		return s, nil, err
	}
	all := []struct {
		socket *socket
		name   string
	}{{&s.authz, "authz.sock"}, {&s.xds, "xds.sock"}, {&s.self, "self.sock"}}
	remove = func() {
		for _, at := range all {
			if at.socket.listener != nil {
				_ = at.socket.listener.Close() // whoever served it has closed it already
			}
		}
		_ = os.RemoveAll(dir) // the next start clears it otherwise
	}
	s.admin = filepath.Join(dir, "admin.sock")
	for _, at := range all {
		at.socket.path = filepath.Join(dir, at.name)
		if at.socket.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "unix", at.socket.path); err != nil {
			remove()
			return s, nil, fmt.Errorf("listen for Envoy: %w", err)
		}
		if err := os.Chmod(at.socket.path, 0o600); err != nil {
			remove()
			return s, nil, fmt.Errorf("close the socket to others: %w", err)
		}
	}
	return s, remove, nil
}

// socketDirectory makes an empty directory that nobody else can enter. One in the system's temporary directory gets a
// new name each time: others can make directories there. That directory may be at a long path too, /tmp is not.
func socketDirectory(stateDir string) (string, error) {
	dir := filepath.Join(stateDir, "run")
	if len(dir) > maxSocketPath {
		parent := os.TempDir()
		if len(filepath.Join(parent, longestTemporaryName)) > maxSocketPath {
			parent = "/tmp"
		}
		dir, err := os.MkdirTemp(parent, "caracal-")
		if err != nil {
			return "", fmt.Errorf("make a directory for sockets: %w", err)
		}
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil { // what a killed process left
		return "", fmt.Errorf("clear the sockets of an earlier process: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a directory for sockets: %w", err)
	}
	return dir, nil
}

// bootstrap is what Envoy starts from.
type bootstrap struct {
	path    string
	message *bootstrapv3.Bootstrap
}

func writeBootstrap(dir string, message *bootstrapv3.Bootstrap) (bootstrap, error) {
	text, err := protojson.Marshal(message)
	if err != nil {
		return bootstrap{}, fmt.Errorf("write Envoy's bootstrap: %w", err)
	}
	b := bootstrap{path: filepath.Join(dir, "envoy.json"), message: message}
	if err := os.WriteFile(b.path, text, 0o600); err != nil {
		return bootstrap{}, fmt.Errorf("write Envoy's bootstrap: %w", err)
	}
	return b, nil
}

// arguments start Envoy from the bootstrap file. Hot restart shares memory by a number that two gateways on one host
// would fight for, and the gateway never uses it.
func (b bootstrap) arguments() []string {
	return []string{"--config-path", b.path, "--disable-hot-restart", "--log-level", "warning", "--component-log-level", "misc:error", "--drain-time-s", "600"}
}

// readSmall reads a plain file of at most so many bytes. It is fs.ErrNotExist when there is none.
func readSmall(path string, most int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() || stat.Size() > most {
		return nil, fmt.Errorf("%s is not a plain file of at most %d bytes", path, most)
	}
	return io.ReadAll(io.LimitReader(file, most))
}

// writeForGood makes a file that only the gateway's user reads: after a crash it holds what it held before, or this.
func writeForGood(path string, text []byte) error {
	next := path + ".next"
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Chmod(0o600), file.Sync(), file.Close()); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}
