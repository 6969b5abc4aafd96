// In place of: *.go
//
// It renders the Markdown of `pulumi neo`, `pulumi env` and of the descriptions of packages, with a highlighter for
// the code of 200 languages. Without it, Markdown is shown as it is written.

package glamour

import (
	"github.com/charmbracelet/glamour/ansi"
	"github.com/muesli/termenv"
)

// TermRenderer shows Markdown as it is written.
type TermRenderer struct{}

// TermRendererOption changes nothing.
type TermRendererOption func(*TermRenderer) error

// NewTermRenderer returns a renderer that changes nothing.
func NewTermRenderer(...TermRendererOption) (*TermRenderer, error) {
	return &TermRenderer{}, nil
}

// Render returns what it is given.
func (*TermRenderer) Render(in string) (string, error) {
	return in, nil
}

// WithAutoStyle changes nothing.
func WithAutoStyle() TermRendererOption { return nil }

// WithStandardStyle changes nothing.
func WithStandardStyle(string) TermRendererOption { return nil }

// WithStyles changes nothing.
func WithStyles(ansi.StyleConfig) TermRendererOption { return nil }

// WithColorProfile changes nothing.
func WithColorProfile(termenv.Profile) TermRendererOption { return nil }

// WithWordWrap changes nothing.
func WithWordWrap(int) TermRendererOption { return nil }
