// Package catalog holds ready destinations and their rules for what agents use, as data: one file per entry, with the
// requests that it was made for and what each of them is.
//
// An entry that a workspace has taken over is the workspace's own. What changes here changes no workspace.
package catalog

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/caracal-gateway/caracal/authority"
)

//go:embed entries/*.yaml
var files embed.FS

const directory = "entries"

// Entry is what makes one service reachable under resources with names of their own.
type Entry struct {
	Name  string `json:"-"`
	Title string `json:"title"`
	// Kind groups entries for readers.
	Kind Kind `json:"kind"`
	// About says in a paragraph what the resources are and what is to be known of them.
	About string `json:"about"`
	// Destinations are valid, have defaults filled in, and no identifiers. Those of all entries fit into one catalog.
	Destinations []authority.Destination `json:"-"`
	// Grants are typical scopes of mandates for it.
	Grants []Grant `json:"grants"`
	// Requests are what clients ask for, and what each is.
	Requests []Request `json:"-"`
}

// Kind is a group of entries.
type Kind string

// The kinds, in the order in which they are shown.
const (
	Models   Kind = "models"
	Code     Kind = "code"
	Packages Kind = "packages"
	Images   Kind = "images"
	Cloud    Kind = "cloud"
	Search   Kind = "search"
	Apps     Kind = "apps"
)

// Kinds are all kinds, in the order in which they are shown.
func Kinds() []Kind { return []Kind{Models, Code, Packages, Images, Cloud, Search, Apps} }

// Grant is a typical scope of a mandate.
type Grant struct {
	Name string `json:"name"`
	// For says what its bearer may do.
	For       string                      `json:"for"`
	Resources []authority.ResourcePattern `json:"resources"`
	Actions   authority.Actions           `json:"actions"`
}

// Request is one that an entry was made for.
type Request struct {
	// From says which client sent it, with its version, or which documentation describes it.
	From   string
	Method string
	URL    string
	// Refused says that no mandate permits it. It has then neither resource nor action.
	Refused  bool
	Resource authority.Resource
	Action   authority.Action
	// By are the names of the entry's grants that permit it.
	By []string
}

// Entries are all entries, ordered by name. The caller may change what it gets.
func Entries() []Entry {
	found, err := fs.Glob(files, directory+"/*.yaml")
	if err != nil {
		panic(fmt.Sprintf("catalog: %v", err)) // the pattern is a constant
	}
	entries := make([]Entry, len(found))
	for i, file := range found {
		entries[i] = read(file)
	}
	return entries
}

// Find gives the entry of a name, and whether there is one. The caller may change what it gets.
func Find(name string) (Entry, bool) {
	file := directory + "/" + name + ".yaml"
	if _, err := fs.Stat(files, file); err != nil || strings.Contains(name, "/") {
		return Entry{}, false
	}
	return read(file), true
}

// Initial are the destinations that a new workspace starts with: those of ten model providers. The caller may change
// what it gets.
func Initial() []authority.Destination {
	var initial []authority.Destination
	for _, name := range []string{
		"openai", "anthropic", "google", "mistral", "groq", "together", "openrouter", "cohere", "deepseek", "xai",
	} {
		initial = append(initial, read(directory+"/"+name+".yaml").Destinations...)
	}
	return initial
}

// read reads an entry that is part of the program. It panics where the tests of this package fail.
func read(file string) Entry {
	text, err := files.ReadFile(file)
	if err != nil {
		panic(fmt.Sprintf("catalog: %v", err))
	}
	e, err := parse(strings.TrimSuffix(path.Base(file), ".yaml"), text)
	if err != nil {
		panic(fmt.Sprintf("catalog: %s: %v", file, err))
	}
	return e
}

// document is an entry as its file holds it.
type document struct {
	Entry
	Destinations []template `json:"destinations"`
	Recorded     []recorded `json:"recorded"`
}

// recorded are requests of one client, or of one text that describes them.
type recorded struct {
	From     string `json:"from"`
	Requests []struct {
		Line string   `json:"line"` // method and URL
		Is   string   `json:"is"`   // action and resource, or refused
		By   []string `json:"by"`
	} `json:"requests"`
}

func parse(name string, text []byte) (Entry, error) {
	var d document
	if err := yaml.UnmarshalStrict(text, &d); err != nil {
		return Entry{}, fmt.Errorf("reading the entry: %w", err)
	}
	e := d.Entry
	e.Name = name
	for _, t := range d.Destinations {
		e.Destinations = append(e.Destinations, t.destinations()...)
	}
	for _, from := range d.Recorded {
		for _, line := range from.Requests {
			r := Request{From: from.From, By: line.By, Refused: line.Is == "refused"}
			var told, named bool
			r.Method, r.URL, told = strings.Cut(line.Line, " ")
			if !r.Refused {
				var action, resource string
				action, resource, named = strings.Cut(line.Is, " ")
				r.Action, r.Resource = authority.Action(action), authority.Resource(resource)
			}
			if !told || !named && !r.Refused {
				return Entry{}, fmt.Errorf("the request %q is %q, which is not an action and a resource", line.Line, line.Is)
			}
			e.Requests = append(e.Requests, r)
		}
	}
	return e, nil
}
