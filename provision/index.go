package provision

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

const publicIndex = "https://pypi.org/simple"

// pythonIndex returns the package index that pip or uv would use here, so that
// a machine set up for a mirror needs nothing more.
func (c Config) pythonIndex() string {
	for _, name := range []string{"PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"} {
		if value := strings.TrimSpace(c.Getenv(name)); value != "" {
			return indexName.ReplaceAllString(value, "")
		}
	}
	for _, file := range c.pipFiles() {
		if value := indexURL(file); value != "" {
			return value
		}
	}
	return publicIndex
}

// indexName matches the name that uv allows before an index URL.
var indexName = regexp.MustCompile(`^[A-Za-z0-9._-]+=`)

// pipFiles lists pip's configuration files, the one that wins first. Naming
// the null device switches all of them off, as it does for pip.
func (c Config) pipFiles() []string {
	var files []string
	switch file := c.Getenv("PIP_CONFIG_FILE"); file {
	case "":
	case os.DevNull:
		return nil
	default:
		files = append(files, file)
	}
	if environment := c.Getenv("VIRTUAL_ENV"); environment != "" {
		files = append(files, filepath.Join(environment, "pip.conf"))
	}
	home := c.Getenv("HOME")
	if config := c.Getenv("XDG_CONFIG_HOME"); config != "" {
		files = append(files, filepath.Join(config, "pip", "pip.conf"))
	} else if home != "" {
		files = append(files, filepath.Join(home, ".config", "pip", "pip.conf"))
	}
	if home != "" {
		files = append(files, filepath.Join(home, ".pip", "pip.conf"))
	}
	return append(files, "/etc/pip.conf", "/etc/xdg/pip/pip.conf")
}

// indexURL returns the index-url of a pip configuration file, that of its
// install section before that of its global one, or "".
func indexURL(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return "" // pip, too, passes over a file that it cannot read
	}
	defer file.Close()
	found := map[string]string{}
	section := ""
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			section = strings.TrimSpace(line[1 : len(line)-1])
			continue
		}
		at := strings.IndexAny(line, "=:")
		if at < 0 {
			continue
		}
		key := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(line[:at])), "_", "-")
		if key == "index-url" {
			found[section] = strings.TrimSpace(line[at+1:])
		}
	}
	if value := found["install"]; value != "" {
		return value
	}
	return found["global"]
}

// findWheel asks an index of the Simple Repository API, which may answer in
// JSON or HTML, for the address of a project's file.
func findWheel(ctx context.Context, index source, project, file string) (source, error) {
	page := *index.url
	page.Path = strings.TrimSuffix(page.Path, "/") + "/" + project + "/"
	page.RawPath = ""
	response, err := index.at(&page).get(ctx,
		"application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1")
	if err != nil {
		return source{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxIndex))
	if err != nil {
		return source{}, index.fault(err)
	}
	var link string
	if strings.Contains(response.Header.Get("Content-Type"), "json") {
		link, err = linkInJSON(body, file)
	} else {
		link, err = linkInHTML(body, file)
	}
	if err != nil {
		return source{}, index.fault(err)
	}
	address, err := response.Request.URL.Parse(link)
	if err != nil {
		return source{}, index.fault(fmt.Errorf("read the link to %s: %w", file, err))
	}
	address.Fragment = ""
	return index.at(address), nil
}

func linkInJSON(body []byte, file string) (string, error) {
	var page struct {
		Files []struct {
			Filename string `json:"filename"`
			URL      string `json:"url"`
		} `json:"files"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return "", fmt.Errorf("read the index page: %w", err)
	}
	for _, f := range page.Files {
		if f.Filename == file {
			return f.URL, nil
		}
	}
	return "", fmt.Errorf("the index does not list %s", file)
}

var htmlLink = regexp.MustCompile(`(?is)<a\s[^>]*?href\s*=\s*(?:"([^"]*)"|'([^']*)')`)

func linkInHTML(body []byte, file string) (string, error) {
	for _, match := range htmlLink.FindAllSubmatch(body, -1) {
		link := html.UnescapeString(string(match[1]) + string(match[2]))
		if address, err := url.Parse(link); err == nil && path.Base(address.Path) == file {
			return link, nil
		}
	}
	return "", fmt.Errorf("the index does not list %s", file)
}
