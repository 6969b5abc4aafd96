// In place of: baseelement.go blockelement.go blockstack.go codeblock.go context.go elements.go heading.go image.go link.go listitem.go margin.go paragraph.go renderer.go stylewriter.go table.go task.go templatehelper.go
//
// The renderer of github.com/charmbracelet/glamour. What stays is the types of styles.

package ansi
