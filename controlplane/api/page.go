package api

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"

	"github.com/swaggest/swgui/v5/static"

	"github.com/caracal-gateway/caracal/authority"
)

// The page to read and try the interface is the library's, without its inline script.
//
//go:embed page
var page embed.FS

// pagePolicy lets the page run its own scripts and styles and ask this server, and nothing else.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// readPage makes the files of the page, by name.
func readPage() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range []string{"index.html", "page.js", "page.css"} {
		text, err := page.ReadFile("page/" + name)
		if err != nil {
			return nil, fmt.Errorf("reading the page: %w", err)
		}
		files[name] = text
	}
	for _, name := range []string{"swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"} {
		text, err := readStatic(name)
		if err != nil {
			return nil, fmt.Errorf("reading the page: %w", err)
		}
		files[name] = text
	}
	return files, nil
}

// readStatic reads a file of the library, which keeps its texts compressed.
func readStatic(name string) ([]byte, error) {
	text, err := static.FS.ReadFile(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	compressed, err := static.FS.ReadFile(name + ".gz")
	if err != nil {
		return nil, err
	}
	reader, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}

// docs answers the page, or one of its files.
func (h *Handler) docs(x *exchange) (*reply, error) {
	name := x.r.PathValue("file")
	if name == "" {
		name = "index.html"
	}
	text, ok := h.page[name]
	if err := readQuery(x.r.URL.RawQuery).end(); err != nil {
		return nil, err
	}
	if !ok || x.r.PathValue("file") == "index.html" {
		return nil, authority.NotFound("path")
	}
	x.w.Header().Set("Content-Security-Policy", pagePolicy)
	h.write(x, http.StatusOK, mime.TypeByExtension(path.Ext(name)), text)
	return nil, nil
}
