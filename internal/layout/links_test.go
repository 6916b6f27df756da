package layout

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var (
	linkTarget = regexp.MustCompile(`\]\(<?([^()<>\s]+)>?(?:\s+"[^"]*")?\)`)
	linkNamed  = regexp.MustCompile(`^\[[^\]^]+\]:\s+(\S+)`)
	codeSpan   = regexp.MustCompile("`+[^`]*`+")
	ownAnchor  = regexp.MustCompile(`<a (?:id|name)="([^"]+)">`)
	headMarkup = regexp.MustCompile("[`*]|\\[([^\\]]*)\\]\\([^)]*\\)")
)

// page is a Markdown file: where it points to, and what can be pointed to in it.
type page struct {
	links   []link
	anchors map[string]bool
}

type link struct {
	line   int
	target string
}

// readPage finds links and headings outside of code.
func readPage(text string) page {
	p := page{anchors: map[string]bool{}}
	lines := strings.Split(text, "\n")
	fence := ""
	seen := map[string]int{}
	head := func(h string) {
		s := slug(h)
		n := seen[s]
		seen[s]++
		if n > 0 {
			s = fmt.Sprintf("%s-%d", s, n)
		}
		p.anchors[s] = true
	}
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		if t := strings.TrimLeft(l, " "); fence == "" && (strings.HasPrefix(t, "```") || strings.HasPrefix(t, "~~~")) {
			fence = t[:3]
			continue
		} else if fence != "" {
			if strings.HasPrefix(t, fence) {
				fence = ""
			}
			continue
		}
		for _, m := range ownAnchor.FindAllStringSubmatch(l, -1) {
			p.anchors[m[1]] = true
		}
		if h := strings.TrimLeft(l, "#"); h != l && strings.HasPrefix(h, " ") {
			head(h)
		}
		// A link's text may begin on the line before.
		bare := codeSpan.ReplaceAllString(l, "x")
		for _, m := range linkTarget.FindAllStringSubmatch(bare, -1) {
			p.links = append(p.links, link{i + 1, m[1]})
		}
		if m := linkNamed.FindStringSubmatch(bare); m != nil {
			p.links = append(p.links, link{i + 1, m[1]})
		}
	}
	return p
}

// slug is the anchor that GitHub and most others make of a heading.
func slug(h string) string {
	h = headMarkup.ReplaceAllString(strings.TrimSpace(h), "$1")
	var b strings.Builder
	for _, r := range strings.ToLower(h) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}

func TestReadPage(t *testing.T) {
	p := readPage("# A `b` [c](d.md), e\n## A b c e\nx [y](z.md#q) and `[no](no.md)` ![i](i.png \"t\")\n```\n[no](no.md)\n# no\n```\n[n]: named.md\n<a id=\"own\"></a>\n")
	var got []string
	for _, l := range p.links {
		got = append(got, l.target)
	}
	if want := []string{"d.md", "z.md#q", "i.png", "named.md"}; !slices.Equal(got, want) {
		t.Errorf("links %q, want %q", got, want)
	}
	for _, a := range []string{"a-b-c-e", "a-b-c-e-1", "own"} {
		if !p.anchors[a] {
			t.Errorf("no anchor %s in %v", a, p.anchors)
		}
	}
	if len(p.anchors) != 3 {
		t.Errorf("%v", p.anchors)
	}
}

// TestLinks: every file and heading that a page of ours points to is there.
func TestLinks(t *testing.T) {
	pages := map[string]page{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if n := d.Name(); d.IsDir() {
			if n == "node_modules" || n == "testdata" || strings.HasPrefix(n, ".") && len(n) > 2 || p == filepath.Join(root, "build") || p == filepath.Join(root, "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(p, ".md") {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			pages[filepath.Clean(p)] = readPage(string(b))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for name, p := range pages {
		for _, l := range p.links {
			u, err := url.Parse(l.target)
			if err != nil {
				t.Errorf("%s:%d: %s is no link: %v", name, l.line, l.target, err)
				continue
			}
			if u.Scheme != "" || u.Host != "" {
				continue // somebody else's
			}
			n++
			to := name
			if u.Path != "" {
				to = filepath.Join(filepath.Dir(name), filepath.FromSlash(u.Path))
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s:%d: there is no %s", name, l.line, u.Path)
				continue
			}
			if other, ok := pages[to]; ok && u.Fragment != "" && !other.anchors[u.Fragment] {
				t.Errorf("%s:%d: %s has no heading for #%s", name, l.line, to, u.Fragment)
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d links were found in %d pages", n, len(pages))
	}
}
