// Package browser runs a headless Chromium for tests. A Chromium of the machine is taken; where there is none, npm
// installs the pinned one.
package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// pageTime bounds what is done with one page.
const pageTime = 2 * time.Minute

// Page is one page of a browser with a profile of its own.
type Page struct {
	t   testing.TB
	ctx context.Context

	mu        sync.Mutex // guards what follows
	said      []string
	requested []string
}

// New opens a page that prefers a colour scheme, "light" or "dark". The browser ends with the test.
func New(t testing.TB, scheme string) *Page {
	t.Helper()
	path, err := executable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	options := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	options = append(options, chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 1000))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to run as root otherwise
	}
	allocator, end := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	ctx, closed := chromedp.NewContext(allocator)
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	t.Cleanup(func() {
		cancel()
		closed()
		end()
	})
	if err := chromedp.Run(ctx); err != nil {
		t.Fatalf("starting the browser %s: %v", path, err)
	}
	// A browser that ends in order leaves nobody who still writes to its profile; one that cannot is killed after that.
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) })
	p := &Page{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, p.listen)
	preferred := &emulation.MediaFeature{Name: "prefers-color-scheme", Value: scheme} //nolint:misspell // the name is CSS's
	p.Do(network.Enable(), log.Enable(), emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{preferred}))
	return p
}

func (p *Page) listen(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch event := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if event.Type == runtime.APITypeError || event.Type == runtime.APITypeWarning {
			p.said = append(p.said, fmt.Sprintf("console: %s %v", event.Type, values(event.Args)))
		}
	case *runtime.EventExceptionThrown:
		p.said = append(p.said, "exception: "+event.ExceptionDetails.Error())
	case *log.EventEntryAdded:
		if event.Entry.Level == log.LevelError || event.Entry.Level == log.LevelWarning {
			p.said = append(p.said, fmt.Sprintf("log: %s %s", event.Entry.Text, event.Entry.URL))
		}
	case *network.EventRequestWillBeSent:
		p.requested = append(p.requested, event.Request.URL)
	}
}

func values(arguments []*runtime.RemoteObject) []string {
	var all []string
	for _, a := range arguments {
		all = append(all, string(a.Value)+a.Description)
	}
	return all
}

// Do carries out actions one after the other, and fails the test where one does not work.
func (p *Page) Do(actions ...chromedp.Action) {
	p.t.Helper()
	if err := chromedp.Run(p.ctx, actions...); err != nil {
		p.t.Fatalf("%v; the page said %q", err, p.Said())
	}
}

// Said are the errors and warnings of the page so far.
func (p *Page) Said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.said...)
}

// Requested are the URLs that the page has asked for so far.
func (p *Page) Requested() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.requested...)
}

// Picture writes what the page shows to a PNG in a directory; none where the directory has no name.
func (p *Page) Picture(dir, name string) {
	p.t.Helper()
	if dir == "" {
		return
	}
	var png []byte
	p.Do(chromedp.CaptureScreenshot(&png))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}
