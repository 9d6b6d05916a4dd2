// Package doctortest serves recorded answers of AWS to what reads an account.
package doctortest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// Server answers as AWS did. A case is a folder; what a folder has not, the
// healthy account answers. An answer is a file SERVICE.Operation.http,
// or SERVICE.Operation.SUBJECT.http for one table, quota, queue or stack. The lists
// denied.txt and conditional.txt name actions; iam:PassRole>SERVICE is of one service.
type Server struct {
	*httptest.Server
	files   fs.FS
	folders []string

	mu    sync.Mutex
	asked []string
}

// Start serves the answers of a case in a folder of cases until the test ends.
func Start(t testing.TB, dir, folder string) *Server {
	t.Helper()
	r := &Server{files: os.DirFS(dir), folders: []string{folder}}
	if folder != "healthy" {
		r.folders = append(r.folders, "healthy")
	}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// Asked are the operations that were asked for, as SERVICE.Operation.
func (r *Server) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

// Config is a configuration that asks the server, once each.
func (r *Server) Config(region string) aws.Config {
	return aws.Config{Region: region, BaseEndpoint: &r.URL, HTTPClient: &http.Client{Transport: wholly{r.Client().Transport}},
		Credentials: credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} }}
}

// wholly sends a request from memory. The SDK closes a request's body once it has
// an answer, and Go's client takes it for a broken connection if it comes to close
// the body second; a server that is as near as this one is fast enough for that.
type wholly struct{ http.RoundTripper }

// RoundTrip sends the request.
func (w wholly) RoundTrip(q *http.Request) (*http.Response, error) {
	if q.Body == nil {
		return w.RoundTripper.RoundTrip(q)
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	q = q.Clone(q.Context())
	q.Body = io.NopCloser(bytes.NewReader(body))
	return w.RoundTripper.RoundTrip(q)
}

// signedFor finds the service in the signature, as AWS does.
var signedFor = regexp.MustCompile(`Credential=[^/]+/\d{8}/[a-z0-9-]+/([a-z0-9-]+)/aws4_request`)

// rest names the operations of the services that are told apart by address.
var rest = map[string]string{
	"GET /2016-08-19/account-settings":  "GetAccountSettings",
	"GET /2016-08-19/account-settings/": "GetAccountSettings",
	"GET /v2/email/account":             "GetAccount",
}

// ServeHTTP finds out what is asked and answers from the folders.
func (r *Server) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	signed := signedFor.FindStringSubmatch(q.Header.Get("Authorization"))
	if err != nil || signed == nil {
		http.Error(w, "the request is not signed", http.StatusForbidden)
		return
	}
	operation, subject, actions, service := read(q, body)
	name := signed[1] + "." + operation
	r.mu.Lock()
	r.asked = append(r.asked, name)
	r.mu.Unlock()
	for _, folder := range r.folders {
		for _, file := range []string{name + "." + subject + ".http", name + ".http"} {
			raw, err := fs.ReadFile(r.files, folder+"/"+file)
			if err == nil {
				r.answer(w, q, raw, actions, service)
				return
			}
		}
	}
	http.Error(w, "no answer is recorded for "+name+"."+subject, http.StatusNotImplemented)
}

// read tells a request's operation, what it is about, and for a simulation the
// actions in question and the service that a role would be passed to.
func read(q *http.Request, body []byte) (operation, subject string, actions []string, service string) {
	if target := q.Header.Get("X-Amz-Target"); target != "" {
		_, operation, _ = strings.Cut(target, ".")
		var in struct{ QuotaCode, TableName, QueueUrl string }
		_ = json.Unmarshal(body, &in) // what has no subject has none of these
		return operation, in.QuotaCode + in.TableName + in.QueueUrl[strings.LastIndex(in.QueueUrl, "/")+1:], nil, ""
	}
	if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") != "" {
		stack := form.Get("StackName")
		if parts := strings.Split(stack, "/"); len(parts) > 1 {
			stack = parts[1] // of an ARN
		}
		for i := 1; form.Has(fmt.Sprintf("ActionNames.member.%d", i)); i++ {
			actions = append(actions, form.Get(fmt.Sprintf("ActionNames.member.%d", i)))
		}
		for i := 1; form.Has(fmt.Sprintf("ContextEntries.member.%d.ContextKeyName", i)); i++ {
			if entry := fmt.Sprintf("ContextEntries.member.%d.", i); form.Get(entry+"ContextKeyName") == "iam:PassedToService" {
				service = form.Get(entry + "ContextKeyValues.member.1")
			}
		}
		return form.Get("Action"), stack, actions, service
	}
	if strings.HasPrefix(q.URL.Path, "/2015-03-31/functions/") && strings.HasSuffix(q.URL.Path, "/configuration") {
		return "GetFunctionConfiguration", "", nil, ""
	}
	if name, ok := rest[q.Method+" "+q.URL.Path]; ok {
		return name, "", nil, ""
	}
	if q.Method == http.MethodHead {
		return "HeadBucket", "", nil, ""
	}
	return q.Method + q.URL.Path, "", nil, ""
}

// member is the one result of a simulation that the file holds; it stands for
// each action that was asked for.
var member = regexp.MustCompile(`(?s)\s*<member>.*?</member>`)

// answer writes a recorded answer.
func (r *Server) answer(w http.ResponseWriter, q *http.Request, raw []byte, actions []string, service string) {
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotImplemented)
		return
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotImplemented)
		return
	}
	if len(actions) > 0 {
		body = member.ReplaceAllFunc(body, func(one []byte) (all []byte) {
			for _, a := range actions {
				x := strings.ReplaceAll(string(one), "ACTION", a)
				in := func(list string) bool {
					return slices.ContainsFunc(r.lines(list), func(l string) bool { return l == a || l == a+">"+service })
				}
				if in("denied.txt") {
					x = strings.ReplaceAll(x, "allowed", "implicitDeny")
				}
				if in("conditional.txt") {
					x = strings.ReplaceAll(strings.ReplaceAll(x, "allowed", "implicitDeny"), "<MissingContextValues/>",
						"<MissingContextValues><member>aws:PrincipalTag/team</member></MissingContextValues>")
				}
				all = append(all, x...)
			}
			return all
		})
	}
	for k, v := range res.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(res.StatusCode)
	_, _ = w.Write(bytes.TrimSpace(body))
}

// lines reads a list of the case.
func (r *Server) lines(file string) []string {
	raw, err := fs.ReadFile(r.files, r.folders[0]+"/"+file)
	if err != nil {
		return nil
	}
	return strings.Fields(string(raw))
}
