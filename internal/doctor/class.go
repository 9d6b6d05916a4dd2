package doctor

import (
	"context"
	"errors"
	"net"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Class says why an answer is missing.
type Class string

const (
	// Denied: the caller may not ask.
	Denied Class = "denied"
	// Throttled: too many asked at once.
	Throttled Class = "throttled"
	// Credentials: AWS does not believe who asks.
	Credentials Class = "credentials"
	// Unreachable: nothing answered.
	Unreachable Class = "unreachable"
	// Absent: there is no such thing.
	Absent Class = "absent"
	// NoRegion: it is not said where to ask.
	NoRegion Class = "no region"
	// NotAsked: something before it failed.
	NotAsked Class = "not asked"
	// Other: AWS refused for a reason of its own.
	Other Class = "other"
)

var (
	deniedCodes = []string{"AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException",
		"AWS.SimpleQueueService.AccessDenied", "Forbidden", "UnauthorizedOperation", "NotAuthorized"}
	credentialCodes = []string{"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException",
		"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "AuthFailure", "TokenRefreshRequired", "RequestExpired"}
	absentCodes = []string{"NoSuchEntity", "NoSuchResourceException", "ResourceNotFoundException", "NotFound", "NotFoundException",
		"NoSuchBucket", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"}
)

// classOf reads the code of an answer, or what became of the request.
func classOf(err error) Class {
	code := codeOf(err)
	if _, throttled := retry.DefaultThrottleErrorCodes[code]; throttled {
		return Throttled
	}
	switch {
	case slices.Contains(deniedCodes, code):
		return Denied
	case slices.Contains(credentialCodes, code):
		return Credentials
	case slices.Contains(absentCodes, code):
		return Absent
	case code != "":
		return Other
	}
	var sent *smithyhttp.RequestSendError
	var network net.Error
	if errors.As(err, &sent) || errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Unreachable
	}
	return Other
}

// codeOf is the code that AWS gives an error, or empty.
func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// unseen is the finding for a question that was not answered. The action is the
// IAM name of what was asked.
func (e *exam) unseen(name, want, action string, err error) Finding {
	f := Finding{Check: name, Status: Unknown, Want: want, Class: classOf(err)}
	switch f.Class {
	case Denied:
		f.Value = "not known: " + action + " is denied"
		f.Next = "allow " + action + " to " + e.caller + " (AWS's policy ReadOnlyAccess does), then " + e.again()
	case Throttled:
		f.Value = "not known: " + action + " was throttled"
		f.Next = "in a minute: " + e.again()
	case Credentials:
		f.Value = "not known: AWS no longer takes the credentials (" + codeOf(err) + ")"
		f.Next = e.login()
	case Unreachable:
		f.Value = "not known: nothing answers " + action
		f.Next = "see that the network lets HTTPS to AWS out and that the service is in " + e.cfg.Region + ", then " + e.again()
	case Absent:
		f.Value = "not known: AWS has no answer to " + action + " (" + codeOf(err) + ")"
		f.Next = e.again()
	default:
		f.Value = "not known: " + action + " failed: " + err.Error()
		f.Next = e.again()
	}
	return f
}
