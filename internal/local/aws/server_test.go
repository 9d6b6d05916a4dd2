//go:build unix

package localaws_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	localaws "github.com/waybillhq/waybill/internal/local/aws"
	"github.com/waybillhq/waybill/internal/local/lock"
)

// TestMain lets this binary be a command that runs the local AWS and is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("RUN_AWS_IN"); dir != "" {
		if err := runAndInvoke(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

func runAndInvoke(dir string) error {
	s, err := localaws.Start(context.Background(), localaws.Config{Dir: dir, Home: os.Getenv("RUN_AWS_HOME")})
	if err != nil {
		return err
	}
	if err := invokeStubborn(context.Background(), s); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "group"), []byte(strconv.Itoa(s.Process.PID())), 0o644)
}

// invokeStubborn makes the emulator start a Lambda worker that ignores being
// told to end.
func invokeStubborn(ctx context.Context, s *localaws.Server) error {
	var code bytes.Buffer
	w := zip.NewWriter(&code)
	header := &zip.FileHeader{Name: "bootstrap"}
	header.SetMode(0o755)
	entry, err := w.CreateHeader(header)
	if err != nil {
		return err
	}
	if _, err := entry.Write([]byte("#!/bin/sh\ntrap '' TERM INT HUP\nwhile :; do sleep 1000; done\n")); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	client := lambda.New(lambda.Options{Region: s.Region, BaseEndpoint: &s.Endpoint, Credentials: credentials.NewStaticCredentialsProvider(s.Account, "local", "")})
	if _, err := client.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("stubborn"), Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap"),
		Role: aws.String("arn:aws:iam::" + s.Account + ":role/any"), Timeout: aws.Int32(600), Code: &types.FunctionCode{ZipFile: code.Bytes()},
	}); err != nil {
		return err
	}
	_, err = client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("stubborn"), InvocationType: types.InvocationTypeEvent})
	return err
}

// members counts the living processes of a group.
func members(t *testing.T, group int) int {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pgid=,stat=").Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == strconv.Itoa(group) && !strings.HasPrefix(f[1], "Z") {
			n++
		}
	}
	return n
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func home(t *testing.T) string {
	t.Helper()
	dir, err := localaws.SharedHome()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestStopLeavesNoLambdaWorker(t *testing.T) {
	s, err := localaws.Start(t.Context(), localaws.Config{Dir: t.TempDir(), Home: home(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Process.Kill)
	if err := invokeStubborn(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	until(t, "a Lambda worker", func() bool { return members(t, s.Process.PID()) > 1 })
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "an empty group", func() bool { return members(t, s.Process.PID()) == 0 })
}

func TestNothingSurvivesTheCommandThatIsKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "RUN_AWS_IN="+dir, "RUN_AWS_HOME="+home(t))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	group := 0
	until(t, "a Lambda worker", func() bool {
		text, _ := os.ReadFile(filepath.Join(dir, "group"))
		group, _ = strconv.Atoi(string(text))
		return group != 0 && members(t, group) > 1
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	until(t, "an empty group", func() bool { return members(t, group) == 0 })
}

func TestStateOutlivesAStopIfAsked(t *testing.T) {
	config := localaws.Config{Dir: t.TempDir(), Home: home(t), Persist: true}
	for round, want := range []int{0, 1} {
		s, err := localaws.Start(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Process.Kill)
		client := lambda.New(lambda.Options{Region: s.Region, BaseEndpoint: &s.Endpoint, Credentials: credentials.NewStaticCredentialsProvider(s.Account, "local", "")})
		list, err := client.ListFunctions(t.Context(), &lambda.ListFunctionsInput{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Functions) != want {
			t.Errorf("start %d: got %d functions, want %d", round+1, len(list.Functions), want)
		}
		if round == 0 {
			if err := invokeStubborn(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPortInUseIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // the port ends with the test anyway
	port := l.Addr().(*net.TCPAddr).Port
	python, _ := fakePython(t, "3 12", "")
	_, err = localaws.Start(t.Context(), localaws.Config{Dir: t.TempDir(), Python: python, Port: port})
	var taken *lock.PortError
	if !errors.As(err, &taken) || taken.Port != port {
		t.Errorf("got %v, want a PortError of %d", err, port)
	}
}

func TestAnEmulatorThatDiesShowsTheEndOfItsLog(t *testing.T) {
	python, _ := fakePython(t, "3 12", "")
	_, err := localaws.Start(t.Context(), localaws.Config{Dir: t.TempDir(), Python: python})
	var failed *localaws.StartError
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), "no such module") || !strings.Contains(err.Error(), failed.Log) {
		t.Errorf("got %v", err)
	}
}

func TestTheEmulatorSeesNothingOfOurEnvironment(t *testing.T) {
	t.Setenv("TABLE_NAME", "leaked")
	t.Setenv("AWS_PROFILE", "leaked")
	python, _ := fakePython(t, "3 12", "")
	dir := t.TempDir()
	if _, err := localaws.Start(t.Context(), localaws.Config{Dir: dir, Python: python, EnforceIAM: true}); err == nil {
		t.Fatal("the fake emulator started")
	}
	text, err := os.ReadFile(filepath.Join(dir, "aws.log"))
	if err != nil {
		t.Fatal(err)
	}
	// PWD, OLDPWD, SHLVL and _ are the shell's own, which the fake runs in.
	known := []string{"PATH", "HOME", "TMPDIR", "GATEWAY_PORT", "BIND_HOST", "MINISTACK_HOST", "MINISTACK_ACCOUNT_ID", "MINISTACK_REGION",
		"AWS_ENDPOINT_URL", "SFTP_ENABLED", "IOT_MTLS_ENABLED", "STATE_DIR", "S3_DATA_DIR", "AUTH", "PWD", "OLDPWD", "SHLVL", "_"}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !slices.Contains(known, name) {
			t.Errorf("the emulator sees %s", line)
		}
		if name == "HOME" && !strings.HasPrefix(value, dir) {
			t.Errorf("the emulator's home is %s, where an AWS profile may be", value)
		}
	}
	if !strings.Contains(string(text), "AUTH=true\n") {
		t.Error("roles are not enforced")
	}
}
