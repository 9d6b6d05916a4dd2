package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Options say what to package and where to.
type Options struct {
	// AWS names the region, the credentials and, locally, the endpoint.
	AWS aws.Config
	// Bucket receives the artefacts; it is created if it does not exist.
	Bucket string
	// Template is the path of the root template.
	Template string
	// Code maps the folder that a CodeUri names, absolute, to the archive built
	// from it. A CodeUri that names an archive needs no entry.
	Code map[string]string
}

// TemplateError says which part of which template cannot be packaged.
type TemplateError struct {
	Path     string // of the template
	Resource string // logical id, or empty
	Err      error
}

func (e *TemplateError) Error() string {
	if e.Resource == "" {
		return fmt.Sprintf("packaging %s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("packaging %s, resource %s: %v", e.Path, e.Resource, e.Err)
}

func (e *TemplateError) Unwrap() error { return e.Err }

var (
	errNotBuilt = errors.New("no archive was built for its folder")
	errDeep     = errors.New("nested more than ten templates deep")
)

// Package uploads everything that the template and the templates below it refer
// to by a local path, each under the hash of its content, and returns the URL
// of the rewritten root template for Deploy. Nothing on disk changes.
func Package(ctx context.Context, o Options) (string, error) {
	path, err := filepath.Abs(o.Template)
	if err != nil {
		return "", fmt.Errorf("finding the template: %w", err)
	}
	store, err := openStore(ctx, o.AWS, o.Bucket)
	if err != nil {
		return "", err
	}
	p := &packager{store: store, code: o.Code}
	root, err := p.template(path, 0)
	if err != nil {
		return "", err
	}
	if err := store.upload(ctx); err != nil {
		return "", err
	}
	return store.url(root), nil
}

type packager struct {
	store *store
	code  map[string]string
}

// template packages one template and returns its key.
func (p *packager) template(path string, depth int) (string, error) {
	fail := func(resource string, err error) error {
		var inner *TemplateError
		if errors.As(err, &inner) {
			return err
		}
		return &TemplateError{Path: path, Resource: resource, Err: err}
	}
	if depth > 10 {
		return "", fail("", errDeep)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fail("", err)
	}
	doc, err := parse(text)
	if err != nil {
		return "", fail("", err)
	}
	dir := filepath.Dir(path)
	if f := doc.object("Globals").object("Function"); f != nil {
		if err := p.rewrite(dir, f, rules["AWS::Serverless::Function"], depth); err != nil {
			return "", fail("Globals", err)
		}
	}
	if resources := doc.object("Resources"); resources != nil {
		for _, r := range resources.fields {
			resource, ok := r.value.(*object)
			if !ok {
				continue
			}
			properties := resource.object("Properties")
			if properties == nil {
				continue
			}
			if err := p.rewrite(dir, properties, rules[resource.text("Type")], depth); err != nil {
				return "", fail(r.key, err)
			}
		}
	}
	if err := p.includes(dir, doc); err != nil {
		return "", fail("", err)
	}
	body, err := encode(doc)
	if err != nil {
		return "", fail("", err)
	}
	return p.store.put(body, ".template"), nil
}

// rule says which property of a resource may hold a local path, what lies there
// and how the property names an object in S3.
type rule struct {
	property string
	content  content
	form     form
}

type content int

const (
	code content = iota
	document
	nested
)

type form int

const (
	uri           form = iota // s3://bucket/key
	bucketKey                 // {Bucket, Key}
	lambdaArchive             // {S3Bucket, S3Key}
	address                   // https://…
)

var rules = map[string][]rule{
	"AWS::Serverless::Function":        {{"CodeUri", code, uri}},
	"AWS::Serverless::LayerVersion":    {{"ContentUri", code, uri}},
	"AWS::Serverless::StateMachine":    {{"DefinitionUri", document, uri}},
	"AWS::Serverless::Api":             {{"DefinitionUri", document, uri}},
	"AWS::Serverless::HttpApi":         {{"DefinitionUri", document, uri}},
	"AWS::Serverless::Application":     {{"Location", nested, address}},
	"AWS::CloudFormation::Stack":       {{"TemplateURL", nested, address}},
	"AWS::Lambda::Function":            {{"Code", code, lambdaArchive}},
	"AWS::Lambda::LayerVersion":        {{"Content", code, lambdaArchive}},
	"AWS::StepFunctions::StateMachine": {{"DefinitionS3Location", document, bucketKey}},
	"AWS::ApiGatewayV2::Api":           {{"BodyS3Location", document, bucketKey}},
}

func (p *packager) rewrite(dir string, properties *object, rules []rule, depth int) error {
	for _, r := range rules {
		local, ok := properties.get(r.property).(string)
		if !ok || remote(local) {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(local))
		key, err := p.artefact(path, r.content, depth)
		if err != nil {
			return fmt.Errorf("%s %s: %w", r.property, local, err)
		}
		properties.set(r.property, p.store.reference(key, r.form))
	}
	return nil
}

func (p *packager) artefact(path string, c content, depth int) (string, error) {
	switch c {
	case nested:
		return p.template(path, depth+1)
	case code:
		archive, ok := p.code[path]
		if !ok {
			info, err := os.Stat(path)
			if err != nil {
				return "", reason(err)
			}
			if info.IsDir() {
				return "", errNotBuilt
			}
			archive = path
		}
		data, err := os.ReadFile(archive)
		if err != nil {
			return "", reason(err)
		}
		return p.store.put(data, ".zip"), nil
	default:
		data, err := os.ReadFile(path)
		if err != nil {
			return "", reason(err)
		}
		return p.store.put(data, filepath.Ext(path)), nil
	}
}

// reason drops the path from a file error: the message names it as the template does.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// remote tells whether a reference names something that is uploaded already.
func remote(ref string) bool {
	for _, scheme := range []string{"s3://", "https://", "http://", "arn:"} {
		if strings.HasPrefix(ref, scheme) {
			return true
		}
	}
	return false
}

// includes uploads what AWS::Include transforms anywhere in the template name.
func (p *packager) includes(dir string, v any) error {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			if err := p.includes(dir, item); err != nil {
				return err
			}
		}
	case *object:
		if t := v.object("Fn::Transform"); t.text("Name") == "AWS::Include" {
			parameters := t.object("Parameters")
			if local := parameters.text("Location"); local != "" && !remote(local) {
				path := filepath.Join(dir, filepath.FromSlash(local))
				key, err := p.artefact(path, document, 0)
				if err != nil {
					return fmt.Errorf("AWS::Include of %s: %w", local, err)
				}
				parameters.set("Location", p.store.reference(key, uri))
			}
		}
		for _, f := range v.fields {
			if err := p.includes(dir, f.value); err != nil {
				return err
			}
		}
	}
	return nil
}
