package shopifytest

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"sync"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

//go:embed spec/admin_2026-07.graphql.gz
var adminSDL []byte

var loadSchema = sync.OnceValues(func() (*ast.Schema, error) {
	sdl, err := gunzip(adminSDL)
	if err != nil {
		return nil, fmt.Errorf("reading the Admin schema: %w", err)
	}
	return gqlparser.LoadSchema(&ast.Source{Name: "admin_2026-07.graphql", Input: string(sdl)})
})

func gunzip(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// CheckDocument validates a GraphQL document and its variables against the
// vendor's schema and returns what the vendor would charge for it, in points.
func CheckDocument(document string, variables map[string]any) (points int64, err error) {
	schema, err := loadSchema()
	if err != nil {
		return 0, err
	}
	doc, errs := gqlparser.LoadQueryWithRules(schema, document, rules.NewDefaultRules())
	if len(errs) > 0 {
		return 0, errs
	}
	if len(doc.Operations) != 1 {
		return 0, fmt.Errorf("the document has %d operations, not one", len(doc.Operations))
	}
	op := doc.Operations[0]
	vars, err := validator.VariableValues(schema, op, variables)
	if err != nil {
		return 0, err
	}
	return costOf(op, vars), nil
}
