// Package dynamo keeps documents, effects, inbox events and stock in DynamoDB.
// Every key that it writes is spelled in this file, and each partition key
// begins with the tenant.
package dynamo

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
)

// Tables names the stack's tables.
type Tables struct {
	Documents, Inventory, Inbox, Exceptions, Audit, Person, Config, Credentials, Rates string

	Jobs string
}

type item = map[string]types.AttributeValue

const (
	headKey   = "HEAD"
	refKey    = "REF"
	personKey = "PERSON"

	currentKey   = "CURRENT"
	secretKey    = "SECRET"
	hookKey      = "HOOK"
	rateKey      = "RATE"
	watermarkKey = "WATERMARK"

	alertPrefix = "ALERT#"

	activityKey = "ACTIVITY"

	// Of one SKU, in this order.
	demandPrefix   = "DEMAND#"
	holdPrefix     = "HOLD#"
	movementPrefix = "MOVE#"
	positionPrefix = "POS#"

	jobPrefix = "J#"
	// jobShard is the one partition of the index of due jobs: a stack has some
	// hundreds of jobs at a time, where a partition takes a thousand writes a
	// second.
	jobShard = "D#JOB"
	// tenantsPK and partnerPK are the keys without a tenant: one lists them, the
	// other is the partner whose stack this is.
	tenantsPK = "TENANTS"
	partnerPK = "PARTNER"
)

func documentPK(k document.Key) string  { return k.Tenant.Key(k.Type, k.ID) }
func subjectPK(s effect.Subject) string { return s.Tenant.Key(s.Type, s.ID) }
func bodySK(version int64) string       { return fmt.Sprintf("DOC#%010d", version) }
func bodyPartSK(v int64, n int) string  { return fmt.Sprintf("LINE#%010d#%04d", v, n) }
func stepSK(seq int64) string           { return fmt.Sprintf("STEP#%010d", seq) }
func effectSK(key string) string        { return "EFFECT#" + key }
func pendingSK(p document.Pending) string {
	return "PENDING#" + bounded(p.SourceVersion) + "#" + bounded(p.EventID)
}
func refPK(r document.Ref) string {
	return r.Tenant.Key("REF", r.Connection, r.Type, bounded(r.External))
}
func exceptionSK(id string) string           { return "X#" + id }
func alertPK() string                        { return retail.Partner.Key() }
func alertSK(fingerprint string) string      { return alertPrefix + fingerprint }
func auditSK(at time.Time, id string) string { return "A#" + stamp(at) + "#" + id }
func inboxPK(t retail.Tenant, connection, event string) string {
	return t.Key("C", connection, "E", bounded(event))
}
func configPK(t retail.Tenant) string                  { return t.Key("CONFIG") }
func versionSK(v int64) string                         { return fmt.Sprintf("V#%08d", v) }
func credentialPK(t retail.Tenant, conn string) string { return t.Key("CREDENTIAL", conn) }
func hookPK(t retail.Tenant, token string) string      { return t.Key("HOOK", token) }
func ratePK(k rate.Key) string                         { return k.Tenant.Key("RATE", k.Connection) }
func watermarkPK(t retail.Tenant, conn string) string  { return t.Key("WATERMARK", conn) }
func mapPK(t retail.Tenant, conn string) string        { return t.Key("MAP", conn) }
func currentMapSK(k mapping.Kind) string               { return "CURRENT#" + string(k) }
func draftMapSK(k mapping.Kind) string                 { return "DRAFT#" + string(k) }
func mapVersionSK(k mapping.Kind, v int64) string      { return "V#" + string(k) + fmt.Sprintf("#%08d", v) }
func mapPiecesPK(t retail.Tenant, conn string, k mapping.Kind) string {
	return t.Key("MAP", conn, string(k))
}
func skuPK(t retail.Tenant, sku string) string { return t.Key("S", bounded(sku)) }
func positionSK(location string) string        { return positionPrefix + location }
func holdSK(order, line, location string) string {
	return holdPrefix + order + "#" + bounded(line) + "#" + location
}
func movementSK(hash string) string                        { return movementPrefix + hash }
func demandSK(order, line string) string                   { return demandPrefix + order + "#" + bounded(line) }
func locationPK(t retail.Tenant, location string) string   { return t.Key("L", location) }
func daySK(day string) string                              { return "DAY#" + day }
func jobPK(t retail.Tenant) string                         { return t.Key("JOB") }
func activityPK(t retail.Tenant, connection string) string { return t.Key("ACTIVITY", connection) }
func proofPK(t retail.Tenant, connection string) string    { return t.Key("PROOF", connection) }
func proofSK(date string) string                           { return "D#" + date }
func jobSK(id string) string                               { return jobPrefix + id }
func jobKeySK(key string) string                           { return "KEY#" + bounded(key) }
func dueShard(k document.Key) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(documentPK(k)))
	return shardName(int(h.Sum32() % document.Shards))
}
func shardName(n int) string { return fmt.Sprintf("D#%02d", n) }

// openShards is the number of partitions of the index of open exceptions: an
// outage opens thousands at once.
const openShards = 4

func openShard(n uint32) string { return fmt.Sprintf("O#%d", n%openShards) }

func openShardOf(id string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return openShard(h.Sum32())
}

// bounded stands for a vendor's id in a key. DynamoDB bounds keys, but nobody
// bounds what a header or a catalogue holds: a long id is known by its hash.
func bounded(id string) string {
	if len(id) <= 256 {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256-" + hex.EncodeToString(sum[:])
}

// stamp is a time as stored: fixed width, so that text order is time order.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

func parseStamp(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse("2006-01-02T15:04:05.000000000Z", s)
}
